"""The equations that Keras documents for its layers, in numpy and float64: the source of the comparison.

It goes through the model as `keras_graph` gives it and shares nothing else with the modules that make layers of it.
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
REFERENCE: dict[str, Callable[..., Any]] = {}

KEEPS_MASK = {
    *("Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "BatchNormalization", "Concatenate"),
    *("Dense", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "Identity", "LayerNormalization", "LeakyReLU"),
    *("Maximum", "Minimum", "Multiply", "Normalization", "ReLU", "Rescaling", "SpatialDropout1D", "Subtract"),
    *("TimeDistributed", "Masking"),
}
"""Layers that pass their mask on."""
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "Bidirectional")


def equations(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the equations of these kinds of layers: (layer, x, …) -> y."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        REFERENCE.update(dict.fromkeys(kinds, function))
        return function

    return enter


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
    if layer.kind in RECURRENT:
        found = REFERENCE[layer.kind](layer, x, mask)
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
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "leaky_relu": _leaky,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}


def _activated(layer: KerasLayer, x: Array, function: Any) -> Array:
    if function == "hard_sigmoid":
        return np.clip(0.2 * x + 0.5, 0, 1) if layer.version == 2 else np.clip((x + 3) / 6, 0, 1)
    if isinstance(function, dict):
        kind, config = function["class_name"], function["config"]
        found: Array = REFERENCE[kind](KerasLayer(kind, layer.name, config, {}, (), None, layer.version), x)
        return found
    return FUNCTIONS[function or "linear"](x)


@equations("Activation")
def _activation(layer: KerasLayer, x: Array) -> Array:
    return _activated(layer, x, layer.config["activation"])


@equations("ReLU")
def _relu(layer: KerasLayer, x: Array) -> Array:
    most, slope, threshold = layer.get("max_value"), layer.get("negative_slope") or 0, layer.get("threshold") or 0
    y = np.where(x >= threshold, x, slope * (x - threshold))
    return y if most is None else np.minimum(y, most)


@equations("LeakyReLU")
def _leaky_relu(layer: KerasLayer, x: Array) -> Array:
    return _leaky(x, layer.config["alpha" if layer.version == 2 else "negative_slope"])


@equations("ELU")
def _elu_layer(layer: KerasLayer, x: Array) -> Array:
    return _elu(x, layer.get("alpha", 1.0))


@equations("Softmax")
def _softmax_layer(layer: KerasLayer, x: Array) -> Array:
    return _softmax(x, int(np.ravel(layer.get("axis", -1))[0]))


@equations("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise")
@equations("ActivityRegularization", "Identity", "Masking")
def _same(layer: KerasLayer, x: Array) -> Array:
    return x


def _weights(layer: KerasLayer) -> Mapping[str, Array]:
    return {name: array.astype(float) for name, array in layer.weights.items()}


@equations("Dense")
def _dense(layer: KerasLayer, x: Array) -> Array:
    weights = _weights(layer)
    return _activated(layer, x @ weights["kernel"] + weights.get("bias", 0), layer.get("activation"))


@equations("Rescaling")
def _rescaling(layer: KerasLayer, x: Array) -> Array:
    return np.asarray(x * np.asarray(layer.config["scale"], float) + np.asarray(layer.get("offset", 0), float))


@equations("Normalization")
def _normalization(layer: KerasLayer, x: Array) -> Array:
    weights = _weights(layer) or {name: np.asarray(layer.config[name], float) for name in ("mean", "variance")}
    return (x - weights["mean"]) / np.maximum(np.sqrt(weights["variance"]), 1e-7)


def _along(x: Array, axis: Any, array: Any) -> Any:
    """Give the numbers of some axes as many axes as x has."""
    axes = [i % x.ndim for i in np.ravel(axis).tolist()]
    return np.reshape(array, [n if i in axes else 1 for i, n in enumerate(x.shape)]) if np.ndim(array) else array


@equations("BatchNormalization")
def _batch_normalization(layer: KerasLayer, x: Array) -> Array:
    arrays = _weights(layer)
    arrays = {name: _along(x, layer.config["axis"], array) for name, array in arrays.items()}
    spread = np.sqrt(arrays["moving_variance"] + layer.config["epsilon"])
    return np.asarray(arrays.get("gamma", 1) * (x - arrays["moving_mean"]) / spread + arrays.get("beta", 0))


@equations("LayerNormalization")
def _layer_normalization(layer: KerasLayer, x: Array) -> Array:
    axis = tuple(np.ravel(layer.config["axis"]).tolist())
    arrays = {name: _along(x, axis, array) for name, array in _weights(layer).items()}
    y = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + layer.config["epsilon"])
    return np.asarray(y * arrays.get("gamma", 1) + arrays.get("beta", 0))


def _fold(name: str) -> Callable[..., Array]:
    function = getattr(np, name)
    return lambda layer, *xs: functools.reduce(function, xs)


for _kind in ("Add", "Multiply", "Subtract", "Maximum", "Minimum"):
    equations(_kind, f"ops.{_kind}")(_fold(_kind.lower()))


@equations("Average")
def _average(layer: KerasLayer, *xs: Array) -> Array:
    return functools.reduce(np.add, xs) / len(xs)


@equations("Concatenate")
def _concatenate(layer: KerasLayer, *xs: Array) -> Array:
    return np.concatenate(xs, layer.get("axis", -1))


@equations("Flatten")
def _flatten(layer: KerasLayer, x: Array) -> Array:
    return x.reshape(len(x), -1)


@equations("Reshape")
def _reshape(layer: KerasLayer, x: Array) -> Array:
    target = list(layer.config["target_shape"])
    if x.ndim > 2 and math.prod(target[1:]) == math.prod(x.shape[2:]):
        target[0] = x.shape[1]  # where the model has declared a number of steps, any other fits too
    return x.reshape(len(x), *target)


@equations("Permute")
def _permute(layer: KerasLayer, x: Array) -> Array:
    return x.transpose(0, *layer.config["dims"])
