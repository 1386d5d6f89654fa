"""FullyConnected: each output is a weighted sum of all features of its step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.initializers import glorot, zeros
from seq2onnx.layers.signal import Signal, Weight


@final
@layer
class FullyConnected(Layer):
    """Weighted sums of all features plus a bias; with a time axis, at each step.

        y = W x + b

    Shapes (B batch, T time, C features, K size; float32):
        x [B, T, C] -> y [B, T, K], or x [B, C] -> y [B, K]. A step of several axes is flattened.

    Args:
        size: number of outputs K, > 0.

    Raises:
        ShapeError: the input is tokens.

    Weights:
        weights [K, C], bias [K]

    ONNX:
        Gemm; with a time axis MatMul and Add

    Example:
        >>> FullyConnected(9)

    Source:
        ONNX operator Gemm-13
    """

    size: PositiveInt

    kind: ClassVar[str] = "fully_connected"

    def infer(self, *signals: Signal) -> Signal:
        return dataclasses.replace(numeric_input(self, signals), shape=(self.size,))

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        return {
            "weights": Weight((self.size, signals[0].size), glorot),
            "bias": Weight((self.size,), zeros, decay=False),
        }

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x = call.x.flatten(call.first_feature_axis)
        return torch.nn.functional.linear(x, call.weights["weights"], call.weights["bias"]), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, bias = graph.flat(call.x), graph.weight("bias", call.weights["bias"])
        signal, weights = call.x.signal, call.weights["weights"]
        if graph.is_fixed:  # C compilers vectorize a product with a matrix that is not transposed
            steps = graph.fixed_steps(signal) if signal.has_time else 1
            y = graph.op("Gemm", graph.reshape(x, steps, signal.size), graph.weight("weights", weights.T), bias)
            return graph.reshape(y, 1, steps, self.size) if signal.has_time else y, call.lengths, {}
        if not signal.has_time:
            return graph.op("Gemm", x, graph.weight("weights", weights), bias, transB=1), call.lengths, {}
        return graph.op("Add", graph.op("MatMul", x, graph.weight("weights", weights.T)), bias), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        static = Signal((3,), has_time=False, static=True)
        return [Example(cls(4), (Signal((3,)),)), Example(cls(2), (static,)), Example(cls(2), (Signal((2, 3)),))]
