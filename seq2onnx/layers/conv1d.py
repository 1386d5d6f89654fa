"""Conv1d: weighted sums over windows of time, or over the width of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

from pydantic import model_validator

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.initializers import glorot, zeros
from seq2onnx.layers.parts.window import Axis, Padding, Window, within_steps
from seq2onnx.layers.parts.window_nodes import emit_frame
from seq2onnx.layers.signal import Signal, State, Weight


@final
@layer
class Conv1d(Layer):
    """Convolution over time, or over the width of each step.

        y_t = b + Σ_j W_j x_{st − left + dj}     j = 0 … k − 1; zeros before the first and past the last step

    Shapes (B batch, T time, C channels, F filters, W width; float32):
        x [B, T, C] -> y [B, T', F]. With axis="space" x [B, T, C, W] -> y [B, T, F, W'].
        T' = ⌊(T + left + right − d(k − 1) − 1) / s⌋ + 1, at least 0

    Args:
        filters: number of filters F, > 0.
        kernel_size: k, > 0.
        stride: s, > 0.
        dilation: d, > 0.
        padding: "same" (T' = ⌈T / s⌉; an odd total has one more step on the right), "causal" (d(k − 1) on the left), a
            number for both sides, or (left, right).
        groups: number of groups of channels and filters. A filter sees only the channels of its group.
        axis: "time", or "space", the width of each step of a (C, W) signal.

    Raises:
        ShapeError: the input has another shape, or groups does not divide its channels.
        NotStreamable: the signature has states, and either windows read future steps without lookahead, or padding is
            "same" with a stride.

    State:
        buf [B, d(k − 1), C], the previous steps; with a stride also phase [B, 1]; with lookahead also count [B, 1]

    Weights:
        weights [F, C / groups, k], bias [F]

    ONNX:
        Conv, with nodes before and after it for lengths and states

    Example:
        >>> Conv1d(32, 3, padding="causal", dilation=2)

    Source:
        ONNX operator Conv-11; van den Oord et al. 2016 (causal, dilated)
    """

    filters: PositiveInt
    kernel_size: PositiveInt
    stride: PositiveInt = 1
    dilation: PositiveInt = 1
    padding: Padding = 0
    groups: PositiveInt = 1
    axis: Axis = "time"

    kind: ClassVar[str] = "conv1d"

    @model_validator(mode="after")
    def _check(self) -> Conv1d:
        if self.filters % self.groups:
            raise ValueError(f"groups {self.groups} must divide the filters {self.filters}")
        return self

    @property
    def window(self) -> Window:
        """Its windows."""
        return Window(self.kernel_size, self.stride, self.dilation, self.padding)

    def infer(self, *signals: Signal) -> Signal:
        x = self.window.infer(self, signals, self.axis)
        if x.shape[0] % self.groups:
            raise ShapeError(f"{self.label}: groups {self.groups} must divide the channels of x {signals[0]}")
        return dataclasses.replace(x, shape=(self.filters, *x.shape[1:]))

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = (self.filters, signals[0].shape[0] // self.groups, self.kernel_size)
        return {"weights": Weight(shape, glorot), "bias": Weight((self.filters,), zeros, decay=False)}

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return self.window.states(self.label, signals[0], signals[0].shape[0]) if self.axis == "time" else ()

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import conv1d

        x, weights, bias = call.x, call.weights["weights"], call.weights["bias"]
        settings = (self.stride, 0, self.dilation, self.groups)
        if self.axis == "space":
            y = within_steps(x, [self.window], lambda steps: conv1d(steps, weights, bias, *settings))
            return y, call.lengths, {}
        framed, count, windows, new_states = self.window.frame(x, call.row_lengths, call.states)
        y = conv1d(framed.transpose(1, 2), weights, bias, *settings).transpose(1, 2)
        return y[:, :count], windows, new_states

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, names = call.x, [graph.weight(name, call.weights[name]) for name in ("weights", "bias")]
        settings = {"strides": [self.stride], "dilations": [self.dilation], "group": self.groups}
        if self.axis == "space":
            pads = list(self.window.width_pads(x.signal.shape[1]))
            shape = self.infer(x.signal).shape
            y = graph.per_step(x, lambda folded: graph.op("Conv", folded, *names, pads=pads, **settings), shape)
            return y, call.lengths, {}
        framed, count, windows, new_states = emit_frame(self.window, graph, x, call.lengths, call.states)
        if graph.is_fixed and self.groups == 1 and graph.fixed_steps(x.signal) == self.stride:
            # The only window of a run is a product: one node in place of a Conv between two Transpose.
            if (self.stride, self.dilation) != (1, 1):
                steps = range(0, self.window.reach + 1, self.dilation)
                framed = graph.op("Gather", framed, graph.ints(*steps), axis=1)
            matrix = call.weights["weights"].transpose(2, 1, 0).reshape(-1, self.filters)
            flat = graph.reshape(framed, 1, len(matrix))
            y = graph.op("Gemm", flat, graph.weight("matrix", matrix), names[1])
            return graph.reshape(y, 1, 1, self.filters), None, new_states
        y = graph.op("Conv", graph.op("Transpose", framed, perm=[0, 2, 1]), *names, **settings)
        return graph.first_steps(graph.op("Transpose", y, perm=[0, 2, 1]), count), windows, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, image = Signal((2,)), Signal((2, 7))
        return [
            Example(cls(3, 3, padding="causal"), (signal,)),
            Example(cls(3, 2, 3, padding="causal"), (signal,)),
            Example(cls(2, 3, 2, 2, "causal", groups=2), (signal,)),
            Example(cls(2, 1, padding=0), (signal,)),
            Example(cls(2, 1, 2), (signal,)),
            Example(cls(3, 4, padding="same"), (signal,)),
            Example(cls(3, 4, 3, 2, "same"), (signal,)),
            Example(cls(3, 3), (signal,)),
            Example(cls(3, 3, 2, padding=(1, 4)), (signal,)),
            Example(cls(3, 2, padding=(3, 2)), (signal,)),
            Example(cls(4, 3, 2, padding="same", groups=2, axis="space"), (image,)),
            Example(cls(4, 3, 1, 2, (0, 3), axis="space"), (image,)),
        ]
