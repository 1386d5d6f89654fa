"""Every layer in numpy, float64, one row at a time, from the documented equations.

Shares no code with the package: it is what both torch and onnxruntime are held against. A row has no
padding, so nothing here knows of lengths. A reference takes (layer, weights, xs, states) and gives
(y, new states); x is [time, features], or [features] where there is no time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Reference = Callable[[Any, dict[str, np.ndarray], tuple[np.ndarray, ...], tuple[np.ndarray, ...]], Any]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def sequence_input(layer, weights, xs, states):
    (x,) = xs
    known = {name: np.array(values, float) for name, values in (layer.statistics or {}).items()}
    y = np.array(x, float)
    for feature in range(x.shape[1] if known else 0):
        if layer.normalization == "zerocenter":
            y[:, feature] -= known["mean"][feature]
        elif layer.normalization == "zscore":
            y[:, feature] = (y[:, feature] - known["mean"][feature]) / (known["std"][feature] or 1)
        else:
            low, high = known["min"][feature], known["max"][feature]
            if layer.normalization == "rescale_zero_one":
                y[:, feature] = (y[:, feature] - low) / ((high - low) or 1)
            elif high > low:
                y[:, feature] = 2 * (y[:, feature] - low) / (high - low) - 1
            else:  # a constant channel divides by 1
                y[:, feature] = y[:, feature] - low
    return y, ()


def lstm(layer, weights, xs, states):
    Wi, Wf, Wg, Wo = np.split(weights["input_weights"], 4)
    Ri, Rf, Rg, Ro = np.split(weights["recurrent_weights"], 4)
    bi, bf, bg, bo = np.split(weights["bias"], 4)
    h, c = states
    outputs = []
    for x in xs[0]:
        i = sigmoid(Wi @ x + Ri @ h + bi)
        f = sigmoid(Wf @ x + Rf @ h + bf)
        g = np.tanh(Wg @ x + Rg @ h + bg)
        o = sigmoid(Wo @ x + Ro @ h + bo)
        c = f * c + i * g
        h = o * np.tanh(c)
        outputs.append(h)
    y = h if layer.output_mode == "last" else np.array(outputs).reshape(len(outputs), len(h))
    return y, (h, c)


def fully_connected(layer, weights, xs, states):
    return xs[0] @ weights["weights"].T + weights["bias"], ()


def softmax(layer, weights, xs, states):
    e = np.exp(xs[0] - xs[0].max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True), ()


def dropout(layer, weights, xs, states):
    return xs[0], ()


REFERENCES: dict[str, Reference] = {
    "sequence_input": sequence_input,
    "lstm": lstm,
    "fully_connected": fully_connected,
    "softmax": softmax,
    "dropout": dropout,
}


def run(network, weights, x, states):
    """One row [time, features] through a whole network: (y, new states)."""
    values: dict[str, np.ndarray] = {}
    found: list[np.ndarray] = []
    left = list(states)
    for layer in network.layers:
        xs = tuple(values[source] for source in network.reads[layer.name]) or (np.array(x, float),)
        count = len(layer.states(*network.signals_into(layer.name)))
        own, left = tuple(np.array(state, float) for state in left[:count]), left[count:]
        arrays = {name: np.array(w, float) for name, w in weights[layer.name].items()}
        values[layer.name], new = REFERENCES[layer.kind](layer, arrays, xs, own)
        found += new
    return values[network.outputs[0]], tuple(found)
