"""Operators that move numbers about. Where they touch time or the batch, their nodes change."""

from __future__ import annotations

import dataclasses

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes
from seq2onnx.importing.onnx.node_calls import AxisSlice, Call, axis_slices, check_features, same, step_taken
from seq2onnx.importing.states.rewriting import FAR, Rewriter


def reshape_node(graph: Rewriter, call: Call) -> list[Axes]:
    """Reshape and Flatten; sizes of batch and time that are written as numbers become free."""
    call.check_only_first("shape")
    x, shape = call.x, call.shapes[0]
    y = x.reshape(shape, call.trace.rows, call.trace.steps)
    stored = {tensor.name for tensor in call.trace.model.graph.initializer}
    sizes = call.get(1, "shape") if {*call.node.input[1:]} & stored else []
    is_fixed = len(sizes) == len(shape) and any(n > 0 and axis for n, axis in zip(sizes, y.axes, strict=True))
    free = _free_shape(graph, x, y) if is_fixed else None
    node = graph.keep(call.node)
    if free is not None:
        node.input[1] = free
    return [y]


def _free_shape(graph: Rewriter, x: Axes, y: Axes) -> str:
    """Return the shape y, into which x is reshaped, for all sizes of batch and time."""
    same = [axis < len(x.axes) and x.axes[axis] == letters for axis, letters in enumerate(y.axes)]
    left = [axis for axis, letters in enumerate(y.axes) if letters and not same[axis]]
    if len(left) < 2:
        return graph.constant([-1 if i in left else 0 if y.axes[i] else size for i, size in enumerate(y.shape)])
    parts = [
        graph.size("x", "BT".index(name)) if name in ("B", "T") else graph.constant([-1 if name else size or -1])
        for name, size in zip(y.axes, y.shape, strict=True)
    ]
    return graph.op("Concat", *parts, axis=0)


def squeeze_node(graph: Rewriter, call: Call) -> list[Axes]:
    """Squeeze; without axes it gets them, since it would also remove a time of one step."""
    axes = call.axes() or [axis for axis, size in enumerate(call.x.shape) if size == 1]
    y = call.x.squeeze(axes)
    graph.squeeze(graph.read(call.node.input[0]), axes, output=call.node.output[0])
    return [y]


def expand_node(graph: Rewriter, call: Call) -> list[Axes]:
    """Expand along features."""
    call.check_only_first("shape")
    x, shape = call.x, call.shapes[0]
    axes = [""] * (len(shape) - len(x.axes)) + list(x.axes)
    old = (*[1] * (len(shape) - len(x.axes)), *x.shape)
    if any(new != size and new in (call.trace.steps, call.trace.rows) for size, new in zip(old, shape, strict=True)):
        raise ImportRefused("repeats numbers along time or the batch")
    graph.keep(call.node)
    return [x.with_shape(shape, axes)]


def pad_node(graph: Rewriter, call: Call) -> list[Axes]:
    """Pad; steps of padding are left to the window that reads them."""
    x, rank = call.x, len(call.x.axes)
    axes = call.axes(3) or list(range(rank))
    spec = [int(size) for size in call.get(1, "pads")]
    pads = {axis: (spec[i], spec[len(axes) + i]) for i, axis in enumerate(axes)}
    pads = {axis: pair for axis, pair in pads.items() if pair != (0, 0)}
    if not any(x.axes[axis] for axis in pads):
        graph.keep(call.node)
        return [x.with_shape(call.shapes[0])]
    value = call.get(2, "value", [0.0])
    fill = float(value[0] if isinstance(value, list) else value)
    if call.attributes.get("mode", "constant") != "constant":
        raise ImportRefused(f"pads time by the mode {call.attributes['mode']!r}; only numbers can start a stream")
    if any(x.axes[axis] not in ("", "T") for axis in pads):
        raise ImportRefused("pads the batch")
    before, after = pads.pop(x.time)
    if x.pads[0] and before and fill != x.fill:
        raise ImportRefused("pads time with other numbers than the Pad before it")
    y = _padded(graph, call, before, after, fill)
    if pads:  # of other axes, too
        out = call.node.output[0]
        widths = [pads.get(axis, (0, 0)) for axis in range(rank)]
        sizes = graph.constant([before for before, _ in widths] + [after for _, after in widths])
        graph.op("Pad", graph.aliases.pop(out), sizes, graph.constant(fill, np.float32), output=out)
    return [y]


def _padded(graph: Rewriter, call: Call, before: int, after: int, fill: float = 0.0) -> Axes:
    """Follow steps of padding (negative: cut off) without a node."""
    x = call.x
    pads = (x.pads[0] + before, x.pads[1] + after)
    if min(pads) < 0 or (before < 0 and x.pads[0] == 0):
        raise ImportRefused("cuts steps off the sequence; only padding can be cut off, or all but the last step")
    graph.alias(call.node.output[0], call.node.input[0])
    fill = fill if before > 0 else x.fill if pads[0] else 0.0
    return dataclasses.replace(x, shape=call.shapes[0], pads=pads, fill=fill)


def slice_node(graph: Rewriter, call: Call) -> list[Axes]:
    """Slice of features; of time the last step, or what cuts padding off."""
    call.check_only_first("bounds")
    x = call.x
    name, out = call.node.input[0], call.node.output[0]
    slices, kept = axis_slices(call), []
    for each in slices:
        letter, stop = x.axes[each.axis], each.bounds[1]
        if not letter:
            kept.append(each)
        elif letter != "T":
            if not each.is_whole or each.same_stop is not None:
                raise ImportRefused(f"cuts {x.describe(each.axis)}")
        elif each.bounds[2] < 0:
            raise ImportRefused("reverses time; a stream does not know the last step before it comes")
        elif len(slices) > 1 and not each.is_whole:
            raise ImportRefused("cuts time and another axis in one node")
        elif not each.is_whole:
            return _cut_time(graph, call, each)
        elif each.same_stop is not None:
            raise ImportRefused(f"takes at most {stop} steps; the later ones of a longer sequence are lost")
    if len(kept) == len(slices):
        graph.keep(call.node)
    elif not kept:
        graph.alias(out, name)
        return [x]
    else:
        starts, stops, strides = zip(*(each.bounds for each in kept), strict=True)
        axes = [each.axis for each in kept]
        bounds = [graph.constant(list(numbers)) for numbers in (starts, stops, axes, strides)]
        graph.op("Slice", graph.read(name), *bounds, output=out)
    return [x.with_shape(call.shapes[0])]


def _cut_time(graph: Rewriter, call: Call, each: AxisSlice) -> list[Axes]:
    x, (before, after) = call.x, each.cut
    is_last = each.cut == (each.size - 1, 0)
    if each.other is not None:
        expected = (each.other.size - 1, 0) if is_last else each.cut
        if each.other.cut != expected:
            raise ImportRefused("takes or cuts off a number of steps that depends on how many there are")
    if is_last and not any(x.pads):
        y = x.with_shape(call.shapes[0], ["" if letter == "T" else letter for letter in x.axes])
        if not _take_state(graph, call, y):
            graph.cut(graph.read(call.node.input[0]), -1, FAR, x.time, output=call.node.output[0])
        return [y]
    if each.bounds[2] != 1:
        raise ImportRefused(f"takes every {each.bounds[2]}th step")
    return [_padded(graph, call, -before, -after)]


def gather_node(graph: Rewriter, call: Call) -> list[Axes]:
    """Gather: rows of a table by tokens, some features, or the last step."""
    table, indices = (*call.signals, None)[:2]
    axis = call.attributes.get("axis", 0)
    if table is None and indices is not None:
        if call.numbers[0] is None:
            raise ImportRefused("is a Gather without a constant table, which is unsupported")
        inner = call.numbers[0].ndim - 1
        same(call.numbers[0], call.others[0])
        axis %= inner + 1
        graph.keep(call.node)
        axes = [""] * axis + list(indices.axes) + [""] * (inner - axis)
        return [indices.with_shape(call.shapes[0], axes)]
    if table is None or indices is not None:
        raise ImportRefused("is a Gather with data-dependent indices, which is unsupported")
    axis %= len(table.axes)
    chosen = call.numbers[1]
    assert chosen is not None
    rest = [*table.axes[:axis], *[""] * chosen.ndim, *table.axes[axis + 1 :]]
    if not table.axes[axis]:
        graph.keep(call.node)
        return [table.with_shape(call.shapes[0], rest)]
    what = table.describe(axis)
    if table.axes[axis] != "T" or chosen.size != 1 or any(table.pads):
        raise ImportRefused(f"takes some of {what}; a stream knows only the last step")
    if not step_taken(call, axis)[1]:
        raise ImportRefused(f"takes step {int(chosen.ravel()[0])} alone; a stream knows only the last step")
    y = table.with_shape(call.shapes[0], rest)
    if not _take_state(graph, call, y):
        graph.keep(call.node).input[1] = graph.constant(np.full(chosen.shape, -1))
    return [y]


def _take_state(graph: Rewriter, call: Call, y: Axes) -> bool:
    """Let a new state stand for the last step, if it is one: it is also there if a chunk has no steps."""
    axes = [axis for axis, size in enumerate(y.shape) if y.axes[axis] or size > 1]
    state = graph.last_steps.get(call.node.input[0])
    if not state or [y.axes[axis] for axis in axes] != ["B", ""]:
        return False
    ones = [axis for axis in range(len(y.axes)) if axis not in axes]
    if ones:
        graph.unsqueeze(state, ones, output=call.node.output[0])
    else:
        graph.alias(call.node.output[0], state)
    return True


def tile_node(graph: Rewriter, call: Call) -> list[Axes]:
    """Tile along features."""
    repeats = call.get(1, "repeats")
    check_features(call.x, [axis for axis, count in enumerate(repeats) if count != 1], "repeats")
    graph.keep(call.node)
    return [call.x.with_shape(call.shapes[0])]
