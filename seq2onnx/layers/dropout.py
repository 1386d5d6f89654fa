"""Dropout: in training, some features are set to zero at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, final

from pydantic import Field

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal


@final
@layer
class Dropout(Layer):
    """In training, set each feature to zero with this probability and scale the others to keep the mean.

        y = x ⊙ m / (1 − p), m = 1 with probability 1 − p, else 0        in training
        y = x                                                            otherwise

    Shapes:
        y as x

    Args:
        probability: p, 0 ≤ p < 1.

    Raises:
        ShapeError: the input is tokens.

    ONNX:
        no node

    Example:
        >>> Dropout(0.2)

    Source:
        Srivastava et al. 2014
    """

    probability: Annotated[float, Field(ge=0, lt=1)] = 0.5

    kind: ClassVar[str] = "dropout"

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        return torch.nn.functional.dropout(call.x, self.probability, call.training), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return call.x.name, call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),)), Example(cls(0.2), (Signal((3,), has_time=False, static=True),))]
