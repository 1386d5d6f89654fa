"""ONNX operators that change the layout of tensors, or choose some of their elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout, operations as lifting, time_axis
from seq2onnx.importing.lifting.operators import concat
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.onnx.node_calls import NO_END, AxisSlice, axis_slices, check_eval_mode, same, step_taken
from seq2onnx.importing.onnx.operators import OPERATORS, LiftCall, constant, operators
from seq2onnx.importing.refusals import OptionNeeded

OPERATORS |= {
    "Squeeze": lambda call: layout.squeeze(call.x, call.axes() or None),
    "Transpose": lambda call: layout.transpose(call.x, call.attributes.get("perm", range(len(call.x.axes))[::-1])),
    "Unsqueeze": lambda call: layout.unsqueeze(call.x, *call.get(1, "axes")),
}


@operators("Dropout")
def _dropout(call: LiftCall) -> Any:
    check_eval_mode(call)
    return [call.x, ImportRefused("gives the mask of a Dropout")]


@operators("Cast", "CastLike")
def _cast(call: LiftCall) -> Any:
    kind = call.trace.values[call.node.output[0]].dtype.kind
    if kind != ("i" if call.x.parts[0].signal.dtype == "int64" else "f"):
        raise ImportRefused("converts whole numbers to fractions, or the other way; leave the conversion out")
    return call.x


@operators("Reshape", "Flatten")
def _reshape(call: LiftCall) -> Any:
    call.check_only_first("shape")
    x, shape = call.x, call.shapes[0]
    try:
        return layout.reshape(x, shape)
    except ImportRefused as error:
        readers = {node.op_type for node in call.trace.model.graph.node if call.node.output[0] in node.input}
        if readers == {"InstanceNormalization"}:  # exporters write GroupNorm so
            raise ImportRefused(lifting.OVER_TIME) from None
        if x.lifting.window or "T" not in x.axes or len(shape) > 2 or call.trace.free_steps:
            raise
        raise OptionNeeded(
            f"{error}. If the network always reads the last {x.steps} steps, give window={x.steps}: it then answers "
            "for each window",
            window=[x.steps],
        ) from None


@operators("Expand", "Tile")
def _expand(call: LiftCall) -> Any:
    call.check_only_first("shape")
    x, shape = call.x, call.shapes[0]
    old = (*[1] * (len(shape) - len(x.axes)), *x.shape)
    axes = [axis for axis, (before, after) in enumerate(zip(old, shape, strict=True)) if before not in (1, after)]
    if not axes:
        return layout.expand(x, shape)
    for axis in axes:
        lifting.check_features(x, axis, "repeats numbers")
    repeats = [new // n if axis in axes else 1 for axis, (n, new) in enumerate(zip(old, shape, strict=True))]
    return layout.expand(x.with_(index=np.tile(x.index, repeats)), shape)


@operators("Slice")
def _slice(call: LiftCall) -> Any:
    call.check_only_first("bounds")
    x = call.x
    for each in axis_slices(call):
        x = _cut(x, each)
    return x


def _cut(x: TracedTensor, each: AxisSlice) -> TracedTensor:
    axis, size, (_, stop, step), cut = each.axis, each.size, each.bounds, each.cut
    if each.is_whole and x.axes[axis] != "T":
        return x
    if not x.axes[axis]:
        return layout.take(x, axis, slice(*each.bounds))
    if step < 0:
        raise ImportRefused(
            "reverses time, which a stream cannot; for a backward direction use a bidirectional operator"
        )
    if x.axes[axis] != "T" or step != 1:
        raise ImportRefused(f"takes some elements of {x.describe(axis)}; use all steps, the last one, or a stride")
    runs = (each, each.other or each)
    for is_last in (True, False):
        if all(run.cut == ((run.size - 1, 0) if is_last else (0, run.size - 1)) for run in runs):
            return time_axis.step(x, axis, x.steps - 1 if is_last else 0, True)
    if size < stop < NO_END:
        raise ImportRefused(f"takes at most {stop} steps; the later ones of a longer sequence are lost")
    if cut != runs[1].cut:
        raise ImportRefused("takes steps by their number, or a number of them that depends on how many there are")
    return x if each.is_whole else time_axis.pad_time(x, -cut[0], -cut[1])


@operators("Gather")
def _gather(call: LiftCall) -> Any:
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
    chosen, other = call.numbers[1], call.others[1]
    assert chosen is not None
    axis %= len(x.axes)
    if "T" not in x.axes[axis]:
        same(chosen, other)
        if chosen.ndim > 1:
            raise ImportRefused(f"takes elements by a table of numbers {list(chosen.shape)}; only a list can be one")
        return layout.take(x, axis, int(chosen) if chosen.ndim == 0 else chosen)
    if chosen.size != 1 or x.axes[axis] != "T":
        raise ImportRefused(f"takes some elements of {x.describe(axis)} by number; use the last step, or all steps")
    is_first, is_last = step_taken(call, axis)
    return time_axis.step(x, axis, x.steps - 1 if is_last else 0 if is_first else -1, chosen.ndim > 0)


@operators("Split")
def _split(call: LiftCall) -> Any:
    axis = call.attributes.get("axis", 0) % len(call.x.axes)
    call.get(1, "split")
    if call.x.axes[axis]:
        raise ImportRefused(f"cuts {call.x.describe(axis)}")
    ends = np.cumsum([shape[axis] for shape in call.shapes])
    pieces = [slice(end - shape[axis], end) for end, shape in zip(ends, call.shapes, strict=True)]
    found = iter(layout.take(call.x, axis, piece) for piece in pieces)
    return [next(found) if name else None for name in call.node.output]


@operators("Concat")
def _concat(call: LiftCall) -> Any:
    operands = [numbers if x is None else x for x, numbers in zip(call.signals, call.numbers, strict=True)]
    return concat([x for x in operands if x is not None], call.attributes["axis"])


@operators("Pad")
def _pad(call: LiftCall) -> Any:
    x = call.x
    axes = call.axes(3) or list(range(len(x.axes)))
    if call.has(1):
        same(call.numbers[1], call.others[1])
    widths = [int(width) for width in call.get(1, "pads")]
    if call.attributes.get("mode", "constant") != "constant" or np.any(call.get(2, "value", 0.0)):
        raise ImportRefused("pads with other numbers than zeros; use zeros")
    for place, axis in enumerate(axes):
        x = time_axis.pad(x, axis, widths[place], widths[len(axes) + place])
    return x


@operators("OneHot")
def _one_hot(call: LiftCall) -> Any:
    depth, (off, on) = int(constant(call, 1).ravel()[0]), constant(call, 2)
    if call.signals[0] is None or (off, on) != (0, 1) or call.attributes.get("axis", -1) not in (-1, len(call.x.axes)):
        raise ImportRefused("is a OneHot with other numbers than 0 and 1, or not along the last axis")
    return lifting.embedding(call.x, np.eye(depth))
