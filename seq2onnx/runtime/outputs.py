"""The outputs of an exported file, and what a run gives of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2onnx.contract import Contract, activation_name, lengths_name, output_names
from seq2onnx.runtime.inputs import step_shape
from seq2onnx.sequences import Array

Lengths = NDArray[np.integer[Any]]
RowResults = list[Array] | Array  # a result for each row: a list of [time, …], or [batch, …] without time

_NUMPY_NAMES = {"float": "float32", "double": "float64", "string": "str"}  # others have the name of numpy


@dataclasses.dataclass(frozen=True)
class Output:
    """An output of the file: an output of the network, or the activations of a layer.

    Attributes:
        tensor: its name in the file.
        layer: the layer that gives it.
        shape: the shape of one step; of one row if it has no time.
        has_time: whether it has a step for each step of x, or for some of them.
        dtype: its type.
        lengths_tensor: the output with its valid steps. None: they are the steps of x, divided by `stride`.
        stride: in a step file, the steps of x for each step; 1 in other files.
    """

    tensor: str
    layer: str
    shape: tuple[int, ...]
    has_time: bool
    dtype: np.dtype[Any]
    lengths_tensor: str | None
    stride: int = 1


def seconds_of_steps(contract: Contract, output: Output, steps: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return when steps of an output are known, in seconds from the start of x; None without a sample rate."""
    if contract.sample_rate is None:
        return None
    return needed_samples(contract, output, steps) / contract.sample_rate


def needed_samples(contract: Contract, output: Output, steps: NDArray[Any]) -> NDArray[Any]:
    """Return how many steps of x, from its first one, each step of an output needs."""
    stride = output.stride if contract.form == "step" else contract.time_stride
    return np.asarray(steps) * stride + contract.delay_steps + 1


class Answer(NamedTuple):
    """The values of one output: [batch, time, …] with the valid steps of each row, or [batch, …]."""

    output: Output
    values: Array
    lengths: Lengths

    def rows(self) -> RowResults:
        """Return the result of each row, without padding."""
        if not self.output.has_time:
            return self.values
        return [row[:length] for row, length in zip(self.values, self.lengths.tolist(), strict=True)]


def read_outputs(entries: Sequence[Any], contract: Contract) -> tuple[tuple[Output, ...], dict[str, Output]]:
    """Return the outputs of the network and its activations by layer; `entries` are onnxruntime's outputs."""
    by_name = {entry.name: entry for entry in entries}

    def read(layer: str, tensor: str) -> Output:
        has_time, shape = step_shape(by_name[tensor], contract)
        dtype = by_name[tensor].type.removeprefix("tensor(").removesuffix(")")
        lengths = lengths_name(tensor) if lengths_name(tensor) in by_name else None
        of_run = contract.chunk_steps
        stride = of_run // (contract.steps or {}).get(tensor, of_run)
        return Output(tensor, layer, shape, has_time, np.dtype(_NUMPY_NAMES.get(dtype, dtype)), lengths, stride)

    activations = {layer: activation_name(layer) for layer in contract.layers if activation_name(layer) in by_name}
    return (
        tuple(read(layer, tensor) for layer, tensor in output_names(contract.output_layers).items()),
        {layer: read(layer, tensor) for layer, tensor in activations.items()},
    )


def unwrap(by_layer: dict[str, Any]) -> Any:
    """Return the only value of the dict, or the dict if it has several."""
    return by_layer if len(by_layer) > 1 else next(iter(by_layer.values()))
