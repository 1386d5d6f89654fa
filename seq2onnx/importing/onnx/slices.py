"""Slices of one axis, as they are in two runs with other sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from seq2onnx.importing.onnx.node_calls import NodeCall
from seq2onnx.importing.onnx.tracing import Trace

NO_END = 2**31 - 1
"""The least bound that exporters write where they mean the end of any axis."""


@dataclasses.dataclass(frozen=True)
class AxisSlice:
    """A slice of one axis.

    Attributes:
        axis: the axis, not negative.
        size: its size in the traced run.
        bounds: start, stop and stride as they are given.
        other_size: its size in the run with other sizes. None: the sizes are fixed.
        other_bounds: start and stop in that run.
    """

    axis: int
    size: int
    bounds: tuple[int, int, int]
    other_size: int | None = None
    other_bounds: tuple[int, int] = (0, 0)

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
    def other_cut(self) -> tuple[int, int] | None:
        """The same in the run with other sizes, without the stride."""
        if self.other_size is None:
            return None
        start, stop, _ = slice(*self.other_bounds).indices(self.other_size)
        return start, self.other_size - stop

    @property
    def same_stop(self) -> int | None:
        """The stop, if it is the same number in both runs and no end of any axis."""
        same = self.other_size is not None and self.other_bounds[1] == self.bounds[1]
        return self.bounds[1] if same and 0 <= self.bounds[1] < NO_END else None

    @property
    def same_start_from_end(self) -> int | None:
        """The start, counted from the end, if it is the same number in both runs."""
        same = self.other_size is not None and self.other_bounds[0] == self.bounds[0]
        return -self.bounds[0] if same and 0 < -self.bounds[0] < NO_END else None


def axis_slices(call: NodeCall[Any], trace: Trace) -> list[AxisSlice]:
    """Return what a Slice takes of each axis."""
    name = call.node.input[0]
    shape, other = (None if values is None else values[name].shape for values in (trace.values, trace.others))
    assert shape is not None
    starts, stops = (call.get(index, name) for index, name in ((1, "starts"), (2, "ends")))
    axes = call.get(3, "axes") or range(len(starts))
    strides = call.get(4, "steps") or [1] * len(starts)
    found = []
    for index, (axis, start, stop, stride) in enumerate(zip(axes, starts, stops, strides, strict=True)):
        axis %= len(shape)
        one = AxisSlice(axis, shape[axis], (start, stop, stride))
        if other is not None:
            given = zip((start, stop), call.others[1:3], strict=True)
            low, high = (bound if numbers is None else int(numbers.ravel()[index]) for bound, numbers in given)
            one = dataclasses.replace(one, other_size=other[axis], other_bounds=(low, high))
        found.append(one)
    return found
