"""LayerNorm: each step with mean 0 and variance 1, then scaled as learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, final

from pydantic import Field

from seq2onnx.layers.base import Example, Layer, Signal, Weight, layer, numbers
from seq2onnx.layers.initializers import ones, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class LayerNorm(Layer):
    """Each step by itself: mean 0 and variance 1 over all its features, then a learned scale and offset.

        y = (x − mean(x)) / √(var(x) + ε) ⊙ γ + β

    Shapes:  y as x; mean and var over all features of a step
    State:   none
    Weights: scale γ and offset β, of the shape of a step
    Args:    epsilon: ε, > 0
    ONNX:    LayerNormalization
    Raises:  ShapeError on tokens
    Example: >>> LayerNorm()
    Source:  Ba, Kiros & Hinton 2016; ONNX operator LayerNormalization-17
    """

    epsilon: Annotated[float, Field(gt=0)] = 1e-5

    kind: ClassVar[str] = "layer_norm"

    def infer(self, *signals: Signal) -> Signal:
        return numbers(self, signals)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = signals[0].shape
        return {"scale": Weight(shape, ones, decay=False), "offset": Weight(shape, zeros, decay=False)}

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        from torch.nn.functional import layer_norm

        scale = module["scale"]
        return layer_norm(xs[0], scale.shape, scale, module["offset"], self.epsilon), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        (x,) = xs
        names = [graph.weight(name, weights[name]) for name in ("scale", "offset")]
        axis = -len(x.signal.shape)
        return graph.op("LayerNormalization", x.name, *names, axis=axis, epsilon=self.epsilon), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((4,)),)), Example(cls(0.1), (Signal((2, 3)),))]
