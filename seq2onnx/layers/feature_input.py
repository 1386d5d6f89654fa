"""FeatureInput: the input layer for one feature vector per sequence, which it normalizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from pydantic import model_validator

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import normalization as norm
from seq2onnx.layers.signal import Signal


@final
@layer
class FeatureInput(Layer):
    """Input for one feature vector per sequence, such as the age of a machine.

        y = (x − a) / b     a and b follow from the normalization, as in SequenceInput

    Shapes (B batch, C size; float32):
        x [B, C] -> y [B, C]

    Args:
        size: number of features C, > 0.
        normalization: as in SequenceInput.
        statistics: as in SequenceInput, over the training sequences.

    Raises:
        SpecError: the statistics are not those that the normalization needs.

    State:
        none; in a stream the vector is given again with every chunk

    ONNX:
        Sub, Div

    Example:
        >>> FeatureInput(3, normalization="zscore", name="machine")

    Source:
        the feature input layer of MATLAB's Deep Learning Toolbox
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

    @property
    def missing_statistics(self) -> tuple[str, ...]:
        """The statistics that the normalization needs and that are not known yet."""
        return () if self.statistics else norm.needed(self.normalization)

    def infer(self, *signals: Signal) -> Signal:
        return Signal((self.size,), has_time=False, static=True)

    def forward(self, call: ForwardCall) -> Forwarded:
        return norm.normalize(call.x, self.label, self.normalization, self.statistics, (self.size,)), None, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        ab = norm.emitted(self.label, self.normalization, self.statistics, (self.size,))
        return graph.affine(call.x.name, ab), None, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3)), Example(cls(2, "zscore", {"mean": [1, 2], "std": [0.5, 4]}))]
