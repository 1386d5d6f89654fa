"""Softmax: scores that are positive and sum to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal


@final
@layer
class Softmax(Layer):
    """Scores of each step: positive, with the sum 1.

        y_k = exp(x_k) / Σ_j exp(x_j)

    Shapes (B batch, T time, K classes; float32):
        y as x, [B, T, K] or [B, K]

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        Softmax over the last axis

    Example:
        >>> Softmax()

    Source:
        ONNX operator Softmax-13
    """

    kind: ClassVar[str] = "softmax"

    def forward(self, call: ForwardCall) -> Forwarded:
        return call.x.softmax(-1), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.op("Softmax", call.x.name, axis=-1), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((3,), has_time=False, static=True),))]
