"""LeakyReLU, ELU, GELU and SiLU: relatives of ReLU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from seq2onnx.layers.activations import Finite, examples_of
from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder


@final
@layer
class LeakyReLU(Layer):
    """Rectifier that lets a share of negative numbers through.

        y = x where x ≥ 0, slope · x elsewhere

    Shapes:
        y as x

    Args:
        slope: of the negative part.

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        LeakyRelu

    Example:
        >>> LeakyReLU(0.2)

    Source:
        Maas et al. 2013; ONNX operator LeakyRelu-16
    """

    slope: Finite = 0.01

    kind: ClassVar[str] = "leaky_relu"

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import leaky_relu

        return leaky_relu(call.x, self.slope), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.op("LeakyRelu", call.x.name, alpha=self.slope), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return examples_of(cls(), cls(-0.3))


@final
@layer
class ELU(Layer):
    """Exponential linear unit: negative numbers tend to −alpha.

        y = x where x > 0, alpha · (exp(x) − 1) elsewhere

    Shapes:
        y as x

    Args:
        alpha: minus the lowest number.

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        Elu

    Example:
        >>> ELU()

    Source:
        Clevert et al. 2015; ONNX operator Elu-6
    """

    alpha: Finite = 1.0

    kind: ClassVar[str] = "elu"

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        # As runtimes do. Torch's own has expm1, which keeps numbers nearer to 0 than 3e-8, and so their signs.
        below = self.alpha * (call.x.clamp(max=0).exp() - 1)
        return torch.where(call.x > 0, call.x, below), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return graph.op("Elu", call.x.name, alpha=self.alpha), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return examples_of(cls(), cls(0.3))


@final
@layer
class GELU(Layer):
    """Gaussian error linear unit: x times the probability that a normal random number is below x.

        y = x / 2 · (1 + erf(x / √2))
        y = x / 2 · (1 + tanh(√(2 / π) · (x + 0.044715 x³)))     with approximate

    Shapes:
        y as x

    Args:
        approximate: use the second equation, which is GELU(approximate="tanh") of torch.

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        Div, Erf, Add, Mul; with approximate Mul, Add, Tanh. The operator Gelu needs opset 20

    Example:
        >>> GELU()

    Source:
        Hendrycks & Gimpel 2016
    """

    approximate: bool = False

    kind: ClassVar[str] = "gelu"

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import gelu

        return gelu(call.x, approximate="tanh" if self.approximate else "none"), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x.name

        def number(value: float) -> str:
            return graph.constant(np.float32(value))

        if self.approximate:
            cube = graph.op("Mul", graph.op("Mul", x, x), x)
            inner = graph.op("Add", x, graph.op("Mul", cube, number(0.044715)))
            share = graph.op("Tanh", graph.op("Mul", inner, number(math.sqrt(2 / math.pi))))
        else:
            share = graph.op("Erf", graph.op("Div", x, number(math.sqrt(2))))
        # In this order onnxruntime recognizes the exact form, and runs it as one node.
        y = graph.op("Mul", graph.op("Mul", x, graph.op("Add", share, number(1))), number(0.5))
        return y, call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return examples_of(cls(), cls(True))


@final
@layer
class SiLU(Layer):
    """Sigmoid linear unit, also called swish: x times its logistic function.

        y = x / (1 + exp(−x))

    Shapes:
        y as x

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        Sigmoid, Mul

    Example:
        >>> SiLU()

    Source:
        Elfwing et al. 2017
    """

    kind: ClassVar[str] = "silu"

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import silu

        return silu(call.x), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x.name
        return graph.op("Mul", x, graph.op("Sigmoid", x)), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return examples_of(cls())
