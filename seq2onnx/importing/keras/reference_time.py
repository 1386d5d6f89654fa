"""The equations of Keras's layers over windows and over time, as `keras_reference` has the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.importing.keras.graph import KerasLayer
from seq2onnx.importing.keras.reference import Mask, _activated, _weights, equations
from seq2onnx.importing.lifting.layer_node import Array


def _each(layer: KerasLayer, name: str, count: int) -> list[int]:
    value = layer.get(name)
    return [1 if value is None else value] * count if np.ndim(value) == 0 else list(value)


def _windows(
    x: Array, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str, outside: float = 0
) -> Array:
    """Return the windows over the axes between batch and channels, as [batch, …, channels, …sizes]."""
    for axis, (size, stride, dilation) in enumerate(zip(sizes, strides, dilations, strict=True), 1):
        reach, n = dilation * (size - 1), x.shape[axis]
        pads = (0, 0)
        if padding == "causal":
            pads = (reach, 0)
        elif padding == "same":  # as many windows as strides fit; what is odd goes behind
            total = max((-(-n // stride) - 1) * stride + reach + 1 - n, 0)
            pads = (total // 2, total - total // 2)
        if n + sum(pads) <= reach:
            raise ValueError(f"{n} steps are fewer than a window has")
        widths = [pads if i == axis else (0, 0) for i in range(x.ndim)]
        x = np.pad(x, widths, constant_values=outside)
        x = np.lib.stride_tricks.sliding_window_view(x, reach + 1, axis)[..., ::dilation]
        x = x[(slice(None),) * axis + (slice(None, None, stride),)]
    return x


@equations("Conv1D", "Conv2D")
def _convolution(layer: KerasLayer, x: Array) -> Array:
    weights, groups = _weights(layer), layer.get("groups", 1)
    kernel = weights["kernel"]
    count = kernel.ndim - 2
    strides, dilations = (_each(layer, name, count) for name in ("strides", "dilation_rate"))
    found = _windows(x, kernel.shape[:-2], strides, dilations, layer.config["padding"])
    found = found.reshape(*found.shape[:-count], -1)
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    parts = zip(np.split(found, groups, -2), np.split(kernel, groups, -1), strict=True)
    y = np.concatenate([np.einsum("...ck,kcf->...f", part, own, optimize=True) for part, own in parts], -1)
    return _activated(layer, y + weights.get("bias", 0), layer.get("activation"))


@equations("DepthwiseConv1D", "SeparableConv1D")
def _depthwise(layer: KerasLayer, x: Array) -> Array:
    weights = _weights(layer)
    kernel = weights["depthwise_kernel"]
    strides, dilations = (_each(layer, name, 1) for name in ("strides", "dilation_rate"))
    found = _windows(x, kernel.shape[:1], strides, dilations, layer.config["padding"])
    y = np.einsum("...ck,kcm->...cm", found, kernel)
    y = y.reshape(*y.shape[:-2], -1)
    if "pointwise_kernel" in weights:
        y = y @ weights["pointwise_kernel"][0]
    return _activated(layer, y + weights.get("bias", 0), layer.get("activation"))


@equations("MaxPooling1D", "AveragePooling1D", "MaxPooling2D", "AveragePooling2D")
def _pooling(layer: KerasLayer, x: Array) -> Array:
    count = x.ndim - 2
    sizes = _each(layer, "pool_size", count)
    strides = sizes if layer.get("strides") is None else _each(layer, "strides", count)
    ones, padding = [1] * count, layer.config["padding"]
    inside = tuple(range(-count, 0))
    if layer.kind.startswith("Max"):
        return np.asarray(_windows(x, sizes, strides, ones, padding, -np.inf).max(inside))
    there = _windows(np.ones_like(x), sizes, strides, ones, padding).sum(inside)  # padding does not count
    return np.asarray(_windows(x, sizes, strides, ones, padding).sum(inside) / there)


@equations("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D")
def _global_pooling(layer: KerasLayer, x: Array) -> Array:
    axes = tuple(range(1, x.ndim - 1))
    function = np.max if "Max" in layer.kind else np.mean
    return np.asarray(function(x, axes, keepdims=bool(layer.get("keepdims"))))


@equations("ZeroPadding1D")
def _zero_padding(layer: KerasLayer, x: Array) -> Array:
    widths = layer.config["padding"]
    return np.pad(x, [(0, 0), (widths, widths) if np.ndim(widths) == 0 else tuple(widths), *[(0, 0)] * (x.ndim - 2)])


@equations("Cropping1D")
def _cropping(layer: KerasLayer, x: Array) -> Array:
    widths = layer.config["cropping"]
    before, after = (widths, widths) if np.ndim(widths) == 0 else widths
    if x.shape[1] <= before + after:
        raise ValueError(f"{x.shape[1]} steps are not more than are cut off")
    return x[:, before : x.shape[1] - after]


def _lstm(layer: KerasLayer, weights: dict[str, Array], x: Array, states: list[Array]) -> list[Array]:
    h, c = states
    i, f, g, o = np.split(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"], 4, -1)
    i, f, o = (_activated(layer, gate, layer.get("recurrent_activation")) for gate in (i, f, o))
    c = f * c + i * _activated(layer, g, layer.get("activation"))
    return [o * _activated(layer, c, layer.get("activation")), c]


def _gru(layer: KerasLayer, weights: dict[str, Array], x: Array, states: list[Array]) -> list[Array]:
    (h,) = states
    bias, outer = weights["bias"], np.zeros(weights["bias"].shape[-1])
    if layer.get("reset_after"):
        bias, outer = np.broadcast_to(bias, (2, bias.shape[-1]))
    xz, xr, xn = np.split(x @ weights["kernel"] + bias, 3, -1)
    kernels, (bz, br, bn) = np.split(weights["recurrent_kernel"], 3, -1), np.split(outer, 3)
    z = _activated(layer, xz + h @ kernels[0] + bz, layer.get("recurrent_activation"))
    r = _activated(layer, xr + h @ kernels[1] + br, layer.get("recurrent_activation"))
    inner = r * (h @ kernels[2] + bn) if layer.get("reset_after") else (r * h) @ kernels[2]
    n = _activated(layer, xn + inner, layer.get("activation"))
    return [z * h + (1 - z) * n]


def _simple(layer: KerasLayer, weights: dict[str, Array], x: Array, states: list[Array]) -> list[Array]:
    (h,) = states
    y = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"]
    return [_activated(layer, y, layer.get("activation"))]


CELLS = {"LSTM": (_lstm, 2), "GRU": (_gru, 1), "SimpleRNN": (_simple, 1)}


@equations(*CELLS)
def _recurrent(layer: KerasLayer, x: Array, mask: Mask) -> list[Array]:
    cell, count = CELLS[layer.kind]
    weights = {"bias": np.zeros(1), **_weights(layer)}
    if "bias" not in layer.weights:
        weights["bias"] = np.zeros(weights["kernel"].shape[-1])
    states = [np.zeros((len(x), layer.config["units"]))] * count
    output, outputs = states[0], []
    for step in range(x.shape[1]):
        found = cell(layer, weights, x[:, step], states)
        new = found[0]
        if mask is not None:  # at a masked step the states stay, and the output repeats
            valid = mask[:, step, None]
            found = [np.where(valid, a, b) for a, b in zip(found, states, strict=True)]
            new = np.where(valid, new, 0 if layer.get("zero_output_for_mask") else output)
        states, output = found, new
        outputs.append(output)
    return [np.stack(outputs, 1) if layer.get("return_sequences") else output, *states]


@equations("Bidirectional")
def _bidirectional(layer: KerasLayer, x: Array, mask: Mask) -> list[Array]:
    forward, *states = _recurrent(layer.inner[0], x, mask)
    back, *others = _recurrent(layer.inner[1], x[:, ::-1], None if mask is None else mask[:, ::-1])
    if layer.inner[0].get("return_sequences"):
        back = back[:, ::-1]
    merges: Any = {
        "concat": lambda: [np.concatenate([forward, back], -1)],
        "sum": lambda: [forward + back],
        "mul": lambda: [forward * back],
        "ave": lambda: [(forward + back) / 2],
        None: lambda: [forward, back],
    }
    return [*merges[layer.get("merge_mode", "concat")](), *states, *others]
