"""Global pooling: one number a channel for a whole sequence, or for the width of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from seq2onnx.layers.base import Example, Layer, Signal, State, layer, one
from seq2onnx.layers.window import Axis, check_axis, mask

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder, Value
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class GlobalMaxPool1d(Layer):
    """The largest value of each channel over the valid steps; 0 where there is none.

        y = max_t x_t

    Shapes (B batch, T time, C channels, W width; float32):
        x [B, T, C] -> y [B, C], so far;   axis="space": x [B, T, C, W] -> y [B, T, C]
    State:   max [B, C]; count [B, 1] int32, the steps so far: at the start max is no value, or max(0, −5) were 0
    Args:    axis: "time", or "space", the width of each step of a (C, W) signal
    ONNX:    ReduceMax
    Raises:  ShapeError where there is no such axis
    Example: >>> GlobalMaxPool1d()
    Source:  ONNX operator ReduceMax-13
    """

    axis: Axis = "time"

    kind: ClassVar[str] = "global_max_pool1d"

    def infer(self, *signals: Signal) -> Signal:
        return _infer(self, self.axis, signals)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        if self.axis == "space":
            return ()
        return State("max", signals[0].shape), State("count", (1,), "int32")

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        from seq2onnx.layers.module import step_mask

        (x,) = xs
        if self.axis == "space":
            return x.amax(-1), lengths, ()
        assert lengths is not None
        lowest = torch.finfo(x.dtype).min
        values = torch.where(step_mask(x, lengths), x, lowest)
        before = x.new_full((len(x), 1, x.shape[2]), lowest)
        count = lengths[:, None]
        if states is not None:
            so_far, steps = states
            before, count = torch.where(steps > 0, so_far, lowest)[:, None], count + steps
        y = torch.where(count > 0, torch.cat([before, values], 1).amax(1), 0)
        return y, None, () if states is None else (y.clone(), count.to(torch.int32))

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        (x,) = xs
        if self.axis == "space":
            return graph.reduce("ReduceMax", x.name, -1), lengths, ()
        lowest = graph.constant(np.finfo(np.float32).min)
        largest = graph.reduce("ReduceMax", graph.masked(x, lengths, float(np.finfo(np.float32).min)), 1)
        seen, count = _seen(graph, x, lengths, None if states is None else states[1])
        if states is not None:
            before = graph.op("Where", graph.cast(states[1], "bool"), states[0], lowest)
            largest = graph.op("Max", largest, before)
        y = graph.op("Where", seen, largest, graph.constant(np.float32(0)))
        return y, None, () if states is None else (y, count)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls("space"), (Signal((3, 4)),))]


@final
@layer
class GlobalAvgPool1d(Layer):
    """The mean of each channel over the valid steps; 0 where there is none.

        y = Σ_t x_t / n     n the valid steps

    Shapes (B batch, T time, C channels, W width; float32):
        x [B, T, C] -> y [B, C], so far;   axis="space": x [B, T, C, W] -> y [B, T, C]
    State:   sum [B, C]; count [B, 1] int32, the steps so far: float32 stops counting at 2^24
    Args:    axis: "time", or "space", the width of each step of a (C, W) signal
    ONNX:    ReduceSum, Div; ReduceMean over the width
    Raises:  ShapeError where there is no such axis
    Example: >>> GlobalAvgPool1d()
    Source:  ONNX operators ReduceSum-13, ReduceMean-13
    """

    axis: Axis = "time"

    kind: ClassVar[str] = "global_avg_pool1d"

    def infer(self, *signals: Signal) -> Signal:
        return _infer(self, self.axis, signals)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        if self.axis == "space":
            return ()
        return State("sum", signals[0].shape), State("count", (1,), "int32")

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        (x,) = xs
        if self.axis == "space":
            return x.mean(-1), lengths, ()
        assert lengths is not None
        total, count = mask(x, lengths).sum(1), lengths[:, None]
        if states is not None:
            total, count = total + states[0], count + states[1]
        y = total / count.clamp(min=1)
        return y, None, () if states is None else (total, count.to(torch.int32))

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        (x,) = xs
        if self.axis == "space":
            return graph.reduce("ReduceMean", x.name, -1), lengths, ()
        total = graph.op("ReduceSum", graph.masked(x, lengths), graph.ints(1), keepdims=0)
        if states is not None:
            total = graph.op("Add", total, states[0])
        _, count = _seen(graph, x, lengths, None if states is None else states[1])
        divisor = graph.cast(graph.op("Max", count, graph.number(1)), "float32")
        y = graph.op("Div", total, divisor)
        return y, None, () if states is None else (total, count)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls("space"), (Signal((3, 4)),))]


def _infer(layer: GlobalMaxPool1d | GlobalAvgPool1d, axis: Axis, signals: tuple[Signal, ...]) -> Signal:
    x = one(layer, signals)
    check_axis(layer, x, axis)
    if axis == "space":
        return dataclasses.replace(x, shape=x.shape[:1])
    return dataclasses.replace(x, has_time=False)


def _seen(graph: GraphBuilder, x: Value, lengths: str | None, count: str | None) -> tuple[str, str]:
    """(whether each row has seen a step, how many) [batch, 1], `count` from chunks before included."""
    if lengths is None:
        steps = graph.cast(graph.steps(x.name), "int32")
    else:
        steps = graph.op("Unsqueeze", lengths, graph.ints(1))
    total = steps if count is None else graph.op("Add", count, steps)
    return graph.cast(total, "bool"), total
