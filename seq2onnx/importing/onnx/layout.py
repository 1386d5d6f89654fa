"""ONNX operators that change the layout of tensors, or choose some of their elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout, operations as lifting, time_axis
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.operators import concat
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.onnx.node_calls import same
from seq2onnx.importing.onnx.operators import Context, LiftCall, constant, operators

NO_END = 2**31 - 1
"""The least stop that exporters write where they mean the end of any axis."""


@operators("Dropout")
def _dropout(context: Context, call: LiftCall) -> Any:
    training = call.get(2, "training_mode")
    if training and training[0]:
        raise ImportRefused("draws random numbers; export the network in eval mode")
    return [call.x, ImportRefused("gives the mask of a Dropout")]


@operators("Cast", "CastLike")
def _cast(context: Context, call: LiftCall) -> Any:
    kind = context.trace.values[call.node.output[0]].dtype.kind
    if kind != ("i" if call.x.parts[0].signal.dtype == "int64" else "f"):
        raise ImportRefused("converts whole numbers to fractions, or the other way; leave the conversion out")
    return call.x


@operators("Transpose")
def _transpose(context: Context, call: LiftCall) -> Any:
    return layout.transpose(call.x, call.attributes.get("perm", range(len(call.x.axes))[::-1]))


@operators("Reshape", "Flatten")
def _reshape(context: Context, call: LiftCall) -> Any:
    if call.signals[0] is None or (len(call.signals) > 1 and call.signals[1] is not None):
        raise ImportRefused("takes its shape from the data")
    return layout.reshape(call.x, call.shapes[0])


@operators("Squeeze")
def _squeeze(context: Context, call: LiftCall) -> Any:
    return layout.squeeze(call.x, call.axes() or None)


@operators("Unsqueeze")
def _unsqueeze(context: Context, call: LiftCall) -> Any:
    x, rank = call.x, len(call.shapes[0])
    for axis in sorted(axis % rank for axis in call.get(1, "axes")):
        x = layout.unsqueeze(x, axis)
    return x


@operators("Expand", "Tile")
def _expand(context: Context, call: LiftCall) -> Any:
    x, shape = call.x, call.shapes[0]
    if call.signals[0] is None:
        raise ImportRefused("takes its shape from the data")
    old = (*[1] * (len(shape) - len(x.axes)), *x.shape)
    axes = [axis for axis, (before, after) in enumerate(zip(old, shape, strict=True)) if before not in (1, after)]
    if not axes:
        return layout.expand(x, shape)
    for axis in axes:
        lifting.check_features(x, axis, "repeats numbers")
    repeats = [new // n if axis in axes else 1 for axis, (n, new) in enumerate(zip(old, shape, strict=True))]
    return layout.expand(x.with_(index=np.tile(x.index, repeats)), shape)


@operators("Slice")
def _slice(context: Context, call: LiftCall) -> Any:
    x = call.x
    if call.signals[0] is None:
        raise ImportRefused("takes its bounds from the data")
    starts, ends = (call.get(index, name) for index, name in ((1, "starts"), (2, "ends")))
    axes = call.get(3, "axes") or range(len(starts))
    steps = call.get(4, "steps") or [1] * len(starts)
    for place, (axis, *bounds) in enumerate(zip(axes, starts, ends, steps, strict=True)):
        x = _cut(context, call, x, axis % len(x.axes), bounds, place)
    return x


def _cut(
    context: Context, call: LiftCall, x: TracedTensor, axis: int, bounds: Sequence[int], place: int
) -> TracedTensor:
    """Slice one axis; `place` is its place among the bounds."""
    size = x.shape[axis]
    chosen = slice(*bounds)
    low, high, step = chosen.indices(size)
    whole = (low, high, step) == (0, size, 1)
    if not x.axes[axis]:
        return x if whole else layout.take(x, axis, chosen)
    if x.axes[axis] != "T" and whole:
        return x
    if step < 0:
        raise ImportRefused(
            "reverses time, which a stream cannot; for a backward direction use a bidirectional operator"
        )
    if x.axes[axis] != "T" or step != 1:
        raise ImportRefused(f"takes some elements of {x.describe(axis)}; use all steps, the last one, or a stride")
    low_of, high_of = _other_bounds(context, call, x, axis, bounds, place, (low, size - high))
    if (size - low, size - high) == (low_of[1], high_of[1]) == (1, 0):
        return time_axis.step(x, axis, True, False, True)
    if (low, high) == (low_of[0], high_of[0]) == (0, 1):
        return time_axis.step(x, axis, False, True, True)
    if size < bounds[1] < NO_END:
        raise ImportRefused(f"takes at most {bounds[1]} steps; the later ones of a longer sequence are lost")
    if (low, size - high) != (low_of[0], high_of[1]):
        raise ImportRefused("takes steps by their number, or a number of them that depends on how many there are")
    return x if whole else time_axis.pad_time(x, -low, high - size)


def _other_bounds(
    context: Context,
    call: LiftCall,
    x: TracedTensor,
    axis: int,
    bounds: Sequence[int],
    place: int,
    cut: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where the slice begins and ends in the run with other sizes, each counted from the start and the end."""
    if context.trace.others is None:
        return (cut[0], x.shape[axis] - cut[0]), (x.shape[axis] - cut[1], cut[1])
    size = context.other_shape(call.node.input[0])[axis]
    others = [call.others[i] if call.has(i) else None for i in (1, 2)]
    start, end = (
        bound if other is None else int(other.ravel()[place]) for bound, other in zip(bounds[:2], others, strict=True)
    )
    low, high, _ = slice(start, end).indices(size)
    return (low, size - low), (high, size - high)


@operators("Gather")
def _gather(context: Context, call: LiftCall) -> Any:
    x, indices = call.signals[0], call.signals[1]
    axis = int(call.attributes.get("axis", 0))
    if indices is not None:
        if x is not None:
            raise ImportRefused("is a Gather with data-dependent indices")
        table = constant(call, 0)
        if table.ndim != 2 or axis:
            raise ImportRefused(
                f"looks rows up in a table {list(table.shape)} along axis {axis}; only rows of a matrix"
            )
        return lifting.embedding(indices, table)
    assert x is not None
    chosen = call.numbers[1]
    assert chosen is not None
    axis %= len(x.axes)
    if "T" not in x.axes[axis]:
        same(chosen, call.others[1])
        if chosen.ndim > 1:
            raise ImportRefused(f"takes elements by a table of numbers {list(chosen.shape)}; only a list can be one")
        return layout.take(x, axis, int(chosen) if chosen.ndim == 0 else chosen)
    if chosen.size != 1 or x.axes[axis] != "T":
        raise ImportRefused(f"takes some elements of {x.describe(axis)} by number; use the last step, or all steps")
    places = [(_only(chosen), x.shape[axis])]
    if call.others[1] is not None:
        places.append((_only(call.others[1]), context.other_shape(call.node.input[0])[axis]))
    is_last = all(place in (-1, size - 1) for place, size in places)
    is_first = all(place in (0, -size) for place, size in places)
    return time_axis.step(x, axis, is_last, is_first, chosen.ndim > 0)


def _only(numbers: Array) -> int:
    return int(numbers.ravel()[0])


@operators("Split")
def _split(context: Context, call: LiftCall) -> Any:
    axis = call.attributes.get("axis", 0) % len(call.x.axes)
    call.get(1, "split")
    if call.x.axes[axis]:
        raise ImportRefused(f"cuts {call.x.describe(axis)}")
    ends = np.cumsum([shape[axis] for shape in call.shapes])
    pieces = [slice(end - shape[axis], end) for end, shape in zip(ends, call.shapes, strict=True)]
    found = iter(layout.take(call.x, axis, piece) for piece in pieces)
    return [next(found) if name else None for name in call.node.output]


@operators("Concat")
def _concat(context: Context, call: LiftCall) -> Any:
    operands = [numbers if x is None else x for x, numbers in zip(call.signals, call.numbers, strict=True)]
    return concat([x for x in operands if x is not None], call.attributes["axis"])


@operators("Pad")
def _pad(context: Context, call: LiftCall) -> Any:
    x = call.x
    axes = call.axes(3) or list(range(len(x.axes)))
    same(call.numbers[1] if call.has(1) else None, call.others[1] if call.has(1) else None)
    widths = [int(width) for width in call.get(1, "pads")]
    value = call.get(2, "value", 0.0)
    if call.attributes.get("mode", "constant") != "constant" or np.any(value):
        raise ImportRefused("pads with other numbers than zeros; use zeros")
    for place, axis in enumerate(axes):
        x = time_axis.pad(x, axis, widths[place], widths[len(axes) + place])
    return x


@operators("OneHot")
def _one_hot(context: Context, call: LiftCall) -> Any:
    depth, (off, on) = int(constant(call, 1).ravel()[0]), constant(call, 2)
    if call.signals[0] is None or (off, on) != (0, 1) or call.attributes.get("axis", -1) not in (-1, len(call.x.axes)):
        raise ImportRefused("is a OneHot with other numbers than 0 and 1, or not along the last axis")
    return lifting.embedding(call.x, np.eye(depth))
