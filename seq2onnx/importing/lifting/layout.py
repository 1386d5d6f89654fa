"""Operations that move the features of tensors and make no layer.

Exporters and authors transpose, reshape, slice and join in more ways than patterns can list. Here none of these
operations makes a layer. A `TracedTensor` holds the layout of a tensor, and each operation gives a new layout. A layer
that reads the tensor permutes its weights by it, so unused parts and copies vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting.layer_node import LayerNode
from seq2onnx.importing.lifting.traced import TracedTensor

END = 2**62
"""A stop beyond any axis: what slices without a stop have."""


def transpose(x: TracedTensor, order: Sequence[int]) -> TracedTensor:
    """Reorder the axes."""
    order = [axis % len(x.axes) for axis in order]
    return x.with_(axes=tuple(x.axes[axis] for axis in order), index=x.index.transpose(order))


def unsqueeze(x: TracedTensor, axis: int) -> TracedTensor:
    """Insert an axis of size 1."""
    axis %= len(x.axes) + 1
    return x.with_(axes=(*x.axes[:axis], "", *x.axes[axis:]), index=np.expand_dims(x.index, axis))


def squeeze(x: TracedTensor, axes: Sequence[int] | None = None) -> TracedTensor:
    """Remove these axes if their size is 1; without `axes`, all of size 1."""
    chosen = range(len(x.axes)) if axes is None else [axis % len(x.axes) for axis in axes]
    gone = [axis for axis in chosen if x.shape[axis] == 1]
    if any(x.axes[axis] for axis in gone):
        raise ImportRefused("removes the batch or time axis of a single element; use a fixed axis in squeeze")
    kept = tuple(axis for i, axis in enumerate(x.axes) if i not in gone)
    return x.with_(axes=kept, index=np.squeeze(x.index, tuple(gone)))


def reshape(x: TracedTensor, shape: Sequence[int]) -> TracedTensor:
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


def expand(x: TracedTensor, shape: Sequence[int]) -> TracedTensor:
    """Repeat along axes of size 1, to `shape`; an axis becomes time where its new size is that of a time axis."""
    for _ in range(len(shape) - len(x.axes)):
        x = unsqueeze(x, 0)
    axes, sizes, steps = list(x.axes), list(x.index.shape), x.steps
    for i, (old, new) in enumerate(zip(x.shape, shape, strict=True)):
        if new in (-1, old):
            continue
        if new in x.lifting.times and not x.has_time:
            axes[i], steps = "T", new
        elif new == x.rows:
            axes[i] = "B"
        else:
            sizes[i] = new
    return x.with_(axes=tuple(axes), index=np.broadcast_to(x.index, sizes), steps=steps)


def take(x: TracedTensor, axis: int, chosen: Any) -> TracedTensor:
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


def flip(x: TracedTensor, axis: int) -> TracedTensor:
    """Reverse an axis of features."""
    if "T" in x.axes[axis]:
        raise ImportRefused("reverses time, which a stream cannot; for a backward direction use bidirectional=True")
    return take(x, axis, slice(None, None, -1))


def pad_features(x: TracedTensor, axis: int, before: int, after: int) -> TracedTensor:
    """Add zeros along an axis of features."""
    if x.axes[axis]:
        raise ImportRefused(f"pads {x.describe(axis)}")
    widths = [(before, after) if i == axis else (0, 0) for i in range(len(x.axes))]
    return x.with_(index=np.pad(x.index, widths, constant_values=-1))


def concat(xs: Sequence[TracedTensor], axis: int) -> TracedTensor:
    """Join tensors along an axis of features."""
    axis %= len(xs[0].axes)
    first = xs[0]
    if any(x.axes != first.axes for x in xs):
        raise ImportRefused(f"joins tensors of different layouts: {', '.join(str(list(x.shape)) for x in xs)}")
    if first.axes[axis]:
        raise ImportRefused(f"joins tensors along {first.describe(axis)}, which no layer does; join features")
    if any(x.pads != first.pads or x.steps != first.steps for x in xs):
        raise ImportRefused(f"joins tensors of different steps: {', '.join(str(x.steps) for x in xs)}")
    offsets: dict[LayerNode, int] = {}
    for x in xs:
        for part in x.parts:
            offsets.setdefault(part, sum(other.size for other in offsets))
    moved = []
    for x in xs:
        table = np.concatenate([offsets[part] + np.arange(part.size) for part in x.parts])
        moved.append(np.where(x.index < 0, -1, table[x.index]))
    return first.with_(parts=tuple(offsets), index=np.concatenate(moved, axis))


def broadcast(a: TracedTensor, b: TracedTensor) -> tuple[TracedTensor, TracedTensor]:
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
