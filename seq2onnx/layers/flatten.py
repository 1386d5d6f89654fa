"""Flatten: the features of a step as one vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, Signal, layer, one

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class Flatten(Layer):
    """The features of each step as one vector, the last axis running fastest; time stays.

    Shapes (B batch, T time): x [B, T, C, H, W] -> y [B, T, C · H · W], x [B, T, C, W] -> y [B, T, C · W]
    State:   none
    ONNX:    Reshape
    Raises:  ShapeError on tokens
    Example: >>> Flatten()
    Source:  ONNX operator Reshape-14
    """

    kind: ClassVar[str] = "flatten"

    def infer(self, *signals: Signal) -> Signal:
        x = one(self, signals)
        if not x.shape:
            raise ShapeError(f"{self.label}: expected steps with features, got {x}; tokens go into a WordEmbedding")
        return dataclasses.replace(x, shape=(x.size,))

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        (x,) = xs
        return x.flatten(1 if lengths is None else 2), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        return graph.flat(xs[0]), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(), (Signal((2, 3)),)),
            Example(cls(), (Signal((2, 3, 2)),)),
            Example(cls(), (Signal((3,), has_time=False, static=True),)),
        ]
