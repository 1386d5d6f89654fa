"""A network as a torch module: `SequenceModule`, and `build`, which makes one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from seq2onnx.building import matching
from seq2onnx.building.layer_module import LayerModule
from seq2onnx.data import SequenceDataset
from seq2onnx.errors import NotStreamable, ShapeError, SpecError, StateError
from seq2onnx.layers import Sigmoid, Softmax
from seq2onnx.network import Network, NetworkState, input_channels
from seq2onnx.sequences import DataInfo, Names, PaddingPolicy, TrainingStatistics

Data = Tensor | Mapping[str, Tensor]
T = TypeVar("T")


class Layers(nn.Module):
    """The modules of a network's layers by name, new or `shared`. Unlike torch's ModuleDict it takes any name."""

    def __init__(self, network: Network, shared: Layers | None = None) -> None:
        super().__init__()
        for layer in network.layers:
            new = LayerModule(layer, network.signals_into(layer.label)) if shared is None else shared[layer.label]
            self._modules[layer.label] = new

    def __getitem__(self, name: str) -> LayerModule:
        return cast(LayerModule, self._modules[name])

    def items(self) -> Iterator[tuple[str, LayerModule]]:
        """Return (name, module) of each layer."""
        return ((name, self[name]) for name in self._modules)


class _InfoField(Generic[T]):
    """A field of `data_info` as an attribute of the module, which can be set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: SequenceModule | None, owner: type) -> T:
        return cast(T, self if module is None else getattr(module.data_info, self.name))

    def __set__(self, module: SequenceModule, value: T) -> None:
        module.data_info = dataclasses.replace(module.data_info, **{self.name: value})  # type: ignore[arg-type]


class SequenceModule(nn.Module):
    """A network as a torch module: `module(x, lengths, state) -> (y, y_lengths, new_state)`.

    With B sequences in a batch and T steps, padding on the right:

    - x is [B, T, features], or with several inputs a dict by layer name.
    - lengths are integers [B], the number of valid steps of each row. None: all T. Steps beyond never matter.
    - state is a tuple of [B, …], in the order of the states of the ONNX file. None: the initial state.
    - y is [B, T, K] or [B, K], or with several outputs a dict by layer name. y_lengths are its lengths, None
      where y has no time.

    Args:
        network: the network.
        shared: the layers of a module, to use them too. None: new layers.

    Attributes:
        network: the network, with its statistics.
        layers: the module of each layer, by name.
        data_info: what follows, in one object.
        classes: the labels of the scores, if the module was trained on labels. `export` writes them.
        quantiles: what the columns of the output are, if the module was trained with loss="quantile". `export` writes
            them.
        channels: the names of the features, if the module was trained on data that has them: a list, or for several
            inputs a dict by layer. `export` writes them.
        policy: how sequences are padded. `export` writes it.
        sample_rate: the steps per second of the training data, if they are known. `export` writes it, or that of a
            layer.
        training_statistics: what the training data was like. `export` writes it.

    Raises:
        ShapeError: x or lengths do not fit the network.
        StateError: the state does not fit the network.
        NotStreamable: a state was given, but the network cannot run in chunks.
    """

    classes = _InfoField[list[str | int] | None]()
    quantiles = _InfoField[tuple[float, ...] | None]()
    channels = _InfoField[Names | dict[str, Names | None] | None]()
    policy = _InfoField[PaddingPolicy]()
    sample_rate = _InfoField[float | None]()
    training_statistics = _InfoField[TrainingStatistics | None]()

    def __init__(self, network: Network, shared: Layers | None = None) -> None:
        super().__init__()
        self.network = network
        self.data_info = DataInfo()
        self.layers = Layers(network, shared)
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
        """Run the network; see the class.

        Args:
            x: the sequences.
            lengths: their lengths.
            state: the initial state of each sequence.
            logits: return the input of a final Softmax or Sigmoid instead of its output, as losses need it.
            return_state: False returns () as new_state, which is faster for rows of different lengths.
            check: False skips the checks of x and lengths. They must then fit the network, and may have no rows.
        """
        entering = self._check_x(x) if check else self._by_name(x)
        lengths = self._check_lengths(lengths, entering) if check else lengths
        carried = self._states_by_layer(state, len(next(iter(entering.values()))), return_state)

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
                carried.get(name),
            )
            new_states.extend(new[state] for state in carried.get(name, ()))
        return self._outputs(values), self._outputs(steps), tuple(new_states)

    def take_statistics(self, data: SequenceDataset) -> None:
        """Set the statistics that the normalization lacks from `data`; statistics that are set stay."""
        self.network = matching.with_statistics(self.network, data)
        for layer in self.network.inputs:
            self.layers[layer.label].layer = layer

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """Return the state that every stream starts from, for `batch` rows: zeros."""
        weight = next(self.parameters(), torch.zeros(()))
        types = {"float32": weight.dtype, "int32": torch.int32, "int64": torch.int64}
        return tuple(
            weight.new_zeros((batch, *entry.state.shape), dtype=types[entry.state.dtype]) for entry in self._states
        )

    def _outputs(self, values: Mapping[str, T]) -> T | dict[str, T]:
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
                    f"{name}: expected x {signal}, got {list(tensor.shape)}. The network's input size is {size}"
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

    def _states_by_layer(
        self, state: tuple[Tensor, ...] | None, batch: int, return_state: bool
    ) -> dict[str, dict[str, Tensor]]:
        """Return the states of each layer, by name; empty if no state is passed in or returned."""
        if state is None:
            if not return_state or self._not_streamable:
                return {}
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


@contextmanager
def evaluating(module: SequenceModule) -> Iterator[None]:
    """Set a module to evaluation, without gradients, and back."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def build(network: Network, data: SequenceDataset | None = None) -> SequenceModule:
    """Return a torch module for `network`, with new weights from torch's random generator.

    Args:
        network: the network.
        data: the training data, whose names of features the module keeps. Input layers whose normalization lacks
            statistics take them from it, and a WordEmbedding that has only a vocabulary size takes the most frequent
            words of its texts.

    Raises:
        DataError: the data does not fit the network, or has NaN or infinity.

    Example:
        >>> torch.manual_seed(0); module = build(net, data)
    """
    if not isinstance(network, Network):
        raise SpecError(f"build: expected a Network, got {type(network).__name__}")
    if data is not None:
        matching.warn_of_channels_last(network)
        matching.warn_of_normalized_samples(network)
        matching.warn_of_samples(network, data)
        network = matching.with_vocabularies(network, data)
        data = matching.encode_words(network, data)
        matching.check_sequences(network, data)
        network = matching.with_statistics(network, data)
    module = SequenceModule(network)
    if data is not None:
        module.data_info = DataInfo(
            channels=input_channels(network, data.channels),
            sample_rate=data.sample_rate,
            training_statistics=matching.training_statistics(network, data),
        )
    return module
