"""SequenceInput: the input layer for sequences, which normalizes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, final

from pydantic import Field, model_validator

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import normalization as norm
from seq2onnx.layers.signal import Signal

Shape = Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]


@final
@layer
class SequenceInput(Layer):
    """Input for sequences. It normalizes them with statistics that are part of the model.

        y = x                             none
        y = x − mean                      zerocenter
        y = (x − mean) / std              zscore
        y = 2 (x − min) / (max − min) − 1 rescale_symmetric
        y = (x − min) / (max − min)       rescale_zero_one

    Shapes (B batch, T time, C channels, H height, W width; float32):
        x [B, T, C] for size C; [B, T, C, W] for (C, W); [B, T, C, H, W] for (C, H, W); [B, T] int64 for "tokens".
        y as x.

    Args:
        size: of a step: C; (C, W) for a 1-D image; (C, H, W) for an image; or "tokens" for word numbers.
        normalization: one of the five above, or a function of x in torch. A function works in training only, since no
            file can hold it.
        min_length: the fewest steps a sequence may have.
        statistics: {"mean": …, "std": …} or {"min": …, "max": …}, with a number for each channel. Without them `build`
            and `train` compute them from the valid steps of the training data, std with N − 1. A constant channel is
            divided by 1. Until they are known, y = x.
        missing: whether values of x may be missing: NaN or infinite. A layer Missing must then read y. The statistics
            are those of the values that are there. For steps that are vectors.

    Raises:
        SpecError: the statistics are not those that the normalization needs, or missing=True with another size than C.

    ONNX:
        Sub, Div; never folded into the weights that follow

    Example:
        >>> SequenceInput(12, normalization="zscore")

    Source:
        the sequence input layer of MATLAB's Deep Learning Toolbox
    """

    size: PositiveInt | Shape | Literal["tokens"]
    normalization: norm.Normalization = "none"
    min_length: PositiveInt = 1
    statistics: norm.Statistics | None = None
    missing: bool = False

    kind: ClassVar[str] = "sequence_input"
    is_input: ClassVar[bool] = True
    later_fields: ClassVar[tuple[str, ...]] = ("missing",)

    @model_validator(mode="after")
    def _check(self) -> SequenceInput:
        if self.size == "tokens" and self.normalization != "none":
            raise ValueError(f"tokens are numbers of words and cannot be normalized, got {self.normalization!r}")
        if self.missing and not isinstance(self.size, int):
            raise ValueError(f"missing=True needs steps that are vectors, a size such as 12, got {self.size!r}")
        norm.check(self.normalization, self.statistics, self.shape[0] if self.shape else 0)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a step: (C,), (C, W), (C, H, W), or () for tokens."""
        if isinstance(self.size, tuple):
            return self.size
        return (self.size,) if isinstance(self.size, int) else ()

    @property
    def fewest_steps(self) -> int:
        """The fewest steps that a sequence may have."""
        return self.min_length

    @property
    def missing_statistics(self) -> tuple[str, ...]:
        """The statistics that the normalization needs and that are not known yet."""
        return () if self.statistics else norm.needed(self.normalization)

    def infer(self, *signals: Signal) -> Signal:
        return Signal(self.shape, dtype="int64" if self.size == "tokens" else "float32", missing=self.missing)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        from seq2onnx.building.layer_module import step_mask

        x = call.x
        if call.lengths is not None:
            # NaN in the padding would reach the weights through their gradients, since 0 · NaN is NaN.
            x = torch.where(step_mask(x, call.lengths), x, 0)
        return norm.normalize(x, self.label, self.normalization, self.statistics, self.shape), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        ab = norm.emitted(self.label, self.normalization, self.statistics, self.shape)
        return graph.affine(call.x.name, ab), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        mean, std, low, high = [0.5, -2, 3], [2, 0, 0.25], [-1, 2, 3], [1, 2, 8]
        return [
            Example(cls(3)),
            Example(cls(3, "zscore")),
            Example(cls((3, 2), "zerocenter", statistics={"mean": mean})),
            Example(cls(3, "zscore", 2, statistics={"mean": mean, "std": std})),
            Example(cls((3, 2, 2), "rescale_symmetric", statistics={"min": low, "max": high})),
            Example(cls(3, "rescale_zero_one", statistics={"min": low, "max": high})),
            Example(cls("tokens")),
            Example(cls(3, "zscore", statistics={"mean": mean, "std": std}, missing=True)),
        ]
