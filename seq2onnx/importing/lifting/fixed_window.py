"""A fixed number of steps that is flattened: the weights after it are those of a convolution without padding."""

from __future__ import annotations

import dataclasses

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, barred, layer_node
from seq2onnx.importing.lifting.reading import flat, source
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import Conv1d


def unfolded(x: TracedTensor) -> TracedTensor:
    """Make time an axis of features, as many as the window of the import has steps; only weighted sums can read it."""
    window, axis = x.lifting.window, x.axes.index("T")
    if x.steps != window:
        raise ImportRefused(f"flattens {x.steps} steps, not the window={window}; give window={x.steps}")
    found, index = source(x)
    found = flat(found)
    made = Conv1d(1, window).infer(found.signal)
    signal = dataclasses.replace(made, shape=(window * found.size,))
    reason = f"flattens a window of {window} steps, which only a Dense or Linear layer can read"
    part = barred(reason, found, signal, stands_for=("window", found))
    steps = np.arange(window).reshape([-1 if i == axis else 1 for i in range(len(x.axes))])
    places = np.where(index < 0, -1, index + found.size * steps)
    axes = tuple("" if letter == "T" else letter for letter in x.axes)
    return x.with_(parts=(part,), axes=axes, index=places, pads=(0, 0))


def convolution(part: LayerNode, weights: Array, bias: Array) -> LayerNode:
    """Make the layer with weights [k, features] of all steps of a window."""
    found = part.stands_for[1]
    wide = weights.reshape(len(weights), -1, found.size).transpose(0, 2, 1)
    return layer_node(Conv1d(len(wide), wide.shape[2]), found, weights={"weights": wide, "bias": bias})
