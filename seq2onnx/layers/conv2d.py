"""Conv2d: weighted sums over windows of the image of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

from pydantic import model_validator

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import images
from seq2onnx.layers.parts.initializers import glorot, zeros
from seq2onnx.layers.parts.window import within_steps
from seq2onnx.layers.signal import Signal, Weight


@final
@layer
class Conv2d(Layer):
    """Convolution over the image of each step. Steps do not mix.

        y_{hw} = b + Σ_{cij} W_{cij} x_{c, sh − top + di, sw − left + dj}     zeros outside

    Shapes (B batch, T time, C channels, H height, W width, F filters; float32):
        x [B, T, C, H, W] -> y [B, T, F, H', W'], with H' and W' as T' in Conv1d

    Args:
        filters: number of filters F, > 0.
        kernel_size: a number, or (height, width).
        stride: a number, or (height, width).
        dilation: a number, or (height, width).
        padding: "same", a number, or (before, after), on both axes.
        groups: as in Conv1d.

    Raises:
        ShapeError: the input has no images, the window does not fit, or groups does not divide the channels.

    Weights:
        weights [F, C / groups, k, k], bias [F]

    ONNX:
        Conv, with time folded into the batch

    Example:
        >>> Conv2d(20, 5)

    Source:
        ONNX operator Conv-11
    """

    filters: PositiveInt
    kernel_size: images.Pair
    stride: images.Pair = 1
    dilation: images.Pair = 1
    padding: images.ImagePadding = 0
    groups: PositiveInt = 1

    kind: ClassVar[str] = "conv2d"

    @model_validator(mode="after")
    def _check(self) -> Conv2d:
        if self.filters % self.groups:
            raise ValueError(f"groups {self.groups} must divide the filters {self.filters}")
        return self

    @property
    def windows(self) -> images.Windows:
        """Its windows."""
        return images.windows(self.kernel_size, self.stride, self.dilation, self.padding)

    def infer(self, *signals: Signal) -> Signal:
        x = images.infer(self, signals, self.windows)
        if signals[0].shape[0] % self.groups:
            raise ShapeError(f"{self.label}: groups {self.groups} must divide the channels of x {signals[0]}")
        return dataclasses.replace(x, shape=(self.filters, *x.shape[1:]))

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = (self.filters, signals[0].shape[0] // self.groups, *images.pair(self.kernel_size))
        return {"weights": Weight(shape, glorot), "bias": Weight((self.filters,), zeros, decay=False)}

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import conv2d

        weights, bias = call.weights["weights"], call.weights["bias"]
        settings = (images.pair(self.stride), 0, images.pair(self.dilation), self.groups)
        y = within_steps(call.x, self.windows, lambda steps: conv2d(steps, weights, bias, *settings))
        return y, call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, names = call.x, [graph.weight(name, call.weights[name]) for name in ("weights", "bias")]
        settings = {
            "strides": list(images.pair(self.stride)),
            "dilations": list(images.pair(self.dilation)),
            "pads": list(images.pads(self.windows, x.signal.shape)),
            "group": self.groups,
        }
        shape = self.infer(x.signal).shape
        return graph.per_step(x, lambda y: graph.op("Conv", y, *names, **settings), shape), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        image = Signal((2, 5, 6))
        return [
            Example(cls(3, 3), (image,)),
            Example(cls(2, (2, 3), (2, 1), padding="same"), (image,)),
            Example(cls(4, 2, 1, (1, 2), (0, 1), groups=2), (image,)),
            Example(cls(3, 3, 2, 1, 2), (image,)),
        ]
