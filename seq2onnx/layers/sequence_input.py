"""SequenceInput: where feature sequences enter a network, and are normalized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, model_validator

from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, layer

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule

Normalization = Literal["none", "zerocenter", "zscore", "rescale_symmetric", "rescale_zero_one"]

STATISTICS: dict[str, tuple[str, ...]] = {
    "none": (),
    "zerocenter": ("mean",),
    "zscore": ("mean", "std"),
    "rescale_symmetric": ("min", "max"),
    "rescale_zero_one": ("min", "max"),
}
"""What each normalization must know of the training data, a number for each feature."""


def _plain_numbers(statistics: object) -> object:
    """Arrays and lists as tuples of plain numbers, which YAML and JSON hold."""
    if not isinstance(statistics, Mapping):
        return statistics
    return {name: tuple(np.asarray(values, float).ravel().tolist()) for name, values in statistics.items()}


@final
@layer
class SequenceInput(Layer):
    """Sequences of feature vectors enter here, normalized by statistics that are part of the model.

        y = x                             none
        y = x − mean                      zerocenter
        y = (x − mean) / std              zscore
        y = 2 (x − min) / (max − min) − 1 rescale_symmetric
        y = (x − min) / (max − min)       rescale_zero_one

    Shapes (B batch, T time, C size; float32): x [B, T, C] -> y [B, T, C]
    State:   none
    Args:    size: features of a step
             normalization: one of the five above
             min_length: the fewest steps a sequence may have
             statistics: {"mean": …, "std": …} or {"min": …, "max": …}, each a number for each feature;
             without them `build` and `train` take them from the training data: over true steps, never
             over padding, std with N − 1. A constant feature divides by 1. Until they are known, y = x.
    ONNX:    Sub, Div; never folded into the weights that follow
    Raises:  SpecError where the statistics are not those that the normalization needs
    Example: >>> SequenceInput(12, normalization="zscore")
    Source:  the sequence input layer of MATLAB's Deep Learning Toolbox
    """

    size: PositiveInt
    normalization: Normalization = "none"
    min_length: PositiveInt = 1
    statistics: Annotated[Mapping[str, Any], BeforeValidator(_plain_numbers)] | None = None

    kind: ClassVar[str] = "sequence_input"
    is_input: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check_statistics(self) -> SequenceInput:
        if self.statistics is not None:
            needed = STATISTICS[self.normalization]
            if set(self.statistics) != set(needed):
                raise ValueError(
                    f"normalization {self.normalization!r} takes the statistics {list(needed)}, "
                    f"not {list(self.statistics)}"
                )
            for name, values in self.statistics.items():
                if np.size(values) != self.size or not np.isfinite(values).all():
                    raise ValueError(f"statistics {name!r} must be {self.size} finite numbers, one for each feature")
        return self

    def offset_and_scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """(a, b) of y = (x − a) / b, each [size]; None where y = x."""
        if not self.statistics:
            return None
        if self.normalization == "zerocenter":
            return np.asarray(self.statistics["mean"]), np.ones(self.size)
        if self.normalization == "zscore":
            offset, scale = (np.asarray(self.statistics[name]) for name in ("mean", "std"))
        else:
            low, high = (np.asarray(self.statistics[name]) for name in ("min", "max"))
            if self.normalization == "rescale_symmetric":
                offset, scale = (low + high) / 2, (high - low) / 2
            else:
                offset, scale = low, high - low
        return offset, np.where(scale == 0, 1.0, scale)

    def infer(self, *signals: Signal) -> Signal:
        return Signal((self.size,))

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        from seq2onnx.layers.module import step_mask

        (x,) = xs
        if lengths is not None:
            # A NaN in the padding would reach the weights through their gradients (0 · NaN is NaN).
            x = torch.where(step_mask(x, lengths), x, 0)
        if affine := self.offset_and_scale():
            offset, scale = (torch.from_numpy(values).to(x) for values in affine)
            x = (x - offset) / scale
        return x, lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        y = xs[0].name
        if affine := self.offset_and_scale():
            offset, scale = (values.astype(np.float32) for values in affine)
            y = graph.op("Sub", y, graph.constant(offset))
            if np.any(scale != 1):
                y = graph.op("Div", y, graph.constant(scale))
        return y, lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        mean, std, low, high = [0.5, -2, 3], [2, 0, 0.25], [-1, 2, 3], [1, 2, 8]
        return [
            Example(cls(3)),
            Example(cls(3, "zscore")),
            Example(cls(3, "zerocenter", statistics={"mean": mean})),
            Example(cls(3, "zscore", 2, statistics={"mean": mean, "std": std})),
            Example(cls(3, "rescale_symmetric", statistics={"min": low, "max": high})),
            Example(cls(3, "rescale_zero_one", statistics={"min": low, "max": high})),
        ]
