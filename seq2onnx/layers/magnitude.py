"""Magnitude: how large a vector is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal

SMALLEST = 1e-20
"""The least mean square: the gradient of its root is finite."""


@final
@layer
class Magnitude(Layer):
    """How large the vector of a step is, as one number.

        y_t = √(mean_c x_{t,c}²)    ("rms", at least 1e-10)
        y_t = max_c |x_{t,c}|       ("max")

    Of whitened residuals, "rms" is Hotelling's T² as a root of a mean. Of one channel, both are |x|.

    Shapes (B batch, T time, C channels; float32):
        x [B, T, C] -> y [B, T, 1]; x [B, C] -> y [B, 1]

    Args:
        of: "rms" or "max".

    Raises:
        ShapeError: a step of the input is not one vector of numbers.

    ONNX:
        Mul, ReduceMean, Slice, Max, Sqrt; or Abs, ReduceMax, Slice

    Example:
        >>> Magnitude("max")

    Source:
        Hotelling, Multivariate quality control, 1947 (T²)
    """

    of: Literal["rms", "max"] = "rms"

    kind: ClassVar[str] = "magnitude"

    def infer(self, *signals: Signal) -> Signal:
        x = numeric_input(self, signals)
        if len(x.shape) != 1:
            raise ShapeError(f"{self.label}: expected one vector for each step, got {x}")
        return dataclasses.replace(x, shape=(1,))

    def forward(self, call: ForwardCall) -> Forwarded:
        if self.of == "max":
            return call.x.abs().amax(-1, keepdim=True), call.lengths, {}
        return call.x.square().mean(-1, keepdim=True).clamp(min=SMALLEST).sqrt(), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x.name
        if self.of == "max":
            return self._of_step(graph, "ReduceMax", graph.op("Abs", x)), call.lengths, {}
        mean = self._of_step(graph, "ReduceMean", graph.op("Mul", x, x))
        return graph.op("Sqrt", graph.op("Max", mean, graph.constant(np.float32(SMALLEST)))), call.lengths, {}

    @staticmethod
    def _of_step(graph: GraphBuilder, op: str, x: str) -> str:
        """Reduce the vector of each step. Of no steps, onnxruntime 1.24 returns all channels: take the first."""
        y = graph.reduce(op, x, -1, keep=True)
        return y if graph.is_fixed else graph.op("Slice", y, graph.ints(0), graph.ints(1), graph.ints(-1))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls("max"), (Signal((3,)),)), Example(cls(), (Signal((1,)),))]
