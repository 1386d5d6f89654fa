"""Network: layers, what each reads, the signals between them; to and from YAML and JSON."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2onnx.errors import NotStreamable, ShapeError, SpecError
from seq2onnx.layers import KINDS, Layer, Signal, State
from seq2onnx.spec_files import read_spec, write_spec


@dataclasses.dataclass(frozen=True)
class NetworkState:
    """One state tensor of a network, with its names in the ONNX file."""

    layer: str
    state: State
    input_name: str
    output_name: str


class Network:
    """A sequence network: its layers by name, and what each of them reads.

    A layer reads the one before it in the list unless it names its `inputs`. Layers without a name get
    one from their kind and place: lstm_1, lstm_2. The last layer answers unless `outputs` names others.

    Args:
        layers: the layers; the first must be an input layer
        outputs: names of the layers that answer
        name: of the network, for people
    Attributes: layers (tuple, in an order in which each follows what it reads), name, outputs,
        reads (name -> names of the layers it reads), signals (name -> Signal)
    Raises: SpecError (names, cycles, a layer that nothing reads), ShapeError (layers that do not fit)
    Example: >>> Network([SequenceInput(12), LSTM(100, "last"), FullyConnected(9), Softmax()])
    """

    def __init__(self, layers: Sequence[Layer], outputs: Sequence[str] | None = None, name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise SpecError(f"name: must be text, got {name!r}")
        if isinstance(outputs, str):
            raise SpecError(f"outputs: expected a list of layer names, got the text {outputs!r}")
        if not layers:
            raise SpecError("layers: a network needs at least one layer, got an empty list")
        for index, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise SpecError(f"layers[{index}]: expected a layer such as LSTM(100), got {layer!r}")
        named = _named(layers)
        self.name = name
        self.reads = _connections(named)
        self.layers = _ordered(named, self.reads)
        self.outputs = tuple(outputs) if outputs else (named[-1].label,)
        self._check_use()
        self.signals = self.infer()

    def _check_use(self) -> None:
        names = list(self.reads)
        for output in self.outputs:
            if output not in self.reads:
                raise SpecError(f"outputs: {output!r} is not a layer; the layers are {', '.join(names)}")
        used = {source for sources in self.reads.values() for source in sources} | set(self.outputs)
        for name in names:
            if name not in used:
                raise SpecError(f"{name}: no layer reads it and it is no output; name it in outputs or remove it")

    def __getitem__(self, name: str) -> Layer:
        """The layer of that name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise SpecError(f"{name!r} is not a layer; the layers are {', '.join(self.reads)}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.to_dict(True) == other.to_dict(True)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Network({list(self.layers)}, outputs={list(self.outputs)}, name={self.name!r})"

    @property
    def inputs(self) -> tuple[Layer, ...]:
        """The input layers."""
        return tuple(layer for layer in self.layers if layer.is_input)

    def infer(self, lookahead: bool = False) -> dict[str, Signal]:
        """The signal that comes out of each layer; with lookahead steps may wait for later ones."""
        signals: dict[str, Signal] = {}
        for layer in self.layers:
            signal = layer.infer(*(signals[source] for source in self.reads[layer.label]))
            if layer.is_input and lookahead:
                signal = dataclasses.replace(signal, clock=dataclasses.replace(signal.clock, lookahead=True))
            signals[layer.label] = signal
        return signals

    def signals_into(self, name: str) -> tuple[Signal, ...]:
        """The signals that a layer reads."""
        return tuple(self.signals[source] for source in self.reads[name])

    def states(self, lookahead: bool = False) -> tuple[NetworkState, ...]:
        """Every state in topological order; raises NotStreamable where a layer cannot run in chunks."""
        signals = self.infer(lookahead)
        found = [
            (layer.label, state)
            for layer in self.layers
            for state in layer.states(*(signals[source] for source in self.reads[layer.label]))
        ]
        if len(found) > 100:
            raise SpecError(f"a network may have 100 state tensors, this one has {len(found)}")
        stems = [f"state_{i:02d}_{name}_{state.kind}" for i, (name, state) in enumerate(found)]
        return tuple(
            NetworkState(name, state, stem, f"new_{stem}") for stem, (name, state) in zip(stems, found, strict=True)
        )

    def replace(self, layers: dict[str, Layer]) -> Network:
        """The network with other layers in the place of those named."""
        return Network([layers.get(layer.label, layer) for layer in self.layers], self.outputs, self.name)

    def table(self) -> list[tuple[str, str, int, str]]:
        """Of each layer its name, what comes out of it, how many parameters it learns, and its states."""
        rows = []
        for layer in self.layers:
            signals = self.signals_into(layer.label)
            weights = layer.weights(*signals).values()
            count = sum(math.prod(weight.shape) for weight in weights if weight.trainable)
            rows.append((layer.label, str(self.signals[layer.label]), count, self._states_of(layer)))
        return rows

    def summary(self) -> str:
        """A table: name, kind, output shape, parameters and states of every layer."""
        found = self.table()
        rows = [("layer", "output", "parameters", "states")]
        rows += [(name, output, f"{count:,}" if count else "", states) for name, output, count, states in found]
        rows.append(("total", "", f"{sum(count for _, _, count, _ in found):,}", ""))
        a, b, c, d = (max(len(row[column]) for row in rows) for column in range(4))
        lines = [f"{w:<{a}}  {x:<{b}}  {y:>{c}}  {z:<{d}}".rstrip() for w, x, y, z in rows]
        lines.insert(1, "  ".join("-" * width for width in (a, b, c, d)))
        return "\n".join([*([self.name] if self.name else []), *lines])

    def _states_of(self, layer: Layer) -> str:
        """For the summary."""
        try:
            states = layer.states(*self.signals_into(layer.label))
        except NotStreamable:
            return "cannot stream"
        return " ".join(f"{state.kind} {list(state.shape)}" for state in states)

    def to_dict(self, every_field: bool = False) -> dict[str, Any]:
        """The network as plain data, the form of its YAML and JSON.

        every_field: also the fields that have their default, and the names that layers get by themselves
        """
        layers = []
        counts = Counter[str]()
        for layer in self.layers:
            counts[layer.kind] += 1
            entry: dict[str, Any] = {}
            for field in dataclasses.fields(layer):
                value = getattr(layer, field.name)
                default = f"{layer.kind}_{counts[layer.kind]}" if field.name == "name" else field.default
                # What weights start from is no part of what the network is.
                if field.name == "vectors" or value is None or (value == default and not every_field):
                    continue
                if callable(value):
                    raise SpecError(
                        f"{layer.label}.{field.name}: is a function, which YAML, JSON and ONNX files cannot hold"
                    )
                entry[field.name] = _plain(value)
            layers.append({layer.kind: entry})
        data: dict[str, Any] = {"name": self.name} if self.name else {}
        data["layers"] = layers
        if self.outputs != (self.layers[-1].label,):
            data["outputs"] = list(self.outputs)
        return data

    @classmethod
    def from_dict(cls, data: Any, where: str = "") -> Network:
        """The network that `to_dict` wrote; `where` starts the path that errors give."""
        prefix = f"{where}: " if where else ""
        if not isinstance(data, dict) or "layers" not in data:
            raise SpecError(f"{prefix}layers: is missing; a network is a mapping with a list of layers")
        for key in data:
            if key not in ("name", "layers", "outputs"):
                raise SpecError(f"{prefix}{key}: is not a key of a network; its keys are name, layers, outputs")
        if not isinstance(data["layers"], list):
            raise SpecError(f"{prefix}layers: must be a list of layers, got {data['layers']!r}")
        layers = [_read_layer(entry, f"{prefix}layers[{i}]") for i, entry in enumerate(data["layers"])]
        try:
            return cls(layers, data.get("outputs"), data.get("name"))
        except (SpecError, ShapeError) as error:
            raise type(error)(f"{prefix}{error}") from None

    def save(self, path: str | Path) -> None:
        """Write the network to a .yaml, .yml or .json file."""
        write_spec(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a network from a YAML or JSON file.

        Raises: SpecError with the path to the mistake, OSError where the file cannot be read
        """
        return cls.from_dict(read_spec(path), str(path))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _read_layer(entry: Any, where: str) -> Layer:
    """A layer from {kind: {fields}}, or from its kind alone."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise SpecError(f"{where}: expected one layer such as `lstm: {{hidden_size: 100}}`, got {entry!r}")
    ((kind, fields),) = entry.items()
    if kind not in KINDS:
        raise SpecError(f"{where}.{kind}: is not a kind of layer; the kinds are {', '.join(sorted(KINDS))}")
    fields = fields or {}
    if not isinstance(fields, dict):
        raise SpecError(f"{where}.{kind}: expected the layer's fields as a mapping, got {fields!r}")
    try:
        return KINDS[kind](**{str(key): value for key, value in fields.items()})
    except SpecError as error:
        label = fields.get("name") or kind
        lines = [line.replace(f"{label}.", f"{where}.{kind}.", 1) for line in str(error).splitlines()]
        raise SpecError("\n".join(lines)) from None


def _named(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, each with a name."""
    taken = {layer.name for layer in layers if layer.name}
    named, counts = [], Counter[str]()
    for layer in layers:
        counts[layer.kind] += 1
        if not layer.name:
            place = counts[layer.kind]
            while (name := f"{layer.kind}_{place}") in taken:
                place += 1
            taken.add(name)
            layer = dataclasses.replace(layer, name=name)
        named.append(layer)
    names = [layer.label for layer in named]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SpecError(f"{', '.join(sorted(twice))}: names must differ; two layers have this one")
    return named


def _connections(layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
    """What each layer reads, by name."""
    names = [layer.label for layer in layers]
    reads: dict[str, tuple[str, ...]] = {}
    for index, layer in enumerate(layers):
        if layer.is_input:
            if layer.inputs:
                raise SpecError(f"{layer.name}: is where data enters; it reads no layer, got inputs={layer.inputs}")
            reads[layer.label] = ()
        elif layer.inputs:
            for source in layer.inputs:
                if source not in names:
                    raise SpecError(
                        f"{layer.name}: reads {source!r}, which is not a layer; they are {', '.join(names)}"
                    )
            reads[layer.label] = tuple(layer.inputs)
        elif index == 0:
            raise SpecError(f"{layer.name}: a network starts with an input layer such as SequenceInput(12)")
        else:
            reads[layer.label] = (names[index - 1],)
    return reads


def _ordered(layers: Sequence[Layer], reads: dict[str, tuple[str, ...]]) -> tuple[Layer, ...]:
    """The layers so that each follows all that it reads, otherwise as they were given."""
    waiting, done, order = list(layers), set[str](), []
    while waiting:
        ready = next((layer for layer in waiting if set(reads[layer.label]) <= done), None)
        if ready is None:
            raise SpecError(f"{', '.join(layer.label for layer in waiting)}: read each other in a circle")
        waiting.remove(ready)
        done.add(ready.label)
        order.append(ready)
    # What a layer reads is written down where the one before it does not say it: layers may have moved.
    before = [None, *(layer.label for layer in order)]
    return tuple(
        layer if reads[layer.label] in ((), (previous,)) else dataclasses.replace(layer, inputs=reads[layer.label])
        for layer, previous in zip(order, before, strict=False)
    )
