"""Convolutions and poolings of Keras, over time or within each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.keras.graph import KerasLayer
from seq2onnx.importing.keras.layers import MOST_STEPS, activate, check_shapes, keras
from seq2onnx.importing.lifting import layout, operations as lifting, time_axis, windows
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import AvgPool1d, AvgPool2d, Conv1d, Conv2d, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d, MaxPool2d
from seq2onnx.layers.base import Layer


def _sizes(layer: KerasLayer, name: str, count: int) -> list[int]:
    """Return an option that has a number for each axis."""
    value = layer.get(name)
    values = list(value) if isinstance(value, list | tuple) else [1 if value is None else value] * count
    if len(values) != count or not all(isinstance(n, int) and 0 < n <= MOST_STEPS for n in values):
        raise ImportRefused(f"has {name} {values}; expected {count} numbers from 1 to {MOST_STEPS:,}")
    return values


def _padding(layer: KerasLayer) -> str:
    if layer.get("data_format", "channels_last") != "channels_last":
        raise ImportRefused('has data_format="channels_first"; build the model with "channels_last"')
    padding = str(layer.get("padding", "valid")).lower()
    if padding not in ("valid", "same", "causal"):
        raise ImportRefused(f"has the padding {padding!r:.30}, which is not known")
    return padding


def _pads(padding: str, reach: int, stride: int) -> windows.Pads | None:
    """Return the padding of time; None where it depends on the number of steps."""
    if padding == "same":
        return None if stride > 1 else (reach // 2, reach - reach // 2)
    return (reach if padding == "causal" else 0, 0)


def _channels_first(x: TracedTensor, count: int) -> TracedTensor:
    lead = len(x.axes) - count - 1
    return layout.transpose(x, [*range(lead), len(x.axes) - 1, *range(lead, len(x.axes) - 1)])


def _channels_last(x: TracedTensor, count: int) -> TracedTensor:
    lead = len(x.axes) - count - 1
    return layout.transpose(x, [*range(lead), *range(lead + 1, len(x.axes)), lead])


def _timed(x: TracedTensor, count: int) -> list[int]:
    """Return the axes among the last ones that are time."""
    return [axis for axis in range(-count, 0) if x.axes[axis] == "T"]


def _convolve(layer: KerasLayer, x: TracedTensor, weights: Array, bias: Array | None, groups: int) -> TracedTensor:
    """Convolution of a tensor whose channels are last; weights [filters, channels / groups, …]."""
    count, padding = weights.ndim - 2, _padding(layer)
    strides, dilations = _sizes(layer, "strides", count), _sizes(layer, "dilation_rate", count)
    kernel = weights.shape[2:]
    reaches = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    if max(reaches) > MOST_STEPS:
        raise ImportRefused(f"has windows of {max(reaches) + 1:,} steps; at most {MOST_STEPS:,}")
    x = _channels_first(x, count)
    timed = _timed(x, count)

    def apply(a: Array) -> Array:
        for axis in range(-count, 0):
            if axis not in timed:
                a = _padded(a, axis, padding, reaches[axis], strides[axis])
        convolution: Any = torch.nn.functional.conv1d if count == 1 else torch.nn.functional.conv2d
        rest = (None if bias is None else torch.tensor(bias), strides, 0, dilations, groups)
        found: Array = convolution(torch.tensor(a), torch.tensor(weights), *rest).numpy()
        return found

    if not timed:
        image = windows.image_of(x, count + 1)
        if image is None:
            return _channels_last(windows.dense(x, count + 1, apply), count)
        options: Any = {"padding": padding if padding != "valid" else 0, "groups": groups}
        made: Layer
        if count == 1:
            made = Conv1d(len(weights), kernel[0], strides[0], dilations[0], axis="space", **options)
        else:
            pairs: Any = [tuple(values) for values in (kernel, strides, dilations)]
            made = Conv2d(len(weights), *pairs, **options)
        arrays = {"weights": weights, "bias": np.zeros(len(weights)) if bias is None else bias}
        return _channels_last(windows.on_image(x, image, made, arrays), count)
    time = timed[0]
    options_of_time = (strides[time], dilations[time], _pads(padding, reaches[time], strides[time]))
    if count == 1:
        y = windows.conv1d(x, weights, bias, *options_of_time, groups)
    else:
        y = windows.dense_over_time(x, time, kernel[time], *options_of_time, apply)
    return _channels_last(y, count)


def _padded(a: Array, axis: int, padding: str, reach: int, stride: int) -> Array:
    """Pad an axis of known size with zeros."""
    size = a.shape[axis]
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0) if padding == "same" else 0
    before, after = (reach, 0) if padding == "causal" else (total // 2, total - total // 2)
    return np.pad(a, [(before, after) if i == axis % a.ndim else (0, 0) for i in range(a.ndim)])


@keras("Conv1D", "Conv2D")
def _convolution(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    count = int(layer.kind[4])
    kernel = _sizes(layer, "kernel_size", count)
    lifting.check_features(x, len(x.axes) - 1, "has the channels of a convolution")
    groups, filters = layer.get("groups", 1), layer.config["filters"]
    check_shapes(layer, kernel=(*kernel, x.shape[-1] // groups, filters), bias=(filters,))
    weights = np.moveaxis(layer.weights["kernel"], (-1, -2), (0, 1))
    y = _convolve(layer, x, np.ascontiguousarray(weights), layer.weights.get("bias"), groups)
    return activate(layer, y, layer.get("activation"))


@keras("DepthwiseConv1D", "SeparableConv1D")
def _depthwise(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    (size,), channels, per = _sizes(layer, "kernel_size", 1), x.shape[-1], layer.get("depth_multiplier", 1)
    is_separable = layer.kind == "SeparableConv1D"
    filters = layer.config["filters"] if is_separable else channels * per
    shapes = {"depthwise_kernel": (size, channels, per), "pointwise_kernel": (1, channels * per, filters)}
    check_shapes(layer, **shapes, bias=(filters,))
    weights = layer.weights["depthwise_kernel"].transpose(1, 2, 0).reshape(channels * per, 1, size)
    bias = layer.weights.get("bias")
    y = _convolve(layer, x, weights, None if is_separable else bias, channels)
    if is_separable:
        y = lifting.linear(y, layer.weights["pointwise_kernel"][0].T, bias)
    return activate(layer, y, layer.get("activation"))


@keras("MaxPooling1D", "AveragePooling1D", "MaxPooling2D", "AveragePooling2D")
def _pooling(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    is_max, count, padding = layer.kind.startswith("Max"), int(layer.kind[-2]), _padding(layer)
    sizes = _sizes(layer, "pool_size", count)
    strides = sizes if layer.get("strides") is None else _sizes(layer, "strides", count)
    x = _channels_first(x, count)
    timed = _timed(x, count)
    image = None if timed else windows.image_of(x, count + 1)
    pad: Any = "same" if padding == "same" else 0
    if image or (timed and count == 1):
        size, stride = (sizes[0], strides[0]) if count == 1 else (tuple(sizes), tuple(strides))
        kinds = {(True, 1): MaxPool1d, (False, 1): AvgPool1d, (True, 2): MaxPool2d, (False, 2): AvgPool2d}
        made: Any = kinds[is_max, count](size, stride, pad, **({} if timed or count == 2 else {"axis": "space"}))
        y = windows.on_image(x, image, made) if image else windows.pool_windows(x, made)
    elif pad:
        raise ImportRefused('pools joined or cut features with padding="same"; use padding="valid"')
    elif is_max:
        y = windows.max_pool(x, sizes, strides, [(0, 0)] * count)
    else:
        pool: Any = torch.nn.functional.avg_pool1d if count == 1 else torch.nn.functional.avg_pool2d

        def apply(a: Array) -> Array:
            found: Array = pool(torch.tensor(a), sizes, strides).numpy()
            return found

        if timed:
            y = windows.dense_over_time(x, timed[0], sizes[timed[0]], strides[timed[0]], 1, (0, 0), apply)
        else:
            y = windows.dense(x, count + 1, apply)
    return _channels_last(y, count)


@keras("GlobalAveragePooling1D", "GlobalMaxPooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling2D")
def _global_pooling(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    is_max, count = "Max" in layer.kind, int(layer.kind[-2])
    _padding(layer)
    y = _over_features(x, is_max, [axis for axis in range(1, count + 1) if x.axes[axis] != "T"])
    if "T" in x.axes[1 : count + 1]:
        y = time_axis.pool_time(y, 1, GlobalMaxPool1d() if is_max else GlobalAvgPool1d())
    for _ in range(count if layer.get("keepdims") else 0):
        y = layout.unsqueeze(y, 1)
    return y


def _over_features(x: TracedTensor, is_max: bool, axes: Sequence[int]) -> TracedTensor:
    """Mean or maximum over axes of features, which stand before the channels."""
    if not axes:
        return x
    if is_max:
        for axis in axes[::-1]:
            x = layout.take(lifting.max_features(x, axis, x.shape[axis], 1), axis, 0)
        return x
    lead = (*x.shape[: axes[0]], x.shape[-1])
    mean = windows.mean_of_image(_channels_first(x, 2)) if len(axes) == 2 else None
    if mean is None:
        count = math.prod(x.shape[axis] for axis in axes)
        mean = windows.dense(x, len(axes) + 1, lambda a: a.reshape(len(a), count, -1).mean(1))
    return layout.reshape(mean, lead)
