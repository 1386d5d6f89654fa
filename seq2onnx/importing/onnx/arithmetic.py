"""ONNX operators that calculate: arithmetic with numbers and tensors, reductions, functions of each number."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import formulas, functions, layout, operations as lifting, time_axis, windows
from seq2onnx.importing.lifting.functions import ONE, ZERO
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.onnx.operators import Context, LiftCall, constant, operators, optional
from seq2onnx.layers import (
    ELU,
    GELU,
    Add,
    HardSigmoid,
    Layer,
    LeakyReLU,
    Multiply,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
)


def _number(call: LiftCall, index: int) -> Array:
    """Return an input that is the same for every step and row, however many there are."""
    numbers = call.numbers[index]
    if numbers is None:
        raise ImportRefused("calculates with what is no number")
    call.settled(index, call.x)
    return np.asarray(numbers, float)


def _single(numbers: Array) -> float | None:
    return float(numbers.ravel()[0]) if numbers.size and np.ptp(numbers) == 0 else None


@operators("Add", "Sum")
def _add(context: Context, call: LiftCall) -> Any:
    found = functools.reduce(functools.partial(lifting.join, Add()), filter(None, call.signals))
    for index, x in enumerate(call.signals):
        if x is None:
            found = _plus(found, _number(call, index))
    return found


def _plus(x: TracedTensor, numbers: Array) -> TracedTensor:
    single = _single(numbers)
    if single == 1 and (found := formulas.one_more(x)):
        return found
    y = lifting.affine(x, ONE, numbers)
    return y if single is None or y is x else formulas.after_sum(y, x, single)


@operators("Sub")
def _subtract(context: Context, call: LiftCall) -> Any:
    a, b = call.signals
    if a is not None and b is not None:
        return formulas.after_difference(lifting.join(Add(), a, functions.negative(b)), a, b)
    if a is not None:
        return _plus(a, -_number(call, 1))
    return lifting.affine(call.x, -ONE, _number(call, 0))


@operators("Mul")
def _multiply(context: Context, call: LiftCall) -> Any:
    a, b = call.signals
    if a is not None and b is not None:
        if a is b:
            return _power_of(a, 2)
        return formulas.product(a, b) or lifting.join(Multiply(), a, b)
    return _times(call.x, _number(call, 1 if b is None else 0))


def _times(x: TracedTensor, numbers: Array) -> TracedTensor:
    y, single = lifting.affine(x, numbers, ZERO), _single(numbers)
    return y if single is None or y is x else formulas.after_scale(y, x, single)


@operators("Div")
def _divide(context: Context, call: LiftCall) -> Any:
    a, b = call.signals
    if b is not None:
        if a is not None and (found := formulas.quotient(a, b)):
            return found
        raise ImportRefused("divides by a calculated tensor, for which there is no layer; multiply instead")
    assert a is not None
    numbers, other = call.numbers[1], call.others[1]
    counts = other is not None and np.all(numbers == a.steps) and np.all(other != numbers)
    if counts and (mean := time_axis.standing_for(a, "sum")):
        return mean
    return _times(a, 1 / _number(call, 1))


@operators("Neg")
def _negative(context: Context, call: LiftCall) -> Any:
    return functions.negative(call.x)


@operators("Pow")
def _power(context: Context, call: LiftCall) -> Any:
    exponent = None if call.signals[0] is None or call.signals[1] is not None else _single(_number(call, 1))
    if exponent is None:
        raise ImportRefused("raises to calculated powers, for which there is no layer")
    return _power_of(call.x, exponent)


def _power_of(x: TracedTensor, exponent: float) -> TracedTensor:
    if abs(exponent) == 0.5:
        root = formulas.square_root(x)
        return root if exponent > 0 else formulas.reciprocal(root)
    if exponent == -1:
        return formulas.reciprocal(x)
    y = functions.power(x, exponent)
    return formulas.after_square(y, x) if exponent == 2 else y


@operators("Sqrt")
def _square_root(context: Context, call: LiftCall) -> Any:
    return formulas.square_root(call.x)


@operators("Reciprocal")
def _reciprocal(context: Context, call: LiftCall) -> Any:
    return formulas.reciprocal(call.x)


@operators("Erf")
def _erf(context: Context, call: LiftCall) -> Any:
    return formulas.erf(call.x)


@operators("Exp")
def _exponential(context: Context, call: LiftCall) -> Any:
    if probabilities := time_axis.standing_for(call.x, "log"):
        return probabilities
    raise ImportRefused("calculates exponentials, for which there is no layer")


@operators("Max", "Min")
def _larger(context: Context, call: LiftCall) -> Any:
    is_max = call.node.op_type == "Max"
    join: Callable[[TracedTensor, TracedTensor], TracedTensor] = lifting.maximum if is_max else functions.minimum
    found = functools.reduce(join, filter(None, call.signals))
    for index, x in enumerate(call.signals):
        if x is None:
            bound = _single(_number(call, index))
            if bound is None:
                raise ImportRefused("limits features to different numbers, for which there is no layer")
            found = functions.clip(found, bound, None) if is_max else functions.clip(found, None, bound)
    return found


@operators("Clip")
def _clip(context: Context, call: LiftCall) -> Any:
    low, high = (call.get(index, name) for index, name in ((1, "min"), (2, "max")))
    low, high = (bound[0] if isinstance(bound, list) else bound for bound in (low, high))
    lowest = float(np.finfo(np.float32).min)
    return functions.clip(
        call.x, None if low is None or low <= lowest else low, None if high is None or high >= -lowest else high
    )


@operators("Abs")
def _absolute(context: Context, call: LiftCall) -> Any:
    return functions.absolute(call.x)


@operators("PRelu")
def _prelu(context: Context, call: LiftCall) -> Any:
    if call.signals[0] is None or call.signals[1] is not None:
        raise ImportRefused("takes its slopes from the data")
    return functions.prelu(call.x, _number(call, 1))


@operators("HardSwish")
def _hard_swish(context: Context, call: LiftCall) -> Any:
    return functions.hard_swish(call.x)


@operators("Selu")
def _selu(context: Context, call: LiftCall) -> Any:
    alpha, gamma = functions.SELU
    return functions.selu(call.x, call.attributes.get("alpha", alpha), call.attributes.get("gamma", gamma))


@operators("Celu")
def _celu(context: Context, call: LiftCall) -> Any:
    return functions.celu(call.x, call.attributes.get("alpha", 1.0))


FUNCTIONS: dict[str, Callable[[dict[str, Any]], Layer]] = {
    "Relu": lambda given: ReLU(),
    "Sigmoid": lambda given: Sigmoid(),
    "Tanh": lambda given: Tanh(),
    "Gelu": lambda given: GELU(given.get("approximate", "none") == "tanh"),
    "LeakyRelu": lambda given: LeakyReLU(given.get("alpha", 0.01)),
    "Elu": lambda given: ELU(given.get("alpha", 1.0)),
    "HardSigmoid": lambda given: HardSigmoid(given.get("alpha", 0.2), given.get("beta", 0.5)),
}


@operators(*FUNCTIONS)
def _function(context: Context, call: LiftCall) -> Any:
    return lifting.each_part(call.x, FUNCTIONS[call.node.op_type](dict(call.attributes)))


@operators("Swish")
def _swish(context: Context, call: LiftCall) -> Any:
    if call.attributes.get("alpha", 1.0) != 1:
        raise ImportRefused("is a Swish with another alpha than 1, for which there is no layer")
    return lifting.each_part(call.x, SiLU())


@operators("Softmax", "LogSoftmax")
def _softmax(context: Context, call: LiftCall) -> Any:
    rank, old = len(call.x.axes), call.opset < 13
    axis = int(call.attributes.get("axis", 1 if old else -1)) % rank
    axes = range(axis, rank) if old else [axis]  # before version 13, it spans all later axes
    if call.node.op_type == "Softmax":
        return lifting.softmax(call.x, axes)
    return lifting.log_softmax(call.x, axes, "add_states keeps it")


@operators("MatMul")
def _matmul(context: Context, call: LiftCall) -> Any:
    a, b = call.signals
    if a is not None and b is not None:
        raise ImportRefused("multiplies two calculated matrices, as attention does; no layer does that")
    x, weights = call.x, constant(call, 0 if a is None else 1)
    if weights.ndim > 2:
        if any(n > 1 for n in weights.shape[:-2]):
            raise ImportRefused(f"multiplies with weights {list(weights.shape)}; only a matrix can become a layer")
        weights = weights.reshape(weights.shape[-2:])
    if a is None:  # a matrix times the features of each step
        return lifting.linear(x, np.atleast_2d(weights), None, -2)
    if weights.ndim == 1:
        return layout.squeeze(lifting.linear(x, weights[None], None), [-1])
    return lifting.linear(x, weights.T, None)


@operators("Gemm")
def _gemm(context: Context, call: LiftCall) -> Any:
    a, b, given = call.signals[0], call.signals[1], call.attributes
    if a is not None and b is not None:
        raise ImportRefused("multiplies two calculated matrices, as attention does; no layer does that")
    if a is None and b is None:
        raise ImportRefused("adds the data to numbers; use Add")
    x, weights = call.x, constant(call, 0 if a is None else 1) * given.get("alpha", 1.0)
    swapped, other = (given.get(name, 0) for name in (("transB", "transA") if a is None else ("transA", "transB")))
    x = layout.transpose(x, [1, 0]) if swapped else x
    weights = weights.T if other else weights
    y = lifting.linear(x, weights.T) if b is None else lifting.linear(x, weights, None, 0)
    bias = call.signals[2] if len(call.signals) > 2 else None
    if bias is not None:
        return lifting.join(Add(), y, functions.scaled(bias, given.get("beta", 1.0)))
    numbers = optional(call, 2)
    return y if numbers is None else _plus(y, numbers * given.get("beta", 1.0))


REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min"}


@operators(*REDUCTIONS)
def _reduce(context: Context, call: LiftCall) -> Any:
    x, kind = call.x, REDUCTIONS[call.node.op_type]
    rank = len(x.axes)
    axes = call.axes() or ([] if call.attributes.get("noop_with_empty_axes") else list(range(rank)))
    y = x
    for axis in axes:
        y = functions.reduce_axis(y, axis, kind)
    if not call.attributes.get("keepdims", 1):
        return layout.squeeze(y, axes)
    last = sorted(axes) == list(range(rank - len(axes), rank))
    return formulas.after_mean(y, x, len(axes)) if kind == "mean" and axes and last else y


@operators("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(context: Context, call: LiftCall) -> Any:
    x, kind = call.x, "mean" if "Average" in call.node.op_type else "max"
    if kind == "mean" and len(x.axes) == 4 and not x.axes[2] and not x.axes[3] and (y := windows.mean_of_image(x)):
        return y
    for axis in range(2, len(x.axes)):
        x = functions.reduce_axis(x, axis, kind)
    return x
