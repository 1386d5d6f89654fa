"""Layers of Keras, as layers: functions of each number, joins, normalizations, layouts and what reads whole sequences.

A function takes a KerasLayer and the tensors that it reads, and returns the tensor, or the list of tensors, that it
gives. `windows` and `recurrent` have more of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused, ModelFileError
from seq2onnx.importing.keras.graph import KerasLayer
from seq2onnx.importing.lifting import functions, layout, operations as lifting, time_axis
from seq2onnx.importing.lifting.functions import ONE, ZERO
from seq2onnx.importing.lifting.layer_node import filling
from seq2onnx.importing.lifting.operators import OPERATORS
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import Dropout

Function = Callable[..., Any]

HARD_SIGMOID = {2: 0.2, 3: 1 / 6}
"""The slope of a hard sigmoid in each version of Keras."""
FUNCTIONS: dict[str, tuple[str, dict[str, float]]] = {
    **{name: (name.capitalize(), {}) for name in ("relu", "sigmoid", "tanh", "elu", "gelu", "selu")},
    **dict.fromkeys(("silu", "swish"), ("Swish", {})),
    **dict.fromkeys(("hard_silu", "hard_swish"), ("HardSwish", {})),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "relu6": ("Clip", {"min": 0, "max": 6}),
}
"""For each activation of Keras the operator of ONNX, and its attributes."""
NAMED = "relu, sigmoid, tanh, elu, gelu, silu, swish, leaky_relu, hard_sigmoid, selu, relu6, softmax"
_JOINS = {"Add": "Add", "Multiply": "Mul", "Subtract": "Sub", "Maximum": "Max", "Minimum": "Min"}
JOINS = {prefix + kind: operator for kind, operator in _JOINS.items() for prefix in ("", "ops.")}
"""For each layer or function that joins tensors the operator of ONNX."""
UNIT_EPSILON = 1e-12
"""The least length by which UnitNormalization divides; Keras before 3.15 has 1e-6."""
MOST_STEPS = 2**16
"""The most steps of padding, or from one end of a window to the other. A file can name any number."""

LAYERS: dict[str, Function] = {
    **dict.fromkeys(
        (
            *("ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity", "Masking"),
            *("SpatialDropout1D", "SpatialDropout2D"),
        ),
        lambda layer, x: x,
    ),
    **dict.fromkeys(JOINS, lambda layer, *xs: OPERATORS[JOINS[layer.kind]](*xs)),
    "Activation": lambda layer, x: activate(layer, x, layer.config["activation"]),
    "Average": lambda layer, *xs: functions.scaled(OPERATORS["Add"](*xs), 1 / len(xs)),
    "Concatenate": lambda layer, *xs: time_axis.concat(xs, layer.get("axis", -1)),
    "Dropout": lambda layer, x: (
        lifting.each_part(x, Dropout(float(layer.get("rate")))) if 0 < float(layer.get("rate", 0)) < 1 else x
    ),
    "ELU": lambda layer, x: OPERATORS["Elu"](x, float(layer.get("alpha", 1))),
    # The slope has one name in Keras 3 and another in Keras 2.
    "LeakyReLU": lambda layer, x: OPERATORS["LeakyRelu"](
        x, float(layer.get("negative_slope", layer.get("alpha", 0.3)))
    ),
    "Permute": lambda layer, x: layout.transpose(x, [0, *layer.config["dims"]]),
    "Rescaling": lambda layer, x: lifting.affine(
        x, np.asarray(layer.config["scale"], float), np.asarray(layer.get("offset", 0), float)
    ),
    "Softmax": lambda layer, x: lifting.softmax(x, np.ravel(layer.get("axis", -1)).tolist()),
    "ZeroPadding1D": lambda layer, x: time_axis.pad(x, 1, *_pair(layer.config["padding"])),
}
"""The function for each kind of layer."""
keras = filling(LAYERS)


def check_shapes(layer: KerasLayer, **shapes: tuple[int, ...]) -> None:
    """Raise ModelFileError unless the weights that the layer has have these shapes."""
    for name, shape in shapes.items():
        if name in layer.weights and layer.weights[name].shape != shape:
            raise ModelFileError(
                f"{layer.place}: {name} has the shape {list(layer.weights[name].shape)}, expected {list(shape)}"
            )


def check_channels_last(layer: KerasLayer, problem: str, remedy: str) -> None:
    """Raise ImportRefused if a layer has its channels first; `problem` begins the message."""
    if layer.get("data_format", "channels_last") != "channels_last":
        raise ImportRefused(f'{problem} data_format="channels_first"; {remedy}')


def activate(layer: KerasLayer, x: TracedTensor, function: Any) -> TracedTensor:
    """Apply an activation: its name, or the configuration of a layer."""
    if isinstance(function, dict) and function.get("class_name") in ("LeakyReLU", "ReLU", "ELU", "Softmax"):
        found: TracedTensor = LAYERS[function["class_name"]](layer.described_by(function), x)
        return found
    if function in (None, "linear"):
        return x
    if function == "softmax":
        return lifting.softmax(x, [-1])
    if function == "hard_sigmoid":
        return OPERATORS["HardSigmoid"](x, HARD_SIGMOID[layer.version])
    if not isinstance(function, str) or function not in FUNCTIONS:
        name = function.get("config", function) if isinstance(function, dict) else function
        raise ImportRefused(f"has the activation {name!r:.60}, for which there is no layer; use one of {NAMED}")
    operator, attributes = FUNCTIONS[function]
    return OPERATORS[operator](x, **attributes)


@keras("ReLU")
def _relu(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    most, slope, threshold = (layer.get(name) for name in ("max_value", "negative_slope", "threshold"))
    if threshold or (most is not None and slope) or most == 0:
        raise ImportRefused("is a ReLU with a threshold, or with max_value and negative_slope; no layer does that")
    if most is not None:
        return OPERATORS["Clip"](x, 0, float(most))
    return OPERATORS["LeakyRelu"](x, float(slope)) if slope else OPERATORS["Relu"](x)


@keras("Dense")
def _dense(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    lifting.check_features(x, len(x.axes) - 1, "has weights")
    units = layer.config["units"]
    check_shapes(layer, kernel=(x.shape[-1], units), bias=(units,))
    y = lifting.linear(x, layer.weights["kernel"].T, layer.weights.get("bias"))
    return activate(layer, y, layer.get("activation"))


@keras("Embedding")
def _embedding(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    check_shapes(layer, embeddings=(layer.config["input_dim"], layer.config["output_dim"]))
    return lifting.embedding(x, layer.weights["embeddings"])


@keras("Normalization")
def _normalization(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    mean, variance = (np.ravel(layer.weights.get(n, layer.get(n))).astype(float) for n in ("mean", "variance"))
    axes = [axis % len(x.axes) for axis in np.ravel(layer.get("axis", -1)).tolist() if axis is not None]
    if layer.get("invert") or axes not in ([], [len(x.axes) - 1]) or len(mean) not in (1, x.shape[-1]):
        raise ImportRefused("normalizes another axis than the last one, or inverts; use axis=-1")
    # Two layers: a mean that is much larger than the deviations, folded into an offset, would cost digits.
    centered = lifting.affine(x, ONE, -mean)
    return lifting.affine(centered, 1 / np.maximum(np.sqrt(variance), 1e-7), ZERO)


@keras("BatchNormalization")
def _batch_norm(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    (axis,) = np.ravel(layer.config["axis"]).tolist()
    if layer.get("renorm"):
        raise ImportRefused("is a BatchNormalization with renorm, for which there is no layer")
    lifting.check_features(x, axis, "is normalized with statistics")
    size = x.shape[axis]
    names = {"scale": "gamma", "offset": "beta", "mean": "moving_mean", "variance": "moving_variance"}
    check_shapes(layer, **dict.fromkeys(names.values(), (size,)))
    known = {"gamma": np.ones(size), "beta": np.zeros(size), **layer.weights}
    arrays = {name: known[own] for name, own in names.items()}
    momentum = 1 - layer.get("momentum", 0.99)  # Keras: the weight of the old mean
    return lifting.batch_norm(x, axis, arrays, layer.config["epsilon"], momentum or 0.01)


@keras("LayerNormalization")
def _layer_norm(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    if layer.get("rms_scaling"):
        raise ImportRefused(
            "divides by the deviation from the mean and keeps the mean (rms_scaling), for which there is no layer; use "
            "RMSNormalization"
        )
    axes = _last_axes(layer, x, "gamma", "beta")
    gamma, beta = layer.weights.get("gamma"), layer.weights.get("beta")
    return lifting.layer_norm(x, axes, gamma, beta, layer.config["epsilon"])


@keras("RMSNormalization")
def _rms_norm(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    return lifting.rms_norm(x, _last_axes(layer, x, "scale"), layer.weights["scale"], layer.config["epsilon"])


def _axes(layer: KerasLayer, x: TracedTensor) -> list[int]:
    return sorted(axis % len(x.axes) for axis in np.ravel(layer.config["axis"]).tolist())


def _last_axes(layer: KerasLayer, x: TracedTensor, *names: str) -> list[int]:
    """Return the axes that a layer normalizes with these weights, which must be the last ones."""
    axes = _axes(layer, x)
    if axes != list(range(axes[0], len(x.axes))):
        raise ImportRefused("normalizes over other axes than the last ones, for which there is no layer")
    check_shapes(layer, **dict.fromkeys(names, tuple(x.shape[axis] for axis in axes)))
    return axes


@keras("UnitNormalization")
def _unit_norm(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    length = OPERATORS["Max"](OPERATORS["ReduceL2"](x, _axes(layer, x)), ONE * UNIT_EPSILON)
    return OPERATORS["Div"](x, length)


@keras("GroupNormalization")
def _group_norm(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    (axis,), groups = _axes(layer, x), layer.config["groups"]
    lifting.check_features(x, axis, "has channels")
    count = x.shape[axis]
    groups = count if groups == -1 else groups
    check_shapes(layer, gamma=(count,), beta=(count,))
    if not isinstance(groups, int) or groups < 1 or count % groups:
        raise ModelFileError(f"{layer.place}: splits {count} channels into {groups!r:.60} groups")
    gamma, beta = layer.weights.get("gamma"), layer.weights.get("beta")
    y = lifting.group_norm(layout.move(x, axis, 1), groups, gamma, beta, layer.config["epsilon"])
    return layout.move(y, 1, axis)


@keras("ops.GetItem")
def _get_item(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    index = list(layer.config["index"])
    if Ellipsis in index:
        at, used = index.index(Ellipsis), sum(entry is not None and entry is not Ellipsis for entry in index)
        index[at : at + 1] = [slice(None)] * (len(x.axes) - used)
    axis = 0
    for entry in index:
        if entry is None:
            x = layout.unsqueeze(x, axis)
        elif x.axes[axis] == "T":
            x = _steps(x, axis, entry)
        elif entry != slice(None):
            x = layout.take(x, axis, entry)
        axis += not isinstance(entry, int)
    return x


def _steps(x: TracedTensor, axis: int, chosen: int | slice) -> TracedTensor:
    """Take the last step, the first one, or all but some at the ends."""
    if isinstance(chosen, int):
        return time_axis.step(x, axis, x.steps - 1 if chosen == -1 else 0 if chosen == 0 else -1, False)
    start, stop = chosen.start or 0, chosen.stop
    if chosen.step not in (None, 1) or (start < 0 and (start, stop) != (-1, None)) or (stop is not None and stop >= 0):
        raise ImportRefused(
            f"takes the steps {start}:{'' if stop is None else stop}:{chosen.step or 1} by their number, or by their "
            "distance from the end; use all steps, the last one, or a stride of a convolution or pooling"
        )
    return time_axis.step(x, axis, x.steps - 1, True) if start < 0 else time_axis.pad_time(x, -start, stop or 0)


@keras("Dot")
def _dot(layer: KerasLayer, *xs: TracedTensor) -> TracedTensor:
    if layer.get("normalize"):
        raise ImportRefused("normalizes the tensors that it multiplies, for which there is no layer")
    axes = layer.config["axes"]
    axes = [axis % len(x.axes) for axis, x in zip([axes] * 2 if isinstance(axes, int) else axes, xs, strict=True)]
    terms = [list("acd")[: len(xs[0].axes)], list("aef")[: len(xs[1].axes)]]
    for term, axis in zip(terms, axes, strict=True):
        term[axis] = "z"
    left, right = ("".join(term) for term in terms)
    y = OPERATORS["Einsum"](*xs, equation=f"{left},{right}->{(left + right[1:]).replace('z', '')}")
    return y if len(y.axes) > 1 else layout.unsqueeze(y, 1)


def _reduced(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    axis = layer.get("axis")
    axes = range(len(x.axes)) if axis is None else [each % len(x.axes) for each in np.ravel(axis).tolist()]
    return OPERATORS[f"Reduce{layer.kind.removeprefix('ops.')}"](x, list(axes), bool(layer.get("keepdims")))


LAYERS |= {
    **dict.fromkeys(("ops.Sum", "ops.Mean", "ops.Max", "ops.Min"), _reduced),
    "ops.ExpandDims": lambda layer, x: layout.unsqueeze(x, *np.ravel(layer.config["axis"]).tolist()),
    "ops.Matmul": lambda layer, *xs: OPERATORS["MatMul"](*xs),
    "ops.Softmax": lambda layer, x: lifting.softmax(x, np.ravel(layer.get("axis", -1)).tolist()),
    "ops.Squeeze": lambda layer, x: layout.squeeze(x, layer.get("axis")),
    "ops.Transpose": lambda layer, x: layout.transpose(x, layer.get("axes") or range(len(x.axes))[::-1]),
}


@keras("Flatten")
def _flatten(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    check_channels_last(layer, "flattens with", 'use "channels_last"')
    return layout.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


@keras("Reshape")
def _reshape(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    target = list(layer.config["target_shape"])
    if "T" in x.axes[1:] and math.prod(target[1:]) == math.prod(x.shape[2:]):
        target[0] = x.steps  # the number of steps, of which the model may have declared another
    elif "T" in x.axes[1:]:
        raise ImportRefused(
            f"reshapes steps of {list(x.shape[2:])} to {target}, which mixes time and features; keep time as the first "
            "axis: Reshape((-1, …))"
        )
    elif -1 in target:
        target[target.index(-1)] = math.prod(x.shape[1:]) // -math.prod(target)
    return layout.reshape(x, (x.shape[0], *target))


@keras("Cropping1D")
def _cropping(layer: KerasLayer, x: TracedTensor) -> TracedTensor:
    before, after = _pair(layer.config["cropping"])
    if x.axes[1] == "T":
        return time_axis.pad_time(x, -before, -after)
    return layout.take(x, 1, slice(before, x.shape[1] - after))


def _pair(value: Any) -> tuple[int, int]:
    before, after = (value, value) if isinstance(value, int) else value
    if not 0 <= min(before, after) <= max(before, after) <= MOST_STEPS:
        raise ImportRefused(f"adds or cuts {before} and {after} steps; at most {MOST_STEPS:,}")
    return before, after
