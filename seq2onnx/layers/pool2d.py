"""MaxPool2d, AvgPool2d and GlobalAvgPool2d: pooling over the image of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

from pydantic import model_validator

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import images
from seq2onnx.layers.parts.window import check_pool_padding, mean_within_steps, within_steps
from seq2onnx.layers.parts.window_nodes import emit_mean, emit_pool
from seq2onnx.layers.signal import Signal


@final
@layer
class MaxPool2d(Layer):
    """Maximum over windows of the image of each step, channel by channel. Padding is never the maximum.

        y_{hw} = max_{ij} x_{sh − top + i, sw − left + j}     over the pixels that exist

    Shapes (B batch, T time, C channels, H height, W width; float32):
        x [B, T, C, H, W] -> y [B, T, C, H', W'], with H' and W' as T' in Conv1d

    Args:
        pool_size: a number, or (height, width).
        stride: a number, or (height, width).
        padding: "same", a number, or (before, after), on both axes; less than pool_size on each side.

    Raises:
        ShapeError: the input has no images, or the window does not fit.

    ONNX:
        MaxPool, with time folded into the batch

    Example:
        >>> MaxPool2d(2, stride=2)

    Source:
        ONNX operator MaxPool-12
    """

    pool_size: images.Pair
    stride: images.Pair = 1
    padding: images.ImagePadding = 0

    kind: ClassVar[str] = "max_pool2d"

    _check = model_validator(mode="after")(check_pool_padding)

    @property
    def windows(self) -> images.Windows:
        """Its windows."""
        return images.windows(self.pool_size, self.stride, 1, self.padding)

    def infer(self, *signals: Signal) -> Signal:
        return images.infer(self, signals, self.windows)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch
        from torch.nn.functional import max_pool2d

        settings = (images.pair(self.pool_size), images.pair(self.stride))
        y = within_steps(call.x, self.windows, lambda steps: max_pool2d(steps, *settings), -torch.inf)
        return y, call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, settings = call.x, _settings(self, call.x.signal)
        return emit_pool(graph, "MaxPool", x, self.infer(x.signal).shape, **settings), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        image = Signal((2, 5, 6))
        return [
            Example(cls(2, 2), (image,)),
            Example(cls((2, 3), (2, 1), "same"), (image,)),
            Example(cls(3, 2, 1), (image,)),
            Example(cls((3, 2), 1, (0, 1)), (image,)),
        ]


@final
@layer
class AvgPool2d(Layer):
    """Mean over windows of the image of each step, channel by channel. By default, padding does not count.

        y_{hw} = Σ_{ij} x_{sh − top + i, sw − left + j} / n     n: the pixels that exist, or all with count_padding

    Shapes (B batch, T time, C channels, H height, W width; float32):
        x [B, T, C, H, W] -> y [B, T, C, H', W'], with H' and W' as T' in Conv1d

    Args:
        pool_size: a number, or (height, width).
        stride: a number, or (height, width).
        padding: as in MaxPool2d.
        count_padding: count padding as zeros, as torch and MATLAB do.

    Raises:
        ShapeError: the input has no images, or the window does not fit.

    ONNX:
        AveragePool, with time folded into the batch; with count_padding and unequal padding Conv

    Example:
        >>> AvgPool2d(2, stride=2)

    Source:
        ONNX operator AveragePool-11
    """

    pool_size: images.Pair
    stride: images.Pair = 1
    padding: images.ImagePadding = 0
    count_padding: bool = False

    kind: ClassVar[str] = "avg_pool2d"

    _check = model_validator(mode="after")(check_pool_padding)

    @property
    def windows(self) -> images.Windows:
        """Its windows."""
        return images.windows(self.pool_size, self.stride, 1, self.padding)

    def infer(self, *signals: Signal) -> Signal:
        return images.infer(self, signals, self.windows)

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import avg_pool2d

        return mean_within_steps(call.x, self.windows, self.count_padding, avg_pool2d), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x, settings = call.x, _settings(self, call.x.signal)
        return emit_mean(graph, x, self.infer(x.signal).shape, self.count_padding, **settings), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        image = Signal((2, 5, 6))
        return [
            Example(cls(2, 2), (image,)),
            Example(cls((2, 3), (2, 1), "same"), (image,)),
            Example(cls(3, 2, 1, True), (image,)),
            Example(cls((3, 2), 1, (0, 1)), (image,)),
            Example(cls((3, 4), 3, "same", True), (image,)),
        ]


@final
@layer
class GlobalAvgPool2d(Layer):
    """Mean of each channel over the image of each step.

        y_c = Σ_{hw} x_{chw} / (H · W)

    Shapes (B batch, T time, C channels, H height, W width; float32):
        x [B, T, C, H, W] -> y [B, T, C]

    Raises:
        ShapeError: the input has no images.

    ONNX:
        ReduceMean, with time folded into the batch

    Example:
        >>> GlobalAvgPool2d()

    Source:
        ONNX operator ReduceMean-13
    """

    kind: ClassVar[str] = "global_avg_pool2d"

    def infer(self, *signals: Signal) -> Signal:
        x = images.check(self, signals)
        return dataclasses.replace(x, shape=x.shape[:1])

    def forward(self, call: ForwardCall) -> Forwarded:
        return call.x.mean((-2, -1)), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x
        # `per_step` sets the shape of the result: onnxruntime before 1.32 leaves an empty array as it is.
        y = graph.per_step(x, lambda y: graph.reduce("ReduceMean", y, -2, -1), x.signal.shape[:1])
        return y, call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((2, 3, 4)),))]


def _settings(layer: MaxPool2d | AvgPool2d, x: Signal) -> dict[str, list[int]]:
    return {
        "kernel_shape": [*images.pair(layer.pool_size)],
        "strides": [*images.pair(layer.stride)],
        "pads": [*images.pads(layer.windows, x.shape)],
    }
