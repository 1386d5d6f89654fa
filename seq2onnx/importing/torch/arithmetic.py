"""Operators of torch that calculate: arithmetic with numbers and tensors, reductions, functions of each number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import functions, layout, operations as lifting, time_axis, windows
from seq2onnx.importing.lifting.functions import ONE, ZERO
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.torch.operators import Operation, Ragged, array, operators, refuse_random
from seq2onnx.layers import GELU, Add, Dropout, HardSigmoid, LeakyReLU, Multiply, ReLU, Sigmoid, SiLU, Tanh


@operators("dropout")
def _dropout(op: Operation) -> Any:
    if op["train"] and op["p"]:
        refuse_random(op)
    return lifting.each_part(op["input"], Dropout(op["p"])) if 0 < op["p"] < 1 else op["input"]


@operators("add", "sub", "rsub")
def _add(op: Operation) -> Any:
    a, b, alpha = op["self"], op["other"], array(op.get("alpha", 1))
    gains = {"a": (ONE, alpha), "s": (ONE, -alpha), "r": (-alpha, ONE)}[op.name[0]]
    if isinstance(a, TracedTensor) and isinstance(b, TracedTensor):
        a, b = (lifting.affine(x, gain, ZERO) for x, gain in zip((a, b), gains, strict=True))
        return lifting.join(Add(), a, b)
    x, constant, gain, other = (a, b, *gains) if isinstance(a, TracedTensor) else (b, a, *gains[::-1])
    return lifting.affine(x, gain, _constant(constant) * other)


def _constant(value: Any) -> Array:
    if isinstance(value, Ragged):
        raise ImportRefused(
            "calculates with the lengths of the sequences; only a mean over the valid steps can do that"
        )
    return array(value)


@operators("mul")
def _multiply(op: Operation) -> Any:
    a, b = op["self"], op["other"]
    if isinstance(a, TracedTensor) and isinstance(b, TracedTensor):
        return lifting.join(Multiply(), a, b)
    x, constant = (a, b) if isinstance(a, TracedTensor) else (b, a)
    if isinstance(constant, Ragged):
        return _masked(op, x, constant, 1)
    return lifting.affine(x, array(constant), ZERO)


@operators("div")
def _divide(op: Operation) -> Any:
    x, divisor = op["self"], op["other"]
    if isinstance(divisor, TracedTensor):
        raise ImportRefused("divides by a calculated tensor, for which there is no layer; multiply instead")
    if op.get("rounding_mode"):
        raise ImportRefused("rounds a division, for which there is no layer")
    if isinstance(divisor, Ragged):
        mean, lengths = time_axis.standing_for(x, "sum"), array(divisor.value)
        if mean and lengths.ndim <= len(x.axes) and _is_lengths(op, x, lengths):
            return mean
        return _constant(divisor)
    number = array(divisor)
    if (mean := time_axis.standing_for(x, "sum")) and (number == x.steps).all():
        return mean
    return lifting.affine(x, 1 / number, ZERO)


def _is_lengths(op: Operation, x: TracedTensor, numbers: Array) -> bool:
    """Whether numbers that broadcast to x are the length of each row."""
    shape = [x.rows if axis == "B" else 1 for axis in x.axes]
    return bool((np.broadcast_to(numbers, x.shape) == array(op.lengths).reshape(shape)).all())


def _masked(op: Operation, x: TracedTensor, mask: Ragged, keep: int) -> TracedTensor:
    """Pass x on where a mask marks exactly the valid steps, which the layers here count alone anyway."""
    numbers, steps = array(mask.value), np.arange(x.steps)
    if x.has_time and numbers.ndim <= len(x.axes) and all(len(axis) < 2 for axis in x.axes):
        valid = steps < array(op.lengths)[:, None]
        valid = valid if x.axes.index("B") < x.axes.index("T") else valid.T
        valid = valid.reshape([n if axis else 1 for axis, n in zip(x.axes, x.shape, strict=True)])
        if (np.broadcast_to(numbers, x.shape) == (valid == bool(keep))).all():
            return x
    raise ImportRefused("multiplies with, or chooses by, a mask that is not that of the valid steps")


@operators("masked_fill")
def _masked_fill(op: Operation) -> Any:
    if isinstance(op["self"], TracedTensor) and isinstance(op["mask"], Ragged):
        return _masked(op, op["self"], op["mask"], 0)
    raise ImportRefused("fills places by a mask that is not that of the valid steps")


@operators("where")
def _where(op: Operation) -> Any:
    x, other, mask = op["self"], op["other"], op["condition"]
    if isinstance(mask, Ragged) and isinstance(x, TracedTensor) != isinstance(other, TracedTensor):
        return _masked(op, x, mask, 1) if isinstance(x, TracedTensor) else _masked(op, other, mask, 0)
    raise ImportRefused("chooses between tensors by a mask that is not that of the valid steps")


@operators("neg", "negative")
def _negative(op: Operation) -> Any:
    return functions.negative(op["self"])


@operators("pow", "square")
def _power(op: Operation) -> Any:
    exponent = op.get("exponent", 2)
    if not isinstance(op["self"], TracedTensor) or not isinstance(exponent, int | float):
        raise ImportRefused("raises to a calculated power; only squares and cubes can be made of layers")
    return functions.power(op["self"], exponent)


@operators("matmul", "mm", "addmm", "linear", "mv")
def _matmul(op: Operation) -> Any:
    names = {"linear": ("input", "weight"), "addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "mv": ("self", "vec")}
    x, weights = (op[name] for name in names.get(op.name, ("self", "other")))
    bias = op["bias"] if op.name == "linear" else op["self"] if op.name == "addmm" else None
    if isinstance(x, TracedTensor) == isinstance(weights, TracedTensor) or isinstance(bias, TracedTensor):
        raise ImportRefused("multiplies two calculated matrices, as attention does; no layer does that")
    if op.name == "addmm" and (op["alpha"] != 1 or op["beta"] != 1):
        raise ImportRefused("multiplies matrices with factors; use nn.Linear")
    if isinstance(x, Tensor):  # a matrix times the features of each step
        return lifting.linear(weights, _matrix(x), None, -2)
    matrix = array(weights)
    if matrix.ndim == 1:
        y = lifting.linear(x, matrix[None], None)
        return layout.squeeze(y, [-1])
    return lifting.linear(
        x, matrix if op.name == "linear" else _matrix(weights).T, None if bias is None else array(bias)
    )


def _matrix(value: Tensor) -> Array:
    if value.ndim != 2:
        raise ImportRefused(f"multiplies with a stored tensor {list(value.shape)}; only a matrix can become a layer")
    return array(value)


@operators("mean", "sum", "amax", "amin", "max", "min")
def _reduce(op: Operation) -> Any:
    x, keep, dims = op["self"], op.get("keepdim", False), op.get("dim")
    if op.get("other") is not None:
        return _larger(op)
    dims = range(len(x.axes)) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    axes = [axis % len(x.axes) for axis in dims]
    for axis in axes:
        x = functions.reduce_axis(x, axis, op.name.removeprefix("a"))
    y = x if keep else layout.squeeze(x, axes)
    if isinstance(op.result, tuple | list):
        return y, ImportRefused("reads the positions of the largest numbers, which no layer gives")
    return y


@operators("maximum", "minimum", "fmax", "fmin")
def _larger(op: Operation) -> Any:
    a, b = op["self"], op["other"]
    if not (isinstance(a, TracedTensor) and isinstance(b, TracedTensor)):
        raise ImportRefused("compares with stored numbers, for which there is no layer; use clamp")
    return lifting.maximum(a, b) if "max" in op.name else functions.minimum(a, b)


@operators("adaptive_avg_pool1d", "adaptive_max_pool1d", "adaptive_avg_pool2d")
def _adaptive_pool(op: Operation) -> Any:
    x, sizes = op["self"], list(op["output_size"])
    if any(n != 1 for n in sizes):
        raise ImportRefused(f"pools to a fixed number of elements {sizes}; only 1 can become a layer")
    if len(sizes) == 2 and (mean := windows.mean_of_image(x)):
        return mean
    for axis in range(len(x.axes) - len(sizes), len(x.axes)):
        x = functions.reduce_axis(x, axis, "max" if "max" in op.name else "mean")
    return (x, ImportRefused("reads the positions of the largest numbers")) if "max" in op.name else x


FUNCTIONS: dict[str, Callable[[Operation], Any]] = {
    "relu": lambda op: ReLU(),
    "sigmoid": lambda op: Sigmoid(),
    "tanh": lambda op: Tanh(),
    "silu": lambda op: SiLU(),
    "gelu": lambda op: GELU(op["approximate"] == "tanh"),
    "leaky_relu": lambda op: LeakyReLU(op["negative_slope"]),
    "hardsigmoid": lambda op: HardSigmoid(1 / 6, 0.5),
}


@operators(*FUNCTIONS)
def _function(op: Operation) -> Any:
    return lifting.each_part(op["self"], FUNCTIONS[op.name.rstrip("_")](op))


@operators("elu", "selu", "celu")
def _elu(op: Operation) -> Any:
    x, name = op["self"], op.name.rstrip("_")
    if name == "celu":
        return functions.celu(x, op["alpha"])
    if name == "selu":
        return functions.selu(x)
    if op["input_scale"] != 1:
        raise ImportRefused("is an ELU with a scaled input, for which there is no layer")
    return functions.selu(x, op["alpha"], op["scale"])


@operators("clamp", "clip", "hardtanh", "relu6", "clamp_min", "clamp_max")
def _clamp(op: Operation) -> Any:
    low, high = (
        (0, 6) if op.name.startswith("relu6") else (op.get("min", op.get("min_val")), op.get("max", op.get("max_val")))
    )
    if isinstance(low, Tensor | TracedTensor) or isinstance(high, Tensor | TracedTensor):
        raise ImportRefused("clips to calculated numbers, for which there is no layer")
    return functions.clip(op["self"], low, high)


@operators("hardswish")
def _hardswish(op: Operation) -> Any:
    return functions.hard_swish(op["self"])


@operators("abs")
def _absolute(op: Operation) -> Any:
    return functions.absolute(op["self"])


@operators("prelu", "_prelu_kernel")
def _prelu(op: Operation) -> Any:
    x, slopes = op["self"], array(op["weight"])
    shape = [slopes.size if i == min(1, len(x.axes) - 1) else 1 for i in range(len(x.axes))]
    return functions.prelu(x, slopes.reshape(shape))


@operators("glu")
def _glu(op: Operation) -> Any:
    return lifting.glu(op["self"], op["dim"])


@operators("softmax", "_softmax")
def _softmax(op: Operation) -> Any:
    return lifting.softmax(op["self"], [op["dim"]])


@operators("log_softmax", "_log_softmax")
def _log_softmax(op: Operation) -> Any:
    return lifting.log_softmax(op["self"], [op["dim"]], "softmax=True gives the probabilities")
