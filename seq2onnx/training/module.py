"""SequenceModule: a network as a torch module. build: the module of a network, statistics and all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, NotStreamable, ShapeError, SpecError, StateError
from seq2onnx.layers import FeatureInput, Layer, SequenceInput, Sigmoid, Softmax, normalization
from seq2onnx.layers.module import LayerModule
from seq2onnx.network import Network, NetworkState
from seq2onnx.sequences import MASKED
from seq2onnx.training.words import with_numbers, with_vocabularies

Data = Tensor | Mapping[str, Tensor]
T = TypeVar("T")


class Layers(nn.Module):
    """The modules of a network's layers by name; any name, which torch's ModuleDict would not take."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        for layer in network.layers:
            self._modules[layer.label] = LayerModule(layer, network.signals_into(layer.label))

    def __getitem__(self, name: str) -> LayerModule:
        return cast(LayerModule, self._modules[name])

    def items(self) -> Iterator[tuple[str, LayerModule]]:
        """(name, module) of each layer."""
        return ((name, self[name]) for name in self._modules)


class SequenceModule(nn.Module):
    """A network in torch: `module(x, lengths, state) -> (y, y_lengths, new_state)`.

    Shapes (B batch, T time; padding on the right):
        x [B, T, features], or with several inputs a dict by layer name
        lengths [B], integers: valid steps of each row; None: all T. What stands past them never matters.
        state: a tuple of [B, …], in the order of the ONNX file's states; None: the start
        y [B, T, K] or [B, K], or with several outputs a dict by layer name; y_lengths likewise, None
        where y has no time
    Raises: ShapeError, StateError, NotStreamable (a state for a network that cannot run in chunks)
    Attributes: network (with the statistics), layers (a module for each layer, by name), classes (the labels of
        the scores, where it was trained on labels), policy (how sequences are padded); export writes both
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.classes: list[str | int] | None = None
        self.policy = MASKED
        self.layers = Layers(network)
        self._states: tuple[NetworkState, ...] = ()
        self._not_streamable: NotStreamable | None = None
        try:
            self._states = network.states()
        except NotStreamable as error:
            self._not_streamable = error

    def forward(
        self,
        x: Data,
        lengths: Tensor | None = None,
        state: tuple[Tensor, ...] | None = None,
        *,
        logits: bool = False,
        return_state: bool = True,
        check: bool = True,
    ) -> tuple[Data, Tensor | dict[str, Tensor | None] | None, tuple[Tensor, ...]]:
        """The results; see the class.

        logits: give what goes into a final Softmax or Sigmoid in its place, as losses want it
        return_state: False saves the packed run that the cell states of ragged rows cost, where nobody
            wants them: new_state is then ()
        check: False where x and lengths are known to fit; then they may have no rows too
        """
        entering = self._check_x(x) if check else self._by_name(x)
        lengths = self._check_lengths(lengths, entering) if check else lengths
        carried = self._carried(state, len(next(iter(entering.values()))), return_state)

        values: dict[str, Tensor] = {}
        steps: dict[str, Tensor | None] = {}
        new_states: list[Tensor] = []
        for layer in self.network.layers:
            name, sources = layer.label, self.network.reads[layer.label]
            timed = next((steps[source] for source in sources if self.network.signals[source].has_time), None)
            if logits and name in self.network.outputs and isinstance(layer, Softmax | Sigmoid):
                values[name], steps[name] = values[sources[0]], steps[sources[0]]
                continue
            values[name], steps[name], new = self.layers[name](
                tuple(values[source] for source in sources) or (entering[name],),
                timed if sources else lengths if self.network.signals[name].has_time else None,
                None if carried is None else carried[name],
            )
            new_states.extend(new[state] for state in (carried or {}).get(name, ()))
        return self._answer(values), self._answer(steps), tuple(new_states)

    def take_statistics(self, data: SequenceDataset) -> None:
        """Set the statistics that the normalization lacks from `data`; those that are known stay."""
        self.network = with_statistics(self.network, data)
        for layer in self.network.inputs:
            self.layers[layer.label].layer = layer

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state that every stream starts from, for `batch` rows: zeros."""
        weight = next(self.parameters(), torch.zeros(()))
        return tuple(
            torch.zeros(
                batch,
                *entry.state.shape,
                dtype=weight.dtype if entry.state.dtype == "float32" else getattr(torch, entry.state.dtype),
                device=weight.device,
            )
            for entry in self._states
        )

    def _answer(self, values: Mapping[str, T]) -> T | dict[str, T]:
        outputs = self.network.outputs
        return values[outputs[0]] if len(outputs) == 1 else {name: values[name] for name in outputs}

    def _by_name(self, x: Data) -> dict[str, Tensor]:
        return dict(x) if isinstance(x, Mapping) else {self.network.inputs[0].label: x}

    def _check_x(self, x: Data) -> dict[str, Tensor]:
        names = [layer.label for layer in self.network.inputs]
        entering = self._by_name(x)
        if set(entering) != set(names):
            raise ShapeError(f"x: the network has the inputs {names}, got {list(entering)}")
        sizes: dict[str, list[int]] = {}
        for name, tensor in entering.items():
            signal = self.network.signals[name]
            axes = 1 + signal.has_time
            if tensor.ndim != axes + len(signal.shape) or tuple(tensor.shape[axes:]) != signal.shape:
                size = " × ".join(map(str, signal.shape)) or "one token"
                raise ShapeError(
                    f"{name}: expected x {signal}, got {list(tensor.shape)}; the network's input size is {size}"
                )
            if tensor.is_floating_point() == (signal.dtype == "int64"):
                raise ShapeError(f"{name}: expected x of type {signal.dtype}, got {tensor.dtype}")
            sizes[name] = list(tensor.shape[:axes])
            if not tensor.shape[0]:
                raise ShapeError(f"{name}: expected at least one sequence, got x {list(tensor.shape)}")
        if len({shape[0] for shape in sizes.values()}) > 1 or len({s[1] for s in sizes.values() if len(s) > 1}) > 1:
            raise ShapeError(f"x: inputs must have the same rows and steps, got {sizes}")
        return entering

    def _check_lengths(self, lengths: Tensor | None, entering: Mapping[str, Tensor]) -> Tensor | None:
        x = next((tensor for name, tensor in entering.items() if self.network.signals[name].has_time), None)
        if x is None:
            return None
        batch, time = x.shape[:2]
        if lengths is None:
            return torch.full((batch,), time, dtype=torch.int32, device=x.device)
        if lengths.shape != (batch,) or lengths.is_floating_point():
            raise ShapeError(
                f"lengths: expected {batch} integers, one for each row of x, got {lengths.dtype} {list(lengths.shape)}"
            )
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > time:
            raise ShapeError(f"lengths: must be from 0 to the {time} steps of x, got {low} to {high}")
        return lengths.to(x.device)

    def _carried(
        self, state: tuple[Tensor, ...] | None, batch: int, return_state: bool
    ) -> dict[str, dict[str, Tensor]] | None:
        """The state of each layer, by name; None where none goes in or out."""
        if state is None:
            if not return_state or self._not_streamable:
                return None
            state = self.initial_state(batch)
        elif self._not_streamable:
            raise self._not_streamable
        expected = [(batch, *entry.state.shape) for entry in self._states]
        if [tuple(tensor.shape) for tensor in state] != expected:
            raise StateError(
                f"state: expected {len(expected)} tensors {[list(s) for s in expected]} "
                f"({', '.join(entry.input_name for entry in self._states)}), "
                f"got {[list(tensor.shape) for tensor in state]}"
            )
        carried: dict[str, dict[str, Tensor]] = {layer.label: {} for layer in self.network.layers}
        for entry, tensor in zip(self._states, state, strict=True):
            carried[entry.layer][entry.state.name] = tensor
        return carried


def build(network: Network, data: SequenceDataset | None = None) -> SequenceModule:
    """A torch module for `network`, with fresh weights from torch's random generator.

    Args:
        network: what to build
        data: the training data; input layers whose normalization lacks its statistics take them from there, and a
            WordEmbedding that knows only how many words there are takes the most frequent ones of its texts
    Raises: DataError (data that does not fit the network, or NaN or infinity in it)
    Example: >>> torch.manual_seed(0); module = build(net, data)
    """
    if not isinstance(network, Network):
        raise SpecError(f"build: expected a Network, got {type(network).__name__}")
    if data is not None:
        network = with_vocabularies(network, data)
        data = with_numbers(network, data)
        check_sequences(network, data)
        network = with_statistics(network, data)
    return SequenceModule(network)


def with_statistics(network: Network, data: SequenceDataset) -> Network:
    """The network, each input layer with the statistics that its normalization needs."""
    measured: dict[str, Layer] = {}
    for layer, name in fed_by(network, data).items():
        entry = network[layer]
        assert isinstance(entry, SequenceInput | FeatureInput)
        needed = normalization.needed(entry.normalization)
        if needed and entry.statistics is None:
            found = data.statistics(name)
            measured[layer] = dataclasses.replace(entry, statistics={key: found[key] for key in needed})
    return network.replace(measured)


def fed_by(network: Network, data: SequenceDataset) -> dict[str, str]:
    """For each input layer the part of the data that it gets."""
    layers = [layer.label for layer in network.inputs]
    if list(data.parts) == [""] and len(layers) == 1:
        return {layers[0]: ""}
    if set(data.parts) != set(layers):
        got = "one unnamed list" if list(data.parts) == [""] else ", ".join(data.parts)
        raise DataError(f"data: expected a dict with sequences for each of {', '.join(layers)}, got {got}")
    return {layer: layer for layer in layers}


def check_sequences(network: Network, data: SequenceDataset) -> None:
    """Raise unless every sequence has the shape of its input layer, enough steps, and finite values."""
    for layer, name in fed_by(network, data).items():
        signal, part = network.signals[layer], data.parts[name]
        kind = "i" if signal.dtype == "int64" else "f"
        shape = data.shape(name)
        if (part.has_time, shape, part.dtype.kind) != (signal.has_time, signal.shape, kind):
            expected = ", ".join(["time"] * signal.has_time + [str(size) for size in signal.shape])
            got = ", ".join(["time"] * part.has_time + [str(size) for size in shape])
            remedy = ""
            if len(signal.shape) == len(shape) == 1 and part.has_time and data.lengths[0] == signal.shape[0]:
                remedy = "; is it features by time? transpose it"
            raise ShapeError(
                f"data: expected {'integers ' * (kind == 'i')}[{expected}], got [{got}]; the input size of {layer} is "
                f"{' × '.join(map(str, signal.shape)) or 'one token'}{remedy}"
            )
        least = getattr(network[layer], "min_length", 1)
        short = np.flatnonzero(data.lengths < least)
        if len(short):
            raise DataError(
                f"sequence {short[0]}: has {data.lengths[short[0]]} steps, {layer} needs at least {least}; "
                "remove or lengthen it"
            )
    data.check_finite()
