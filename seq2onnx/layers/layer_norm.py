"""LayerNorm: normalize each step by its own mean and variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, final

import numpy as np
from pydantic import Field

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.initializers import ones, zeros
from seq2onnx.layers.signal import Signal, Weight


@final
@layer
class LayerNorm(Layer):
    """Normalize each step to mean 0 and variance 1 over its features, then apply a learned scale and offset.

        y = (x − mean(x)) / √(var(x) + ε) ⊙ γ + β

    Shapes:
        y as x; mean and var over all features of a step

    Args:
        epsilon: ε, > 0.

    Raises:
        ShapeError: the input is tokens.

    Weights:
        scale γ and offset β, of the shape of a step

    ONNX:
        LayerNormalization; in a step file ReduceMean, Sub, Mul, Add, Sqrt, Div

    Example:
        >>> LayerNorm()

    Source:
        Ba, Kiros & Hinton 2016; ONNX operator LayerNormalization-17
    """

    epsilon: Annotated[float, Field(gt=0)] = 1e-5

    kind: ClassVar[str] = "layer_norm"

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = signals[0].shape
        return {"scale": Weight(shape, ones, decay=False), "offset": Weight(shape, zeros, decay=False)}

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import layer_norm

        scale = call.weights["scale"]
        return layer_norm(call.x, scale.shape, scale, call.weights["offset"], self.epsilon), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x
        names = [graph.weight(name, call.weights[name]) for name in ("scale", "offset")]
        axis = -len(x.signal.shape)
        if graph.is_fixed:  # the operator is known to few programs
            axes = range(axis, 0)
            centered = graph.op("Sub", x.name, graph.reduce("ReduceMean", x.name, *axes, keep=True))
            squares = graph.reduce("ReduceMean", graph.op("Mul", centered, centered), *axes, keep=True)
            spread = graph.op("Sqrt", graph.op("Add", squares, graph.constant(np.float32(self.epsilon))))
            y = graph.op("Mul", graph.op("Div", centered, spread), names[0])
            return graph.op("Add", y, names[1]), call.lengths, {}
        return graph.op("LayerNormalization", x.name, *names, axis=axis, epsilon=self.epsilon), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((4,)),)), Example(cls(0.1), (Signal((2, 3)),))]
