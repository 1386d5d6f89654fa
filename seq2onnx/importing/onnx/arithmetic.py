"""ONNX operators that calculate: arithmetic with numbers and tensors, reductions, functions of each number."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import deviation, functions, layout, operations as lifting
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.operators import OPERATORS
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.onnx.node_calls import softmax_axes
from seq2onnx.importing.onnx.operators import LiftCall, constant, operators


def _number(call: LiftCall, index: int) -> Array:
    """Return an input that is the same for every step and row, however many there are."""
    numbers = call.numbers[index]
    if numbers is None:
        raise ImportRefused("expects a constant operand")
    call.settled(index, call.x)
    return np.asarray(numbers, float)


@operators(*OPERATORS)
def _function(call: LiftCall) -> Any:
    operands = [_number(call, index) if x is None else x for index, x in enumerate(call.signals)]
    return OPERATORS[call.node.op_type](*operands, **call.attributes)


def _is_steps(call: LiftCall, index: int, x: TracedTensor, less: int = 0) -> bool:
    """Whether an operand is the number of steps − less."""
    numbers, other = call.numbers[index], call.others[index]
    return other is not None and bool(np.all(numbers == x.steps - less) and np.all(other != numbers))


@operators("Div")
def _divide(call: LiftCall) -> Any:
    a, b = call.signals
    if a is not None and b is None:
        for less in (0, 1):
            if _is_steps(call, 1, a, less) and (found := deviation.divided_by_steps(a, less)):
                return found
    return _function(call)


@operators("Mul")
def _multiply(call: LiftCall) -> Any:
    for index, x in enumerate(call.signals):
        if x is not None and call.signals[1 - index] is None and _is_steps(call, 1 - index, x):
            return deviation.times_steps(x)
    return _function(call)


@operators("Clip")
def _clip(call: LiftCall) -> Any:
    low, high = (call.get(index, name) for index, name in ((1, "min"), (2, "max")))
    low, high = (bound[0] if isinstance(bound, list) else bound for bound in (low, high))
    lowest = float(np.finfo(np.float32).min)
    return functions.clip(
        call.x, None if low is None or low <= lowest else low, None if high is None or high >= -lowest else high
    )


@operators("Softmax", "LogSoftmax")
def _softmax(call: LiftCall) -> Any:
    if call.node.op_type == "Softmax":
        return lifting.softmax(call.x, softmax_axes(call))
    return lifting.log_softmax(call.x, softmax_axes(call), "add_states keeps it")


operators("MatMul")(
    lambda call: OPERATORS["MatMul"](*(constant(call, i) if x is None else x for i, x in enumerate(call.signals)))
)


@operators("Gemm")
def _gemm(call: LiftCall) -> Any:
    given, factors = call.attributes, []
    if not any(call.signals[:2]):
        raise ImportRefused("adds the data to numbers; use Add")
    for index, swapped in enumerate(("transA", "transB")):
        x = call.signals[index]
        factor = constant(call, index) * given.get("alpha", 1.0) if x is None else x
        if given.get(swapped):
            factor = layout.transpose(factor, [1, 0]) if isinstance(factor, TracedTensor) else factor.T
        factors.append(factor)
    y = OPERATORS["MatMul"](*factors)
    if not call.has(2):
        return y
    bias, beta = call.signals[2], given.get("beta", 1.0)
    return OPERATORS["Add"](y, functions.scaled(bias, beta) if bias else constant(call, 2) * beta)


@operators("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
def _reduce(call: LiftCall) -> Any:
    rank, given = len(call.x.axes), call.attributes
    axes = call.axes() or ([] if given.get("noop_with_empty_axes") else list(range(rank)))
    return OPERATORS[call.node.op_type](call.x, axes, given.get("keepdims", 1))


operators("GlobalAveragePool", "GlobalMaxPool")(lambda call: OPERATORS[call.node.op_type](call.x, len(call.x.axes) - 2))
