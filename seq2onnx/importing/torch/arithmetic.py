"""Operators of torch that calculate: arithmetic with numbers and tensors, reductions, functions of each number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import deviation, functions, operations as lifting
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.operators import OPERATORS
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.torch.operators import Operation, Ragged, array, operators, refuse_random
from seq2onnx.layers import Dropout


@operators("dropout")
def _dropout(op: Operation) -> Any:
    if op["train"] and op["p"]:
        refuse_random(op)
    return lifting.each_part(op["input"], Dropout(op["p"])) if 0 < op["p"] < 1 else op["input"]


@operators("add", "sub", "rsub")
def _add(op: Operation) -> Any:
    a, b, alpha = _operand(op["self"]), _operand(op["other"]), op.get("alpha", 1)
    a, b = (b, a) if op.name == "rsub" else (a, b)  # other − alpha · self
    if alpha != 1:
        b = OPERATORS["Mul"](b, array(alpha)) if isinstance(b, TracedTensor) else b * alpha
    return OPERATORS["Add" if op.name.startswith("add") else "Sub"](a, b)


def _constant(value: Any) -> Array:
    if isinstance(value, Ragged):
        raise ImportRefused(
            "calculates with the lengths of the sequences; only a mean over the valid steps can do that"
        )
    return array(value)


@operators("mul")
def _multiply(op: Operation) -> Any:
    a, b = op["self"], op["other"]
    for x, mask in ((a, b), (b, a)):
        if isinstance(mask, Ragged):
            return _masked(op, x, mask, 1)
    return OPERATORS["Mul"](_operand(a), _operand(b))


def _operand(value: Any) -> TracedTensor | Array:
    return value if isinstance(value, TracedTensor) else np.asarray(_constant(value), float)


@operators("div")
def _divide(op: Operation) -> Any:
    x, divisor = op["self"], op["other"]
    if isinstance(divisor, TracedTensor):
        return OPERATORS["Div"](_operand(x), divisor)
    if op.get("rounding_mode"):
        raise ImportRefused("rounds a division, for which there is no layer")
    for less in (0, 1):
        if _is_steps(op, x, divisor, less) and (found := deviation.divided_by_steps(x, less)):
            return found
    return OPERATORS["Div"](x, _constant(divisor))


def _is_steps(op: Operation, x: TracedTensor, count: Any, less: int) -> bool:
    """Whether a number, or one for each row, is the number of steps − less."""
    if not isinstance(count, Ragged):
        return bool((array(count) == x.steps - less).all())
    numbers = array(count.value)
    if numbers.ndim > len(x.axes):
        return False
    shape = [x.rows if axis == "B" else 1 for axis in x.axes]
    return bool((np.broadcast_to(numbers + less, x.shape) == array(op.lengths).reshape(shape)).all())


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


@operators("pow", "square")
def _power(op: Operation) -> Any:
    exponent = op.get("exponent", 2)
    if not isinstance(op["self"], TracedTensor) or not isinstance(exponent, int | float):
        raise ImportRefused("raises to a calculated power; only squares and cubes can be made of layers")
    return OPERATORS["Pow"](op["self"], array(exponent))


@operators("matmul", "mm", "bmm", "addmm", "linear", "mv")
def _matmul(op: Operation) -> Any:
    names = {"linear": ("input", "weight"), "addmm": ("mat1", "mat2"), "mv": ("self", "vec")}
    names |= dict.fromkeys(("mm", "bmm"), ("self", "mat2"))
    a, b = (op[name] for name in names.get(op.name, ("self", "other")))
    bias = op["bias"] if op.name == "linear" else op["self"] if op.name == "addmm" else None
    if bias is None and isinstance(a, TracedTensor) and isinstance(b, TracedTensor):
        return OPERATORS["MatMul"](a, b)
    if isinstance(a, TracedTensor) == isinstance(b, TracedTensor) or isinstance(bias, TracedTensor):
        raise ImportRefused("multiplies two calculated matrices, as attention does; no layer does that")
    if op.name == "addmm" and (op["alpha"] != 1 or op["beta"] != 1):
        raise ImportRefused("multiplies matrices with factors; use nn.Linear")
    weights = a if isinstance(a, Tensor) else b
    if weights.ndim > 2 or (weights is a and weights.ndim < 2):
        raise ImportRefused(f"multiplies with a stored tensor {list(weights.shape)}; only a matrix can become a layer")
    b = b.T if op.name == "linear" else b
    return OPERATORS["MatMul"](_operand(a), _operand(b), None if bias is None else array(bias))


@operators("einsum")
def _einsum(op: Operation) -> Any:
    return OPERATORS["Einsum"](*map(_operand, op["tensors"]), equation=op["equation"])


@operators("mean", "sum", "amax", "amin", "max", "min")
def _reduce(op: Operation) -> Any:
    x = op["self"]
    if op.get("other") is not None:
        return _larger(op)
    axes = _axes(x, op.get("dim"))
    y = OPERATORS[f"Reduce{op.name.removeprefix('a').capitalize()}"](x, axes, op.get("keepdim", False))
    if isinstance(op.result, tuple | list):
        return y, ImportRefused("reads the positions of the largest numbers, which no layer gives")
    return y


@operators("linalg_vector_norm", "linalg_norm", "norm")
def _norm(op: Operation) -> Any:
    order, x = op.get("ord", op.get("p")), op["self"]
    if order not in (None, 2):
        raise ImportRefused(f"calculates a norm of the order {order}, for which there is no layer; 2 has one")
    return OPERATORS["ReduceL2"](x, _axes(x, op["dim"]), op["keepdim"])


def _axes(x: TracedTensor, dims: Any) -> list[int]:
    """Return the axes that `dim` names; without any, all."""
    dims = range(len(x.axes)) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    return [axis % len(x.axes) for axis in dims]


@operators("var", "std", "var_mean", "std_mean")
def _variance(op: Operation) -> Any:
    x, axes = op["self"], _axes(op["self"], op["dim"])
    count, correction = math.prod(x.shape[axis] for axis in axes), op.get("correction", op.get("unbiased", True))
    correction = 1 if correction is None else correction
    centered = OPERATORS["Sub"](x, OPERATORS["ReduceMean"](x, axes))
    y = OPERATORS["ReduceMean"](OPERATORS["Pow"](centered, array(2)), axes, op["keepdim"])
    if correction and any("T" in x.axes[axis] for axis in axes):
        y = deviation.corrected(y, correction)
    else:
        y = OPERATORS["Mul"](y, array(count / (count - correction)))
    y = OPERATORS["Sqrt"](y) if op.name.startswith("std") else y
    return (y, OPERATORS["ReduceMean"](x, axes, op["keepdim"])) if op.name.endswith("mean") else y


@operators("maximum", "minimum", "fmax", "fmin")
def _larger(op: Operation) -> Any:
    a, b = op["self"], op["other"]
    if not (isinstance(a, TracedTensor) and isinstance(b, TracedTensor)):
        raise ImportRefused("compares with stored numbers, for which there is no layer; use clamp")
    return OPERATORS["Max" if "max" in op.name else "Min"](a, b)


@operators("adaptive_avg_pool1d", "adaptive_max_pool1d", "adaptive_avg_pool2d")
def _adaptive_pool(op: Operation) -> Any:
    sizes, is_max = list(op["output_size"]), "max" in op.name
    if any(n != 1 for n in sizes):
        raise ImportRefused(f"pools to a fixed number of elements {sizes}; only 1 can become a layer")
    y = OPERATORS["GlobalMaxPool" if is_max else "GlobalAveragePool"](op["self"], len(sizes))
    return (y, ImportRefused("reads the positions of the largest numbers")) if is_max else y


FUNCTIONS: dict[str, tuple[str, dict[str, str | float]]] = {
    "abs": ("Abs", {}),
    "celu": ("Celu", {"alpha": "alpha"}),
    "elu": ("Selu", {"alpha": "alpha", "gamma": "scale"}),
    "gelu": ("Gelu", {"approximate": "approximate"}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6}),
    "hardswish": ("HardSwish", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": "negative_slope"}),
    "neg": ("Neg", {}),
    "negative": ("Neg", {}),
    "reciprocal": ("Reciprocal", {}),
    "relu": ("Relu", {}),
    "relu6": ("Clip", {"min": 0, "max": 6}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "silu": ("Swish", {}),
    "sqrt": ("Sqrt", {}),
    "tanh": ("Tanh", {}),
}
"""For each function of torch the operator of ONNX, and for its attributes a number or the name of torch's argument."""


@operators(*FUNCTIONS)
def _function(op: Operation) -> Any:
    if op.get("input_scale", 1) != 1:
        raise ImportRefused("is an ELU with a scaled input, for which there is no layer")
    name, attributes = FUNCTIONS[op.name.rstrip("_")]
    given = {key: op[value] if isinstance(value, str) else value for key, value in attributes.items()}
    return OPERATORS[name](op["self"], **given)


@operators("clamp", "clip", "hardtanh", "clamp_min", "clamp_max")
def _clamp(op: Operation) -> Any:
    low, high = (op.get(name, op.get(f"{name}_val")) for name in ("min", "max"))
    if isinstance(low, Tensor | TracedTensor) or isinstance(high, Tensor | TracedTensor):
        raise ImportRefused("clips to calculated numbers, for which there is no layer")
    return functions.clip(op["self"], low, high)


operators("rsqrt")(lambda op: OPERATORS["Reciprocal"](OPERATORS["Sqrt"](op["self"])))


@operators("prelu", "_prelu_kernel")
def _prelu(op: Operation) -> Any:
    x, slopes = op["self"], array(op["weight"])
    shape = [slopes.size if i == min(1, len(x.axes) - 1) else 1 for i in range(len(x.axes))]
    return functions.prelu(x, slopes.reshape(shape))


PROBABILITIES = "softmax=True gives the probabilities"
operators("glu")(lambda op: functions.glu(op["self"], op["dim"]))
operators("softmax", "_softmax")(lambda op: lifting.softmax(op["self"], [op["dim"]]))
operators("log_softmax", "_log_softmax")(lambda op: lifting.log_softmax(op["self"], [op["dim"]], PROBABILITIES))
