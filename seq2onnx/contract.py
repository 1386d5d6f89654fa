"""The contract of an exported file: its metadata, and the names of its tensors."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from seq2onnx.errors import ModelFileError

Signature = Literal["full", "sequence", "stream"]

KEY = "seq2onnx"
"""The key of the contract in the metadata of the ONNX file."""
FORMAT_VERSION = 2
"""The newest version of the contract that this seq2onnx reads."""
FORMS = ["dynamic"]
"""The forms of graphs that this seq2onnx runs."""

LENGTHS, END = "lengths", "end"
"""The inputs for the valid steps of each row and, with lookahead, for whether a row ends with this chunk."""

_REQUIRED = {"network", "classes", "signature", "states", "min_length"}
_OPTIONAL = {"closed_loop", "form", "weights", "options", "emission", "channels", "missing", "sample_rate", "answer"}
_OPTIONAL |= {"inputs", "outputs", "tokens"}  # of files without a network
_INPUT_KINDS = ("sequence_input", "feature_input")


def input_names(layers: Iterable[str]) -> dict[str, str]:
    """Return the tensor of each input layer: x, or x_{layer} if there are several."""
    return _tensor_names("x", list(layers))


def output_names(layers: Iterable[str]) -> dict[str, str]:
    """Return the tensor of each output layer: y, or y_{layer} if there are several."""
    return _tensor_names("y", list(layers))


def activation_name(layer: str) -> str:
    """Return the tensor that holds the activations of a layer."""
    return f"act_{layer}"


def lengths_name(output: str) -> str:
    """Return the tensor that holds the number of valid steps of an output."""
    return f"{output}_lengths"


def _tensor_names(prefix: str, layers: list[str]) -> dict[str, str]:
    return {layer: prefix if len(layers) == 1 else f"{prefix}_{layer}" for layer in layers}


@dataclasses.dataclass(frozen=True)
class ContractState:
    """A state of the network: a pair of tensors, one read and one written by each run.

    Attributes:
        input: the tensor that is read.
        output: the tensor that is written.
        shape: the shape of one row, without the batch dimension.
        dtype: the name of the numpy type.
        kind: what the layer keeps in it, such as "h" or "buf". A layer may have several states of one kind.
        layer: the layer that it belongs to.
        name: unique in the layer. The default is that of `state_names`.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    layer: str
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contract:
    """The metadata of an exported file.

    Attributes:
        network: the specification, as `Network.from_dict` reads it. None if the file was made from another model.
        classes: the labels of the scores.
        signature: "full", "sequence" or "stream".
        states: the states, in the order of their tensors.
        min_length: the fewest steps that a sequence may have.
        time_stride: steps of x for each step of y.
        delay_steps: steps of x that must follow before a step of y can be computed.
        data_policy: the fields of the PaddingPolicy of the training.
        vocabulary: the words of each token input, numbered from 1.
        closed_loop: how many steps the file forecasts in one run. None: it has no closed loop.
        writer: the program that wrote the file, and its version.
        form: how the graph is written: "dynamic", "portable" or "step".
        weights: how the weights are stored: "float32", "float16" or "int8".
        options: the ExportOptions of the file.
        emission: the version of the emitted nodes; every change of them increases it.
        channels: the names of the features: a list, or for several inputs a dict by layer.
        missing: whether NaN in x stands for a missing value.
        sample_rate: samples of x per second.
        answer: what y is: "scores", "values", "events" or "quantiles".
        inputs: the names of the inputs, if there is no network.
        outputs: the names of the outputs, if there is no network.
        tokens: how many different tokens there are, if there is no network.
    """

    network: dict[str, Any] | None = None
    classes: list[str | int] | None = None
    signature: Signature
    states: tuple[ContractState, ...] = ()
    time_stride: int = 1
    min_length: int = 1
    delay_steps: int = 0
    data_policy: dict[str, Any] = dataclasses.field(default_factory=dict)
    vocabulary: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    writer: str = ""
    closed_loop: int | None = None
    form: str = "dynamic"
    weights: str = "float32"
    options: dict[str, Any] | None = None
    emission: int | None = None
    channels: Any = None
    missing: bool = False
    sample_rate: float | None = None
    answer: str | None = None
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    tokens: int | None = None

    @property
    def format_version(self) -> int:
        """The lowest version of the contract that covers this file."""
        newer = self.form == "step" or self.missing or self.answer == "events" or self.network is None
        return 2 if newer else 1

    @property
    def layers(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The kind and the fields of each layer, by name."""
        layers = self.network["layers"] if self.network else ()
        return {fields["name"]: (kind, fields) for layer in layers for kind, fields in layer.items()}

    @property
    def input_layers(self) -> list[str]:
        """The names of the input layers."""
        if self.network is None:
            return list(self.inputs or ())
        return [name for name, (kind, _) in self.layers.items() if kind in _INPUT_KINDS]

    @property
    def channel_names(self) -> dict[str, list[str]]:
        """The names of the features of each input layer that has names."""
        layers = self.input_layers
        named = self.channels if isinstance(self.channels, dict) else {layers[0]: self.channels} if layers else {}
        return {layer: list(names) for layer, names in named.items() if names is not None}

    @property
    def output_layers(self) -> list[str]:
        """The names of the output layers."""
        if self.network is None:
            return list(self.outputs or ())
        return list(self.network.get("outputs") or list(self.layers)[-1:])

    @classmethod
    def from_json(cls, text: str | None, path: str | Path) -> Contract:
        """Read the contract.

        Args:
            text: the metadata of the file under `KEY`. None: it has none.
            path: the file, for error messages.

        Raises:
            ModelFileError: the text is missing or damaged, or only a newer seq2onnx can read the file.
        """
        if text is None:
            raise ModelFileError(
                f"{path}: is an ONNX file without seq2onnx metadata; use a file that seq2onnx exported, or bring this "
                "one over: from_onnx makes a network of layers of it, add_states gives it explicit states"
            )
        damaged = f"{path}: its seq2onnx metadata is damaged"
        try:
            data = json.loads(text)
            version = int(data["format_version"])
        except (ValueError, TypeError, KeyError) as error:
            raise ModelFileError(f"{damaged}: {error!r}") from None
        if version > FORMAT_VERSION:
            raise ModelFileError(
                f"{path}: has format version {version}, this seq2onnx reads up to {FORMAT_VERSION}: update seq2onnx"
            )
        if missing := _REQUIRED - set(data):
            raise ModelFileError(f"{damaged}: it lacks {', '.join(sorted(missing))}")
        if data.get("form", "dynamic") not in FORMS:
            raise ModelFileError(
                f"{path}: has the form {data['form']!r}, which this seq2onnx cannot run: update seq2onnx"
            )
        fields = {field.name for field in dataclasses.fields(cls)}
        values = {key: value for key, value in data.items() if key in fields and value is not None}
        try:
            return cls(**values | {"states": _read_states(data["states"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelFileError(f"{damaged}: {error!r}") from None

    def to_json(self) -> str:
        """Return the contract as `from_json` reads it. Optional keys that have their default are left out."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _OPTIONAL or getattr(self, field.name) != field.default
        }
        values |= {"states": _write_states(self.states), "vocabulary": self.vocabulary or None}
        return json.dumps({"format_version": self.format_version} | values)

    def properties(self) -> dict[str, str]:
        """Return the metadata of the ONNX file: the contract, and the classes once more for other programs."""
        classes = {} if self.classes is None else {"classes": json.dumps(self.classes)}
        return {KEY: self.to_json(), **classes}


def state_names(kinds: Iterable[tuple[str, str]]) -> list[str]:
    """Return the default name of each state, given as (layer, kind).

    A state is named by its kind. Where a layer has several states of one kind, they are numbered: skip_0, skip_1.
    """
    keys = list(kinds)
    counts, seen, names = Counter(keys), Counter[tuple[str, str]](), []
    for key in keys:
        names.append(key[1] if counts[key] == 1 else f"{key[1]}_{seen[key]}")
        seen[key] += 1
    return names


def _read_states(entries: list[dict[str, Any]]) -> tuple[ContractState, ...]:
    keys = [(entry.get("layer", ""), entry.get("kind", "")) for entry in entries]
    states = tuple(
        ContractState(
            entry["in"], entry["out"], tuple(entry["shape"][1:]), entry["dtype"], kind, layer, entry.get("name", name)
        )
        for entry, (layer, kind), name in zip(entries, keys, state_names(keys), strict=True)
    )
    if len({(state.layer, state.name) for state in states}) < len(states):
        raise ValueError("two states of a layer have one name")
    return states


def _write_states(states: tuple[ContractState, ...]) -> list[dict[str, Any]]:
    entries = []
    for state, default in zip(states, state_names((state.layer, state.kind) for state in states), strict=True):
        entry = {"in": state.input, "out": state.output, "shape": [None, *state.shape], "dtype": state.dtype}
        entry |= {"kind": state.kind, "layer": state.layer}
        entries.append(entry if state.name == default else entry | {"name": state.name})
    return entries
