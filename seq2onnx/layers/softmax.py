"""Softmax: scores that are positive and sum to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

from seq2onnx.layers.base import Example, Layer, Signal, layer, numbers

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class Softmax(Layer):
    """Scores for the features of each step: positive, and 1 in sum.

        y_k = exp(x_k) / Σ_j exp(x_j)

    Shapes (B batch, T time, K classes; float32): y as x, [B, T, K] or [B, K]
    State:   none
    ONNX:    Softmax over the last axis
    Raises:  SpecError unless it reads one layer
    Example: >>> Softmax()
    Source:  ONNX operator Softmax-13
    """

    kind: ClassVar[str] = "softmax"

    def infer(self, *signals: Signal) -> Signal:
        return numbers(self, signals)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        return xs[0].softmax(-1), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        return graph.op("Softmax", xs[0].name, axis=-1), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((3,), has_time=False, static=True),))]
