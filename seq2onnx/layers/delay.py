"""Delay: each step comes some steps later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, final

from pydantic import Field

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.window import gather_steps
from seq2onnx.layers.signal import Signal, State


@final
@layer
class Delay(Layer):
    """The signal some steps later, with zeros before its start.

        y_t = x_{t − steps}, and 0 for t < steps

    With it, a forecast of the next step meets the step that it forecasts: their difference is what was not expected.

    Shapes (B batch, T time, C channels; float32):
        x [B, T, C] -> y [B, T, C]

    Args:
        steps: how many, from 1.

    Raises:
        ShapeError: the input is not one vector of numbers for each step.

    State:
        buf [B, steps, C], the last steps

    ONNX:
        Concat, Slice

    Example:
        >>> Delay(1)

    Source:
        the unit delay z⁻¹
    """

    steps: Annotated[int, Field(gt=0, le=10**6, strict=True)] = 1

    kind: ClassVar[str] = "delay"

    def infer(self, *signals: Signal) -> Signal:
        x = numeric_input(self, signals)
        if not x.has_time or len(x.shape) != 1:
            raise ShapeError(f"{self.label}: expected x [batch, time, channels], got {x}")
        return x

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return (State("buf", (self.steps, *signals[0].shape)),)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x, states = call.x, call.states
        before = x.new_zeros(len(x), self.steps, x.shape[2]) if states is None else states["buf"]
        every = torch.cat([before, x], 1)
        new = {} if states is None else {"buf": gather_steps(every, call.row_lengths, self.steps)}
        return every[:, : x.shape[1]], call.lengths, new

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, lengths, states = call.x, call.lengths, call.states
        count = graph.ints(graph.fixed_steps(x.signal)) if graph.is_fixed else graph.steps(x.name)
        if states is None:
            return graph.first_steps(graph.pad_steps(x.name, self.steps, 0), count), lengths, {}
        every = graph.op("Concat", states["buf"], x.name, axis=1)
        if lengths is None:
            kept = graph.last_steps(every, self.steps)
        else:
            kept = graph.gather_steps(every, graph.row_steps(x.name, lengths), graph.ints(self.steps))
        return graph.first_steps(every, count), lengths, {"buf": kept}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(4), (Signal((2,)),))]
