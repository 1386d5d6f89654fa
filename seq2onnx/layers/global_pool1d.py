"""Global pooling: one number per channel for a whole sequence, or for the width of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import time_sums
from seq2onnx.layers.parts.window import Axis, check_axis, mask
from seq2onnx.layers.signal import Signal, State, Value


@final
@layer
class GlobalMaxPool1d(Layer):
    """Maximum of each channel over the valid steps; 0 if there are none.

        y = max_t x_t

    Shapes (B batch, T time, C channels, W width; float32):
        x [B, T, C] -> y [B, C], in a stream the running value. With axis="space" x [B, T, C, W] -> y [B, T, C].

    Args:
        axis: "time", or "space", the width of each step of a (C, W) signal.

    Raises:
        ShapeError: the input does not have this axis.

    State:
        max [B, C]; count [B, 1] int32, the steps so far, at most 2^30; 0 means that max has no value yet

    ONNX:
        Pad, ReduceMax

    Example:
        >>> GlobalMaxPool1d()

    Source:
        ONNX operator ReduceMax-13
    """

    axis: Axis = "time"

    kind: ClassVar[str] = "global_max_pool1d"

    def infer(self, *signals: Signal) -> Signal:
        return _infer(self, signals)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        if self.axis == "space":
            return ()
        return State("max", signals[0].shape), State("count", (1,), "int32")

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        from seq2onnx.building.layer_module import step_mask

        x, states = call.x, call.states
        if self.axis == "space":
            return x.amax(-1), call.lengths, {}
        lowest, count = torch.finfo(x.dtype).min, call.row_lengths[:, None]
        values = torch.where(step_mask(x, call.row_lengths), x, lowest)
        before = x.new_full((len(x), 1, x.shape[2]), lowest)
        if states is not None:
            before = torch.where(states["count"] > 0, states["max"], lowest)[:, None]
            count = count + states["count"]
        y = torch.where(count > 0, torch.cat([before, values], 1).amax(1), 0)
        return y, None, {} if states is None else {"max": y.clone(), "count": time_sums.kept_count(count)}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, states = call.x, call.states
        if self.axis == "space":
            return _emit_over_width(graph, x, "ReduceMax"), call.lengths, {}
        lowest = np.finfo(np.float32).min
        values = graph.masked(x, call.lengths, float(lowest))
        if not (graph.is_fixed or graph.one_step):  # onnxruntime before 1.22 has no maximum of no steps
            values = graph.op("Pad", values, graph.ints(0, 0, 0, 0, 1, 0), graph.constant(lowest))
        largest = graph.reduce("ReduceMax", values, 1)
        count = time_sums.emit_count(graph, call)
        seen = None if graph.is_fixed else graph.cast(count, "bool")  # each run has steps
        if states is not None:
            before = graph.op("Where", graph.cast(states["count"], "bool"), states["max"], graph.constant(lowest))
            largest = graph.op("Max", largest, before)
        y = largest if seen is None else graph.op("Where", seen, largest, graph.constant(np.float32(0)))
        return y, None, {} if states is None else {"max": y, "count": time_sums.emit_kept_count(graph, count)}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls("space"), (Signal((3, 4)),))]


@final
@layer
class GlobalAvgPool1d(Layer):
    """Mean of each channel over the valid steps; 0 if there are none.

        y = Σ_t x_t / n     n: number of valid steps

    In a stream, k more steps after n others change the states in this way. The sum over the steps is float64:

        t = carry + Σ_t (x_t − mean) / (n + k)
        mean' = mean + t     carry' = t − (mean' − mean)

    A sum of all steps in float32 would take nothing more once it is 2^24 times as large as a step.

    Shapes (B batch, T time, C channels, W width; float32):
        x [B, T, C] -> y [B, C], in a stream the running value. With axis="space" x [B, T, C, W] -> y [B, T, C].

    Args:
        axis: "time", or "space", the width of each step of a (C, W) signal.

    Raises:
        ShapeError: the input does not have this axis.

    State:
        mean [B, C]; carry [B, C], what float32 cannot hold of the mean; count [B, 1] int32, the steps so far, at most
        2^30. After more steps the mean forgets slowly: a new step then has the weight 2^−30

    ONNX:
        CumSum or ReduceSum of float64, Div; over the width ReduceMean. The forms "step" and "portable" have float32
        alone. In a portable file the error of the mean is at most 1e-5 of the largest number for 16,384 steps in a run

    Example:
        >>> GlobalAvgPool1d()

    Source:
        ONNX operators CumSum-14, ReduceSum-13, ReduceMean-13
    """

    axis: Axis = "time"

    kind: ClassVar[str] = "global_avg_pool1d"

    def infer(self, *signals: Signal) -> Signal:
        return _infer(self, signals)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        if self.axis == "space":
            return ()
        return State("mean", signals[0].shape), State("carry", signals[0].shape), State("count", (1,), "int32")

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x, states = call.x, call.states
        if self.axis == "space":
            return x.mean(-1), call.lengths, {}
        total, fresh = mask(x, call.row_lengths).sum(1, dtype=time_sums.wide_dtype(x)), call.row_lengths[:, None]
        if states is None:
            return (total / fresh.clamp(min=1)).to(x.dtype), None, {}
        before, count = states["mean"].to(total.dtype) + states["carry"], states["count"] + fresh
        now = torch.where(fresh > 0, (before * states["count"] + total) / count.clamp(min=1), before)
        mean, carry = time_sums.split(now, states["mean"].dtype)
        return mean.clone(), None, {"mean": mean, "carry": carry, "count": time_sums.kept_count(count)}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, states = call.x, call.states
        if self.axis == "space":
            return _emit_over_width(graph, x, "ReduceMean"), call.lengths, {}
        count = time_sums.emit_count(graph, call)
        divisor, steps = time_sums.emit_divisor(graph, count), x.name
        if states is not None:
            steps = graph.op("Sub", steps, graph.op("Unsqueeze", states["mean"], graph.ints(1)))
        y = time_sums.emit_quotient(graph, Value(steps, x.signal), call.lengths, divisor)
        if states is None:
            return y, None, {}
        mean, carry = time_sums.emit_more(graph, states["mean"], states["carry"], y)
        return mean, None, {"mean": mean, "carry": carry, "count": time_sums.emit_kept_count(graph, count)}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls("space"), (Signal((3, 4)),))]


def _infer(layer: GlobalMaxPool1d | GlobalAvgPool1d, signals: tuple[Signal, ...]) -> Signal:
    x = check_axis(layer, signals, layer.axis)
    if layer.axis == "space":
        return dataclasses.replace(x, shape=x.shape[:1])
    return dataclasses.replace(x, has_time=False)


def _emit_over_width(graph: GraphBuilder, x: Value, op: str) -> str:
    # `per_step` sets the shape of the result: onnxruntime before 1.32 leaves an empty array as it is.
    return graph.per_step(x, lambda steps: graph.reduce(op, steps, -1), x.signal.shape[:1])
