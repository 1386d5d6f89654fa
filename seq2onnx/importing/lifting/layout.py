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
from seq2onnx.importing.axes import joined_axes, regroup
from seq2onnx.importing.lifting import fixed_window
from seq2onnx.importing.lifting.traced import Relation, TracedTensor

END = 2**62
"""A stop beyond any axis: what slices without a stop have."""


def transpose(x: TracedTensor, order: Sequence[int]) -> TracedTensor:
    """Reorder the axes."""
    order = [axis % len(x.axes) for axis in order]
    return x.with_(axes=tuple(x.axes[axis] for axis in order), index=x.index.transpose(order))


def move(x: TracedTensor, source: int, target: int) -> TracedTensor:
    """Move one axis to another place."""
    order = list(range(len(x.axes)))
    order.insert(target % len(order), order.pop(source))
    return transpose(x, order)


def unsqueeze(x: TracedTensor, *axes: int) -> TracedTensor:
    """Insert axes of size 1, numbered as in the result."""
    rank, relation = len(x.axes) + len(axes), _same_order(x)
    for axis in sorted(axis % rank for axis in axes):
        x = x.with_(axes=(*x.axes[:axis], "", *x.axes[axis:]), index=np.expand_dims(x.index, axis), relation=relation)
    return x


def _same_order(x: TracedTensor) -> Relation | None:
    """Return the relation that a tensor keeps when its axes change and the order of its elements does not."""
    return x.relation if x.relation and x.relation.kind == "mean" else None


def squeeze(x: TracedTensor, axes: Sequence[int] | int | None = None) -> TracedTensor:
    """Remove these axes if their size is 1; without `axes`, all of size 1."""
    chosen = range(len(x.axes)) if axes is None else [axis % len(x.axes) for axis in np.ravel(axes).tolist()]
    gone = [axis for axis in chosen if x.shape[axis] == 1]
    if any(x.axes[axis] for axis in gone):
        raise ImportRefused("removes the batch or time axis of a single element; use a fixed axis in squeeze")
    kept = tuple(axis for i, axis in enumerate(x.axes) if i not in gone)
    return x.with_(axes=kept, index=np.squeeze(x.index, tuple(gone)))


def reshape(x: TracedTensor, shape: Sequence[int]) -> TracedTensor:
    """Split and merge axes, in row-major order; of a fixed window, time may become features."""
    sizes = {"B": x.rows, "T": x.steps}
    try:
        found = regroup(x.axes, x.shape, shape, sizes)
    except ImportRefused:
        if not x.lifting.window or "T" not in x.axes:
            raise
        x = fixed_window.unfolded(x)
        found = regroup(x.axes, x.shape, shape, sizes)
    axes, index = tuple(letters for letters, _ in found), x.index.reshape([size for _, size in found])
    return x.with_(axes=axes, index=index, relation=_same_order(x))


def expand(x: TracedTensor, shape: Sequence[int]) -> TracedTensor:
    """Repeat along axes of size 1, to `shape`; an axis becomes time where its new size is that of a time axis."""
    x = unsqueeze(x, *range(len(shape) - len(x.axes)))
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
    relation = _same_order(x) if list(x.index.shape) == sizes else None
    return x.with_(axes=tuple(axes), index=np.broadcast_to(x.index, sizes), steps=steps, relation=relation)


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


def broadcast(a: TracedTensor, b: TracedTensor) -> tuple[TracedTensor, TracedTensor]:
    """Give two tensors the same axes, as an operation on both numbers at each place needs."""
    axes = joined_axes([a.axes, b.axes], [a.shape, b.shape], max(len(a.axes), len(b.axes)))
    if a.has_time and b.has_time and a.steps != b.steps:
        raise ImportRefused(f"combines tensors of {a.steps} and {b.steps} steps")
    left, right = np.broadcast_arrays(a.index, b.index)
    return a.with_(axes=axes, index=left), b.with_(axes=axes, index=right)
