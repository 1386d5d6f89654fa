"""FeatureInput: where what is known of a whole sequence enters a network, and is normalized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

from pydantic import model_validator

from seq2onnx.layers import normalization as norm
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, layer

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class FeatureInput(Layer):
    """One vector a sequence enters here: static features, such as the age of a machine.

        y = (x − a) / b, a and b by the normalization as in SequenceInput

    Shapes (B batch, C size; float32): x [B, C] -> y [B, C]
    State:   none; in a stream it is given again with every chunk
    Args:    size, normalization, statistics: as in SequenceInput, statistics over the training sequences
    ONNX:    Sub, Div
    Raises:  SpecError where the statistics are not those that the normalization needs
    Example: >>> FeatureInput(3, normalization="zscore", name="machine")
    Source:  the feature input layer of MATLAB's Deep Learning Toolbox
    """

    size: PositiveInt
    normalization: norm.Normalization = "none"
    statistics: norm.Statistics | None = None

    kind: ClassVar[str] = "feature_input"
    is_input: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> FeatureInput:
        norm.check(self.normalization, self.statistics, self.size)
        return self

    def infer(self, *signals: Signal) -> Signal:
        return Signal((self.size,), has_time=False, static=True)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        (x,) = xs
        return norm.normalize(x, self.label, self.normalization, self.statistics, (self.size,)), None, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        ab = norm.emitted(self.label, self.normalization, self.statistics, (self.size,))
        return graph.affine(xs[0].name, ab), None, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(3)),
            Example(cls(2, "zscore", {"mean": [1, 2], "std": [0.5, 4]})),
        ]
