"""Recurrent layers of Keras, and layers that wrap others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.keras.graph import KerasLayer
from seq2onnx.importing.keras.layers import check_shapes, keras
from seq2onnx.importing.lifting import functions, layout, operations as lifting, time_axis
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.recurrence import Recurrent, layer_of, recurrent, weights_of
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import Add, Multiply
from seq2onnx.layers.parts.cells import StateActivation

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
HARD_SIGMOID = {2: "hard_sigmoid", 3: "hard_sigmoid_6"}
MERGES: dict[str, Add | Multiply] = {"sum": Add(), "ave": Add(), "mul": Multiply()}


def _layer(layer: KerasLayer) -> Recurrent:
    """Return the layer of one direction."""
    kind, units, state = layer.kind, layer.config["units"], layer.get("activation", "tanh")
    allowed = ("tanh", "relu") if kind == "SimpleRNN" else get_args(StateActivation)
    if state not in allowed:
        raise ImportRefused(f"has the activation {state!r:.60}, for which there is no layer; use {', '.join(allowed)}")
    gate = layer.get("recurrent_activation", "sigmoid")
    if kind != "SimpleRNN" and gate not in ("sigmoid", "hard_sigmoid"):
        raise ImportRefused(f"has the recurrent_activation {gate!r:.60}, for which there is no layer; use sigmoid")
    gate = HARD_SIGMOID[layer.version] if gate == "hard_sigmoid" else gate
    mode = "recurrent_bias_after_multiplication" if layer.get("reset_after") else "before_multiplication"
    return layer_of(kind.removeprefix("Simple"), units, [gate, state], mode)


def _weights(layer: KerasLayer, features: int) -> dict[str, Array]:
    """Return the weights of one direction; a GRU with reset_after has two biases."""
    kind, units = layer.kind, layer.config["units"]
    columns = GATES[kind] * units
    twice = (2,) if kind == "GRU" and layer.get("reset_after") else ()
    check_shapes(layer, kernel=(features, columns), recurrent_kernel=(units, columns), bias=(*twice, columns))
    biases = layer.weights.get("bias", np.zeros((*twice, columns))).reshape(-1, columns)
    W, R = layer.weights["kernel"].T, layer.weights["recurrent_kernel"].T
    return weights_of(kind, "keras", W, R, [*biases], bool(twice))


def _run(x: TracedTensor, directions: Sequence[KerasLayer]) -> list[TracedTensor]:
    """Return the output and the final states: of each direction h, and of an LSTM c."""
    forward = directions[0]
    if forward.get("go_backwards"):
        raise ImportRefused(
            "has go_backwards=True and reads sequences from their end, which a stream cannot; use Bidirectional if the "
            "whole sequence is there"
        )
    if forward.get("time_major"):
        raise ImportRefused("has time_major=True; build the model with batch first")
    lifting.check_features(x, len(x.axes) - 1, "has weights")
    if len(x.axes) != 3:
        raise ImportRefused(f"reads a tensor {list(x.shape)}; expected batch, time and features")
    made = [_layer(direction) for direction in directions]
    if any(one != made[0] or type(one) is not type(made[0]) for one in made):
        raise ImportRefused("has directions of different kinds or sizes, for which there is no layer; use equal ones")
    y, *finals = recurrent(x, made[0], [_weights(one, x.shape[-1]) for one in directions], 1)
    states = [[layout.take(final, 0, i) for final in finals] for i in range(len(directions))]
    if not forward.get("return_sequences"):
        y = time_axis.concat([h for h, *_ in states], -1)
    return [y, *(state for of_one in states for state in of_one)]


@keras(*GATES)
def _recurrent(layer: KerasLayer, x: TracedTensor) -> list[TracedTensor]:
    return _run(x, [layer])


@keras("Bidirectional")
def _bidirectional(layer: KerasLayer, x: TracedTensor) -> list[TracedTensor]:
    if any(direction.kind not in GATES for direction in layer.inner):
        raise ImportRefused(f"runs {layer.inner[0].kind} in both directions; use LSTM or GRU")
    y, *states = _run(x, layer.inner)
    mode, units = layer.get("merge_mode", "concat"), y.shape[-1] // 2
    halves = [layout.take(y, -1, slice(units)), layout.take(y, -1, slice(units, None))]
    if mode is None:
        return [*halves, *states]
    if mode != "concat":
        y = lifting.join(MERGES[mode], *halves)
        y = functions.scaled(y, 1 / 2) if mode == "ave" else y
    return [y, *states]
