"""Operations along time: the last step, means and maxima over time, and steps that are cut off or added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout
from seq2onnx.importing.lifting.layer_node import NOT_LAST, LayerNode, layer_node, single_step
from seq2onnx.importing.lifting.reading import flat, pruned, source
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import GlobalSumPool1d, LastStep, Layer


def _over_time(x: TracedTensor, axis: int, per_part: dict[LayerNode, LayerNode]) -> TracedTensor:
    """Replace each part by what is left of it without time."""
    axis %= len(x.axes)
    axes = (*x.axes[:axis], *x.axes[axis + 1 :])
    parts = tuple(per_part[part] for part in x.parts)
    return x.with_(parts=parts, axes=axes, index=np.squeeze(x.index, axis), pads=(0, 0))


def concat(xs: Sequence[TracedTensor], axis: int) -> TracedTensor:
    """Join tensors along an axis of features, also such that were padded or cut in different ways."""
    xs = xs if all(x.pads == xs[0].pads for x in xs) else [_one_part(x) for x in xs]
    first, axis = xs[0], axis % len(xs[0].axes)
    if any(x.axes != first.axes for x in xs):
        raise ImportRefused(f"joins tensors of different layouts: {', '.join(str(list(x.shape)) for x in xs)}")
    if sequence := _all_steps(xs, axis):
        return sequence
    if first.axes[axis]:
        raise ImportRefused(f"joins tensors along {first.describe(axis)}, which no layer does; join features")
    if first.has_time and any(x.steps != first.steps for x in xs):
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


def _one_part(x: TracedTensor) -> TracedTensor:
    """Give all parts the padding and cuts of the tensor."""
    if not any(x.pads):
        return x
    found, index = source(x)
    return x.with_(parts=(found,), index=index, pads=(0, 0))


def pad_time(x: TracedTensor, before: int, after: int) -> TracedTensor:
    """Add steps of zeros, or with negative numbers cut steps off."""
    if any(old < 0 < new for old, new in zip(x.pads, (before, after), strict=True)):
        x = _one_part(x)  # zeros in place of steps that were cut off are not these steps
    return x.with_(pads=(x.pads[0] + before, x.pads[1] + after), steps=x.steps + before + after)


def pad(x: TracedTensor, axis: int, before: int, after: int) -> TracedTensor:
    """Add zeros along an axis, or of time with negative numbers cut steps off."""
    if not (before or after):
        return x
    if x.axes[axis] == "T":
        return pad_time(x, before, after)
    if min(before, after) < 0:
        raise ImportRefused("pads features with a negative number; use a slice")
    if x.axes[axis]:
        raise ImportRefused(f"pads {x.describe(axis)}")
    widths = [(before, after) if i == axis else (0, 0) for i in range(len(x.axes))]
    return x.with_(index=np.pad(x.index, widths, constant_values=-1))


def step(x: TracedTensor, axis: int, number: int, keepdims: bool) -> TracedTensor:
    """Take one step, of which the traced run has the number. -1: another one than the first and the last."""
    x = _one_part(x)

    def step_of(part: LayerNode) -> LayerNode:
        is_last = number == x.steps - 1
        if not part.has_time or (is_last and (part, number - 1) not in x.lifting.steps):
            return layer_node(LastStep(), part) if part.has_time else part
        return single_step(part, number, is_last)

    found = _over_time(x, axis, {part: step_of(part) for part in x.parts})
    return layout.unsqueeze(found, axis) if keepdims else found


def last_step(x: TracedTensor, axis: int) -> TracedTensor:
    """Take the last valid step of each sequence."""
    x = _one_part(x)
    return _over_time(x, axis, {p: layer_node(LastStep(), p) if p.has_time else p for p in x.parts})


def sequence_of(x: TracedTensor, number: int, axis: int) -> TracedTensor:
    """Return the sequence of which a tensor is the step of this number; time is an axis of size 1 in it."""
    parts = []
    for part in x.parts:
        kind, what = part.stands_for
        if kind == "step" and what[1] != number:
            raise ImportRefused(part.barred or NOT_LAST)
        parts.append(what[0] if kind == "step" else part)
    return x.with_(parts=tuple(parts), axes=(*x.axes[:axis], "T", *x.axes[axis + 1 :]))


def _all_steps(xs: Sequence[TracedTensor], axis: int) -> TracedTensor | None:
    """Join the steps of a sequence, in order, to this sequence."""
    is_loop = any(part.stands_for[0] == "step" for part in xs[0].parts)
    if not is_loop or len(xs) != xs[0].steps or any(x.index.shape[axis] > 1 for x in xs):
        return None
    first, *others = (sequence_of(pruned(x), number, axis) for number, x in enumerate(xs))
    same = all(x.parts == first.parts and np.array_equal(x.index, first.index) for x in others)
    return first if same else None


def pool_time(x: TracedTensor, axis: int, layer: Layer) -> TracedTensor:
    """Pool over the valid steps."""
    x = _one_part(x)
    return _over_time(x, axis, {p: layer_node(layer, flat(p)) if p.has_time else p for p in x.parts})


def sum_time(x: TracedTensor, axis: int) -> TracedTensor:
    """Sum over time."""
    if pooled := standing_for(x, "weighted"):
        return _over_time(x, axis, dict(zip(x.parts, pooled.parts, strict=True)))
    x = _one_part(x)
    if not all(part.has_time for part in x.parts):
        raise ImportRefused("sums one vector over all steps, which is this vector times the number of steps")
    return pool_time(x, axis, GlobalSumPool1d())


def standing_for(x: TracedTensor, operation: str) -> TracedTensor | None:
    """Return what barred parts become under an operation (see LayerNode), or None."""
    if all(part.stands_for[0] == operation for part in x.parts):
        return x.with_(parts=tuple(part.stands_for[1] for part in x.parts))
    return None
