"""Network: layers, the connections and signals between them; to and from YAML and JSON."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2onnx import limits
from seq2onnx.errors import DataError, NotStreamable, ShapeError, SpecError
from seq2onnx.layers import Layer, Signal, State
from seq2onnx.sequences import Channels, Names, check_names
from seq2onnx.specs import layer_to_dict, read_layer, read_spec, write_spec
from seq2onnx.tables import ShownAsText, text_table
from seq2onnx.texts import is_unicode


@dataclasses.dataclass(frozen=True)
class NetworkState:
    """One state tensor of a network, with its names in the ONNX file.

    Attributes:
        layer: name of the layer that keeps it.
        state: its name, shape and type.
        input_name: name of the input that takes it.
        output_name: name of the output that returns the new one.
    """

    layer: str
    state: State
    input_name: str
    output_name: str


class Network(ShownAsText):
    """A sequence network: its layers by name, and the layers that each of them reads.

    A layer reads the one before it in the list unless it names its `inputs`. Layers without a name get one from their
    kind and place: lstm_1, lstm_2. The last layer is the output unless `outputs` names others.

    Args:
        layers: the layers; the first must be an input layer.
        outputs: names of the output layers.
        name: a name for the network, for display only.

    Attributes:
        layers: the layers, each after those that it reads.
        name: of the network.
        outputs: names of the output layers.
        reads: for each layer, by name, the names of those that it reads.
        signals: the output of each layer, by name.
        sample_rate: steps of the inputs per second. None: no layer knows.

    Raises:
        SpecError: wrong names, a cyclic dependency, a layer that nothing reads, or different sample rates.
        ShapeError: layers that do not fit together.

    Example:
        >>> Network([SequenceInput(12), LSTM(100, "last"), FullyConnected(9), Softmax()])
    """

    def __init__(self, layers: Sequence[Layer], outputs: Sequence[str] | None = None, name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise SpecError(f"name: must be text, got {name!r}")
        if name is not None and not is_unicode(name):
            raise SpecError(f"name: contains a lone surrogate, which UTF-8 cannot hold, got {name!r:.100}")
        is_list = isinstance(outputs, Sequence) and not isinstance(outputs, str)
        if outputs is not None and not (is_list and all(isinstance(output, str) for output in outputs)):
            raise SpecError(f"outputs: expected a list of layer names, got {outputs!r}")
        if not layers:
            raise SpecError("layers: a network needs at least one layer, got an empty list")
        for index, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise SpecError(f"layers[{index}]: expected a layer such as LSTM(100), got {layer!r}")
        named = named_layers(layers)
        self.name = name
        self.reads = _connections(named)
        self.layers = _ordered(named, self.reads)
        self.outputs = tuple(outputs) if outputs else (named[-1].label,)
        self._check_use()
        self.signals = self.infer()
        self.sample_rate = self._sample_rate()

    def _check_use(self) -> None:
        names = list(self.reads)
        for output in self.outputs:
            if output not in self.reads:
                raise SpecError(f"outputs: {output!r} is not a layer; the layers are {', '.join(names)}")
        used = {source for sources in self.reads.values() for source in sources} | set(self.outputs)
        for name in names:
            if name not in used:
                raise SpecError(f"{name}: no layer reads it, and it is not an output; name it in outputs, or remove it")

    def _sample_rate(self) -> float | None:
        rates = {
            layer.label: layer.sample_rate * self.signals_into(layer.label)[0].clock.stride
            for layer in self.layers
            if layer.sample_rate is not None
        }
        if len(set(rates.values())) > 1:
            found = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
            raise SpecError(f"rate: layers of one network must expect the same samples per second, got {found}")
        return next(iter(rates.values()), None)

    def __getitem__(self, name: str) -> Layer:
        """Return the layer of that name; raise SpecError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise SpecError(f"{name!r} is not a layer; the layers are {', '.join(self.reads)}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.to_dict(True) == other.to_dict(True)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        name = f"{self.name}: " if self.name else ""
        return f"Network({name}{', '.join(layer.label for layer in self.layers)})"

    def __str__(self) -> str:
        return self.summary()

    @property
    def inputs(self) -> tuple[Layer, ...]:
        """The input layers."""
        return tuple(layer for layer in self.layers if layer.is_input)

    def infer(self, lookahead: bool = False) -> dict[str, Signal]:
        """Infer the output of each layer. With lookahead steps may wait for later ones."""
        signals: dict[str, Signal] = {}
        for layer in self.layers:
            sources = self.reads[layer.label]
            signal = layer.infer(*(signals[source] for source in sources))
            for source in sources:
                if signals[source].missing and not layer.takes_missing:
                    raise ShapeError(
                        f"{layer.label}: reads {source}, whose values may be missing; put Missing() between them"
                    )
            if layer.label in self.outputs and signal.missing:
                raise ShapeError(
                    f"{layer.label}: is an output, and its values may be missing; put Missing() after it, or leave out "
                    "missing=True"
                )
            if layer.is_input and lookahead:
                signal = dataclasses.replace(signal, clock=dataclasses.replace(signal.clock, lookahead=True))
            signals[layer.label] = signal
        return signals

    def signals_into(self, name: str) -> tuple[Signal, ...]:
        """Return the signals that a layer reads."""
        return tuple(self.signals[source] for source in self.reads[name])

    def states(self, lookahead: bool = False) -> tuple[NetworkState, ...]:
        """Return every state, in topological order.

        Raises:
            NotStreamable: a layer cannot run in chunks.
        """
        signals = self.infer(lookahead)
        found = [
            (layer.label, state)
            for layer in self.layers
            for state in layer.states(*(signals[source] for source in self.reads[layer.label]))
        ]
        if len(found) > 100:
            raise SpecError(f"a network may have at most 100 state tensors, this one has {len(found)}")
        stems = [f"state_{i:02d}_{name}_{state.kind}" for i, (name, state) in enumerate(found)]
        return tuple(
            NetworkState(name, state, stem, f"new_{stem}") for stem, (name, state) in zip(stems, found, strict=True)
        )

    def replace(self, layers: dict[str, Layer]) -> Network:
        """Return the network with some layers replaced, by name."""
        return Network([layers.get(layer.label, layer) for layer in self.layers], self.outputs, self.name)

    def table(self) -> list[tuple[str, str, int, str]]:
        """Return for each layer its name, its output, the number of its parameters, and its states."""
        rows = []
        for layer in self.layers:
            signals = self.signals_into(layer.label)
            weights = layer.weights(*signals).values()
            count = sum(math.prod(weight.shape) for weight in weights if weight.trainable)
            rows.append((layer.label, str(self.signals[layer.label]), count, self._states_of(layer)))
        return rows

    def summary(self) -> str:
        """Return a table with the name, output shape, parameters and states of each layer."""
        found = self.table()
        rows = [("layer", "output", "parameters", "states")]
        rows += [(name, output, f"{count:,}" if count else "", states) for name, output, count, states in found]
        rows.append(("total", "", f"{sum(count for _, _, count, _ in found):,}", ""))
        return "\n".join([*([self.name] if self.name else []), text_table(rows, (2,), rule=True)])

    def _states_of(self, layer: Layer) -> str:
        try:
            states = layer.states(*self.signals_into(layer.label))
        except NotStreamable:
            return "cannot stream"
        return " ".join(f"{state.kind} {list(state.shape)}" for state in states)

    def to_dict(self, every_field: bool = False) -> dict[str, Any]:
        """Return the network as plain data, the form of its YAML and JSON.

        Args:
            every_field: include fields that have their default, and the names that layers get by themselves.

        Raises:
            SpecError: a field is a function.
        """
        layers, counts = [], Counter[str]()
        for layer in self.layers:
            counts[layer.kind] += 1
            layers.append(layer_to_dict(layer, f"{layer.kind}_{counts[layer.kind]}", every_field))
        data: dict[str, Any] = {"name": self.name} if self.name else {}
        data["layers"] = layers
        if self.outputs != (self.layers[-1].label,):
            data["outputs"] = list(self.outputs)
        return data

    @classmethod
    def from_dict(cls, data: Any, where: str = "", *, trusted: bool = False) -> Network:
        """Build the network that `to_dict` described.

        Args:
            data: a mapping with the keys layers, outputs and name.
            where: begins the path to the mistake in errors.
            trusted: lift the limits on the number of layers and weights.

        Raises:
            SpecError: the data does not describe a network.
            ShapeError: its layers do not fit together.
        """
        prefix = f"{where}: " if where else ""
        if not isinstance(data, dict) or "layers" not in data:
            raise SpecError(f"{prefix}layers: is missing; a network is a mapping with a list of layers")
        for key in data:
            if key not in ("name", "layers", "outputs"):
                raise SpecError(f"{prefix}{key}: is not a key of a network; its keys are name, layers, outputs")
        if not isinstance(data["layers"], list):
            raise SpecError(f"{prefix}layers: must be a list of layers, got {data['layers']!r}")
        if not trusted and len(data["layers"]) > limits.LAYERS:
            raise SpecError(
                f"{prefix}layers: expected at most {limits.LAYERS:,}, got {len(data['layers']):,}{limits.TRUST}"
            )
        layers = [read_layer(entry, f"{prefix}layers[{i}]") for i, entry in enumerate(data["layers"])]
        try:
            network = cls(layers, data.get("outputs"), data.get("name"))
        except (SpecError, ShapeError) as error:
            raise type(error)(f"{prefix}{error}") from None
        if not trusted and (count := sum(row[2] for row in network.table())) > limits.PARAMETERS:
            raise SpecError(
                f"{prefix}the network would have {count:,} weights, more than {limits.PARAMETERS:,}{limits.TRUST}"
            )
        return network

    def save(self, path: str | Path) -> None:
        """Write the network to a .yaml, .yml or .json file."""
        write_spec(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path, *, trusted: bool = False) -> Network:
        """Read a network from a YAML or JSON file.

        Args:
            path: the file.
            trusted: lift the limits on its size, and on the number of layers and weights. See docs/security.md.

        Raises:
            SpecError: the file does not describe a network; the error has the path to the mistake.
            OSError: the file cannot be read.
        """
        return cls.from_dict(read_spec(path, trusted), str(path), trusted=trusted)


def input_channels(network: Network, channels: Channels) -> Names | dict[str, Names | None] | None:
    """Return the names of the features of a network, if it has any: a list, or for several inputs a dict by layer.

    Raises:
        SpecError: an input has another number of features or none, or names are not strings or not unique.
    """
    inputs = {layer.label: network.signals[layer.label] for layer in network.inputs}
    if channels is None:
        return None
    if not isinstance(channels, Mapping):
        channels = {next(iter(inputs)): channels}
        if len(inputs) > 1:
            raise SpecError(f"channels: expected a dict with names for some of {', '.join(inputs)}, got a list")
    if unknown := [name for name in channels if name not in inputs]:
        raise SpecError(f"channels: {unknown[0]!r} is not an input; the inputs are {', '.join(inputs)}")
    found: dict[str, Names | None] = {}
    for name, signal in inputs.items():
        names = channels.get(name)
        if names is not None and not signal.shape:
            raise SpecError(f"channels: {name} takes tokens, which have no channels; leave the names out")
        try:
            found[name] = None if names is None else check_names(names, f"channels of {name}", signal.shape[0])
        except DataError as error:
            raise SpecError(str(error)) from None
    if not any(found.values()):
        return None
    return found if len(inputs) > 1 else next(iter(found.values()))


def named_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Give each layer a name."""
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
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise SpecError(f"{', '.join(sorted(twice))}: two layers have this name; names must differ")
    return named


def _connections(layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
    """Find the names of the layers that each layer reads."""
    names = [layer.label for layer in layers]
    known = set(names)
    reads: dict[str, tuple[str, ...]] = {}
    for index, layer in enumerate(layers):
        if layer.is_input:
            if layer.inputs:
                raise SpecError(f"{layer.name}: is an input layer and reads no other, got inputs={layer.inputs}")
            reads[layer.label] = ()
        elif layer.inputs:
            for source in layer.inputs:
                if source not in known:
                    raise SpecError(
                        f"{layer.name}: reads {source!r}, which is not a layer; the layers are {', '.join(names)}"
                    )
            reads[layer.label] = tuple(layer.inputs)
        elif index == 0:
            raise SpecError(f"{layer.name}: a network starts with an input layer such as SequenceInput(12)")
        else:
            reads[layer.label] = (names[index - 1],)
    return reads


def _ordered(layers: Sequence[Layer], reads: dict[str, tuple[str, ...]]) -> tuple[Layer, ...]:
    """Order the layers so that each follows those that it reads; otherwise keep their order."""
    waiting, done, order = list(layers), set[str](), []
    while waiting:
        ready = next((layer for layer in waiting if set(reads[layer.label]) <= done), None)
        if ready is None:
            raise SpecError(f"{', '.join(layer.label for layer in waiting)}: cyclic dependency")
        waiting.remove(ready)
        done.add(ready.label)
        order.append(ready)
    # Layers may have moved: those that do not read the one before them name their inputs.
    before = [None, *(layer.label for layer in order)]
    return tuple(
        layer if reads[layer.label] in ((), (previous,)) else dataclasses.replace(layer, inputs=reads[layer.label])
        for layer, previous in zip(order, before, strict=False)
    )
