"""SequenceInput: where sequences enter a network, and are normalized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

from pydantic import Field, model_validator

from seq2onnx.layers import normalization as norm
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, layer

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule

Shape = Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]


@final
@layer
class SequenceInput(Layer):
    """Sequences enter here, normalized by statistics that are part of the model.

        y = x                             none
        y = x − mean                      zerocenter
        y = (x − mean) / std              zscore
        y = 2 (x − min) / (max − min) − 1 rescale_symmetric
        y = (x − min) / (max − min)       rescale_zero_one

    Shapes (B batch, T time, C channels, H height, W width; float32):
        x [B, T, C] for size C; [B, T, C, W] for (C, W); [B, T, C, H, W] for (C, H, W);
        [B, T] int64 for "tokens"; y as x
    State:   none
    Args:    size: of a step: C; (C, W), a 1-D image; (C, H, W), an image; or "tokens", the number of a word
             normalization: one of the five above; or a function of x in torch, for training alone: it cannot
             be written to a file
             min_length: the fewest steps a sequence may have
             statistics: {"mean": …, "std": …} or {"min": …, "max": …}, each a number for each channel;
             without them `build` and `train` take them from the training data: over true steps, never
             over padding, std with N − 1. A constant channel divides by 1. Until they are known, y = x.
    ONNX:    Sub, Div; never folded into the weights that follow
    Raises:  SpecError where the statistics are not those that the normalization needs
    Example: >>> SequenceInput(12, normalization="zscore")
    Source:  the sequence input layer of MATLAB's Deep Learning Toolbox
    """

    size: PositiveInt | Shape | Literal["tokens"]
    normalization: norm.Normalization = "none"
    min_length: PositiveInt = 1
    statistics: norm.Statistics | None = None

    kind: ClassVar[str] = "sequence_input"
    is_input: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> SequenceInput:
        if self.size == "tokens" and self.normalization != "none":
            raise ValueError(f"tokens are numbers of words; they have no normalization {self.normalization!r}")
        norm.check(self.normalization, self.statistics, self.shape[0] if self.shape else 0)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a step: (C,), (C, W), (C, H, W), or () for tokens."""
        if isinstance(self.size, tuple):
            return self.size
        return (self.size,) if isinstance(self.size, int) else ()

    def infer(self, *signals: Signal) -> Signal:
        return Signal(self.shape, dtype="int64" if self.size == "tokens" else "float32")

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        from seq2onnx.layers.module import step_mask

        (x,) = xs
        if lengths is not None:
            # A NaN in the padding would reach the weights through their gradients (0 · NaN is NaN).
            x = torch.where(step_mask(x, lengths), x, 0)
        return norm.normalize(x, self.label, self.normalization, self.statistics, self.shape), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        ab = norm.emitted(self.label, self.normalization, self.statistics, self.shape)
        return graph.affine(xs[0].name, ab), lengths, ()

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
        ]
