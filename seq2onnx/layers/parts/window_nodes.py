"""Windows over time as ONNX nodes; window.py explains what the frame does. Pooling within a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.window import Window
from seq2onnx.layers.signal import Value

Framed = tuple[str, str | None, str | None, Mapping[str, str]]


def emit_frame(
    window: Window, graph: GraphBuilder, x: Value, lengths: str | None, states: Mapping[str, str] | None
) -> Framed:
    """Add `Window.frame` to the graph.

    Returns:
        Names: the steps; the number of windows that count, int64 [1], None: all; that number in each row; the new
        states.
    """
    if graph.is_fixed:
        # The steps of a run are a multiple of the stride, so the phase is always 0.
        assert window.is_causal
        framed, new = emit_after_buffer(graph, x.name, states, window.reach)
        return framed, None, None, new
    if states is not None:
        return _emit_chunk(window, graph, x, lengths, states)
    stride, reach = window.stride, window.reach
    steps = graph.steps(x.name)
    if window.pads is None:
        assert lengths is not None
        count = _ceil_div(graph, steps, stride, graph.ints)
        windows = _ceil_div(graph, lengths, stride, graph.number)
        # Half of the steps that the last window of a row lacks are padding on the left.
        begin = graph.op("Mul", graph.op("Sub", windows, graph.number(1)), graph.number(stride))
        lack = graph.op("Add", graph.op("Sub", begin, lengths), graph.number(reach + 1))
        left = graph.op("Div", graph.op("Max", lack, graph.number(0)), graph.number(2))
        offset = graph.op("Unsqueeze", graph.op("Sub", graph.number(reach), left), graph.ints(1))
        padded = graph.pad_steps(graph.masked(x, lengths), reach, reach + stride)
        return graph.gather_steps(padded, offset, _room(window, graph, count)), count, windows, {}
    left_pad, right_pad = window.pads
    name = graph.masked(x, lengths) if right_pad else x.name
    framed = graph.pad_steps(name, left_pad, right_pad + max(0, 1 - window.extra))
    if (window.extra, stride) == (0, 1):
        return framed, steps, lengths, {}
    counted = None if lengths is None else _emit_length(window, graph, lengths, graph.number)
    return framed, _emit_length(window, graph, steps, graph.ints), counted, {}


def emit_after_buffer(
    graph: GraphBuilder, x: str, states: Mapping[str, str] | None, reach: int
) -> tuple[str, dict[str, str]]:
    """Put the buffer of `reach` steps before x, in which all steps count; return both joined, and the new states."""
    if not reach:
        return x, {}
    assert states is not None
    joined = graph.op("Concat", states["buf"], x, axis=1)
    return joined, {"buf": graph.last_steps(joined, reach)}


def emit_mean(
    graph: GraphBuilder,
    x: Value,
    shape: tuple[int, ...],
    count_padding: bool,
    kernel_shape: list[int],
    strides: list[int],
    pads: list[int],
) -> str:
    """Take the mean of windows within each step of x; `shape` is that of a step of the result."""
    rank, settings = len(kernel_shape), {"strides": strides, "pads": pads}
    if not count_padding or pads[:rank] == pads[rank:]:
        settings |= {"kernel_shape": kernel_shape}
        return emit_pool(graph, "AveragePool", x, shape, count_include_pad=int(count_padding), **settings)
    # From opset 19 on, AveragePool of onnxruntime before 1.25 divides the last windows by a wrong number.
    channels = x.signal.shape[0]
    kernel = graph.constant(np.full((channels, 1, *kernel_shape), 1 / math.prod(kernel_shape), np.float32))
    return emit_pool(graph, "Conv", x, shape, kernel, group=channels, **settings)


def emit_pool(
    graph: GraphBuilder, op: str, x: Value, shape: tuple[int, ...], *constants: str, **attributes: Any
) -> str:
    """Apply MaxPool, AveragePool or Conv within each step of x; `shape` is that of a step of the result."""

    def pool(steps: str) -> str:
        if not graph.portable:
            return graph.op(op, steps, *constants, **attributes)
        # OpenVINO does not pool a batch without rows.
        none = [0] * len(x.signal.shape)
        y = graph.op(op, graph.op("Pad", steps, graph.ints(0, *none, 1, *none)), *constants, **attributes)
        return graph.op("Slice", y, graph.ints(0), graph.ints(-1), graph.ints(0))

    return graph.per_step(x, pool, shape)


def _emit_chunk(
    window: Window, graph: GraphBuilder, x: Value, lengths: str | None, states: Mapping[str, str]
) -> Framed:
    assert window.pads is not None
    stride, reach, (left, right) = window.stride, window.reach, window.pads
    new: dict[str, str] = {}
    steps, name = graph.steps(x.name), x.name
    if window.is_causal and stride == 1:
        if reach:
            name = graph.op("Concat", states["buf"], name, axis=1)
            new["buf"] = emit_last(graph, name, lengths, reach)
        return graph.pad_steps(name, 0, 1), steps, lengths, new

    # New steps of each row, int32 [batch, 1]. Without lengths all rows have the same, as many rows as a state has.
    zeros = graph.op("Mul", states["phase" if stride > 1 else "count"], graph.number(0))
    fresh = graph.row_steps(x.name, lengths)
    fresh = graph.op("Add", zeros, fresh) if lengths is None else fresh
    skip: str | None = None
    if not window.is_causal:
        count, most = states["count"], graph.number(max(reach, 1))
        if right and graph.end:
            seen = graph.op("Min", graph.op("Add", count, fresh), graph.number(1))
            ends = graph.op("Mul", graph.op("Unsqueeze", graph.end, graph.ints(1)), seen)
            name = graph.pad_steps(graph.masked(x, lengths), 0, right)
            fresh = graph.op("Add", fresh, graph.op("Mul", ends, graph.number(right)))
            steps = graph.op("Add", steps, graph.ints(right))
        new["count"] = graph.op("Min", graph.op("Add", count, fresh), most)
        if left < reach:
            skip = graph.op("Max", graph.op("Sub", graph.number(reach - left), count), graph.number(0))
        else:
            skip = zeros
    begin, counted = skip, fresh if skip is None else _clamped_sub(graph, fresh, skip)
    if stride > 1:
        phase = states["phase"]
        wait = graph.op("Mod", graph.op("Sub", graph.number(stride), phase), graph.number(stride))
        begin = wait if skip is None else graph.op("Add", skip, wait)
        new["phase"] = graph.op("Mod", graph.op("Add", phase, counted), graph.number(stride))
        counted = _clamped_sub(graph, fresh, begin)
    assert begin is not None
    windows = graph.op("Squeeze", _ceil_div(graph, counted, stride, graph.number), graph.ints(1))
    if reach:
        name = graph.op("Concat", states["buf"], name, axis=1)
        new["buf"] = graph.gather_steps(name, fresh, graph.ints(reach))
    out = _ceil_div(graph, steps, stride, graph.ints)
    framed = graph.gather_steps(graph.pad_steps(name, 0, 1), begin, _room(window, graph, out))
    return framed, out, windows, new


def _room(window: Window, graph: GraphBuilder, count: str) -> str:
    """Count the steps that `count` windows need, at least one window."""
    some = graph.op("Max", count, graph.ints(1))
    return graph.op("Add", graph.op("Mul", some, graph.ints(window.stride)), graph.ints(window.reach))


def _emit_length(window: Window, graph: GraphBuilder, steps: str, make: Callable[[int], str]) -> str:
    """Compute `Window.length` of int64 [1] or int32 [batch]. ONNX's Div truncates, so negative numbers are clamped."""
    grown = graph.op("Max", graph.op("Add", steps, make(window.extra - 1 + window.stride)), make(0))
    count = graph.op("Div", grown, make(window.stride)) if window.stride > 1 else grown
    if window.extra > 0:
        # No steps give no windows, however much padding there is.
        count = graph.op("Min", count, graph.op("Mul", steps, make(window.extra + 1)))
    return count


def emit_last(graph: GraphBuilder, x: str, lengths: str | None, reach: int) -> str:
    """Take the last `reach` steps of each row of x, which is a buffer of `reach` steps and a chunk of `lengths`."""
    if lengths is None:
        return graph.last_steps(x, reach)
    return graph.gather_steps(x, graph.op("Unsqueeze", lengths, graph.ints(1)), graph.ints(reach))


def _clamped_sub(graph: GraphBuilder, a: str, b: str) -> str:
    return graph.op("Max", graph.op("Sub", a, b), graph.number(0))


def _ceil_div(graph: GraphBuilder, steps: str, stride: int, make: Callable[[int], str]) -> str:
    """Compute ⌈steps / stride⌉ of numbers ≥ 0."""
    if stride == 1:
        return steps
    return graph.op("Div", graph.op("Add", steps, make(stride - 1)), make(stride))
