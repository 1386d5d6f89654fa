"""Conv2d: weighted sums over windows of the image that each step is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, final

from pydantic import model_validator

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, Weight, layer, one
from seq2onnx.layers.initializers import glorot, zeros
from seq2onnx.layers.window import Steps, Window

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


Pair = PositiveInt | tuple[PositiveInt, PositiveInt]
"""A number for both axes, or (height, width)."""


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


@final
@layer
class Conv2d(Layer):
    """Each filter's weighted sum over a window of the image that a step is; steps do not mix.

        y_{hw} = b + Σ_{cij} W_{cij} x_{c, sh − top + di, sw − left + dj}     zeros outside

    Shapes (B batch, T time, C channels, H height, W width, F filters; float32):
        x [B, T, C, H, W] -> y [B, T, F, H', W'], H' and W' as T' in Conv1d
    State:   none
    Weights: weights [F, C / groups, k, k], bias [F]
    Args:    filters: F, > 0
             kernel_size, stride, dilation: a number, or (height, width)
             padding: "same", a number, or (before, after), on both axes
             groups: as in Conv1d
    ONNX:    Conv, time folded into the batch
    Raises:  ShapeError (no image, a window that does not fit, groups that do not divide)
    Example: >>> Conv2d(20, 5)
    Source:  ONNX operator Conv-11
    """

    filters: PositiveInt
    kernel_size: Pair
    stride: Pair = 1
    dilation: Pair = 1
    padding: Literal["same"] | Steps | tuple[Steps, Steps] = 0
    groups: PositiveInt = 1

    kind: ClassVar[str] = "conv2d"

    @model_validator(mode="after")
    def _check(self) -> Conv2d:
        if self.filters % self.groups:
            raise ValueError(f"groups {self.groups} must divide the filters {self.filters}")
        return self

    def _windows(self) -> list[Window]:
        """Of height and width."""
        options = (_pair(value) for value in (self.kernel_size, self.stride, self.dilation))
        return [Window(k, s, d, self.padding) for k, s, d in zip(*options, strict=True)]

    def _pads(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """top, left, bottom, right."""
        (top, bottom), (left, right) = (w.width_pads(n) for w, n in zip(self._windows(), shape[1:], strict=True))
        return top, left, bottom, right

    def infer(self, *signals: Signal) -> Signal:
        x = one(self, signals)
        if len(x.shape) != 3:
            raise ShapeError(f"{self.label}: expected images [batch, time, channels, height, width], got {x}")
        if x.shape[0] % self.groups:
            raise ShapeError(f"{self.label}: groups {self.groups} must divide the channels of x {x}")
        height, width = (w.length(n) for w, n in zip(self._windows(), x.shape[1:], strict=True))
        if not height or not width:
            raise ShapeError(f"{self.label}: its window does not fit into x {x}; use a smaller one, or padding")
        return dataclasses.replace(x, shape=(self.filters, height, width))

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = (self.filters, signals[0].shape[0] // self.groups, *_pair(self.kernel_size))
        return {"weights": Weight(shape, glorot), "bias": Weight((self.filters,), zeros, decay=False)}

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        from torch.nn.functional import conv2d, pad

        (x,) = xs
        top, left, bottom, right = self._pads(tuple(x.shape[-3:]))
        folded = pad(x.flatten(0, -4), (left, right, top, bottom))
        settings = (_pair(self.stride), 0, _pair(self.dilation), self.groups)
        y = conv2d(folded, module["weights"], module["bias"], *settings)
        return y.reshape(*x.shape[:-3], *y.shape[1:]), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        (x,) = xs
        names = [graph.weight(name, weights[name]) for name in ("weights", "bias")]
        settings = {
            "strides": list(_pair(self.stride)),
            "dilations": list(_pair(self.dilation)),
            "pads": list(self._pads(x.signal.shape)),
            "group": self.groups,
        }
        shape = self.infer(x.signal).shape
        return graph.per_step(x, lambda images: graph.op("Conv", images, *names, **settings), shape), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        image = Signal((2, 5, 6))
        return [
            Example(cls(3, 3), (image,)),
            Example(cls(2, (2, 3), (2, 1), padding="same"), (image,)),
            Example(cls(4, 2, 1, (1, 2), (0, 1), groups=2), (image,)),
            Example(cls(3, 3, 2, 1, 2), (image,)),
        ]
