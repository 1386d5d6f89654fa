"""Windows over the height and width of images: shared code of Conv2d, MaxPool2d and AvgPool2d."""

from __future__ import annotations

import dataclasses
from typing import Literal

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Layer, PositiveInt, single_input
from seq2onnx.layers.parts.window import StepCount, Window
from seq2onnx.layers.signal import Signal

Pair = PositiveInt | tuple[PositiveInt, PositiveInt]
"""One number for both axes, or (height, width)."""

ImagePadding = Literal["same"] | StepCount | tuple[StepCount, StepCount]
"""On both axes, a number on each side, or (before, after)."""

Windows = tuple[Window, Window]
"""Along height and width."""


def pair(value: Pair) -> tuple[int, int]:
    """Return (height, width)."""
    return (value, value) if isinstance(value, int) else value


def windows(kernel: Pair, stride: Pair, dilation: Pair, padding: ImagePadding) -> Windows:
    """Return the windows along height and width."""
    height, width = (
        Window(k, s, d, padding) for k, s, d in zip(pair(kernel), pair(stride), pair(dilation), strict=True)
    )
    return height, width


def pads(windows: Windows, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the padding of images [C, H, W]: top, left, bottom, right."""
    (top, bottom), (left, right) = (w.width_pads(n) for w, n in zip(windows, shape[1:], strict=True))
    return top, left, bottom, right


def check(layer: Layer, signals: tuple[Signal, ...]) -> Signal:
    """Return the only input of the layer; raise ShapeError unless it has images."""
    x = single_input(layer, signals)
    if len(x.shape) != 3:
        raise ShapeError(
            f"{layer.label}: expected images with channels first, [batch, time, channels, height, width], got {x}"
        )
    return x


def infer(layer: Layer, signals: tuple[Signal, ...], windows: Windows) -> Signal:
    """Infer the output of a layer with these windows and as many channels as its input."""
    x = check(layer, signals)
    height, width = (w.length(n) for w, n in zip(windows, x.shape[1:], strict=True))
    if not height or not width:
        raise ShapeError(
            f"{layer.label}: its window does not fit into x {x}; use a smaller one, or padding. Images have channels "
            "first, [batch, time, channels, height, width]"
        )
    return dataclasses.replace(x, shape=(x.shape[0], height, width))
