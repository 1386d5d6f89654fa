"""The weights and activations of LSTM, GRU and RNN operators; cells.py has the torch form.

The weights are those of one direction, as the layers declare them. The results have an axis for directions first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.parts import gates

Arrays = Mapping[str, NDArray[Any]]

NAMES = ("input_weights", "recurrent_weights", "bias")
"""The weights of one direction that each layer has."""

ONNX_NAMES = {
    "tanh": "Tanh",
    "softsign": "Softsign",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "hard_sigmoid": "HardSigmoid",
    "hard_sigmoid_6": "HardSigmoid",
}


def arrays(op: str, weights: Arrays) -> dict[str, NDArray[Any]]:
    """Return W, R and B of an operator."""
    W, R, b = (array[None] for array in ordered(op, weights))
    recurrent_bias = np.zeros_like(b)
    if "recurrent_bias" in weights:
        recurrent_bias[0, -R.shape[2] :] = weights["recurrent_bias"]
    return {"W": W, "R": R, "B": np.concatenate([b, recurrent_bias], 1)}


def ordered(op: str, weights: Arrays) -> list[NDArray[Any]]:
    """Return the weights of x and h and the bias, with their gates in the order of ONNX."""
    found = [weights[name] for name in NAMES]
    if op == "RNN":  # has no gates
        return found
    orders = {"LSTM": gates.LSTM, "GRU": gates.GRU}[op]
    return [gates.permute(array, orders["matlab"], orders["onnx"]) for array in found]


def lstm_attributes(state: str, gate: str, directions: int = 1) -> dict[str, Any]:
    """Return the activations of an LSTM operator: gates, candidate, cell. Nothing where all are the defaults."""
    return {} if (state, gate) == ("tanh", "sigmoid") else _activations([gate, state, state] * directions)


def gru_attributes(state: str, gate: str, mode: str, directions: int = 1) -> dict[str, Any]:
    """Return the reset mode of a GRU operator and its activations: gates, candidate; none where both are defaults."""
    found = {} if (state, gate) == ("tanh", "sigmoid") else _activations([gate, state] * directions)
    # Always written: its default 0 is the form that torch does not compute.
    return found | {"linear_before_reset": int(mode != "before_multiplication")}


def _activations(names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"activations": [ONNX_NAMES[name] for name in names]}
    # Only HardSigmoid reads alpha and beta; each reads the next entry. Without entries they are 0.2 and 0.5.
    if count := names.count("hard_sigmoid_6"):
        found |= {"activation_alpha": [1 / 6] * count, "activation_beta": [0.5] * count}
    return found
