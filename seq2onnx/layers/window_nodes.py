"""The frame of a window in ONNX; what it does stands in window.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seq2onnx.layers.window import Window

if TYPE_CHECKING:
    from seq2onnx.exporting.graph import GraphBuilder, Value
    from seq2onnx.layers.base import Names


def emit_frame(
    window: Window, graph: GraphBuilder, x: Value, lengths: str | None, states: Names | None
) -> tuple[str, str, str | None, Names]:
    """`Window.frame` as nodes: (framed, how many windows count int64 [1], their number in each row, new states)."""
    if states is not None:
        return _emit_chunk(window, graph, x, lengths, states)
    stride, reach = window.stride, window.reach
    steps = graph.steps(x.name)
    if window.pads is None:
        assert lengths is not None
        count = _ceil_div(graph, steps, stride, graph.ints)
        windows = _ceil_div(graph, lengths, stride, graph.number)
        # How much of the padding of each row is on the left: half of what its last window lacks.
        begin = graph.op("Mul", graph.op("Sub", windows, graph.number(1)), graph.number(stride))
        lack = graph.op("Add", graph.op("Sub", begin, lengths), graph.number(reach + 1))
        left = graph.op("Div", graph.op("Max", lack, graph.number(0)), graph.number(2))
        offset = graph.op("Unsqueeze", graph.op("Sub", graph.number(reach), left), graph.ints(1))
        padded = graph.pad_steps(graph.masked(x, lengths), reach, reach + stride)
        return graph.rows(padded, offset, _room(window, graph, count)), count, windows, ()
    left_pad, right_pad = window.pads
    name = graph.masked(x, lengths) if right_pad else x.name
    framed = graph.pad_steps(name, left_pad, right_pad + max(0, 1 - window.extra))
    if (window.extra, stride) == (0, 1):
        return framed, steps, lengths, ()
    counted = None if lengths is None else _emit_length(window, graph, lengths, graph.number)
    return framed, _emit_length(window, graph, steps, graph.ints), counted, ()


def _emit_chunk(
    window: Window, graph: GraphBuilder, x: Value, lengths: str | None, states: Names
) -> tuple[str, str, str | None, Names]:
    assert window.pads is not None
    stride, reach, (left, right) = window.stride, window.reach, window.pads
    waiting, new = list(states), []
    buffer = waiting.pop(0) if reach else None
    steps = graph.steps(x.name)
    name = x.name
    if window.is_causal and stride == 1:
        if buffer:
            name = graph.op("Concat", buffer, name, axis=1)
            new.append(_last(graph, name, lengths, reach))
        return graph.pad_steps(name, 0, 1), steps, lengths, tuple(new)

    # New steps of each row [batch, 1]: without lengths the same in all, as many rows as a state has.
    zeros = graph.op("Mul", waiting[-1], graph.number(0))
    if lengths is None:
        fresh = graph.op("Add", zeros, graph.cast(steps, "int32"))
    else:
        fresh = graph.op("Unsqueeze", lengths, graph.ints(1))
    skip: str | None = None
    if not window.is_causal:
        count = waiting.pop(0)
        most = graph.number(max(reach, 1))
        if right and graph.end:
            seen = graph.op("Min", graph.op("Add", count, fresh), graph.number(1))
            ends = graph.op("Mul", graph.op("Unsqueeze", graph.end, graph.ints(1)), seen)
            name = graph.pad_steps(graph.masked(x, lengths), 0, right)
            fresh = graph.op("Add", fresh, graph.op("Mul", ends, graph.number(right)))
            steps = graph.op("Add", steps, graph.ints(right))
        new.append(graph.op("Min", graph.op("Add", count, fresh), most))
        if left < reach:
            skip = graph.op("Max", graph.op("Sub", graph.number(reach - left), count), graph.number(0))
        else:
            skip = zeros
    begin, counted = skip, fresh if skip is None else _clamped_sub(graph, fresh, skip)
    if stride > 1:
        phase = waiting.pop(0)
        wait = graph.op("Mod", graph.op("Sub", graph.number(stride), phase), graph.number(stride))
        begin = wait if skip is None else graph.op("Add", skip, wait)
        new.append(graph.op("Mod", graph.op("Add", phase, counted), graph.number(stride)))
        counted = _clamped_sub(graph, fresh, begin)
    assert begin is not None
    windows = graph.op("Squeeze", _ceil_div(graph, counted, stride, graph.number), graph.ints(1))
    if buffer:
        name = graph.op("Concat", buffer, name, axis=1)
        new.insert(0, graph.rows(name, fresh, graph.ints(reach)))
    out = _ceil_div(graph, steps, stride, graph.ints)
    framed = graph.rows(graph.pad_steps(name, 0, 1), begin, _room(window, graph, out))
    return framed, out, windows, tuple(new)


def _room(window: Window, graph: GraphBuilder, count: str) -> str:
    """Steps that `count` windows need, one at least."""
    some = graph.op("Max", count, graph.ints(1))
    return graph.op("Add", graph.op("Mul", some, graph.ints(window.stride)), graph.ints(window.reach))


def _emit_length(window: Window, graph: GraphBuilder, steps: str, make: Callable[[int], str]) -> str:
    """`length` of int64 [1] or int32 [batch]; ONNX's Div truncates, so it is kept from negative numbers."""
    grown = graph.op("Max", graph.op("Add", steps, make(window.extra - 1 + window.stride)), make(0))
    count = graph.op("Div", grown, make(window.stride)) if window.stride > 1 else grown
    if window.extra > 0:
        # No steps give no windows, however much padding there is.
        count = graph.op("Min", count, graph.op("Mul", steps, make(window.extra + 1)))
    return count


def _last(graph: GraphBuilder, x: str, lengths: str | None, reach: int) -> str:
    """The last `reach` steps of each row of x, a buffer of `reach` steps and a chunk of `lengths`."""
    if lengths is None:
        return graph.op("Slice", x, graph.ints(-reach), graph.ints(2**31 - 1), graph.ints(1))
    return graph.rows(x, graph.op("Unsqueeze", lengths, graph.ints(1)), graph.ints(reach))


def _clamped_sub(graph: GraphBuilder, a: str, b: str) -> str:
    return graph.op("Max", graph.op("Sub", a, b), graph.number(0))


def _ceil_div(graph: GraphBuilder, steps: str, stride: int, make: Callable[[int], str]) -> str:
    """⌈steps / stride⌉ of numbers that are not negative."""
    if stride == 1:
        return steps
    return graph.op("Div", graph.op("Add", steps, make(stride - 1)), make(stride))
