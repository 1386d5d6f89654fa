"""Where numbers are: buffers, views of them, loops over views, and places in the work array."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

Shape = tuple[int, ...]
Lines = list[str]

C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int8": "int8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "bool": "uint8_t",
}
"""The types of C by those of numpy."""


@dataclasses.dataclass(eq=False)
class Buffer:
    """An array of C.

    Attributes:
        name: how C code reaches it.
        kind: an argument of the caller, a constant, a part of the stream, or of the work array.
        size: how many numbers it has.
        dtype: their type.
        first, last: the statements between which a part of the work array is in use; -1: in none.
        offset: where it begins in the work array.
    """

    name: str
    kind: Literal["argument", "constant", "stream", "work"]
    size: int
    dtype: str
    first: int = -1
    last: int = -1
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class View:
    """Numbers of a buffer as an array: strides are in numbers, not bytes."""

    buffer: Buffer
    offset: int
    shape: Shape
    strides: Shape

    @classmethod
    def whole(cls, buffer: Buffer, shape: Shape) -> View:
        """Return a buffer as an array whose numbers lie one after another."""
        return cls(buffer, 0, shape, dense(shape))

    @property
    def is_dense(self) -> bool:
        """Whether the numbers lie one after another."""
        return all(
            size == 1 or stride == wanted
            for size, stride, wanted in zip(self.shape, self.strides, dense(self.shape), strict=True)
        )

    def inner(self, axis: int) -> View:
        """Return the first row: what the axes from one on have."""
        return View(self.buffer, self.offset, self.shape[axis:], self.strides[axis:])

    @property
    def pointer(self) -> str:
        """C code of a pointer to the first number."""
        return f"{self.buffer.name} + {self.offset}" if self.offset else self.buffer.name

    def cut(self, axis: int, start: int, size: int, step: int = 1) -> View:
        """Return a part along an axis."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = size
        offset = self.offset + start * strides[axis]
        strides[axis] *= step
        return View(self.buffer, offset, tuple(shape), tuple(strides))

    def moved(self, order: Sequence[int]) -> View:
        """Return the array with its axes in another order."""
        return View(
            self.buffer, self.offset, tuple(self.shape[k] for k in order), tuple(self.strides[k] for k in order)
        )

    def reshaped(self, shape: Shape) -> View | None:
        """Return the numbers, in their order, in another shape; None: strides cannot say it."""
        if math.prod(shape) <= 1 or self.is_dense:
            return View(self.buffer, self.offset, shape, dense(shape))
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n > 1]
        strides: list[int] = []
        remaining = [n for n in shape if n > 1]
        for size, stride in old:  # each old axis becomes one or more new ones
            taken: list[int] = []
            while math.prod(taken) < size and remaining:
                taken.append(remaining.pop(0))
            if math.prod(taken) != size:
                return self._joined(shape)
            strides += [stride * step for step in dense(tuple(taken))]
        left = iter(strides)
        return View(self.buffer, self.offset, shape, tuple(next(left) if n > 1 else 0 for n in shape))

    def _joined(self, shape: Shape) -> View | None:
        """Return another shape of numbers that lie at equal distances."""
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n > 1]
        if all(a == m * b for (_, a), (m, b) in pairwise(old)):
            return View(self.buffer, self.offset, shape, tuple(step * old[-1][1] for step in dense(shape)))
        return None

    def repeated(self, shape: Shape) -> View:
        """Return the array as ONNX repeats it to a larger shape."""
        lack = len(shape) - len(self.shape)
        strides = [0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)]
        return View(self.buffer, self.offset, shape, (0,) * lack + tuple(strides))


def dense(shape: Sequence[int]) -> Shape:
    """Return the strides of numbers that lie one after another."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def gathered(x: View, index: np.ndarray, axis: int) -> View | None:
    """Return the entries of an axis that an array of places names; None: strides cannot say it."""
    places = np.where(index < 0, index + x.shape[axis], index)
    first = int(places.flat[0]) if places.size else 0
    steps = [int(np.take(places, 1, k).flat[0]) - first if size > 1 else 0 for k, size in enumerate(places.shape)]
    grid = np.full(places.shape, first)
    for k, step in enumerate(steps):
        grid = grid + np.expand_dims(np.arange(places.shape[k]) * step, [j for j in range(places.ndim) if j != k])
    if not np.array_equal(grid, places):
        return None
    shape = (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])
    strides = (*x.strides[:axis], *(step * x.strides[axis] for step in steps), *x.strides[axis + 1 :])
    return View(x.buffer, x.offset + first * x.strides[axis], shape, strides)


def loop(shape: Shape, views: Sequence[View], body: Callable[[list[str]], Iterable[str]]) -> Lines:
    """Return nested loops over a shape, as few as the strides of the views allow.

    Args:
        shape: the sizes.
        views: what the loops read and write, repeated to the shape.
        body: gets C code for the current number of each view.
    """
    if 0 in shape:
        return []
    repeated = [view.repeated(shape) for view in views]
    merged: list[tuple[int, list[int]]] = []
    for k, size in enumerate(shape):
        if size > 1:
            steps = [view.strides[k] for view in repeated]
            if merged and all(outer == inner * size for outer, inner in zip(merged[-1][1], steps, strict=True)):
                merged[-1] = (merged[-1][0] * size, steps)
            else:
                merged.append((size, steps))
    names = "ijklmnpqr"[: len(merged)]
    places = []
    for k, view in enumerate(repeated):
        terms = [
            name if steps[k] == 1 else f"{steps[k]} * {name}"
            for name, (_, steps) in zip(names, merged, strict=True)
            if steps[k]
        ]
        if view.offset or not terms:
            terms.insert(0, str(view.offset))
        places.append(f"{view.buffer.name}[{' + '.join(terms)}]")
    lines = list(body(places))
    for name, (size, _) in reversed(list(zip(names, merged, strict=True))):
        lines = [f"for (int {name} = 0; {name} < {size}; ++{name}) {{", *indented(lines), "}"]
    return lines


def copied(source: View, to: View) -> Lines:
    """Return code that copies an array."""
    count = math.prod(to.shape)
    if count > 1 and source.shape == to.shape and source.is_dense and to.is_dense:
        return [f"memcpy({to.pointer}, {source.pointer}, {count} * sizeof({C_TYPES[to.buffer.dtype]}));"]
    return loop(to.shape, [to, source], lambda at: [f"{at[0]} = {at[1]};"])


def filled(to: View, value: str) -> Lines:
    """Return code that writes one value everywhere."""
    return loop(to.shape, [to], lambda at: [f"{at[0]} = {value};"])


def indented(lines: Iterable[str]) -> Lines:
    """Return lines one level deeper."""
    return ["    " + line for line in lines]


def place(buffers: Iterable[Buffer]) -> int:
    """Give each buffer its offset in one work array; those in use at different times may share. Returns its size."""
    taken: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda buffer: -buffer.size):
        together = sorted(
            (other for other in taken if other.first <= buffer.last and buffer.first <= other.last),
            key=lambda other: other.offset,
        )
        buffer.offset = 0
        for other in together:
            if buffer.offset + _rounded(buffer.size) <= other.offset:
                break
            buffer.offset = max(buffer.offset, other.offset + _rounded(other.size))
        taken.append(buffer)
    return max((buffer.offset + _rounded(buffer.size) for buffer in taken), default=0)


def _rounded(size: int) -> int:
    """Return a size that keeps what follows aligned for vector units."""
    return -(-size // 4) * 4
