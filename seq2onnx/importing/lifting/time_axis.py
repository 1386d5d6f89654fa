"""Operations along time: the last step, means and maxima over time, and steps that are cut off or added."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout
from seq2onnx.importing.lifting.layer_node import LayerNode, barred, layer_node
from seq2onnx.importing.lifting.reading import flat, source
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import BiGRU, BiLSTM, GlobalAvgPool1d, GlobalSumPool1d, LastStep, Layer


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
    if first.axes[axis]:
        raise ImportRefused(f"joins tensors along {first.describe(axis)}, which no layer does; join features")
    if any(x.steps != first.steps for x in xs):
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


def step(x: TracedTensor, axis: int, is_last: bool, is_first: bool, keepdims: bool) -> TracedTensor:
    """Take one step."""
    found = last_step(x, axis) if is_last else single_step(x, axis, is_first)
    return layout.unsqueeze(found, axis) if keepdims else found


def last_step(x: TracedTensor, axis: int) -> TracedTensor:
    """Take the last valid step of each sequence."""
    x = _one_part(x)
    return _over_time(x, axis, {p: layer_node(LastStep(), p) if p.has_time else p for p in x.parts})


def single_step(x: TracedTensor, axis: int, is_first: bool) -> TracedTensor:
    """Take a step that is not the last. Only a backward direction has one: at the first step, its final state."""
    x, parts, index = _one_part(x), [], np.full(x.index.shape, -1)
    reason = (
        "reads a single step that is not the last, as a loop over steps does (LSTMCell and the like); use nn.LSTM, "
        "nn.GRU or nn.RNN with the same weights"
    )
    start = size = 0
    for part in x.parts:
        gone = dataclasses.replace(part.signal, has_time=False)
        halves = [barred(reason, part, gone)]
        if is_first and isinstance(part.layer, BiLSTM | BiGRU) and part.has_time:
            halves.append(part.final_state)
        for half in halves:
            low = part.size // 2 if half is halves[-1] and len(halves) > 1 else 0
            here = (x.index >= start + low) & (x.index < start + part.size)
            index[here] = x.index[here] - start + size
            parts.append(half)
            size += half.size
        start += part.size
    moved = x.with_(parts=tuple(parts), index=index)
    return _over_time(moved, axis, {part: part for part in parts})


def pool_time(x: TracedTensor, axis: int, layer: Layer) -> TracedTensor:
    """Pool over the valid steps."""
    x = _one_part(x)
    return _over_time(x, axis, {p: layer_node(layer, flat(p)) if p.has_time else p for p in x.parts})


def sum_time(x: TracedTensor, axis: int) -> TracedTensor:
    """Sum over time; divided by the number of steps, it is a mean."""
    if pooled := standing_for(x, "weighted"):
        return _over_time(x, axis, dict(zip(x.parts, pooled.parts, strict=True)))
    x = _one_part(x)
    if not all(part.has_time for part in x.parts):
        raise ImportRefused("sums one vector over all steps, which is this vector times the number of steps")
    sums, means = (pool_time(x, axis, layer) for layer in (GlobalSumPool1d(), GlobalAvgPool1d()))
    parts = zip(sums.parts, means.parts, strict=True)
    return sums.with_(parts=tuple(dataclasses.replace(part, stands_for=("sum", mean)) for part, mean in parts))


def standing_for(x: TracedTensor, operation: str) -> TracedTensor | None:
    """Return what parts become under an operation (see LayerNode), or None."""
    if all(part.stands_for[0] == operation for part in x.parts):
        return x.with_(parts=tuple(part.stands_for[1] for part in x.parts))
    return None
