"""The equations that Keras documents for its layers, in numpy and float64: the source of the comparison.

It goes through the model as `keras.graph` gives it and shares nothing else with the modules that make layers of it.
Arrays are [batch, time, …] as in Keras. A mask is [batch, time], False where a step is padding; it is passed on, and
stops, where it does in Keras.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.keras.graph import KerasLayer, KerasModel, Tensor
from seq2onnx.importing.lifting.layer_node import Array

Mask = Array | None
Value = tuple[Array, Mask]

SAME = ("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "Masking")
JOINS = ("Add", "Multiply", "Subtract", "Maximum", "Minimum")
KEEPS_MASK = {*SAME, *JOINS, "Activation", "Average", "BatchNormalization", "Concatenate", "Dense", "ELU"}
KEEPS_MASK |= {"LayerNormalization", "LeakyReLU", "Normalization", "ReLU", "Rescaling", "SpatialDropout1D"}
KEEPS_MASK |= {"GroupNormalization", "UnitNormalization"}
"""Layers that pass their mask on."""


def evaluate(model: KerasModel, x: Array, mask: Mask, lengths: Array | None) -> list[Value]:
    """Return what a model gives for x, and its masks; with `lengths`, what follows them is padding."""
    values: dict[Tensor, Value] = {(model.input, 0): (x, mask)}
    for node in model.nodes:
        given = [values[tensor] for tensor in node.reads]
        if node.masks and all(mask is None for _, mask in given) and lengths is not None:
            raise ImportRefused(f"{node.layer.place}: is given a mask that what it reads does not have")
        for i, value in enumerate(_call(node.layer, given, lengths)):
            values[node.name, i] = value
    return [values[tensor] for tensor in model.outputs]


def _call(layer: KerasLayer, given: Sequence[Value], lengths: Array | None) -> list[Value]:
    xs, (x, _) = [x for x, _ in given], given[0]
    mask = functools.reduce(_both, [mask for _, mask in given])
    if layer.model:
        return evaluate(layer.model, x, mask, lengths)
    if layer.kind == "TimeDistributed":
        ((y, _),) = _call(layer.inner[0], [(x.reshape(-1, *x.shape[2:]), None)], None)
        return [(y.reshape(*x.shape[:2], *y.shape[1:]), mask)]
    if layer.kind in (*CELLS, "Bidirectional"):
        found = (_bidirectional if layer.inner else _recurrent)(layer, x, mask)
        first = layer.inner[0] if layer.inner else layer
        return [(y, mask if first.get("return_sequences") and y.ndim == 3 else None) for y in found]
    valid = None if lengths is None else np.arange(x.shape[1]) < lengths[:, None]
    if layer.kind == "ops.NotEqual" or x.dtype == bool:  # the operations by which Keras 3 writes a mask down
        return [(np.ones(x.shape[:2], bool) if valid is None else valid, None)]
    if layer.kind == "Masking" and valid is not None:
        return [(np.where(valid[..., None], x, 0), valid)]
    if layer.kind == "Embedding":
        own = valid if layer.get("mask_zero") else None
        tokens = x if own is None else np.where(own, x, 0)
        return [(layer.weights["embeddings"].astype(float)[tokens], own)]
    if layer.kind == "GlobalAveragePooling1D" and mask is not None:
        mean = (x * mask[..., None]).sum(1) / mask.sum(1)[:, None]
        return [(mean[:, None] if layer.get("keepdims") else mean, None)]
    if layer.kind == "Softmax" and mask is not None:
        raise ImportRefused(f"{layer.place}: is a softmax of masked steps; use activation='softmax'")
    return [(REFERENCE[layer.kind](layer, *xs), mask if layer.kind in KEEPS_MASK else None)]


def _both(a: Mask, b: Mask) -> Mask:
    return b if a is None else a if b is None else a & b


def _sigmoid(x: Array) -> Array:
    return (1 + np.tanh(x / 2)) / 2


def _softmax(x: Array, axis: int = -1) -> Array:
    raised: Array = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(raised / raised.sum(axis, keepdims=True))


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _leaky(x: Array, slope: float = 0.2) -> Array:
    return np.where(x > 0, x, slope * x)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softsign": lambda x: x / (1 + abs(x)),
    "softmax": _softmax,
    "elu": _elu,
    "selu": lambda x: 1.05070098735548049342 * _elu(x, 1.67326324235437728482),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf, [float])(x / math.sqrt(2))) / 2,
    "leaky_relu": _leaky,
    **dict.fromkeys(("silu", "swish"), lambda x: x * _sigmoid(x)),
    **dict.fromkeys(("hard_silu", "hard_swish"), lambda x: x * np.clip(x + 3, 0, 6) / 6),
}


def _activated(layer: KerasLayer, x: Array, option: str = "activation") -> Array:
    """Apply the activation that an option of a layer names, or describes as a layer."""
    function = layer.get(option)
    if function == "hard_sigmoid":
        return np.clip(0.2 * x + 0.5, 0, 1) if layer.version == 2 else np.clip((x + 3) / 6, 0, 1)
    if isinstance(function, dict):
        found: Array = REFERENCE[function["class_name"]](layer.described_by(function), x)
        return found
    return FUNCTIONS[function or "linear"](x)


def _relu(layer: KerasLayer, x: Array) -> Array:
    most, slope, threshold = layer.get("max_value"), layer.get("negative_slope") or 0, layer.get("threshold") or 0
    y = np.where(x >= threshold, x, slope * (x - threshold))
    return y if most is None else np.minimum(y, most)


def _weights(layer: KerasLayer) -> Mapping[str, Array]:
    return {name: array.astype(float) for name, array in layer.weights.items()}


def _with_bias(layer: KerasLayer, x: Array, weights: Mapping[str, Array]) -> Array:
    """Add the bias, and apply the activation."""
    return _activated(layer, x + weights.get("bias", 0))


def _dense(layer: KerasLayer, x: Array) -> Array:
    weights = _weights(layer)
    return _with_bias(layer, x @ weights["kernel"], weights)


def _normalization(layer: KerasLayer, x: Array) -> Array:
    weights = _weights(layer) or {name: np.asarray(layer.config[name], float) for name in ("mean", "variance")}
    return (x - weights["mean"]) / np.maximum(np.sqrt(weights["variance"]), 1e-7)


def _along(x: Array, axis: Any, array: Any) -> Any:
    """Give the numbers of some axes as many axes as x has."""
    axes = [i % x.ndim for i in np.ravel(axis).tolist()]
    return np.reshape(array, [n if i in axes else 1 for i, n in enumerate(x.shape)]) if np.ndim(array) else array


def _batch_normalization(layer: KerasLayer, x: Array) -> Array:
    arrays = {name: _along(x, layer.config["axis"], array) for name, array in _weights(layer).items()}
    spread = np.sqrt(arrays["moving_variance"] + layer.config["epsilon"])
    return np.asarray(arrays.get("gamma", 1) * (x - arrays["moving_mean"]) / spread + arrays.get("beta", 0))


def _layer_normalization(layer: KerasLayer, x: Array) -> Array:
    axis = _axes(layer)
    arrays = {name: _along(x, axis, array) for name, array in _weights(layer).items()}
    y = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + layer.config["epsilon"])
    return np.asarray(y * arrays.get("gamma", 1) + arrays.get("beta", 0))


def _axes(layer: KerasLayer) -> tuple[int, ...]:
    return tuple(np.ravel(layer.config["axis"]).tolist())


def _rms_normalization(layer: KerasLayer, x: Array) -> Array:
    squares = np.mean(x**2, _axes(layer), keepdims=True)
    return np.asarray(x / np.sqrt(squares + layer.config["epsilon"]) * _weights(layer)["scale"])


def _unit_normalization(layer: KerasLayer, x: Array) -> Array:
    return np.asarray(x / np.maximum(np.sqrt(np.sum(x**2, _axes(layer), keepdims=True)), 1e-12))


def _group_normalization(layer: KerasLayer, x: Array) -> Array:
    axis, groups = layer.config["axis"], layer.config["groups"]
    y = np.moveaxis(x, axis, 1)
    parts = y.reshape(len(y), y.shape[1] if groups == -1 else groups, -1)
    parts = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + layer.config["epsilon"])
    arrays = {name: _along(x, axis, array) for name, array in _weights(layer).items()}
    return np.asarray(np.moveaxis(parts.reshape(y.shape), 1, axis) * arrays.get("gamma", 1) + arrays.get("beta", 0))


def _reshape(layer: KerasLayer, x: Array) -> Array:
    target = list(layer.config["target_shape"])
    if x.ndim > 2 and math.prod(target[1:]) == math.prod(x.shape[2:]):
        target[0] = x.shape[1]  # where the model has declared a number of steps, any other fits too
    return x.reshape(len(x), *target)


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


def _windows_of(layer: KerasLayer, x: Array, sizes: Sequence[int]) -> Array:
    """Return the windows of a convolution."""
    strides, dilations = (_each(layer, name, len(sizes)) for name in ("strides", "dilation_rate"))
    return _windows(x, sizes, strides, dilations, layer.config["padding"])


def _convolution(layer: KerasLayer, x: Array) -> Array:
    weights, groups = _weights(layer), layer.get("groups", 1)
    kernel = weights["kernel"]
    count = kernel.ndim - 2
    found = _windows_of(layer, x, kernel.shape[:-2])
    found = found.reshape(*found.shape[:-count], -1)
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    parts = zip(np.split(found, groups, -2), np.split(kernel, groups, -1), strict=True)
    y = np.concatenate([np.einsum("...ck,kcf->...f", part, own, optimize=True) for part, own in parts], -1)
    return _with_bias(layer, y, weights)


def _depthwise(layer: KerasLayer, x: Array) -> Array:
    weights = _weights(layer)
    kernel = weights["depthwise_kernel"]
    y = np.einsum("...ck,kcm->...cm", _windows_of(layer, x, kernel.shape[:1]), kernel)
    y = y.reshape(*y.shape[:-2], -1)
    if "pointwise_kernel" in weights:
        y = y @ weights["pointwise_kernel"][0]
    return _with_bias(layer, y, weights)


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


def _global_pooling(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda layer, x: function(x, tuple(range(1, x.ndim - 1)), keepdims=bool(layer.get("keepdims")))


def _pair(widths: Any) -> Any:
    return (widths, widths) if np.ndim(widths) == 0 else tuple(widths)


def _cropping(layer: KerasLayer, x: Array) -> Array:
    before, after = _pair(layer.config["cropping"])
    if x.shape[1] <= before + after:
        raise ValueError(f"{x.shape[1]} steps are not more than are cut off")
    return x[:, before : x.shape[1] - after]


def _dot(layer: KerasLayer, a: Array, b: Array) -> Array:
    first, second = (layer.config["axes"],) * 2 if np.ndim(layer.config["axes"]) == 0 else layer.config["axes"]
    a, b = np.moveaxis(a, first, -1), np.moveaxis(b, second, -1)
    y = np.stack([np.tensordot(row, other, (-1, -1)) for row, other in zip(a, b, strict=True)])
    return y if y.ndim > 1 else y[:, None]


def _operation_axes(layer: KerasLayer, name: str = "axis") -> Any:
    axis = layer.get(name)
    return tuple(axis) if isinstance(axis, list) else axis


REFERENCE: dict[str, Callable[..., Array]] = {
    **dict.fromkeys((*SAME, "SpatialDropout1D", "SpatialDropout2D"), lambda layer, x: x),
    **dict.fromkeys(("Conv1D", "Conv2D"), _convolution),
    **dict.fromkeys(("DepthwiseConv1D", "SeparableConv1D"), _depthwise),
    **{f"{kind}Pooling{axes}": _pooling for kind in ("Max", "Average") for axes in ("1D", "2D")},
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D"), _global_pooling(np.max)),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalAveragePooling2D"), _global_pooling(np.mean)),
    **dict.fromkeys(
        (*JOINS, *(f"ops.{kind}" for kind in JOINS)),
        lambda layer, *xs: functools.reduce(getattr(np, layer.kind.removeprefix("ops.").lower()), xs),
    ),
    "Activation": lambda layer, x: _activated(layer, x),
    "Average": lambda layer, *xs: functools.reduce(np.add, xs) / len(xs),
    "BatchNormalization": _batch_normalization,
    "Concatenate": lambda layer, *xs: np.concatenate(xs, layer.get("axis", -1)),
    "Cropping1D": _cropping,
    "Dense": _dense,
    "ELU": lambda layer, x: _elu(x, layer.get("alpha", 1.0)),
    "Flatten": lambda layer, x: x.reshape(len(x), -1),
    "GroupNormalization": _group_normalization,
    "LayerNormalization": _layer_normalization,
    "LeakyReLU": lambda layer, x: _leaky(x, layer.config["alpha" if layer.version == 2 else "negative_slope"]),
    "Normalization": _normalization,
    "Permute": lambda layer, x: x.transpose(0, *layer.config["dims"]),
    "RMSNormalization": _rms_normalization,
    "ReLU": _relu,
    "Rescaling": lambda layer, x: (
        x * np.asarray(layer.config["scale"], float) + np.asarray(layer.get("offset", 0), float)
    ),
    "Reshape": _reshape,
    "Softmax": lambda layer, x: _softmax(x, int(np.ravel(layer.get("axis", -1))[0])),
    **{
        f"ops.{name}": lambda layer, x, function=function: function(
            x, _operation_axes(layer), keepdims=bool(layer.get("keepdims"))
        )
        for name, function in (("Sum", np.sum), ("Mean", np.mean), ("Max", np.max), ("Min", np.min))
    },
    "Dot": _dot,
    "ops.ExpandDims": lambda layer, x: np.expand_dims(x, _operation_axes(layer)),
    "ops.GetItem": lambda layer, x: x[layer.config["index"]],
    "ops.Matmul": lambda layer, a, b: a @ b,
    "ops.Softmax": lambda layer, x: _softmax(x, int(layer.get("axis", -1))),
    "ops.Squeeze": lambda layer, x: np.squeeze(x, _operation_axes(layer)),
    "ops.Transpose": lambda layer, x: np.transpose(x, _operation_axes(layer, "axes")),
    "UnitNormalization": _unit_normalization,
    "ZeroPadding1D": lambda layer, x: np.pad(x, [(0, 0), _pair(layer.config["padding"]), *[(0, 0)] * (x.ndim - 2)]),
}
"""The equations of each kind of layer that neither reads its mask nor joins steps by a state: (layer, x, …) -> y."""


def _lstm(layer: KerasLayer, weights: dict[str, Array], x: Array, states: list[Array]) -> list[Array]:
    h, c = states
    i, f, g, o = np.split(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"], 4, -1)
    i, f, o = (_activated(layer, gate, "recurrent_activation") for gate in (i, f, o))
    c = f * c + i * _activated(layer, g)
    return [o * _activated(layer, c), c]


def _gru(layer: KerasLayer, weights: dict[str, Array], x: Array, states: list[Array]) -> list[Array]:
    (h,) = states
    bias, outer = weights["bias"], np.zeros(weights["bias"].shape[-1])
    if layer.get("reset_after"):
        bias, outer = np.broadcast_to(bias, (2, bias.shape[-1]))
    xz, xr, xn = np.split(x @ weights["kernel"] + bias, 3, -1)
    kernels, (bz, br, bn) = np.split(weights["recurrent_kernel"], 3, -1), np.split(outer, 3)
    z = _activated(layer, xz + h @ kernels[0] + bz, "recurrent_activation")
    r = _activated(layer, xr + h @ kernels[1] + br, "recurrent_activation")
    inner = r * (h @ kernels[2] + bn) if layer.get("reset_after") else (r * h) @ kernels[2]
    return [z * h + (1 - z) * _activated(layer, xn + inner)]


def _simple(layer: KerasLayer, weights: dict[str, Array], x: Array, states: list[Array]) -> list[Array]:
    (h,) = states
    return [_activated(layer, x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"])]


CELLS = {"LSTM": (_lstm, 2), "GRU": (_gru, 1), "SimpleRNN": (_simple, 1)}


def _recurrent(layer: KerasLayer, x: Array, mask: Mask) -> list[Array]:
    cell, count = CELLS[layer.kind]
    weights = {"bias": np.zeros(layer.weights["kernel"].shape[-1]), **_weights(layer)}
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
