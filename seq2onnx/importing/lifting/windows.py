"""Convolutions and poolings, over time or within each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting.functions import max_features
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, layer_node
from seq2onnx.importing.lifting.layout import move, reshape
from seq2onnx.importing.lifting.operations import MOST_WEIGHTS, check_features, linear
from seq2onnx.importing.lifting.reading import as_padding, columns, exact, flat, pruned, same_features, source
from seq2onnx.importing.lifting.traced import TracedTensor, tensor_of
from seq2onnx.layers import AvgPool1d, Conv1d, GlobalAvgPool2d, Layer, MaxPool1d

Pads = tuple[int, int]
Apply = Callable[[Array], Array]
"""A foreign operation on an array of several rows."""


class TooFewSteps(ImportRefused):
    """The traced run is too short: it must be repeated with more steps."""


def windowed_steps(steps: int, pads: Pads | None, reach: int, stride: int, least: int = 2) -> int:
    """Return the number of windows over the steps of the traced run; without `pads`, padding is "same"."""
    found = -(-steps // stride) if pads is None else (steps + sum(pads) - reach - 1) // stride + 1
    if found < least:
        raise TooFewSteps(f"leaves {found} of {steps} steps")
    return found


def _in_windows(x: TracedTensor, y: TracedTensor, pads: Pads | None, reach: int, stride: int) -> TracedTensor:
    """Give y the steps of windows over x. The only step that an import with window=1 leaves is no time any more."""
    of_window = x.lifting.window == 1
    y = y.with_(steps=windowed_steps(x.steps, pads, reach, stride, 1 if of_window else 2))
    if of_window and y.steps == 1:
        y = y.with_(axes=tuple("" if letter == "T" else letter for letter in y.axes))
    return y


def conv1d(
    x: TracedTensor, weights: Array, bias: Array | None, stride: int, dilation: int, pads: Pads | None, groups: int
) -> TracedTensor:
    """Convolution over the last axis, which is time; channels are the axis before. Weights [filters, channels, k].

    Without `pads`, the padding is "same" with a stride, which depends on the number of steps.
    """
    check_features(x, -2, "has the channels of a convolution")
    if pads:
        pads, x = _join_padding(x, pads)
    if groups == 1:
        found, index = source(x)
        wide = columns(weights, flat(found), index)
    else:
        found, wide = exact(x), weights
    reach, filters = dilation * (weights.shape[2] - 1), len(weights)
    padding: Any = as_padding(*pads, reach) if pads else "same"
    layer = Conv1d(filters, weights.shape[2], stride, dilation, padding, groups)
    made = layer_node(
        layer, flat(found), weights={"weights": wide, "bias": np.zeros(filters) if bias is None else bias}
    )
    y = tensor_of(made, x.axes, (*[1] * (len(x.axes) - 2), filters, 1), x)
    return _in_windows(x, y, pads, reach, stride)


def _join_padding(x: TracedTensor, pads: Pads) -> tuple[Pads, TracedTensor]:
    """Move zeros that stand before a layer into its padding."""
    zeros = (max(x.pads[0], 0), max(x.pads[1], 0))
    rest = (min(x.pads[0], 0), min(x.pads[1], 0))
    return (pads[0] + zeros[0], pads[1] + zeros[1]), x.with_(pads=rest, steps=x.steps - sum(zeros))


def pool_windows(x: TracedTensor, layer: MaxPool1d | AvgPool1d) -> TracedTensor:
    """Pooling over the last axis, which is time."""
    found, index = source(x) if (x.index >= 0).all() else same_features(x)
    window = layer.window
    y = x.with_(parts=(layer_node(layer, flat(found)),), index=index, pads=(0, 0))
    return _in_windows(x, y, window.pads, window.reach, window.stride)


def image_of(x: TracedTensor, axes: int) -> LayerNode | None:
    """Return the node whose steps are exactly the last axes of the tensor, or None if the features lie differently."""
    x = pruned(x)
    if len(x.parts) != 1 or any(x.pads) or x.parts[0].signal.shape != x.index.shape[-axes:]:
        return None
    return x.parts[0] if np.array_equal(x.index.ravel(), np.arange(x.parts[0].size)) else None


def on_image(
    x: TracedTensor, image: LayerNode, layer: Layer, weights: Mapping[str, Array] | None = None
) -> TracedTensor:
    """Apply a layer to the image of each step."""
    made = layer_node(layer, image, weights=weights)
    axes = len(image.signal.shape)
    return tensor_of(made, x.axes, (*x.index.shape[:-axes], *made.signal.shape), x)


def mean_of_image(x: TracedTensor) -> TracedTensor | None:
    """Mean over height and width, the last axes, where the steps are images; else None."""
    image = image_of(x, 3)
    if image is None:
        return None
    made = layer_node(GlobalAvgPool2d(), image)
    return tensor_of(made, x.axes, (*x.index.shape[:-3], made.size, 1, 1), x)


def dense(x: TracedTensor, axes: int, apply: Apply) -> TracedTensor:
    """A weighted sum of the features of each step, the last axes, as a FullyConnected; `apply` says its weights."""
    for axis in range(-axes, 0):
        check_features(x, axis, "calculates")
    inside = x.index.shape[-axes:]
    count = int(np.prod(inside))
    offset = apply(np.zeros((1, *inside), np.float32))
    if count * offset.size > MOST_WEIGHTS or count**2 > 4 * MOST_WEIGHTS:
        raise ImportRefused(
            f"an operation on {list(inside)} features of each step that needs {count * offset.size:,} weights as a "
            f"FullyConnected; at most {MOST_WEIGHTS:,} are made"
        )
    gains = apply(np.eye(count, dtype=np.float32).reshape(count, *inside)) - offset
    rows = reshape(x, (*x.shape[:-axes], count))
    y = linear(rows, gains.reshape(count, -1).T, offset.ravel())
    return reshape(y, (*y.shape[:-1], *offset.shape[1:]))


def dense_over_time(
    x: TracedTensor, time: int, span: int, stride: int, dilation: int, pads: Pads | None, apply: Apply
) -> TracedTensor:
    """A window over time and features as a Conv1d over time, with its weights written out for all features.

    Of the tensor [batch, channels, …], axis `time`, counted from the end, is time, of which a window has `span` steps.
    `pads` are as in `conv1d`; `apply` is the operation without them, on arrays as x with one window of steps.
    """
    check_features(x, -3, "has the channels of a convolution")
    check_features(x, -3 - time, "has a window")
    inside = list(x.index.shape[-3:])
    inside[time] = dilation * (span - 1) + 1
    offset = apply(np.zeros((1, *inside), np.float32))
    count = int(np.prod(x.index.shape[-3:]))
    if count * offset.size * span > MOST_WEIGHTS or count * span * np.prod(inside) > 4 * MOST_WEIGHTS:
        raise ImportRefused(
            f"a window over time and features that needs {count * offset.size * span:,} weights as a Conv1d; at most "
            f"{MOST_WEIGHTS:,} are made. Use fewer channels or a Conv1d over time"
        )
    basis = np.zeros((span, count, *inside), np.float32)
    in_time = np.moveaxis(basis, time, 0)[::dilation]
    for tap in range(span):
        in_time[tap, tap] = np.eye(count).reshape(in_time.shape[2:])
    gains = apply(basis.reshape(-1, *inside)) - offset
    weights = np.moveaxis(gains.reshape(span, count, -1), (0, 1, 2), (2, 1, 0))
    shape = list(offset.shape[1:])
    moved = move(x, time, -1)
    rows = reshape(moved, (*moved.shape[:-3], count, moved.shape[-1]))
    y = conv1d(rows, weights, offset.ravel(), stride, dilation, pads, 1)
    split = reshape(y, (*y.shape[:-2], shape[0], shape[-3 - time], y.shape[-1]))
    return move(split, -1, time)


def max_pool(x: TracedTensor, sizes: Sequence[int], strides: Sequence[int], pads: Sequence[Pads]) -> TracedTensor:
    """Maximum over windows of the last axes, one axis after the other."""
    for axis, size, stride, pad in zip(range(-len(sizes), 0), sizes, strides, pads, strict=True):
        if (size, stride, pad) == (1, 1, (0, 0)):
            continue
        if x.axes[axis] == "T":
            y = pool_windows(move(x, axis, -1), MaxPool1d(size, stride, as_padding(*pad, size - 1)))
            x = move(y, -1, axis)
        elif pad != (0, 0):
            raise ImportRefused("takes the maximum over features with padding, for which there is no layer")
        else:
            x = max_features(x, axis, size, stride)
    return x
