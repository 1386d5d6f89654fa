"""Operations on each step, as layers: weighted sums, functions, joins, normalizations, and what reads a whole sequence.

Each function takes the foreign tensor as a TracedTensor and gives that of the result. All refuse with ImportRefused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import attention, fixed_window
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, barred, layer_node
from seq2onnx.importing.lifting.layout import broadcast, move, unsqueeze
from seq2onnx.importing.lifting.reading import ELEMENTWISE, columns, exact, flat, pruned, same_features, source
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
    Softmax,
    WordEmbedding,
)

MOST_WEIGHTS = 2**24
"""The most numbers of a weight that is written out from a smaller one."""


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
    return x.with_(parts=(_rescaled(flat(found), *fields),), index=index, pads=(0, 0))


def _rescaled(found: LayerNode, scale: Any, offset: Any) -> LayerNode:
    """Make x · scale + offset; a layer before it that has such weights, and does not use them, gets the numbers."""
    layer, weights = found.layer, dict(found.weights)
    if isinstance(layer, FullyConnected | Conv1d) and np.all(np.equal(scale, 1)) and not weights["bias"].any():
        weights["bias"] = weights["bias"] + offset
    elif isinstance(layer, LayerNorm) and not weights["offset"].any():
        weights |= {"scale": weights["scale"] * scale, "offset": weights["offset"] + offset}
    else:
        return layer_node(Rescale(scale, offset), found)
    return layer_node(layer, *found.reads, weights=weights, path=found.path)


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
    x: TracedTensor, dimensions: int, scale: Array | None, offset: Array | None, epsilon: float
) -> TracedTensor:
    """Normalize each step over its features, which are the last axes."""
    axes = range(len(x.axes) - dimensions, len(x.axes))
    for axis in axes:
        check_features(x, axis, "is normalized")
    check_all_features(x, axes, "is normalized")
    found, index = same_features(x)
    weights = {
        "scale": _in_order(np.ones(1) if scale is None else scale, index),
        "offset": _in_order(np.zeros(1) if offset is None else offset, index),
    }
    made = layer_node(LayerNorm(epsilon=epsilon), flat(found), weights=weights)
    return x.with_(parts=(made,), index=index, pads=(0, 0))


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
