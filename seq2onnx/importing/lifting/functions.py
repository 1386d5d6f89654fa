"""Functions of each number that are composed of several layers, and reductions over an axis."""

from __future__ import annotations

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import formulas, layout, time_axis
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.operations import affine, check_features, each_part, join, linear
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import Add, GlobalAvgPool1d, GlobalMaxPool1d, HardSigmoid, LeakyReLU, Multiply, ReLU, Sigmoid

ONE, ZERO = np.ones(1), np.zeros(1)
MOST_MAXIMUM = 8
"""The most features of which a maximum is written out as layers."""


def scaled(x: TracedTensor, factor: float) -> TracedTensor:
    """Multiply with a number."""
    return affine(x, ONE * factor, ZERO)


def negative(x: TracedTensor) -> TracedTensor:
    """Compute −x."""
    return scaled(x, -1)


def clip(x: TracedTensor, low: float | None, high: float | None) -> TracedTensor:
    """Limit numbers to a range; None: no limit."""
    if low is not None and high is not None:
        width = ONE * (high - low)
        if not width.item() > 0:
            raise ImportRefused(f"clips to the range {low} to {high}, in which there is a single number")
        y = each_part(x, HardSigmoid(1 / width.item(), -low / width.item()))
        return affine(y, width, ONE * low)
    bound = high if low is None else low
    if bound is None:
        return x
    if high is None and (norm := formulas.held_norm(x, "limited to at least", bound)):
        return norm
    sign = ONE if high is None else -ONE
    y = affine(each_part(affine(x, sign, -sign * bound), ReLU()), sign, ONE * bound)
    return formulas.after_limit(y, x, bound) if high is None else y


def power(x: TracedTensor, exponent: float) -> TracedTensor:
    """Raise to a power of 1, 2 or 3."""
    if exponent not in (1, 2, 3):
        raise ImportRefused(f"raises to a power ({exponent}); only squares and cubes can be made of layers")
    y = x
    for _ in range(int(exponent) - 1):
        y = join(Multiply(), x, y)
    return y


def prelu(x: TracedTensor, slopes: Array) -> TracedTensor:
    """Multiply negative numbers with slopes that broadcast to x."""
    if not isinstance(x, TracedTensor) or isinstance(slopes, TracedTensor):
        raise ImportRefused("takes its slopes from the data")
    if slopes.size == 1:
        return each_part(x, LeakyReLU(slopes.item()))
    below = affine(each_part(negative(x), ReLU()), -slopes, np.zeros(slopes.shape))
    return join(Add(), each_part(x, ReLU()), below)


def maximum(a: TracedTensor, b: TracedTensor) -> TracedTensor:
    """The larger of two tensors at each place: a + relu(b − a)."""
    return join(Add(), a, each_part(join(Add(), b, negative(a)), ReLU()))


def max_features(x: TracedTensor, axis: int, size: int, stride: int) -> TracedTensor:
    """Maximum over windows of an axis of features."""
    check_features(x, axis, "takes a maximum")
    if size > MOST_MAXIMUM:
        raise ImportRefused(
            f"takes the maximum of {size} features, for which there is no layer; at most {MOST_MAXIMUM}"
        )
    count = (x.shape[axis] - size) // stride + 1
    found = layout.take(x, axis, np.arange(count) * stride)
    for place in range(1, size):
        found = maximum(found, layout.take(x, axis, np.arange(count) * stride + place))
    return found


def glu(x: TracedTensor, axis: int) -> TracedTensor:
    """Half of the features times the sigmoid of the other half."""
    half = x.shape[axis] // 2
    first, second = (layout.take(x, axis, part) for part in (slice(half), slice(half, None)))
    return join(Multiply(), first, each_part(second, Sigmoid()))


def reduce_axis(x: TracedTensor, axis: int, kind: str) -> TracedTensor:
    """Take the "mean", "sum", "max" or "min" over an axis, which stays as an axis of one feature."""
    axis %= len(x.axes)
    if kind == "min":
        return negative(reduce_axis(negative(x), axis, "max"))
    if x.axes[axis] == "T":
        if kind == "sum":
            y = time_axis.sum_time(x, axis)
        else:
            y = time_axis.pool_time(x, axis, GlobalAvgPool1d() if kind == "mean" else GlobalMaxPool1d())
        return layout.unsqueeze(y, axis)
    if x.axes[axis]:
        raise ImportRefused(
            f"takes the {kind} over {x.describe(axis)}; a sequence then depends on the others of its batch"
        )
    n = x.shape[axis]
    if kind == "max":
        return max_features(x, axis, n, 1)
    return linear(x, np.full((1, n), 1 / n if kind == "mean" else 1), None, axis) if n > 1 else x
