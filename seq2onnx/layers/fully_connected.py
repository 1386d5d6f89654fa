"""FullyConnected: every output a weighted sum of all features of its step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, Weight, layer, numbers
from seq2onnx.layers.initializers import glorot, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class FullyConnected(Layer):
    """A weighted sum of all features and a bias, at each step where there is time.

        y = W x + b

    Shapes (B batch, T time, C features, K size; float32):
        x [B, T, C] -> y [B, T, K], or x [B, C] -> y [B, K]; a step of more dimensions is read as a flat vector
    State:   none
    Weights: weights [K, C], bias [K]
    Args:    size: outputs, > 0
    ONNX:    Gemm, or MatMul and Add where there is time
    Raises:  SpecError unless it reads one layer
    Example: >>> FullyConnected(9)
    Source:  ONNX operator Gemm-13
    """

    size: PositiveInt

    kind: ClassVar[str] = "fully_connected"

    def infer(self, *signals: Signal) -> Signal:
        return dataclasses.replace(numbers(self, signals), shape=(self.size,))

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        return {
            "weights": Weight((self.size, signals[0].size), glorot),
            "bias": Weight((self.size,), zeros, decay=False),
        }

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        x = xs[0].flatten(1 if lengths is None else 2)
        return torch.nn.functional.linear(x, module["weights"], module["bias"]), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        x, bias = graph.flat(xs[0]), graph.weight("bias", weights["bias"])
        if not xs[0].signal.has_time:
            return graph.op("Gemm", x, graph.weight("weights", weights["weights"]), bias, transB=1), lengths, ()
        matrix = graph.weight("weights", weights["weights"].T)
        return graph.op("Add", graph.op("MatMul", x, matrix), bias), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        static = Signal((3,), has_time=False, static=True)
        return [Example(cls(4), (Signal((3,)),)), Example(cls(2), (static,)), Example(cls(2), (Signal((2, 3)),))]
