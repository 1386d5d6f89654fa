"""The operators that calculate with numbers, one table for all frameworks, in the words of ONNX.

A front end translates its operation to one of these: operands are tensors or arrays of numbers, options are the
attributes of ONNX.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import joined_axes
from seq2onnx.importing.lifting import attention, deviation, formulas, functions, layout, operations, time_axis, windows
from seq2onnx.importing.lifting.functions import ONE, ZERO
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.operations import each_part
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import ELU, GELU, Add, HardSigmoid, LeakyReLU, Multiply, ReLU, Sigmoid, SiLU, Tanh

Operand = TracedTensor | Array


def _tensors(operands: Sequence[Operand]) -> list[TracedTensor]:
    return [x for x in operands if isinstance(x, TracedTensor)]


def _numbers(operands: Sequence[Operand]) -> list[Array]:
    return [x for x in operands if not isinstance(x, TracedTensor)]


def single(numbers: Array) -> float | None:
    """Return the number that all elements are, if they are the same."""
    return float(numbers.ravel()[0]) if numbers.size and np.ptp(numbers) == 0 else None


def _add(*operands: Operand) -> TracedTensor:
    found = functools.reduce(functools.partial(operations.join, Add()), _tensors(operands))
    return functools.reduce(plus, _numbers(operands), found)


def plus(x: TracedTensor, numbers: Array) -> TracedTensor:
    """Add numbers."""
    number = single(numbers)
    if number == 1 and (found := formulas.one_more(x)):
        return found
    if number is not None and (found := formulas.held_norm(x, "increased by", number)):
        return found
    y = operations.affine(x, ONE, numbers)
    return y if number is None or y is x else formulas.after_sum(y, x, number)


def _subtract(a: Operand, b: Operand) -> TracedTensor:
    if isinstance(a, TracedTensor):
        if isinstance(b, TracedTensor):
            return formulas.after_difference(operations.join(Add(), a, functions.negative(b)), a, b)
        return plus(a, -b)
    assert isinstance(b, TracedTensor)
    return operations.affine(b, -ONE, a)


def _multiply(*operands: Operand) -> TracedTensor:
    found, *others = _tensors(operands)
    for x in others:
        if formulas.same(x, found):
            found = power(found, 2)
        else:
            found = formulas.product(found, x) or attention.weighted(found, x) or operations.join(Multiply(), found, x)
    return functools.reduce(_times, _numbers(operands), found)


def _times(x: TracedTensor, numbers: Array) -> TracedTensor:
    number = single(numbers)
    if number is not None and (found := formulas.scaled_norm(x, number)):
        return found
    y = operations.affine(x, numbers, ZERO)
    return y if y is x else formulas.after_scale(y, x, numbers)


def _divide(a: Operand, b: Operand) -> TracedTensor:
    if isinstance(a, TracedTensor):
        if not isinstance(b, TracedTensor):
            return _times(a, 1 / b)
        if found := formulas.normalized(a, b, False):
            return found
        if a.has_time and not b.has_time:
            raise ImportRefused(operations.OVER_TIME)
    elif isinstance(b, TracedTensor):
        return _times(formulas.reciprocal(b), a)
    raise ImportRefused("divides by a calculated tensor, for which there is no layer; multiply instead")


def power(x: TracedTensor, exponent: float) -> TracedTensor:
    """Raise to a power, ±1/2 and -1 as a part of a formula."""
    if abs(exponent) == 0.5:
        root = _root(x)
        return root if exponent > 0 else formulas.reciprocal(root)
    if exponent == -1:
        return formulas.reciprocal(x)
    y = functions.power(x, exponent)
    return formulas.after_square(y, x) if exponent == 2 else y


def _root(x: TracedTensor) -> TracedTensor:
    if x.relation and x.relation.kind == "limited":
        return functions.clip(_root(x.relation.of), math.sqrt(x.relation.number), None)
    return formulas.square_root(x)


def _raise(x: Operand, exponent: Operand) -> TracedTensor:
    number = None if isinstance(exponent, TracedTensor) else single(exponent)
    if number is None or not isinstance(x, TracedTensor):
        raise ImportRefused("raises to calculated powers, for which there is no layer")
    return power(x, number)


def _matmul(a: Operand, b: Operand, bias: Array | None = None) -> TracedTensor:
    if isinstance(a, TracedTensor) and isinstance(b, TracedTensor):
        return _product(a, b)
    (x,), (weights,) = _tensors([a, b]), _numbers([a, b])
    if any(n > 1 for n in weights.shape[:-2]):
        raise ImportRefused(f"multiplies with weights {list(weights.shape)}; only a matrix can become a layer")
    weights = weights.reshape(weights.shape[-2:])
    if x is b:  # a matrix times the features of each step
        return operations.linear(x, np.atleast_2d(weights), None, -2)
    if weights.ndim == 1:
        return layout.squeeze(operations.linear(x, weights[None]), [-1])
    return operations.linear(x, weights.T, bias)


def _product(a: TracedTensor, b: TracedTensor) -> TracedTensor:
    """The product of two calculated matrices."""
    if len(b.axes) < 2:
        return layout.squeeze(_product(a, layout.unsqueeze(b, 1)), -1)
    return _sum_of_products(layout.unsqueeze(a, len(a.axes)), layout.unsqueeze(b, len(b.axes) - 2), [-2])


def _sum_of_products(a: TracedTensor, b: TracedTensor, axes: Sequence[int]) -> TracedTensor:
    """Sum a · b over axes of features, or over time where one has the weights of a softmax; the axes go."""
    rank = max(len(a.axes), len(b.axes))
    letters = "".join(joined_axes([a.axes, b.axes], [a.shape, b.shape], rank))
    if letters.count("T") > 1 or letters.count("B") > 1:
        raise ImportRefused("multiplies each step, or row, with each other, as attention does; no layer does that")
    if (size := np.broadcast(a.index, b.index).size) ** 2 > operations.MOST_WEIGHTS:
        raise ImportRefused(f"multiplies two calculated tensors to {size:,} numbers, too many to be written out")
    return layout.squeeze(_reduction("sum")(_multiply(a, b), sorted(axes)), list(axes))


def _einsum(*operands: Operand, equation: str) -> TracedTensor:
    *terms, out = equation.replace(" ", "").replace("->", ",").split(",")
    is_simple = "->" in equation and "." not in equation and all(len({*term}) == len(term) for term in (*terms, out))
    if len(operands) != 2 or not is_simple or len(_tensors(operands)) != 2:
        raise ImportRefused(f"is the Einsum {equation!r:.60}; write it with a Linear, a product or a sum")
    order = [*out, *sorted({*"".join(terms)} - {*out})]
    wide = []
    for x, term in zip(_tensors(operands), terms, strict=True):
        x = layout.transpose(x, [term.index(letter) for letter in order if letter in term])
        wide.append(layout.unsqueeze(x, *(place for place, letter in enumerate(order) if letter not in term)))
    return _sum_of_products(wide[0], wide[1], range(len(out) - len(order), 0))


def _largest(*operands: Operand) -> TracedTensor:
    found = functools.reduce(functions.maximum, _tensors(operands))
    return functools.reduce(lambda x, bound: functions.clip(x, bound, None), _bounds(operands), found)


def _smallest(*operands: Operand) -> TracedTensor:
    if len(xs := _tensors(operands)) > 1:
        xs = [functions.negative(_largest(*(functions.negative(x) for x in xs)))]
    return functools.reduce(lambda x, bound: functions.clip(x, None, bound), _bounds(operands), xs[0])


def _bounds(operands: Sequence[Operand]) -> list[float]:
    bounds = [single(numbers) for numbers in _numbers(operands)]
    if None in bounds:
        raise ImportRefused("limits features to different numbers, for which there is no layer")
    return [bound for bound in bounds if bound is not None]


def _exponential(x: TracedTensor) -> TracedTensor:
    if probabilities := time_axis.standing_for(x, "log"):
        return probabilities
    raise ImportRefused("calculates exponentials, for which there is no layer")


def _swish(x: TracedTensor, alpha: float = 1.0) -> TracedTensor:
    if alpha != 1:
        raise ImportRefused("is a Swish with another alpha than 1, for which there is no layer")
    return each_part(x, SiLU())


def _selu(x: TracedTensor, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> TracedTensor:
    return functions.scaled(each_part(x, ELU(alpha)), gamma)


def _reduction(kind: str) -> Callable[..., TracedTensor]:
    def reduce(x: TracedTensor, axes: Sequence[int], keepdims: int = 1) -> TracedTensor:
        if kind in ("mean", "sum") and (found := deviation.of_squares(x, axes, keepdims)):
            variance = deviation.variance(found)
            return variance if kind == "mean" else deviation.times_steps(variance)
        y = x
        for axis in axes:
            y = functions.reduce_axis(y, axis, kind)
        if not keepdims:
            y = layout.squeeze(y, axes)
        factor = {"mean": 1, "sum": math.prod(x.shape[axis] for axis in axes)}.get(kind)
        places = [axis % len(x.axes) for axis in axes]
        return formulas.after_mean(y, x, places, factor) if factor and axes else y

    return reduce


def _sum_of_squares(x: TracedTensor, axes: Sequence[int], keepdims: int = 1) -> TracedTensor:
    return _reduction("sum")(power(x, 2), axes, keepdims)


def _length(x: TracedTensor, axes: Sequence[int], keepdims: int = 1) -> TracedTensor:
    operations.check_within_step(x, axes)
    return _root(_sum_of_squares(x, axes, keepdims))


def _to_length_one(x: TracedTensor, axis: int = -1, p: int = 2) -> TracedTensor:
    if p != 2:
        raise ImportRefused("divides by a sum of absolute values, for which there is no layer; use p=2")
    return _divide(x, _length(x, [axis]))


def _global_pool(kind: str) -> Callable[..., TracedTensor]:
    def pool(x: TracedTensor, count: int) -> TracedTensor:
        """Pool over the last axes, of which there are `count`."""
        if kind == "mean" and count == 2 and not any(x.axes[-2:]) and (mean := windows.mean_of_image(x)):
            return mean
        for axis in range(-count, 0):
            x = functions.reduce_axis(x, axis, kind)
        return x

    return pool


def concat(operands: Sequence[Operand], axis: int) -> TracedTensor:
    """Join tensors and zeros along an axis."""
    xs, zeros = _tensors(operands), _numbers(operands)
    like = xs[0]
    axis %= len(like.axes)
    if any(numbers.any() for numbers in zeros):
        raise ImportRefused("joins features with numbers other than zeros; add them with a bias")
    if like.axes[axis] == "T" and zeros and len(xs) == 1:
        at = next(i for i, x in enumerate(operands) if x is like)
        before, after = (sum(x.shape[axis] for x in part) for part in (operands[:at], operands[at + 1 :]))
        return time_axis.pad_time(like, before, after)
    rest = like.index.shape
    empty = [(*rest[:axis], numbers.shape[axis], *rest[axis + 1 :]) for numbers in zeros]
    filled = iter([like.with_(index=np.full(shape, -1)) for shape in empty])
    return time_axis.concat([x if isinstance(x, TracedTensor) else next(filled) for x in operands], axis)


OPERATORS: dict[str, Callable[..., TracedTensor]] = {
    "Abs": lambda x: operations.join(Add(), each_part(x, ReLU()), each_part(functions.negative(x), ReLU())),
    "Add": _add,
    "Celu": lambda x, alpha=1.0: functions.scaled(each_part(functions.scaled(x, 1 / alpha), ELU(1.0)), alpha),
    "Clip": lambda x, min=None, max=None: functions.clip(x, min, max),
    "Div": _divide,
    "Einsum": _einsum,
    "Elu": lambda x, alpha=1.0: each_part(x, ELU(alpha)),
    "Erf": formulas.erf,
    "Exp": _exponential,
    "Gelu": lambda x, approximate="none": each_part(x, GELU(approximate == "tanh")),
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("max"),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: each_part(x, HardSigmoid(alpha, beta)),
    "HardSwish": lambda x: operations.join(Multiply(), x, each_part(x, HardSigmoid(1 / 6, 0.5))),
    "Identity": lambda x: x,
    "LeakyRelu": lambda x, alpha=0.01: each_part(x, LeakyReLU(alpha)),
    "LpNormalization": _to_length_one,
    "MatMul": _matmul,
    "Max": _largest,
    "Min": _smallest,
    "Mul": _multiply,
    "Neg": functions.negative,
    "PRelu": functions.prelu,
    "Pow": _raise,
    "Reciprocal": formulas.reciprocal,
    "ReduceL2": _length,
    "ReduceMax": _reduction("max"),
    "ReduceMean": _reduction("mean"),
    "ReduceMin": _reduction("min"),
    "ReduceSum": _reduction("sum"),
    "ReduceSumSquare": _sum_of_squares,
    "Relu": lambda x: each_part(x, ReLU()),
    "Selu": _selu,
    "Sigmoid": lambda x: each_part(x, Sigmoid()),
    "Sqrt": _root,
    "Sub": _subtract,
    "Sum": _add,
    "Swish": _swish,
    "Tanh": lambda x: each_part(x, Tanh()),
}
"""What each operator becomes: a function of its operands, with the attributes of ONNX as keywords."""
