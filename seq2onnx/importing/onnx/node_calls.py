"""A node of a foreign graph with what is known of its inputs, and the checks that several operators share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Any, Generic, TypeVar

import numpy as np
from onnx import NodeProto

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes, AxesRefused, RowsJoined
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.onnx.graph import opset
from seq2onnx.importing.onnx.graph_parts import Array, attributes, reads
from seq2onnx.importing.onnx.tracing import RECURRENT, Trace, dtype_of

NO_END = 2**31 - 1
"""The least bound of a slice that exporters write where they mean the end of any axis."""


X = TypeVar("X", bound=Axes | TracedTensor)


@dataclasses.dataclass(frozen=True)
class SideInput:
    """A tensor that depends on another input alone: lengths of the rows, or a state carried by hand.

    `lengths`: the input is whole numbers. `as_given`: nothing was computed.
    """

    name: str
    lengths: bool
    as_given: bool = True


def side_inputs(trace: Trace) -> dict[str, SideInput]:
    """Return the inputs of a graph beside the data."""
    others = [entry for entry in trace.model.graph.input if entry.name != trace.data]
    return {entry.name: SideInput(entry.name, dtype_of(entry).kind in "iu") for entry in others}


def on_side_inputs(node: NodeProto, foreign: Mapping[str, SideInput]) -> dict[str, SideInput]:
    """Return what a node makes of tensors that depend on other inputs alone, if it reads any."""
    found = next((foreign[name] for name in node.input if name in foreign), None)
    if found is None:
        return {}
    as_given = found.as_given and node.op_type in ("Cast", "Identity")
    return dict.fromkeys(filter(None, node.output), dataclasses.replace(found, as_given=as_given))


MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
"""Operators that give the same numbers. Those of a step stay in their order as long as its features are one axis."""


DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "ConvInteger"}
"""Operators of files whose activations are quantized as they run."""


def check_not_dynamic(node: NodeProto) -> None:
    """Refuse an operator whose results depend on how a sequence is cut into chunks, and batches into rows."""
    if node.op_type in DYNAMIC:
        raise ImportRefused(
            "quantizes by the smallest and largest number of each run, so that the results depend on the chunk; bring "
            "the float file, and store its weights in 8 bits by export(weights='int8')"
        )


def note_finals(node: NodeProto, carried: Set[str], finals: set[str]) -> None:
    """Enter outputs that are final states of a recurrent operator, or that only move such states about.

    `carried` are the tensors that carry data.
    """
    if node.op_type in RECURRENT:
        finals.update(filter(None, node.output[1:]))
    elif node.op_type in {*MOVES, "Concat", "Cast"} and reads(node) & carried <= finals:
        finals.update(filter(None, node.output))


@dataclasses.dataclass(frozen=True)
class NodeCall(Generic[X]):
    """A node of a traced run, with what is known of its inputs.

    Attributes:
        signals: for each input its signal, or None if it carries no data.
        numbers: for each input its numbers, or None if it carries data or is left out.
        others: the same in a run with other sizes; None for each input if the sizes are fixed.
        shapes: the shapes of its outputs.
        foreign: the tensors that come from other inputs than the sequences.
    """

    trace: Trace
    node: NodeProto
    attributes: Mapping[str, Any]
    signals: Sequence[X | None]
    numbers: Sequence[Array | None]
    others: Sequence[Array | None]
    shapes: Sequence[tuple[int, ...]]
    foreign: Mapping[str, SideInput]

    @property
    def opset(self) -> int:
        """The version of the operators."""
        return opset(self.trace.model)

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

    def check_only_first(self, what: str) -> None:
        """Raise ImportRefused unless the data is the first input alone; the others say `what`."""
        if self.signals[0] is None or any(x is not None for x in self.signals[1:]):
            raise ImportRefused(f"takes its {what} from the data")

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


def call_of(
    trace: Trace, node: NodeProto, signals: Mapping[str, X], foreign: Mapping[str, SideInput] | None = None
) -> NodeCall[X]:
    """Return a node of a traced graph with what is known of its inputs."""

    def constants(values: Mapping[str, Array] | None) -> list[Array | None]:
        return [None if values is None or name in signals else values.get(name) for name in node.input]

    known, others = constants(trace.values), constants(trace.others)
    shapes = [
        trace.values[name].shape for name in node.output if name in trace.values
    ]  # sequences of tensors have none
    inputs = [signals.get(name) for name in node.input]
    return NodeCall(trace, node, attributes(node), inputs, known, others, shapes, foreign or {})


def check_eval_mode(call: NodeCall[Any]) -> None:
    """Refuse a Dropout that is active."""
    training = call.get(2, "training_mode")
    if training and training[0]:
        raise ImportRefused("draws random numbers; export the network in eval mode")


def last_axes(call: NodeCall[Any]) -> range:
    """Return the axes of LayerNormalization and the like: `axis` and all later ones."""
    rank = len(call.x.axes)
    return range(call.attributes.get("axis", -1) % rank, rank)


def softmax_axes(call: NodeCall[Any]) -> Sequence[int]:
    """Return the axes of Softmax and the like: one axis, before version 13 also all later ones."""
    rank, old = len(call.x.axes), call.opset < 13
    axis = int(call.attributes.get("axis", 1 if old else -1)) % rank
    return range(axis, rank) if old else [axis]


def check_features(x: Axes, axes: Sequence[int], what: str) -> None:
    """Refuse an operation over axes that are not features."""
    for axis in axes:
        if "T" in x.axes[axis]:
            refused = AxesRefused if what.startswith("has ") else ImportRefused  # weights and channels are features
            raise refused(f"{what} over time, for which the whole sequence is needed")
        if "B" in x.axes[axis]:
            raise RowsJoined(f"{what} over the batch, so that a row depends on the others")


def same(numbers: Array | None, other: Array | None) -> None:
    """Check that numbers do not depend on the sizes of batch and time."""
    if numbers is not None and other is not None and not np.array_equal(numbers, other, equal_nan=True):
        raise ImportRefused("has weights that depend on how many steps or rows there are")


def check_weights(call: NodeCall[Any]) -> None:
    """Check that all inputs without data are the same in every run."""
    for numbers, other in zip(call.numbers, call.others, strict=True):
        same(numbers, other)


def step_taken(call: NodeCall[Any], axis: int) -> tuple[bool, bool]:
    """Return whether a Gather of one step takes the first one, and whether the last, in every run."""
    runs = ((call.numbers[1], call.trace.values), (call.others[1], call.trace.others))
    places = [
        (int(chosen.ravel()[0]), values[call.node.input[0]].shape[axis])
        for chosen, values in runs
        if chosen is not None and values is not None
    ]
    return all(at in (0, -size) for at, size in places), all(at in (-1, size - 1) for at, size in places)


def padding(call: NodeCall[Any], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return how many elements a convolution or pooling with windows of these sizes adds before and after each axis."""
    count, auto = len(sizes), call.attributes.get("auto_pad", "NOTSET")
    strides, dilations = (call.attributes.get(name, [1] * count) for name in ("strides", "dilations"))
    if not auto.startswith("SAME"):
        given = call.attributes.get("pads", [0] * 2 * count) if auto == "NOTSET" else [0] * 2 * count
        return list(zip(given[:count], given[count:], strict=True))
    if any(stride != 1 for stride in strides):
        raise ImportRefused("has auto_pad and strides; export it with numbers as its padding")
    reaches = [dilation * (size - 1) for dilation, size in zip(dilations, sizes, strict=True)]
    pads = [(reach // 2, reach - reach // 2) for reach in reaches]
    return pads if auto == "SAME_UPPER" else [(after, before) for before, after in pads]


@dataclasses.dataclass(frozen=True)
class AxisSlice:
    """A slice of one axis, not negative, of this size; `bounds` are start, stop and stride as they are given.

    `other` is the same slice in a run with other sizes; None: the sizes are fixed.
    """

    axis: int
    size: int
    bounds: tuple[int, int, int]
    other: AxisSlice | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it takes everything."""
        return slice(*self.bounds).indices(self.size) == (0, self.size, 1)

    @property
    def cut(self) -> tuple[int, int]:
        """The numbers of elements before it and after it."""
        start, stop, _ = slice(*self.bounds).indices(self.size)
        return start, self.size - stop

    @property
    def same_stop(self) -> int | None:
        """The stop, if it is the same number in both runs and no end of any axis."""
        same = self.other is not None and self.other.bounds[1] == self.bounds[1]
        return self.bounds[1] if same and 0 <= self.bounds[1] < NO_END else None

    @property
    def same_start_from_end(self) -> int | None:
        """The start, counted from the end, if it is the same number in both runs."""
        same = self.other is not None and self.other.bounds[0] == self.bounds[0]
        return -self.bounds[0] if same and 0 < -self.bounds[0] < NO_END else None


def axis_slices(call: NodeCall[Any]) -> list[AxisSlice]:
    """Return what a Slice takes of each axis."""
    name, trace = call.node.input[0], call.trace
    shape, others = trace.values[name].shape, None if trace.others is None else trace.others[name].shape
    starts, stops = call.get(1, "starts"), call.get(2, "ends")
    axes = call.get(3, "axes") or range(len(starts))
    strides = call.get(4, "steps") or [1] * len(starts)
    found = []
    for index, (axis, start, stop, stride) in enumerate(zip(axes, starts, stops, strides, strict=True)):
        axis, other = axis % len(shape), None
        if others is not None:
            given = zip((start, stop), call.others[1:3], strict=True)
            low, high = (bound if numbers is None else int(numbers.ravel()[index]) for bound, numbers in given)
            other = AxisSlice(axis, others[axis], (low, high, stride))
        found.append(AxisSlice(axis, shape[axis], (start, stop, stride), other))
    return found
