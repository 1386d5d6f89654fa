"""ReLU, Sigmoid and Tanh: one function of each number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal


@final
@layer
class ReLU(Layer):
    """Rectifier: negative numbers become zero.

        y = max(x, 0)

    Shapes:
        y as x

    Raises:
        ShapeError: the input is tokens.

    State:
        none

    ONNX:
        Relu

    Example:
        >>> ReLU()

    Source:
        ONNX operator Relu-14
    """

    kind: ClassVar[str] = "relu"

    def forward(self, call: ForwardCall) -> Forwarded:
        return call.x.relu(), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.op("Relu", call.x.name), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((2, 2), has_time=True),))]


@final
@layer
class Sigmoid(Layer):
    """Logistic function: numbers between 0 and 1.

        y = 1 / (1 + exp(−x))

    Shapes:
        y as x

    Raises:
        ShapeError: the input is tokens.

    State:
        none

    ONNX:
        Sigmoid

    Example:
        >>> Sigmoid()

    Source:
        ONNX operator Sigmoid-13
    """

    kind: ClassVar[str] = "sigmoid"

    def forward(self, call: ForwardCall) -> Forwarded:
        return call.x.sigmoid(), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.op("Sigmoid", call.x.name), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((2, 2), has_time=True),))]


@final
@layer
class Tanh(Layer):
    """Hyperbolic tangent: numbers between −1 and 1.

        y = tanh(x)

    Shapes:
        y as x

    Raises:
        ShapeError: the input is tokens.

    State:
        none

    ONNX:
        Tanh

    Example:
        >>> Tanh()

    Source:
        ONNX operator Tanh-13
    """

    kind: ClassVar[str] = "tanh"

    def forward(self, call: ForwardCall) -> Forwarded:
        return call.x.tanh(), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.op("Tanh", call.x.name), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(), (Signal((2, 2), has_time=True),))]
