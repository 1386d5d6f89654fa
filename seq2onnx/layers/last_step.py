"""LastStep: the last step of each sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import recurrent
from seq2onnx.layers.signal import Signal, State


@final
@layer
class LastStep(Layer):
    """The last valid step of each sequence; zeros if there is none.

        y = x_T

    Shapes (B batch, T time):
        x [B, T, …] -> y [B, …], in a stream the last step so far

    Raises:
        ShapeError: the input has no time axis, or is tokens.

    State:
        last [B, …], the last step so far; zeros at the start

    ONNX:
        Pad or Concat, and Gather or GatherND

    Example:
        >>> LastStep()

    Source:
        ONNX operator GatherND-13
    """

    kind: ClassVar[str] = "last_step"

    def infer(self, *signals: Signal) -> Signal:
        x = numeric_input(self, signals)
        if not x.has_time:
            raise ShapeError(f"{self.label}: expected x [batch, time, …], got {x}, which has no time axis; remove it")
        return dataclasses.replace(x, has_time=False)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return (State("last", signals[0].shape),)

    def forward(self, call: ForwardCall) -> Forwarded:
        x = call.x
        start = call.states["last"] if call.states else x.new_zeros(len(x), *x.shape[2:])
        y = recurrent.last_step(x.flatten(2), call.row_lengths, start.flatten(1)).reshape(start.shape)
        return y, None, {"last": y.clone()} if call.states else {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        start = call.states["last"] if call.states else None
        y = recurrent.emit_last_step(graph, call.x.name, 2 + len(call.x.signal.shape), call.lengths, start)
        return y, None, {"last": y} if call.states else {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(), (Signal((3,)),)),
            Example(cls(), (Signal((2, 3)),)),
            Example(cls(), (Signal((2, 3, 2)),)),
        ]
