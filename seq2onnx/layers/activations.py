"""ReLU, Sigmoid, HardSigmoid and Tanh: one function of each number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, final

from pydantic import Field

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that an activation has as an option."""


def examples_of(*layers: Layer) -> Sequence[Example]:
    """Return examples of activations: each layer with features, and with steps of several axes."""
    return [Example(layer, (signal,)) for layer in layers for signal in (Signal((3,)), Signal((2, 2)))]


@final
@layer
class ReLU(Layer):
    """Rectifier: negative numbers become zero.

        y = max(x, 0)

    Shapes:
        y as x

    Raises:
        ShapeError: the input is tokens.

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
        return examples_of(cls())


@final
@layer
class Sigmoid(Layer):
    """Logistic function: numbers between 0 and 1.

        y = 1 / (1 + exp(−x))

    Shapes:
        y as x

    Raises:
        ShapeError: the input is tokens.

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
        return examples_of(cls())


@final
@layer
class HardSigmoid(Layer):
    """Straight line between 0 and 1: a logistic function without an exponential.

        y = min(max(slope · x + offset, 0), 1)

    Shapes:
        y as x

    Args:
        slope: 0.2, as in Keras 2, ONNX and MATLAB, is the default; torch and Keras 3 have 1/6.
        offset: y at x = 0.

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        HardSigmoid

    Example:
        >>> HardSigmoid(1 / 6)

    Source:
        ONNX operator HardSigmoid-6
    """

    slope: Finite = 0.2
    offset: Finite = 0.5

    kind: ClassVar[str] = "hard_sigmoid"

    def forward(self, call: ForwardCall) -> Forwarded:
        return (self.slope * call.x + self.offset).clamp(0, 1), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.op("HardSigmoid", call.x.name, alpha=self.slope, beta=self.offset), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return examples_of(cls(), cls(1 / 6), cls(0.7, 0.25))


@final
@layer
class Tanh(Layer):
    """Hyperbolic tangent: numbers between −1 and 1.

        y = tanh(x)

    Shapes:
        y as x

    Raises:
        ShapeError: the input is tokens.

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
        return examples_of(cls())
