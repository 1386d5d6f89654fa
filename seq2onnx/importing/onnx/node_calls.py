"""A node of a foreign graph with what is known of its inputs, and the checks that several operators share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from onnx import NodeProto

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes
from seq2onnx.importing.onnx.graph import opset
from seq2onnx.importing.onnx.graph_parts import Array, attributes
from seq2onnx.importing.onnx.tracing import Trace


class NodeRefused(ImportRefused):
    """A node that cannot be followed.

    Attributes:
        reached: how many nodes before it could be followed.
    """

    def __init__(self, message: str, reached: int) -> None:
        super().__init__(message)
        self.reached = reached


class Followed(Protocol):
    """A tensor whose axes are known."""

    @property
    def axes(self) -> tuple[str, ...]:
        """For each axis "B", "T", "BT" or "TB", or "" for features."""
        ...

    def describe(self, axis: int) -> str:
        """Name an axis for people."""
        ...


X = TypeVar("X", bound=Followed)


@dataclasses.dataclass(frozen=True)
class NodeCall(Generic[X]):
    """A node, with what is known of its inputs.

    Attributes:
        node: the node.
        attributes: its attributes.
        opset: the version of the operators.
        signals: for each input its signal, or None if it carries no data.
        numbers: for each input its numbers, or None if it carries data or is left out.
        others: the same in a run with other sizes; None for each input if the sizes are fixed.
        shapes: the shapes of its outputs.
    """

    node: NodeProto
    attributes: Mapping[str, Any]
    opset: int
    signals: Sequence[X | None]
    numbers: Sequence[Array | None]
    others: Sequence[Array | None]
    shapes: Sequence[tuple[int, ...]]

    @property
    def x(self) -> X:
        """The first input that carries data."""
        return next(x for x in self.signals if x is not None)

    def has(self, index: int) -> bool:
        """Whether there is an input with this number."""
        return index < len(self.node.input) and self.node.input[index] != ""

    def get(self, index: int, attribute: str, default: Any = None) -> Any:
        """Return an argument that newer operators take as an input and older ones as an attribute."""
        if not self.has(index):
            return self.attributes.get(attribute, default)
        if index < len(self.signals) and self.signals[index] is not None:
            raise ImportRefused(f"takes its {attribute} from the data")
        numbers = self.numbers[index]
        return default if numbers is None else numbers.ravel().tolist()

    def axes(self, index: int = 1, default: Sequence[int] = ()) -> list[int]:
        """Return the argument `axes`, none negative."""
        return [axis % len(self.x.axes) for axis in self.get(index, "axes") or default]

    def settled(self, index: int, signal: X) -> None:
        """Check that an input without data has the same numbers for every step and row of `signal`, in every run."""
        numbers = self.numbers[index]
        if numbers is None:
            return
        reduced = self._reduced(numbers, signal)
        other = self.others[index]
        if other is not None and not np.array_equal(reduced, self._reduced(other, signal), equal_nan=True):
            raise ImportRefused(
                "calculates with numbers that depend on how many steps or rows there are; a stream does not know how "
                "many steps come"
            )

    @staticmethod
    def _reduced(numbers: Array, signal: X) -> Array:
        for back in range(1, min(numbers.ndim, len(signal.axes)) + 1):
            if signal.axes[-back] and numbers.shape[-back] > 1:
                first = np.take(numbers, [0], -back)
                if not np.array_equal(np.broadcast_to(first, numbers.shape), numbers, equal_nan=True):
                    what = signal.describe(-back)
                    raise ImportRefused(
                        f"has other numbers along {what}: positions of steps? They repeat in each chunk"
                    )
                numbers = first
        return numbers


Call = NodeCall[Axes]


def call_of(trace: Trace, node: NodeProto, signals: Mapping[str, X]) -> NodeCall[X]:
    """Return a node of a traced graph with what is known of its inputs."""

    def constants(values: Mapping[str, Array] | None) -> list[Array | None]:
        return [None if values is None or name in signals else values.get(name) for name in node.input]

    return NodeCall(
        node,
        attributes(node),
        opset(trace.model),
        [signals.get(name) for name in node.input],
        constants(trace.values),
        constants(trace.others),
        [trace.values[name].shape for name in node.output if name in trace.values],  # sequences of tensors have none
    )


def check_features(x: Axes, axes: Sequence[int], what: str) -> None:
    """Refuse an operation over axes that are not features."""
    for axis in axes:
        if "T" in x.letters[axis]:
            raise ImportRefused(f"{what} over time, for which the whole sequence is needed")
        if "B" in x.letters[axis]:
            raise ImportRefused(f"{what} over the batch, so that a row depends on the others")


def no_padding(call: Call) -> None:
    """Refuse padding before the first step: an operation on it would give other numbers than zero."""
    if any(x is not None and x.pads[0] > 0 for x in call.signals):
        raise ImportRefused("reads the padding of time; put the padding directly before the convolution or pooling")


def same(numbers: Array | None, other: Array | None) -> None:
    """Check that numbers do not depend on the sizes of batch and time."""
    if numbers is not None and other is not None and not np.array_equal(numbers, other, equal_nan=True):
        raise ImportRefused("has weights that depend on how many steps or rows there are")


def constant_weights(call: NodeCall[Any]) -> None:
    """Check that all inputs without data are the same in every run."""
    for numbers, other in zip(call.numbers, call.others, strict=True):
        same(numbers, other)
