"""Convolutions and poolings as frameworks call them: which layer each becomes depends on where time is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import windows
from seq2onnx.importing.lifting.layer_node import Array, LayerNode
from seq2onnx.importing.lifting.reading import as_padding
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.lifting.windows import Pads
from seq2onnx.layers import AvgPool1d, AvgPool2d, Conv1d, Conv2d, Layer, MaxPool1d, MaxPool2d


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows over the last axes of a tensor [batch, channels, …].

    `apply` is the foreign operation with other padding, on an array as the tensor; `groups` are those of the channels.
    `pads` has None for padding that depends on the number of steps; `padding` is "same" or "causal" where a layer for
    images has the padding by its name.
    """

    sizes: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[Any]
    apply: Callable[[Array, Sequence[Pads]], Array]
    groups: int = 1
    padding: Any = None

    def __call__(self, array: Array) -> Array:
        """Run the foreign operation."""
        return self.apply(array, self.pads)

    def without_padding(self, axis: int) -> Callable[[Array], Array]:
        """Return the operation without padding of one axis."""
        pads = [(0, 0) if place == axis else pair for place, pair in zip(self.places, self.pads, strict=True)]
        return lambda array: self.apply(array, pads)

    @property
    def places(self) -> range:
        """The axes, counted from the end."""
        return range(-len(self.sizes), 0)

    def time(self, x: TracedTensor) -> int | None:
        """Return which of the axes is time; None: the windows are within each step."""
        timed = [axis for axis in self.places if x.axes[axis]]
        if not timed:
            return None
        if len(timed) > 1 or x.axes[timed[0]] != "T" or "T" in x.axes[0]:
            raise ImportRefused(f"has windows over {x.describe(timed[0])}, in a tensor {list(x.shape)}")
        return timed[0]

    def image(self, x: TracedTensor) -> LayerNode | None:
        """Return the node whose steps are the images under the windows, if a layer for images has such padding."""
        is_one = self.padding is not None or len(set(self.pads)) == 1
        return windows.image_of(x, len(self.sizes) + 1) if is_one else None


def _two(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def convolution(x: TracedTensor, weights: Array, bias: Array | None, window: Windows) -> TracedTensor:
    """Convolution with weights [filters, channels, …]."""
    time = window.time(x)
    if time is None:
        return _convolution_in_step(x, weights, bias, window)
    pads, strides, dilations = window.pads, window.strides, window.dilations
    if len(window.sizes) == 1:
        return windows.conv1d(x, weights, bias, strides[0], dilations[0], pads[0], window.groups)
    return windows.dense_over_time(
        x, time, window.sizes[time], strides[time], dilations[time], pads[time], window.without_padding(time)
    )


def _convolution_in_step(x: TracedTensor, weights: Array, bias: Array | None, window: Windows) -> TracedTensor:
    count, image = len(window.sizes), window.image(x)
    if image is None:
        return windows.dense(x, count + 1, window)
    pad = window.pads[0]
    padding = window.padding or (pad[0] if pad[0] == pad[1] else pad)
    filters, strides, dilations, groups = len(weights), window.strides, window.dilations, window.groups
    layer: Layer
    if count == 1:
        layer = Conv1d(filters, window.sizes[0], strides[0], dilations[0], padding, groups, "space")
    else:
        layer = Conv2d(filters, _two(window.sizes), _two(strides), _two(dilations), padding, groups)
    return windows.on_image(x, image, layer, {"weights": weights, "bias": np.zeros(filters) if bias is None else bias})


def pooling(x: TracedTensor, window: Windows, is_max: bool, counts_padding: bool) -> TracedTensor:
    """Maximum or mean of each window."""
    if any(dilation != 1 for dilation in window.dilations):
        raise ImportRefused("is a pooling with dilation; no layer does that")
    time, count, sizes, strides, pads = window.time(x), len(window.sizes), window.sizes, window.strides, window.pads
    image = window.image(x) if time is None else None
    if image and pads[0][0] == pads[0][1]:
        return windows.on_image(x, image, _pool_of_image(window, is_max, counts_padding))
    if is_max:
        return windows.max_pool(x, sizes, strides, pads)
    if time is None:
        return windows.dense(x, count + 1, window)
    if count == 1:
        before, after = pads[0]
        padding = as_padding(before, after, sizes[0] - 1)
        return windows.pool_windows(x, AvgPool1d(sizes[0], strides[0], padding, count_padding=counts_padding))
    if any(pair != (0, 0) for pair in pads):
        raise ImportRefused("averages over time and features with padding, for which there is no layer")
    return windows.dense_over_time(x, time, sizes[time], strides[time], 1, (0, 0), window)


def _pool_of_image(window: Windows, is_max: bool, counted: bool) -> Layer:
    sizes, strides, pad = window.sizes, window.strides, window.padding or window.pads[0][0]
    if len(sizes) == 1:
        if is_max:
            return MaxPool1d(sizes[0], strides[0], pad, "space")
        return AvgPool1d(sizes[0], strides[0], pad, "space", count_padding=counted)
    if is_max:
        return MaxPool2d(_two(sizes), _two(strides), pad)
    return AvgPool2d(_two(sizes), _two(strides), pad, count_padding=counted)
