"""Foreign tensors, followed without looking at their numbers: which feature of which layer stands where.

Exporters and authors transpose, reshape, slice and join in more ways than patterns can list. Here none of these
operations makes a layer. A `Lifted` holds the layout of a tensor, and each operation gives a new layout. A layer that
reads the tensor permutes its weights by it, so unused parts and copies vanish.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting.drafts import Draft

END = 2**62
"""A stop beyond any axis: what slices without a stop have."""


@dataclasses.dataclass(frozen=True, eq=False)
class Lifted:
    """A foreign tensor: its axes, and which features stand where.

    The number at a place is, in the row and step of that place, feature `index` of all features of `parts` side by
    side; -1 is the number 0.

    Attributes:
        parts: the drafts that the features come from.
        axes: for each axis "B" (batch), "T" (time), "BT" or "TB" (both in one axis, the second fastest), or ""
            (features, or a single element).
        index: feature numbers, with as many axes as the tensor; its size is 1 along batch and time.
        rows: the size of the batch in the traced run.
        steps: the size of the time axis in the traced run.
        pads: steps of zeros that stand before and after those of `parts`; negative: steps that are cut off.
    """

    parts: tuple[Draft, ...]
    axes: tuple[str, ...]
    index: NDArray[np.int64]
    rows: int
    steps: int
    pads: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        assert self.index.ndim == len(self.axes), (self.axes, self.index.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor in the traced run."""
        return tuple(
            math.prod(self.size_of(letter) for letter in axis) if axis else n
            for axis, n in zip(self.axes, self.index.shape, strict=True)
        )

    @property
    def has_time(self) -> bool:
        """Whether an axis is time."""
        return any("T" in axis for axis in self.axes)

    def size_of(self, letter: str) -> int:
        """Return the size of the batch or of time in the traced run."""
        return self.rows if letter == "B" else self.steps

    def with_(self, **changes: Any) -> Lifted:
        """Return it with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def describe(self, axis: int) -> str:
        """Name an axis for people."""
        names = {"": "features", "B": "the batch", "T": "time", "BT": "batch and time", "TB": "time and batch"}
        return names[self.axes[axis]]


def lifted(part: Draft, axes: Sequence[str], shape: Sequence[int], like: Lifted) -> Lifted:
    """All features of a draft in their order, as a tensor with these axes; `shape` is that of `index`."""
    return Lifted((part,), tuple(axes), np.arange(part.size).reshape(shape), like.rows, like.steps)


def transpose(x: Lifted, order: Sequence[int]) -> Lifted:
    """Reorder the axes."""
    order = [axis % len(x.axes) for axis in order]
    return x.with_(axes=tuple(x.axes[axis] for axis in order), index=x.index.transpose(order))


def unsqueeze(x: Lifted, axis: int) -> Lifted:
    """Insert an axis of size 1."""
    axis %= len(x.axes) + 1
    return x.with_(axes=(*x.axes[:axis], "", *x.axes[axis:]), index=np.expand_dims(x.index, axis))


def squeeze(x: Lifted, axes: Sequence[int] | None = None) -> Lifted:
    """Remove these axes if their size is 1; without `axes`, all of size 1."""
    chosen = range(len(x.axes)) if axes is None else [axis % len(x.axes) for axis in axes]
    gone = [axis for axis in chosen if x.shape[axis] == 1]
    if any(x.axes[axis] for axis in gone):
        raise ImportRefused("removes the batch or time axis of a single element; use a fixed axis in squeeze")
    kept = tuple(axis for i, axis in enumerate(x.axes) if i not in gone)
    return x.with_(axes=kept, index=np.squeeze(x.index, tuple(gone)))


def reshape(x: Lifted, shape: Sequence[int]) -> Lifted:
    """Split and merge axes, in row-major order."""
    atoms: list[tuple[str, int]] = []
    for axis, n in zip(x.axes, x.index.shape, strict=True):
        atoms += [(letter, x.size_of(letter)) for letter in axis] if axis else [("", n)]
    atoms = [atom for atom in atoms if atom[1] != 1]
    axes, sizes = [], []
    for n in shape:
        axis, features = "", 1
        while n > 1 and atoms:
            letter, size = atoms.pop(0)
            if n % size == 0:
                n //= size
                axis, features = (axis + letter, features) if letter else (axis, features * size)
            elif not letter and size % n == 0:
                atoms.insert(0, ("", size // n))
                n, features = 1, features * n
            else:
                what = {"B": "the batch", "T": "time"}.get(letter, "features")
                raise ImportRefused(
                    f"reshapes {list(x.shape)} to {list(shape)}, which cuts {what} into pieces; if axes were to be "
                    "swapped, use transpose or permute"
                )
        if axis and features > 1:
            what = (
                "time and features; what follows exists for one length only. Use the last step, a mean or a maximum "
                "over time"
                if "T" in axis
                else "the batch and features, as attention with several heads does; no layer does that"
            )
            raise ImportRefused(f"reshapes {list(x.shape)} to {list(shape)}, which makes one axis of {what}")
        axes.append(axis)
        sizes.append(features)
    return x.with_(axes=tuple(axes), index=x.index.reshape(sizes))


def expand(x: Lifted, shape: Sequence[int], time_sizes: Sequence[int]) -> Lifted:
    """Repeat along axes of size 1, to `shape`; an axis becomes time where its new size is one of `time_sizes`."""
    for _ in range(len(shape) - len(x.axes)):
        x = unsqueeze(x, 0)
    axes, sizes, steps = list(x.axes), list(x.index.shape), x.steps
    for i, (old, new) in enumerate(zip(x.shape, shape, strict=True)):
        if new in (-1, old):
            continue
        if new in time_sizes and not x.has_time:
            axes[i], steps = "T", new
        elif new == x.rows:
            axes[i] = "B"
        else:
            sizes[i] = new
    return x.with_(axes=tuple(axes), index=np.broadcast_to(x.index, sizes), steps=steps)


def take(x: Lifted, axis: int, chosen: Any) -> Lifted:
    """Choose features along an axis, by numbers or a slice; with a single number the axis goes."""
    axis %= len(x.axes)
    if x.axes[axis]:
        raise ImportRefused(
            f"takes some elements of {x.describe(axis)} by number"
            + ("; one row then depends on others" if "B" in x.axes[axis] else "; use the last step, -1, or all steps")
        )
    index = x.index[(slice(None),) * axis + (chosen,)]
    axes = x.axes if index.ndim == len(x.axes) else (*x.axes[:axis], *x.axes[axis + 1 :])
    return x.with_(axes=axes, index=index)


def flip(x: Lifted, axis: int) -> Lifted:
    """Reverse an axis of features."""
    if "T" in x.axes[axis]:
        raise ImportRefused("reverses time, which a stream cannot; for a backward direction use bidirectional=True")
    return take(x, axis, slice(None, None, -1))


def pad_features(x: Lifted, axis: int, before: int, after: int) -> Lifted:
    """Add zeros along an axis of features."""
    if x.axes[axis]:
        raise ImportRefused(f"pads {x.describe(axis)}")
    widths = [(before, after) if i == axis else (0, 0) for i in range(len(x.axes))]
    return x.with_(index=np.pad(x.index, widths, constant_values=-1))


def concat(xs: Sequence[Lifted], axis: int) -> Lifted:
    """Join tensors along an axis of features."""
    axis %= len(xs[0].axes)
    first = xs[0]
    if any(x.axes != first.axes for x in xs):
        raise ImportRefused(f"joins tensors of different layouts: {', '.join(str(list(x.shape)) for x in xs)}")
    if first.axes[axis]:
        raise ImportRefused(f"joins tensors along {first.describe(axis)}, which no layer does; join features")
    if any(x.pads != first.pads or x.steps != first.steps for x in xs):
        raise ImportRefused(f"joins tensors of different steps: {', '.join(str(x.steps) for x in xs)}")
    offsets: dict[Draft, int] = {}
    for x in xs:
        for part in x.parts:
            offsets.setdefault(part, sum(other.size for other in offsets))
    moved = []
    for x in xs:
        table = np.concatenate([offsets[part] + np.arange(part.size) for part in x.parts])
        moved.append(np.where(x.index < 0, -1, table[x.index]))
    return first.with_(parts=tuple(offsets), index=np.concatenate(moved, axis))


def broadcast(a: Lifted, b: Lifted) -> tuple[Lifted, Lifted]:
    """Give two tensors the same axes, as an operation on both numbers at each place needs."""
    for _ in range(len(b.axes) - len(a.axes)):
        a = unsqueeze(a, 0)
    for _ in range(len(a.axes) - len(b.axes)):
        b = unsqueeze(b, 0)
    axes = tuple(x or y for x, y in zip(a.axes, b.axes, strict=True))
    index_shape = np.broadcast_shapes(a.index.shape, b.index.shape)
    for x in (a, b):
        if any(own and own != axis for own, axis in zip(x.axes, axes, strict=True)):
            raise ImportRefused(f"combines tensors whose axes mean different things: {list(a.shape)}, {list(b.shape)}")
    if any(axis and n > 1 for axis, n in zip(axes, index_shape, strict=True)):
        raise ImportRefused(f"combines features with time or batch: {list(a.shape)} and {list(b.shape)}")
    if a.has_time and b.has_time and a.steps != b.steps:
        raise ImportRefused(f"combines tensors of {a.steps} and {b.steps} steps")
    return (
        a.with_(axes=axes, index=np.broadcast_to(a.index, index_shape)),
        b.with_(axes=axes, index=np.broadcast_to(b.index, index_shape)),
    )
