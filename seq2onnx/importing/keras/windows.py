"""Convolutions and poolings of Keras, over time or within each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.keras.graph import KerasLayer
from seq2onnx.importing.keras.layers import MOST_STEPS, activate, check_channels_last, check_shapes, keras
from seq2onnx.importing.lifting import functions, layout, operations as lifting, time_axis, windows
from seq2onnx.importing.lifting.convolutions import Windows, convolution, pooling
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import AvgPool1d, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d


def _sizes(layer: KerasLayer, name: str, count: int) -> list[int]:
    """Return an option that has a number for each axis."""
    value = layer.get(name)
    values = list(value) if isinstance(value, list | tuple) else [1 if value is None else value] * count
    if len(values) != count or not all(isinstance(n, int) and 0 < n <= MOST_STEPS for n in values):
        raise ImportRefused(f"has {name} {values}; expected {count} numbers from 1 to {MOST_STEPS:,}")
    return values


def _padding(layer: KerasLayer) -> str:
    check_channels_last(layer, "has", 'build the model with "channels_last"')
    padding = str(layer.get("padding", "valid")).lower()
    if padding not in ("valid", "same", "causal"):
        raise ImportRefused(f"has the padding {padding!r:.30}, which is not known")
    return padding


def _pads(padding: str, reach: int, stride: int, size: int | None) -> windows.Pads | None:
    """Return the padding of an axis; `size` is None for time. None: it depends on the number of steps."""
    if padding != "same":
        return (reach if padding == "causal" else 0, 0)
    if size is None and stride > 1:
        return None
    total = reach if size is None else max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2


def _convolve(layer: KerasLayer, x: TracedTensor, weights: Array, bias: Array | None, groups: int) -> TracedTensor:
    """Convolution of a tensor whose channels are last; weights [filters, channels / groups, …]."""
    count, padding = weights.ndim - 2, _padding(layer)
    strides, dilations = _sizes(layer, "strides", count), _sizes(layer, "dilation_rate", count)
    kernel = weights.shape[2:]
    reaches = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    if max(reaches) > MOST_STEPS:
        raise ImportRefused(f"has windows of {max(reaches) + 1:,} steps; at most {MOST_STEPS:,}")
    x = layout.move(x, -1, -1 - count)  # channels first
    sizes = [None if x.axes[axis] == "T" else x.shape[axis] for axis in range(-count, 0)]
    pads = [_pads(padding, *axis) for axis in zip(reaches, strides, sizes, strict=True)]

    def apply(a: Array, pads: Sequence[Any]) -> Array:
        a = np.pad(a, [*[(0, 0)] * (a.ndim - count), *pads])
        rest = (None if bias is None else torch.tensor(bias), strides, 0, dilations, groups)
        run = getattr(torch.nn.functional, f"conv{count}d")
        found: Array = run(torch.tensor(a), torch.tensor(weights), *rest).numpy()
        return found

    window = Windows(kernel, strides, dilations, pads, apply, groups, None if padding == "valid" else padding)
    return layout.move(convolution(x, weights, bias, window), -1 - count, -1)


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
    x = layout.move(x, -1, -1 - count)  # channels first
    pad: Any = "same" if padding == "same" else None

    def apply(a: Array, pads: Sequence[Any]) -> Array:
        found: Array = getattr(torch.nn.functional, f"avg_pool{count}d")(torch.tensor(a), sizes, strides).numpy()
        return found

    window = Windows(sizes, strides, [1] * count, [(0, 0)] * count, apply, padding=pad)
    if count == 1 and x.axes[-1] == "T":
        y = windows.pool_windows(x, (MaxPool1d if is_max else AvgPool1d)(sizes[0], strides[0], pad or 0))
    elif pad and (window.time(x) is not None or not window.image(x)):
        raise ImportRefused('pools joined or cut features with padding="same"; use padding="valid"')
    else:
        y = pooling(x, window, is_max, False)
    return layout.move(y, -1 - count, -1)


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
            x = layout.take(functions.max_features(x, axis, x.shape[axis], 1), axis, 0)
        return x
    lead = (*x.shape[: axes[0]], x.shape[-1])
    mean = windows.mean_of_image(layout.move(x, -1, -3)) if len(axes) == 2 else None
    if mean is None:
        count = math.prod(x.shape[axis] for axis in axes)
        mean = windows.dense(x, len(axes) + 1, lambda a: a.reshape(len(a), count, -1).mean(1))
    return layout.reshape(mean, lead)
