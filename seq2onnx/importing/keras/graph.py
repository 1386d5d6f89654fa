"""The layers of a Keras model, their weights by name, and what each reads: from the configuration, without Keras."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from seq2onnx.errors import ImportRefused, ModelFileError, Seq2OnnxError, plain
from seq2onnx.importing.joined_inputs import Input, features
from seq2onnx.importing.keras.file import KerasFile
from seq2onnx.importing.keras.weights import Stored, named_weights
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.limits import LAYERS

MODELS = ("Sequential", "Functional", "Model")
CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "SimpleRNN"}
CUSTOM = (
    "which is no layer of Keras that can be brought over. If its place is at the end, leave it out and calculate it "
    "afterwards; else build the model of layers that docs/bring-your-network.md lists"
)


@dataclasses.dataclass(frozen=True, eq=False)
class KerasLayer:
    """A layer.

    Attributes:
        kind: the name of its class.
        name: its name, after those of the models and layers that contain it.
        config: its configuration.
        weights: its weights by name.
        inner: the layers that it wraps: of a TimeDistributed one, of a Bidirectional forward and backward.
        model: the model that it is.
        version: the major version of Keras.
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    inner: tuple[KerasLayer, ...]
    model: KerasModel | None
    version: int

    @property
    def place(self) -> str:
        """Name it for people."""
        return f"{self.name} ({self.kind})"

    def get(self, name: str, default: Any = None) -> Any:
        """Return an option."""
        return self.config.get(name, default)

    def described_by(self, option: Mapping[str, Any]) -> KerasLayer:
        """Return the layer without weights that an option describes, such as an activation."""
        return KerasLayer(option["class_name"], self.name, option["config"], {}, (), None, self.version)


Tensor = tuple[str, int]
"""An output of a layer: the name of the layer, and which of its outputs."""


@dataclasses.dataclass(frozen=True, eq=False)
class LayerCall:
    """A call of a layer: its name within the model, what it reads, and the masks that it is given."""

    name: str
    layer: KerasLayer
    reads: Sequence[Tensor]
    masks: Sequence[Tensor] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class KerasModel:
    """A model.

    Attributes:
        nodes: its layers, each after those that it reads.
        input: the name of its only input.
        shape: the shape of its input without the batch; None where any size fits.
        outputs: what it gives.
        parts: the inputs of the model that are parts of its only one; none if it has one itself.
    """

    nodes: Sequence[LayerCall]
    input: str
    shape: Sequence[int | None] | None
    outputs: Sequence[Tensor]
    parts: Sequence[Input] = ()


def read_model(file: KerasFile, path: object) -> tuple[KerasModel, str]:
    """Return the model of a file, and its name.

    Raises:
        ImportRefused: it contains what cannot be brought over.
        ModelFileError: the file contradicts itself.
    """
    version = re.match(r"([23])(\D|$)", file.version)
    if not version:
        raise ImportRefused(f"{path}: was written by Keras {file.version:.60}; save it again with Keras 2 or 3")
    try:
        kind, config = file.config["class_name"], file.config["config"]
        if kind not in MODELS:
            raise ImportRefused(
                f"{kind}: is a class of its own, whose code is not in the file; build the model as Sequential or "
                "Functional, with the same weights"
            )
        name = "model" if isinstance(config, list) else plain(str(config.get("name", "model")), 100)
        build = _Builder(int(version[1]))
        return build.model(kind, config, Stored(file.arrays, file.is_legacy), ""), name
    except Seq2OnnxError:
        raise
    except Exception as error:  # a file can contain anything
        raise ModelFileError(
            f"{path}: the configuration of the model is not as Keras writes it ({type(error).__name__}: {error})"
        ) from None


class _Builder:
    """Makes models and layers of their configurations."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._count = 0

    def model(self, kind: str, config: Any, stored: Stored, prefix: str) -> KerasModel:
        entries = config if isinstance(config, list) else config["layers"]  # Keras before 2.2.3 wrote a list
        names = [(entry["class_name"], entry["config"]["name"]) for entry in entries]
        is_layer = [not _is_operation(entry) for entry in entries]
        places = iter(stored.members([name for name, own in zip(names, is_layer, strict=True) if own]))
        nothing = Stored({}, stored.is_legacy, False)
        layers = [
            self.layer(entry, next(places) if own else nothing, prefix)
            for entry, own in zip(entries, is_layer, strict=True)
        ]
        if kind == "Sequential":
            return _sequential(layers, [name for _, name in names], config, prefix)
        nodes = [
            _node(layer, entry["config"]["name"], entry["inbound_nodes"])
            for layer, entry in zip(layers, entries, strict=True)
            if layer.kind != "InputLayer"
        ]
        inputs, outputs = (_tensors(config[key]) for key in ("input_layers", "output_layers"))
        where = prefix.rstrip(".") or "the model"
        by_name = dict(zip([name for _, name in names], layers, strict=True))
        shapes = {name: _shape(by_name[name].config) for name, _ in inputs}
        if len(inputs) != 1:
            if not inputs or prefix:
                raise ImportRefused(f"{where}: has {len(inputs)} inputs; only the whole model may have several")
            return _joined(nodes, shapes, outputs, self._version)
        return KerasModel(_ordered(nodes, where), inputs[0][0], shapes[inputs[0][0]], outputs)

    def layer(self, entry: Any, stored: Stored, prefix: str) -> KerasLayer:
        kind, config = entry["class_name"], dict(entry["config"])
        if not isinstance(kind, str) or not isinstance(config["name"], str):
            raise ModelFileError(f"{prefix}: expected names of layers, got {kind!r:.60}, {config['name']!r:.60}")
        kind = f"ops.{kind}" if _is_operation(entry) else kind
        name = f"{prefix}{config['name']}"
        self._count += 1
        if self._count > LAYERS:
            raise ImportRefused(f"the model has more than {LAYERS:,} layers")
        module, registered = str(entry.get("module") or "keras"), str(entry.get("registered_name"))
        if ">" in registered or not re.match(r"(tf_)?keras(\.|$)", module):
            raise ImportRefused(
                f"{name} ({kind}): is the class {kind} of {registered.split('>')[0]} in {module}, {CUSTOM}"
            )
        _check_dtype(name, kind, config.get("dtype"))
        inner: tuple[KerasLayer, ...] = ()
        model = None
        if kind in MODELS:
            model = self.model(kind, config, stored, f"{name}.")
        elif kind == "RNN" and config["cell"]["class_name"] in CELLS:
            cell = config["cell"]
            _check_dtype(name, kind, cell["config"].get("dtype"))
            kind, config = CELLS[cell["class_name"]], {**cell["config"], **config}
        elif kind == "TimeDistributed":
            inner = (self.layer(config["layer"], stored.wrapped("layer", 0, 1), f"{name}."),)
        elif kind == "Bidirectional":
            forward = config["layer"]
            backward = config.get("backward_layer") or forward
            inner = tuple(
                self.layer(part, stored.wrapped(f"{role}_layer", i, 2), f"{name}.{role}.")
                for i, (role, part) in enumerate((("forward", forward), ("backward", backward)))
            )
        return KerasLayer(kind, name, config, named_weights(kind, name, config, stored), inner, model, self._version)


def _joined(
    nodes: Sequence[LayerCall],
    shapes: Mapping[str, Sequence[int | None] | None],
    outputs: Sequence[Tensor],
    version: int,
) -> KerasModel:
    """Make a model of one input, whose features are those of all, out of one of several."""
    parts: list[Input] = []
    for name, shape in shapes.items():
        if not shape or len(shape) > 2 or not isinstance(shape[-1], int):
            raise ImportRefused(
                f"the input {name} has the shape {[None, *(shape or ())]}; of several inputs, each must be "
                "[batch, time, features] or [batch, features]"
            )
        parts.append(Input(name, shape[-1], len(shape) == 2))
    if not any(part.has_time for part in parts):
        raise ImportRefused("none of its inputs has a time axis; expected [batch, time, features]")
    joined, slices = "joined inputs", []
    for part, place in features(parts):
        index = (Ellipsis, place) if part.has_time else (slice(None), -1, place)
        layer = KerasLayer("ops.GetItem", part.name, {"index": index}, {}, (), None, version)
        slices.append(LayerCall(part.name, layer, [(joined, 0)]))
    whole = [None, sum(part.size for part in parts)]
    return KerasModel(_ordered([*slices, *nodes], "the model"), joined, whole, outputs, parts)


def _is_operation(entry: Any) -> bool:
    """Whether it is a function of keras.ops, which has no weights and is no layer of the model."""
    if entry.get("module"):
        return ".ops" in str(entry["module"])
    return entry["class_name"] not in MODELS and not {"trainable", "dtype"} & set(entry["config"])  # .h5


def _check_dtype(name: str, kind: str, dtype: Any) -> None:
    """Raise ImportRefused unless a layer calculates in float32 or float64."""
    policy = dtype
    if isinstance(dtype, dict):
        policy = dtype["config"].get("name") or dtype["class_name"]
    # Layers that move tokens have integers.
    if policy is not None and policy not in ("float32", "float64", "int32", "int64", "bool"):
        raise ImportRefused(
            f"{name} ({kind}): calculates as {policy}, not in float32, so its numbers would differ; build the model "
            "with the dtype float32 and give it the same weights with set_weights"
        )


def _sequential(layers: Sequence[KerasLayer], names: Sequence[str], config: Any, prefix: str) -> KerasModel:
    """A model whose layers read one another."""
    first = layers[0]
    shape = _shape(first.config) or _shape({} if isinstance(config, list) else config)
    label = names[0] if first.kind == "InputLayer" else f"{prefix}input"
    nodes, last = [], label
    for layer, name in zip(layers, names, strict=True):
        if layer.kind != "InputLayer":
            nodes.append(LayerCall(name, layer, [(last, 0)]))
            last = name
    return KerasModel(nodes, label, shape, [(last, 0)])


def _shape(config: Mapping[str, Any]) -> Sequence[int | None] | None:
    for key in ("batch_shape", "batch_input_shape", "build_input_shape"):
        if config.get(key):
            return list(config[key][1:])
    return None


def _tensors(found: Any) -> list[Tensor]:
    """Return the tensors of a list, of which one may stand alone."""
    if found and isinstance(found[0], str):
        found = [found]
    return [_tensor(name, index) for name, _, index in found]


def _tensor(name: Any, index: Any) -> Tensor:
    if not isinstance(name, str) or not isinstance(index, int):
        raise ModelFileError(
            f"expected the output of a layer as its name and a number, got {name!r:.60}, {index!r:.60}"
        )
    return name, index


def _node(layer: KerasLayer, name: str, calls: Any) -> LayerCall:
    """Return the call of a layer of a Functional model."""
    if len(calls) != 1:
        raise ImportRefused(
            f"{layer.place}: is called {len(calls)} times, and layers that share weights are not brought over; give "
            "each call a layer of its own with the same weights"
        )
    (call,) = calls
    if isinstance(call, dict):  # Keras 3
        reads, others, masks = _references(call["args"]), _constants(call["args"]), call["kwargs"].get("mask")
        options = {key: value for key, value in call["kwargs"].items() if key != "mask"}
    else:
        reads = [_tensor(name, index) for name, _, index, *_ in call]
        options = {k: v for entry in call for k, v in (entry[3] if len(entry) > 3 else {}).items()}
        others, masks = [], None
    if unknown := [key for key, value in options.items() if value is not None and key != "training"]:
        raise ImportRefused(
            f"{layer.place}: is called with {unknown[0]}, which no layer takes; start states must be zeros, and masks "
            "those of a Masking layer or of mask_zero"
        )
    if layer.kind == "ops.GetItem":
        layer = dataclasses.replace(layer, config={**layer.config, "index": _index(call["args"][1])})
    elif others and layer.kind != "ops.NotEqual":
        raise ImportRefused(f"{layer.place}: calculates with {others[0]!r:.60}; use layers, such as Rescaling")
    return LayerCall(name, layer, reads, _references(masks))


def _index(key: Any) -> tuple[Any, ...]:
    """Return the index of a tensor, as Python has it."""
    found: list[Any] = []
    for entry in key if isinstance(key, list) else [key]:
        is_slice = isinstance(entry, dict) and entry["class_name"] == "__slice__"
        parts = [entry["config"][name] for name in ("start", "stop", "step")] if is_slice else [entry]
        if is_slice and all(part is None or isinstance(part, int) for part in parts):
            found.append(slice(*parts))
        elif isinstance(entry, dict) and entry["class_name"] == "__ellipsis__":
            found.append(Ellipsis)
        elif entry is None or isinstance(entry, int):
            found.append(entry)
        else:
            raise ImportRefused(f"an index of a tensor is {entry!r:.60}; use numbers and slices")
    return tuple(found)


def _references(found: Any) -> list[Tensor]:
    """Return the tensors among the arguments of a call."""
    if isinstance(found, dict) and "keras_history" in found.get("config", ()):
        name, _, index = found["config"]["keras_history"]
        return [_tensor(name, index)]
    if isinstance(found, list):
        return [tensor for part in found for tensor in _references(part)]
    return []


def _constants(found: Any) -> list[Any]:
    """Return what is no tensor among the arguments of a call."""
    if isinstance(found, list):
        return [constant for part in found for constant in _constants(part)]
    return [] if isinstance(found, dict) or found is None else [found]


def _ordered(nodes: Sequence[LayerCall], where: str) -> list[LayerCall]:
    """Put each layer after those that it reads; Keras writes them so already, apart from masks."""
    by_name = {node.name: node for node in nodes}
    needs = {
        name: [other for other, _ in (*node.reads, *node.masks) if other in by_name] for name, node in by_name.items()
    }
    try:
        return [by_name[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError:
        raise ModelFileError(f"{where}: its layers read each other in a circle") from None
