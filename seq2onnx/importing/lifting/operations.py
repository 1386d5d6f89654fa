"""Operations on each step, as layers: weighted sums, functions, joins, normalizations, and what reads a whole sequence.

Each function takes the foreign tensor as a TracedTensor and gives that of the result. All refuse with ImportRefused.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import attention, fixed_window
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, barred, layer_node
from seq2onnx.importing.lifting.layout import broadcast, move, reshape, unsqueeze
from seq2onnx.importing.lifting.reading import ELEMENTWISE, columns, exact, flat, narrow, pruned, same_features, source
from seq2onnx.importing.lifting.traced import TracedTensor, tensor_of
from seq2onnx.layers import (
    Add,
    BatchNorm,
    Conv1d,
    FullyConnected,
    Layer,
    LayerNorm,
    Multiply,
    Rescale,
    RMSNorm,
    Softmax,
    WordEmbedding,
)

OVER_TIME = (
    "normalizes with statistics over time, which are those of the whole sequence: a stream does not know them. Use "
    "BatchNorm, or a norm of each step, such as LayerNorm"
)
MOST_WEIGHTS = 2**24
"""The most numbers of a weight that is written out from a smaller one."""
OVER_TIME = (
    "normalizes with statistics over time, which are those of the whole sequence: a stream does not know them. Use "
    "BatchNorm, or a norm of each step, such as LayerNorm"
)


def check_features(x: TracedTensor, axis: int, what: str) -> None:
    """Raise ImportRefused unless an axis is features."""
    if x.axes[axis]:
        raise ImportRefused(
            f"{what} along {x.describe(axis)}, in a tensor {list(x.shape)}; only features can be read so. "
            "Was an axis swapped, or axes= wrong?"
        )


def linear(x: TracedTensor, weights: Array, bias: Array | None = None, axis: int = -1) -> TracedTensor:
    """Weighted sums over one axis: weights [k, n], bias [k]."""
    axis %= len(x.axes)
    check_features(x, axis, "has weights")
    x = move(x, axis, -1)
    found, index = source(x)
    groups, k = index.reshape(-1, weights.shape[1]), len(weights)
    if len(groups) * k * found.size > MOST_WEIGHTS:
        raise ImportRefused(f"weighted sums of {len(groups)} groups of features, too large to be written out")
    wide = np.concatenate([columns(weights, found, group) for group in groups])
    offsets = np.zeros(len(wide)) if bias is None else np.tile(np.broadcast_to(bias, (k,)), len(groups))
    if found.stands_for[0] == "window":
        made = fixed_window.convolution(found, wide, offsets)
    else:
        made = layer_node(FullyConnected(len(wide)), found, weights={"weights": wide, "bias": offsets})
    y = tensor_of(made, x.axes, (*x.index.shape[:-1], k), x.with_(pads=(0, 0)))
    return move(y, -1, axis)


def each_part(x: TracedTensor, layer: Layer) -> TracedTensor:
    """Apply a layer without weights to all features."""
    x = pruned(x)
    if (x.index < 0).any() or any(pad > 0 for pad in x.pads) or not isinstance(layer, ELEMENTWISE):
        found, index = same_features(x)
        return x.with_(parts=(layer_node(layer, found),), index=index, pads=(0, 0))
    return x.with_(parts=tuple(layer_node(layer, part) for part in x.parts))


def affine(x: TracedTensor, scale: Array, offset: Array) -> TracedTensor:
    """Compute x · scale + offset with numbers that broadcast to x."""
    numbers = [np.asarray(array, float) for array in (scale, offset)]
    rank = max(len(x.axes), *(array.ndim for array in numbers))
    x = unsqueeze(x, *range(rank - len(x.axes)))
    for place, array in enumerate(numbers):
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        for axis, letters in enumerate(x.axes):
            if letters and np.ptp(array, axis).any():
                kind = "to step, such as a position encoding" if "T" in letters else "to sequence of the batch"
                raise ImportRefused(f"calculates with numbers that differ from step {kind}; a stream has no position")
            if letters:
                array = array.take([0], axis)
        numbers[place] = array
    shape = np.broadcast_shapes(x.index.shape, *(array.shape for array in numbers))
    x = x.with_(index=np.broadcast_to(x.index, shape))
    if all(np.ptp(array) == 0 for array in numbers):
        factor, number = (array.flat[0].item() for array in numbers)
        if (factor, number) == (1, 0):
            return x
        found, index = same_features(x) if number else source(x)
        return x.with_(parts=(_rescaled(found, factor, number),), index=index, pads=(0, 0))
    found, index = same_features(x)
    fields = [_in_order(array, index) for array in numbers]
    return x.with_(parts=(_rescaled(found, *fields),), index=index, pads=(0, 0))


def _rescaled(found: LayerNode, scale: Any, offset: Any) -> LayerNode:
    """Make x · scale + offset; a layer before it that has such weights, and does not use them, gets the numbers."""
    layer, weights = found.layer, dict(found.weights)
    is_free = isinstance(layer, LayerNorm) and not weights["offset"].any()
    if isinstance(layer, LayerNorm | RMSNorm) and (is_free or not np.any(offset)):
        numbers = [np.reshape(array, found.signal.shape) if np.ndim(array) else array for array in (scale, offset)]
        weights = {name: array * numbers[0] for name, array in weights.items()}
        weights |= {"offset": weights["offset"] + numbers[1]} if is_free else {}
        return layer_node(layer, *found.reads, weights=weights, path=found.path)
    found = flat(found) if np.ndim(scale) or np.ndim(offset) else found
    layer = found.layer
    if isinstance(layer, FullyConnected | Conv1d) and np.all(np.equal(scale, 1)) and not found.weights["bias"].any():
        weights = {**found.weights, "bias": found.weights["bias"] + offset}
        return layer_node(layer, *found.reads, weights=weights, path=found.path)
    return layer_node(Rescale(scale, offset), found)


def join(layer: Add | Multiply, a: TracedTensor, b: TracedTensor) -> TracedTensor:
    """Add or multiply two tensors."""
    timed = a if a.has_time else b
    steps = timed.steps
    a, b = broadcast(a, b)
    (left, at_left), (right, at_right) = source(a, True), source(b, True)
    if not np.array_equal(at_left, at_right) or left.signal.shape != right.signal.shape or (at_left < 0).any():
        left, right = flat(exact(a, True)), flat(exact(b, True))
        at_left = np.arange(left.size).reshape(a.index.shape)
    return a.with_(parts=(layer_node(layer, left, right),), index=at_left, steps=steps, pads=(0, 0))


def softmax(x: TracedTensor, axes: Sequence[int]) -> TracedTensor:
    """Softmax over all features, which are these axes, or over time."""
    if [x.axes[axis] for axis in axes] == ["T"]:
        return attention.softmax_over_time(x)
    for axis in axes:
        check_features(x, axis, "has a softmax")
    check_all_features(x, axes, "a softmax")
    found, index = same_features(x)
    return x.with_(parts=(layer_node(Softmax(), flat(found)),), index=index, pads=(0, 0))


def log_softmax(x: TracedTensor, axes: Sequence[int], remedy: str) -> TracedTensor:
    """Logarithm of a softmax, which only a Softmax or an exponential after it makes a layer."""
    scores = softmax(x, axes)
    reason = f"ends in log_softmax, for which there is no layer; {remedy}"
    return scores.with_(parts=(barred(reason, scores.parts[0], stands_for=("log", scores.parts[0])),))


def check_all_features(x: TracedTensor, axes: Sequence[int], what: str) -> None:
    """Raise ImportRefused unless these axes hold all features."""
    inside = [axis % len(x.axes) for axis in axes]
    if any(n > 1 for axis, n in enumerate(x.index.shape) if axis not in inside):
        raise ImportRefused(f"{what} over one of several axes of features {list(x.shape)}; no layer does that")


def _in_order(values: Array, index: Array) -> Array:
    """Reorder one number for each element of a tensor into the order of the features."""
    ordered = np.empty(index.size)
    ordered[index.ravel()] = np.broadcast_to(values, index.shape).ravel()
    return ordered


def batch_norm(x: TracedTensor, axis: int, arrays: dict[str, Array], epsilon: float, momentum: float) -> TracedTensor:
    """Normalize with stored statistics: arrays scale, offset, mean, variance, one number for each place of `axis`."""
    check_features(x, axis, "is normalized with statistics")
    found, index = same_features(x)
    shape = [-1 if i == axis % len(x.axes) else 1 for i in range(len(x.axes))]
    layer = BatchNorm(epsilon=epsilon, momentum=momentum)
    image = len(found.signal.shape) > 1 and index.shape[axis] == found.signal.shape[0]
    if image and np.array_equal(index.ravel(), np.arange(index.size)):
        made = layer_node(layer, found, weights=arrays)
    else:
        made = layer_node(
            layer, flat(found), weights={k: _in_order(a.reshape(shape), index) for k, a in arrays.items()}
        )
    return x.with_(parts=(made,), index=index, pads=(0, 0))


def layer_norm(
    x: TracedTensor, axes: Sequence[int], scale: Array | None, offset: Array | None, epsilon: float
) -> TracedTensor:
    """Normalize each step over axes of features; the other ones have groups of features."""
    arrays = {"scale": np.ones(1) if scale is None else scale, "offset": np.zeros(1) if offset is None else offset}
    return _normalize(x, axes, arrays, functools.partial(LayerNorm, epsilon))


def rms_norm(x: TracedTensor, axes: Sequence[int], scale: Array | None, epsilon: float) -> TracedTensor:
    """Divide each step by its root mean square over axes of features; the other ones have groups of features."""
    return _normalize(x, axes, {"scale": np.ones(1) if scale is None else scale}, functools.partial(RMSNorm, epsilon))


def group_norm(x: TracedTensor, groups: int, scale: Array | None, offset: Array | None, epsilon: float) -> TracedTensor:
    """Normalize groups of the channels, which are axis 1, with all axes that follow; scale and offset [channels]."""
    check_features(x, 1, "has channels")
    split = (groups, x.shape[1] // groups)
    wide = (*split, *[1] * (len(x.axes) - 2))
    scale, offset = (None if array is None else array.reshape(wide) for array in (scale, offset))
    inner = reshape(x, (x.shape[0], *split, *x.shape[2:]))
    return reshape(layer_norm(inner, range(2, len(inner.axes)), scale, offset, epsilon), x.shape)


def check_within_step(x: TracedTensor, axes: Sequence[int]) -> None:
    """Raise ImportRefused unless the axes that a norm is over are features."""
    for axis in axes:
        if "T" in x.axes[axis]:
            raise ImportRefused(OVER_TIME)
        check_features(x, axis, "is normalized")


def _normalize(
    x: TracedTensor, axes: Sequence[int], arrays: dict[str, Array], layer: Callable[[int], Layer]
) -> TracedTensor:
    """Make a layer that normalizes groups of features, with arrays that broadcast to x."""
    check_within_step(x, axes)
    found, index = same_features(x)
    size = math.prod(x.shape[axis] for axis in axes)
    members = np.moveaxis(index, axes, range(-len(axes), 0)).reshape(-1, size)
    if (members // size != members[:, :1] // size).any():  # a group of a layer is one range of features
        found, index = narrow(found, members.ravel()), np.argsort(members, None)[index]
    found = flat(found) if found.signal.shape[0] % len(members) else found
    weights = {name: _in_order(array, index) for name, array in arrays.items()}
    return x.with_(parts=(layer_node(layer(len(members)), found, weights=weights),), index=index, pads=(0, 0))


def embedding(x: TracedTensor, table: Array) -> TracedTensor:
    """Look up a row of the table for each token."""
    (tokens,) = x.parts
    if tokens.signal.dtype != "int64" or tokens.reads:
        raise ImportRefused("looks up an embedding for something other than the input; give the tokens as the input")
    count, dimension = table.shape
    if count < 2:
        raise ImportRefused("has an embedding of a single row, which is the same for each token; leave it out")
    rows = np.concatenate([table, np.zeros((1, dimension))])  # the last row is for unknown words
    made = layer_node(WordEmbedding(dimension, count - 1), tokens, weights={"vectors": rows})
    return tensor_of(made, (*x.axes, ""), (*[1] * len(x.axes), dimension), x)
