"""Flatten: the features of each step as one vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, layer, single_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal


@final
@layer
class Flatten(Layer):
    """Flatten the features of each step into one vector, the last axis fastest. The time axis stays.

    Shapes (B batch, T time):
        x [B, T, C, H, W] -> y [B, T, C · H · W]; x [B, T, C, W] -> y [B, T, C · W]

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        Reshape

    Example:
        >>> Flatten()

    Source:
        ONNX operator Reshape-14
    """

    kind: ClassVar[str] = "flatten"

    def infer(self, *signals: Signal) -> Signal:
        x = single_input(self, signals)
        if not x.shape:
            raise ShapeError(f"{self.label}: expected steps with features, got {x}; tokens go into a WordEmbedding")
        return dataclasses.replace(x, shape=(x.size,))

    def forward(self, call: ForwardCall) -> Forwarded:
        return call.x.flatten(call.first_feature_axis), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.flat(call.x), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(), (Signal((2, 3)),)),
            Example(cls(), (Signal((2, 3, 2)),)),
            Example(cls(), (Signal((3,), has_time=False, static=True),)),
        ]
