"""ONNX operators that calculate: arithmetic with numbers and tensors, reductions, functions of each number."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import functions, layout, operations as lifting, time_axis
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.operators import OPERATORS, plus, power, single
from seq2onnx.importing.onnx.operators import Context, LiftCall, constant, operators, optional
from seq2onnx.layers import Add


def _number(call: LiftCall, index: int) -> Array:
    """Return an input that is the same for every step and row, however many there are."""
    numbers = call.numbers[index]
    if numbers is None:
        raise ImportRefused("expects a constant operand")
    call.settled(index, call.x)
    return np.asarray(numbers, float)


@operators(*OPERATORS)
def _function(context: Context, call: LiftCall) -> Any:
    operands = [_number(call, index) if x is None else x for index, x in enumerate(call.signals)]
    return OPERATORS[call.node.op_type](*operands, **call.attributes)


@operators("Div")
def _divide(context: Context, call: LiftCall) -> Any:
    a, b = call.signals
    if a is not None and b is None:
        numbers, other = call.numbers[1], call.others[1]
        counts = other is not None and np.all(numbers == a.steps) and np.all(other != numbers)
        if counts and (mean := time_axis.standing_for(a, "sum")):
            return mean
    return _function(context, call)


@operators("Pow")
def _power(context: Context, call: LiftCall) -> Any:
    exponent = None if call.signals[0] is None or call.signals[1] is not None else single(_number(call, 1))
    if exponent is None:
        raise ImportRefused("raises to calculated powers, for which there is no layer")
    return power(call.x, exponent)


@operators("Clip")
def _clip(context: Context, call: LiftCall) -> Any:
    low, high = (call.get(index, name) for index, name in ((1, "min"), (2, "max")))
    low, high = (bound[0] if isinstance(bound, list) else bound for bound in (low, high))
    lowest = float(np.finfo(np.float32).min)
    return functions.clip(
        call.x, None if low is None or low <= lowest else low, None if high is None or high >= -lowest else high
    )


@operators("PRelu")
def _prelu(context: Context, call: LiftCall) -> Any:
    if call.signals[0] is None or call.signals[1] is not None:
        raise ImportRefused("takes its slopes from the data")
    return _function(context, call)


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
    return y if numbers is None else plus(y, numbers * given.get("beta", 1.0))


@operators("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduce(context: Context, call: LiftCall) -> Any:
    rank, given = len(call.x.axes), call.attributes
    axes = call.axes() or ([] if given.get("noop_with_empty_axes") else list(range(rank)))
    return OPERATORS[call.node.op_type](call.x, axes, given.get("keepdims", 1))


@operators("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(context: Context, call: LiftCall) -> Any:
    return OPERATORS[call.node.op_type](call.x, len(call.x.axes) - 2)
