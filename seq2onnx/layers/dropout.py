"""Dropout: while training, some features are left out at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, final

from pydantic import Field

from seq2onnx.layers.base import Example, Layer, Signal, layer, numbers

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class Dropout(Layer):
    """While training, each feature is zero with this probability, the others scaled to keep the mean.

        y = x ⊙ m / (1 − p), m = 1 with probability 1 − p, else 0        training
        y = x                                                            otherwise

    Shapes:  y as x
    State:   none
    Args:    probability: p, 0 ≤ p < 1
    ONNX:    nothing: absent from the exported graph
    Raises:  SpecError unless it reads one layer
    Example: >>> Dropout(0.2)
    Source:  Srivastava et al. 2014
    """

    probability: Annotated[float, Field(ge=0, lt=1)] = 0.5

    kind: ClassVar[str] = "dropout"

    def infer(self, *signals: Signal) -> Signal:
        return numbers(self, signals)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        return torch.nn.functional.dropout(xs[0], self.probability, module.training), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        return xs[0].name, lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(0.2), (Signal((3,), has_time=False, static=True),))]
