"""Padding in the portable form: LSTM, GRU and RNN operators that are right in runtimes that ignore their lengths.

Padding is one more feature, which is 1 in padding and else 0. Its weights are so large that the gates of a padded step
are 0 or 1: LSTM keeps its c, GRU its h. So the backward half of a bidirectional layer starts at the last valid step,
too. RNN has no gates, and the output gate of LSTM may change h. Their last h is therefore taken from the outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from seq2onnx.errors import SpecError
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Value

ACTIVATIONS = ("Sigmoid", "Tanh", "Relu")
"""The activations of recurrent operators that other runtimes have, too."""

GATES = {"LSTM": (-1e4, 0, 1e4, 0), "GRU": (1e4, 0, 0)}
"""The weight of the feature for each gate, in the order of ONNX. In float16, 1e4 is still finite."""


def check(layer: str, attributes: Mapping[str, Any]) -> None:
    """Raise SpecError if a recurrent operator with these attributes has no portable form."""
    for name in attributes.get("activations", ()):
        if name not in ACTIVATIONS:
            raise SpecError(
                f"{layer}: has no portable form, because OpenVINO and other runtimes lack the activation {name} in "
                'recurrent operators; use form="step", or another activation'
            )


def emit_steps(graph: GraphBuilder, op: str, x: Value, lengths: str, spare: bool) -> str:
    """Flatten the steps of x, with zeros in place of padding, and mark padding: [batch, time, features].

    `spare`: add a step of padding.
    """
    signal = dataclasses.replace(x.signal, shape=(x.signal.size,))
    flat = Value(graph.pad_steps(graph.flat(x), 0, int(spare)), signal)
    steps = graph.masked(flat, lengths)
    if op not in GATES:
        return steps
    zero, one = graph.constant(np.float32(0)), graph.constant(np.float32(1))
    return graph.op("Concat", steps, graph.op("Where", graph.mask(flat, lengths), zero, one), axis=2)


def emit_weights(graph: GraphBuilder, op: str, W: str, directions: int, hidden_size: int) -> str:
    """Add the weights of the feature to W. They are a constant of their own: W stays what the layer has learned."""
    if op not in GATES:
        return W
    column = np.repeat(np.array(GATES[op], np.float32), hidden_size)
    return graph.op("Concat", W, graph.constant(np.tile(column[:, None], (directions, 1, 1))), axis=2)
