"""MaxPool1d and AvgPool1d: pooling over windows of time, or over the width of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from pydantic import model_validator

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import END, GraphBuilder
from seq2onnx.layers.parts.window import Axis, Padding, Window, check_pool_padding, mean_within_steps, within_steps
from seq2onnx.layers.parts.window_nodes import emit_frame, emit_mean, emit_pool
from seq2onnx.layers.signal import Signal, State, Value

if TYPE_CHECKING:
    from torch import Tensor


@final
@layer
class MaxPool1d(Layer):
    """Maximum over windows of steps, channel by channel. Padding is never the maximum.

        y_t = max_j x_{st − left + j}     j = 0 … k − 1, over the steps that exist

    Shapes (B batch, T time, C channels, W width; float32):
        x [B, T, C] -> y [B, T', C]. With axis="space" x [B, T, C, W] -> y [B, T, C, W']. T' as in Conv1d.

    Args:
        pool_size: k, > 0.
        stride: s, > 0.
        padding: as in Conv1d, less than pool_size on each side.
        axis: "time", or "space", the width of each step of a (C, W) signal.

    Raises:
        ShapeError: the input has another shape.
        NotStreamable: as in Conv1d.

    State:
        buf [B, k − 1, C + 1], the previous steps, with a channel of ones that marks real steps; with a stride also
        phase [B, 1]; with lookahead also count [B, 1]

    ONNX:
        MaxPool, with nodes before and after it for lengths and states

    Example:
        >>> MaxPool1d(2, stride=2)

    Source:
        ONNX operator MaxPool-12
    """

    pool_size: PositiveInt
    stride: PositiveInt = 1
    padding: Padding = 0
    axis: Axis = "time"

    kind: ClassVar[str] = "max_pool1d"

    _check = model_validator(mode="after")(check_pool_padding)

    @property
    def window(self) -> Window:
        """Its windows."""
        return Window(self.pool_size, self.stride, 1, self.padding)

    def infer(self, *signals: Signal) -> Signal:
        return self.window.infer(self, signals, self.axis)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return self.window.states(self.label, signals[0], signals[0].shape[0] + 1) if self.axis == "time" else ()

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch
        from torch.nn.functional import max_pool1d

        x = call.x
        if self.axis == "space":
            y = within_steps(x, [self.window], lambda steps: max_pool1d(steps, self.pool_size, self.stride), -torch.inf)
            return y, call.lengths, {}
        framed, count, windows, new_states = self.window.frame(_marked(x), call.row_lengths, call.states)
        lowest = torch.finfo(x.dtype).min
        values = torch.where(framed[:, :, -1:] > 0, framed[:, :, :-1], lowest)
        y = max_pool1d(values.transpose(1, 2), self.pool_size, self.stride).transpose(1, 2)[:, :count]
        # A window past the end may contain only the lowest number, which later layers would turn into NaN.
        return torch.where(y > lowest, y, 0), windows, new_states

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x
        settings = {"kernel_shape": [self.pool_size], "strides": [self.stride]}
        if self.axis == "space":
            pads = list(self.window.width_pads(x.signal.shape[1]))
            shape = self.infer(x.signal).shape
            return emit_pool(graph, "MaxPool", x, shape, pads=pads, **settings), call.lengths, {}
        marked = _emit_marked(graph, x)
        framed, count, windows, new_states = emit_frame(self.window, graph, marked, call.lengths, call.states)
        values, marks = _split_marks(graph, framed)
        zero, lowest = graph.constant(np.float32(0)), graph.constant(np.finfo(np.float32).min)
        # onnxruntime's MaxPool gets the lowest number for padding; a window of nothing else becomes 0.
        values = graph.op("Where", graph.op("Greater", marks, zero), values, lowest)
        y = graph.op("MaxPool", graph.op("Transpose", values, perm=[0, 2, 1]), **settings)
        y = graph.op("Where", graph.op("Greater", y, lowest), y, zero)
        return graph.first_steps(graph.op("Transpose", y, perm=[0, 2, 1]), count), windows, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, image = Signal((2,)), Signal((2, 7))
        return [
            Example(cls(3, padding="causal"), (signal,)),
            Example(cls(2, 2, "causal"), (signal,)),
            Example(cls(1, 2), (signal,)),
            Example(cls(3, 2), (signal,)),
            Example(cls(3, 1, "same"), (signal,)),
            Example(cls(4, 3, "same"), (signal,)),
            Example(cls(3, 2, (1, 2)), (signal,)),
            Example(cls(3, 2, 1, "space"), (image,)),
        ]


@final
@layer
class AvgPool1d(Layer):
    """Mean over windows of steps, channel by channel. By default, padding does not count.

        y_t = Σ_j x_{st − left + j} / n     j = 0 … k − 1; n: the steps that exist, or k with count_padding

    Shapes (B batch, T time, C channels, W width; float32):
        x [B, T, C] -> y [B, T', C]. With axis="space" x [B, T, C, W] -> y [B, T, C, W']. T' as in Conv1d.

    Args:
        pool_size: k, > 0.
        stride: s, > 0.
        padding: as in Conv1d, less than pool_size on each side.
        axis: "time", or "space", the width of each step of a (C, W) signal.
        count_padding: count padding as zeros, as MATLAB does.

    Raises:
        ShapeError: the input has another shape.
        NotStreamable: as in Conv1d.

    State:
        buf [B, k − 1, C + 1], the previous steps, with a channel of ones that marks real steps (no such channel with
        count_padding); with a stride also phase [B, 1]; with lookahead also count [B, 1]

    ONNX:
        over time: Conv with weights 1 / k, with nodes before and after it for lengths and states; over space:
        AveragePool, or with count_padding and unequal padding Conv

    Example:
        >>> AvgPool1d(2, stride=2)

    Source:
        ONNX operator AveragePool-11
    """

    pool_size: PositiveInt
    stride: PositiveInt = 1
    padding: Padding = 0
    axis: Axis = "time"
    count_padding: bool = False

    kind: ClassVar[str] = "avg_pool1d"

    _check = model_validator(mode="after")(check_pool_padding)

    @property
    def window(self) -> Window:
        """Its windows."""
        return Window(self.pool_size, self.stride, 1, self.padding)

    def infer(self, *signals: Signal) -> Signal:
        return self.window.infer(self, signals, self.axis)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        channels = signals[0].shape[0] + (not self.count_padding)
        return self.window.states(self.label, signals[0], channels) if self.axis == "time" else ()

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import avg_pool1d

        x = call.x
        if self.axis == "space":
            return mean_within_steps(x, [self.window], self.count_padding, avg_pool1d), call.lengths, {}
        x = x if self.count_padding else _marked(x)
        framed, count, windows, new_states = self.window.frame(x, call.row_lengths, call.states)
        y = avg_pool1d(framed.transpose(1, 2), self.pool_size, self.stride).transpose(1, 2)[:, :count]
        if not self.count_padding:
            y = y[:, :, :-1] / y[:, :, -1:].clamp(
                min=1 / self.pool_size
            )  # the mean of the marks is the share of real steps
        return y, windows, new_states

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x
        if self.axis == "space":
            settings = {
                "kernel_shape": [self.pool_size],
                "strides": [self.stride],
                "pads": list(self.window.width_pads(x.signal.shape[1])),
            }
            shape = self.infer(x.signal).shape
            return emit_mean(graph, x, shape, self.count_padding, **settings), call.lengths, {}
        x = x if self.count_padding else _emit_marked(graph, x)
        framed, count, windows, new_states = emit_frame(self.window, graph, x, call.lengths, call.states)
        # A Conv of 1 / k, because onnxruntime merges padding into an AveragePool, which then throws on a chunk without
        # steps.
        channels = x.signal.shape[0]
        kernel = graph.constant(np.full((channels, 1, self.pool_size), 1 / self.pool_size, np.float32))
        frames = graph.op("Transpose", framed, perm=[0, 2, 1])
        y = graph.op("Conv", frames, kernel, strides=[self.stride], group=channels)
        y = graph.first_steps(graph.op("Transpose", y, perm=[0, 2, 1]), count)
        if not self.count_padding:
            y, share = _split_marks(graph, y)
            least = graph.constant(np.float32(1 / self.pool_size))
            y = graph.op("Div", y, graph.op("Max", share, least))
        return y, windows, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, image = Signal((2,)), Signal((2, 7))
        return [
            Example(cls(3, padding="causal"), (signal,)),
            Example(cls(2, 2, "causal"), (signal,)),
            Example(cls(3, 2, "causal", count_padding=True), (signal,)),
            Example(cls(3, 2), (signal,)),
            Example(cls(3, 1, "same"), (signal,)),
            Example(cls(4, 3, "same"), (signal,)),
            Example(cls(3, 2, (1, 2), count_padding=True), (signal,)),
            Example(cls(3, 2, 1, "space"), (image,)),
            Example(cls(3, 3, "same", "space", True), (image,)),
        ]


def _marked(x: Tensor) -> Tensor:
    """Add a channel of ones, which marks real steps: padding, and buffers at the start, have a zero there."""
    import torch

    return torch.cat([x, torch.ones_like(x[:, :, :1])], 2)


def _emit_marked(graph: GraphBuilder, x: Value) -> Value:
    if graph.is_fixed:
        ones = graph.constant(np.ones((1, graph.fixed_steps(x.signal), 1), np.float32))
    else:
        sizes = graph.op("Concat", graph.op("Shape", x.name, start=0, end=2), graph.ints(1), axis=0)
        ones = graph.op("Expand", graph.constant(np.float32(1)), sizes)
    marked = graph.op("Concat", x.name, ones, axis=2)
    return dataclasses.replace(x, name=marked, signal=dataclasses.replace(x.signal, shape=(x.signal.shape[0] + 1,)))


def _split_marks(graph: GraphBuilder, x: str) -> tuple[str, str]:
    """Split what `_emit_marked` joined into (values, marks)."""
    values = graph.op("Slice", x, graph.ints(0), graph.ints(-1), graph.ints(2))
    return values, graph.op("Slice", x, graph.ints(-1), graph.ints(END), graph.ints(2))
