"""ReLU, Sigmoid and Tanh: one function of each number."""

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
class ReLU(Layer):
    """What is negative becomes zero.

        y = max(x, 0)

    Shapes:  y as x
    State:   none
    ONNX:    Relu
    Raises:  ShapeError on tokens
    Example: >>> ReLU()
    Source:  ONNX operator Relu-14
    """

    kind: ClassVar[str] = "relu"

    def infer(self, *signals: Signal) -> Signal:
        return numbers(self, signals)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        return xs[0].relu(), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        return graph.op("Relu", xs[0].name), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((2, 2), has_time=True),))]


@final
@layer
class Sigmoid(Layer):
    """Numbers between 0 and 1.

        y = 1 / (1 + exp(−x))

    Shapes:  y as x
    State:   none
    ONNX:    Sigmoid
    Raises:  ShapeError on tokens
    Example: >>> Sigmoid()
    Source:  ONNX operator Sigmoid-13
    """

    kind: ClassVar[str] = "sigmoid"

    def infer(self, *signals: Signal) -> Signal:
        return numbers(self, signals)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        return xs[0].sigmoid(), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        return graph.op("Sigmoid", xs[0].name), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((2, 2), has_time=True),))]


@final
@layer
class Tanh(Layer):
    """Numbers between −1 and 1.

        y = tanh(x)

    Shapes:  y as x
    State:   none
    ONNX:    Tanh
    Raises:  ShapeError on tokens
    Example: >>> Tanh()
    Source:  ONNX operator Tanh-13
    """

    kind: ClassVar[str] = "tanh"

    def infer(self, *signals: Signal) -> Signal:
        return numbers(self, signals)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        return xs[0].tanh(), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        return graph.op("Tanh", xs[0].name), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((2, 2), has_time=True),))]
