"""Convolutions and poolings over time get the last steps of their input as a state."""

from __future__ import annotations

import dataclasses

import numpy as np
from onnx import NodeProto, TensorProto

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes, AxesRefused, RowsJoined
from seq2onnx.importing.onnx.node_calls import Call, check_weights, padding
from seq2onnx.importing.states.rewriting import FAR, Rewriter, label

LOWEST = float(np.finfo(np.float32).min)
"""The padding of a maximum, the same as that of onnxruntime."""


@dataclasses.dataclass(frozen=True)
class TimeWindow:
    """The window of a convolution or pooling over one axis.

    Attributes:
        axis: the axis, which is time.
        reach: how many steps before the last one of a window are in it.
        before: steps of padding before the first step, of the operator and of a Pad node.
        after: steps of padding after the last step.
        pads: the attribute `pads` without the padding of time.
    """

    axis: int
    reach: int
    before: int
    after: int
    pads: list[int]


def convolution(graph: Rewriter, call: Call) -> list[Axes]:
    """Conv; where time is no axis of its windows, it acts on each step alone."""
    check_weights(call)
    x, weights = call.x, call.numbers[1]
    if weights is None or x is not call.signals[0]:
        raise ImportRefused("takes its weights from the data")
    _check_rows(x)
    if "T" not in x.axes[2:]:
        graph.keep(call.node)
        return [_out(x, call.shapes[0])]
    window = _window(call, list(weights.shape[2:]))
    _check_fill(x)
    both = _with_buffer(graph, call, window) if window.reach else None
    node = graph.keep(call.node, pads=window.pads, auto_pad=None)
    node.input[0] = both or node.input[0]
    return [_out(x, call.shapes[0], (0, window.after))]


def pooling(graph: Rewriter, call: Call) -> list[Axes]:
    """MaxPool, AveragePool and LpPool."""
    x, op = call.x, call.node.op_type
    _check_rows(x)
    if len(call.shapes) > 1:
        raise ImportRefused("gives the places of the maxima")
    if "T" not in x.axes[2:]:
        graph.keep(call.node)
        return [_out(x, call.shapes[0])]
    window = _window(call, call.attributes["kernel_shape"])
    if call.attributes.get("ceil_mode"):
        raise ImportRefused("has ceil_mode, with which the last window is shorter")
    after = (0, window.after)
    if not window.reach:
        graph.keep(call.node, pads=window.pads, auto_pad=None)
        return [_out(x, call.shapes[0], after)]
    by_pad = sum(x.pads) > 0  # else the operator pads, which no window counts
    if by_pad and window.before != x.pads[0]:
        raise ImportRefused("has padding of its own and of a Pad node; use one of them")
    counts = op == "LpPool" or (op == "AveragePool" and call.attributes.get("count_include_pad"))
    lowest = op == "MaxPool" and (not by_pad or x.fill < -1e30)
    if not lowest:
        _check_fill(x)
    both = _with_buffer(graph, call, window, masked=lowest)
    y = graph.keep(call.node, pads=window.pads, auto_pad=None)
    y.input[0] = both
    if op == "AveragePool" and not by_pad and not counts:
        if any(window.pads):
            raise ImportRefused("averages over padded height or width, too")
        _divide_by_share(graph, call, window, y)
    return [_out(x, call.shapes[0], after)]


def _check_fill(x: Axes) -> None:
    if x.fill:
        raise ImportRefused(f"has padding of {x.fill:g} before it; only zeros can start a stream")


def _check_rows(x: Axes) -> None:
    if "T" in x.axes[1]:
        raise AxesRefused("has time as its channels; is the order of the axes another? axes=")
    if "B" in "".join(x.axes[1:]) or "BT" in x.axes[1:]:
        raise RowsJoined(f"runs over the batch, in a tensor {list(x.shape)}")
    if x.pads[0] and "T" not in x.axes[2:]:
        raise ImportRefused("reads the padding of time")
    if not x.axes[0] and x.shape[0] > 1:
        raise ImportRefused("has features as its batch")


def _window(call: Call, kernel: list[int]) -> TimeWindow:
    x, attributes = call.x, call.attributes
    axis, count = x.time, len(kernel)
    place = axis - 2
    if x.axes[0] not in ("B", ""):
        raise ImportRefused(f"has {x.describe(0)} as its batch and time as its width")
    dilation = attributes.get("dilations", [1] * count)[place]
    if attributes.get("strides", [1] * count)[place] != 1:
        raise ImportRefused(
            "has a stride along time, so that steps go in and none comes out; from_onnx has strides, if it takes the "
            "rest of the file"
        )
    reach = dilation * (kernel[place] - 1)
    pads = padding(call, kernel)
    before, after = (own + of_time for own, of_time in zip(pads[place], x.pads, strict=True))
    if before < reach:
        raise ImportRefused(
            f"has windows of {reach + 1} steps with {before} of padding before the first: they read {reach - before} "
            f"steps ahead. Only causal padding of {reach} streams without delay; from_onnx has lookahead, if it takes "
            "the rest of the file"
        )
    if before > reach:
        raise ImportRefused(f"has {before} steps of padding before the first, more than its windows reach ({reach})")
    pads[place] = (0, 0)
    return TimeWindow(axis, reach, before, after, [*(low for low, _ in pads), *(high for _, high in pads)])


def _with_buffer(graph: Rewriter, call: Call, window: TimeWindow, masked: bool = False) -> str:
    """Return the input after the last steps of the chunk before it.

    `masked`: the window sees the lowest number before the first step, as onnxruntime's own padding does.
    """
    shape = list(call.x.shape[1:])
    shape[window.axis - 1] = window.reach
    layer, source = label(call.node.name or call.node.output[0]), graph.read(call.node.input[0])
    old, new = graph.state(layer, "buf", shape)
    both = graph.op("Concat", old, source, axis=window.axis)
    graph.cut(both, -window.reach, FAR, window.axis, output=new)
    if not masked:
        return both
    # The state keeps its zeros before the first step: only the window sees the lowest number there.
    first = graph.op("Where", _phantoms(graph, call, window), graph.constant(LOWEST, np.float32), old)
    return graph.op("Concat", first, source, axis=window.axis)


def count_steps(graph: Rewriter, layer: str, x: str, axis: int, most: int) -> str:
    """Return how many steps came before those of x, up to `most`: a state [batch, 1]."""
    old, new = graph.state(layer, "count", (1,), "int32")
    steps = graph.op("Cast", graph.size(x, axis), to=TensorProto.INT32)
    total = graph.op("Add", old, steps)
    limit = graph.constant(most, np.int32)
    if graph.opset >= 12:
        graph.op("Min", total, limit, output=new)
    else:
        graph.op("Where", graph.op("Less", total, limit), total, limit, output=new)
    return old


def _phantoms(graph: Rewriter, call: Call, window: TimeWindow) -> str:
    """Return whether each step of the buffer is before the first of the sequence, in the rank of the input."""
    x, rank, reach = graph.read(call.node.input[0]), len(call.x.axes), window.reach
    old = count_steps(graph, label(call.node.name or call.node.output[0]), x, window.axis, reach)
    shape = [1] * rank
    shape[window.axis] = reach
    # Step i of the buffer is real if the last reach - i steps are.
    needed = graph.constant(np.arange(reach, 0, -1).reshape(shape), np.int32)
    seen = graph.unsqueeze(old, list(range(2, rank)))
    return graph.op("Less", seen, needed)


def _divide_by_share(graph: Rewriter, call: Call, window: TimeWindow, node: NodeProto) -> None:
    """Divide averages over windows with steps before the first one by the share of real steps."""
    x, y = graph.read(call.node.input[0]), node.output[0]
    real = graph.op("Cast", graph.op("Not", _phantoms(graph, call, window)), to=TensorProto.FLOAT)
    data = graph.cut(x, 0, 1, 1)
    if len(call.x.axes) > 3:
        other = next(axis for axis in range(2, len(call.x.axes)) if axis != window.axis)
        data = graph.cut(data, 0, 1, other)
    # 1 for each step: x == x, or x is not a number.
    ones = graph.op(
        "Cast", graph.op("Or", graph.op("Equal", data, data), graph.op("IsNaN", data)), to=TensorProto.FLOAT
    )
    mask = graph.op("Concat", real, ones, axis=window.axis)
    kernel = [1] * (len(call.x.axes) - 2)
    kernel[window.axis - 2] = call.attributes["kernel_shape"][window.axis - 2]
    changed = {"dilations": call.attributes["dilations"]} if "dilations" in call.attributes else {}
    share = graph.op("AveragePool", mask, kernel_shape=kernel, **changed)
    node.output[0] = f"{y}_with_padding"
    graph.op("Div", node.output[0], share, output=y)


def _out(x: Axes, shape: tuple[int, ...], pads: tuple[int, int] = (0, 0)) -> Axes:
    return Axes((x.axes[0], "", *x.axes[2:]), shape, pads)
