"""LSTM, GRU and RNN, in one or both directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout, time_axis
from seq2onnx.importing.lifting.layer_node import NOT_LAST, Array, LayerNode, barred, layer_node
from seq2onnx.importing.lifting.reading import columns, source
from seq2onnx.importing.lifting.traced import TracedTensor, tensor_of
from seq2onnx.layers import GRU, LSTM, RNN, BiGRU, BiLSTM, FullyConnected, LastStep
from seq2onnx.layers.parts import gates

Recurrent = LSTM | GRU | RNN
CELL_STATE = (
    "reads the cell state of an LSTM at a step that is not the last; layers give it after the last step alone. Read "
    "the output h, or the cell state after the loop"
)
BIDIRECTIONAL = {LSTM: BiLSTM, GRU: BiGRU}


def weights_of(
    kind: str, framework: str, W: Array, R: Array, biases: Sequence[Array], apart: bool = False
) -> dict[str, Array]:
    """Name the weights of one direction, with the gates in the order of layers; the biases are added.

    Args:
        kind: LSTM, GRU, or a recurrent layer without gates.
        framework: whose order of gates the weights have.
        W: weights of the input, [gates · H, features].
        R: weights of the state, [gates · H, H].
        biases: one or two, each [gates · H].
        apart: the second bias of the candidate of a GRU stays apart, since the reset gate multiplies it.
    """
    parts = [W, R, *biases]
    if orders := {"LSTM": gates.LSTM, "GRU": gates.GRU}.get(kind):
        parts = [gates.permute(part, orders[framework], orders["matlab"]) for part in parts]
    W, R, *biases = parts
    found = {"input_weights": W, "recurrent_weights": R, "bias": np.sum(biases, 0)}
    if not apart:
        return found
    first, second = biases
    candidate = len(second) // 3 * 2
    added = np.concatenate([second[:candidate], np.zeros(len(second) - candidate)])
    return found | {"bias": first + added, "recurrent_bias": second[candidate:]}


def layer_of(
    kind: str, units: int, activations: Sequence[Any], reset_gate_mode: Any, start: Any = "zeros"
) -> Recurrent:
    """Return an LSTM or GRU with the activations of gates and state, or an RNN with that of the state alone."""
    *gate, state = activations
    if kind == "RNN":
        return RNN(units, activation=state, start=start)
    options: Any = {"state_activation": state, "gate_activation": gate[0], "start": start}
    return LSTM(units, **options) if kind == "LSTM" else GRU(units, reset_gate_mode=reset_gate_mode, **options)


def cell_before(states: Sequence[Any]) -> tuple[LayerNode, int] | None:
    """Return the layer and the number of the step that end in these states; None of start states."""
    found = [_stands_for(state) for state in states]
    if not any(kind in ("step", "cell") for kind, _ in found):
        return None
    before: tuple[LayerNode, int] = found[0][1]
    if found != [("step", before), ("cell", before)][: len(found)]:
        raise ImportRefused(NOT_LAST)
    return before


def _stands_for(state: Any) -> tuple[str, Any]:
    is_whole = isinstance(state, TracedTensor) and np.array_equal(state.index.ravel(), np.arange(state.parts[0].size))
    return state.parts[0].stands_for if is_whole else ("", None)


def cell(
    x: TracedTensor,
    layer: Recurrent,
    weights: Mapping[str, Array],
    before: tuple[LayerNode, int] | None,
    path: str | None = None,
) -> list[TracedTensor]:
    """Run a cell for one step x [batch, features] of a sequence, in a loop over steps; `before` is as `cell_before`.

    Returns:
        h, the same step of the output of the layer, and for an LSTM c, which before the last step only the cell of the
        next step can read.
    """
    number = before[1] + 1 if before else 0
    y, *_ = recurrent(time_axis.sequence_of(layout.unsqueeze(x, 0), number, 0), layer, [weights], 0, path=path)
    (made,) = y.parts
    if before and made is not before[0]:
        raise ImportRefused(NOT_LAST)
    h = time_axis.step(y, 0, number, False)
    if not isinstance(layer, LSTM):
        return [h]
    c = made.cell_state if number == y.steps - 1 else barred(CELL_STATE, h.parts[0])
    return [h, h.with_(parts=(dataclasses.replace(c, stands_for=("cell", (made, number))),))]


def recurrent(
    x: TracedTensor,
    layer: Recurrent,
    directions: Sequence[Mapping[str, Array]],
    time: int,
    projection: Sequence[Array] | None = None,
    path: str | None = None,
) -> list[TracedTensor]:
    """Run a recurrent layer along axis `time` of a tensor whose last axis is features.

    Each direction has weights named as in `layer`, the layer of one direction, for the features in the order of x, and
    may have a matrix [k, hidden_size] that its output is multiplied with. `path` names the layer.

    Returns:
        y with the features of all directions, and the final states [directions, batch, features]: h, and of an LSTM c.
    """
    batch, both = 1 - time, len(directions) == 2
    if both and layer.start == "learned":
        raise ImportRefused("is bidirectional and starts from states that are not zero, for which there is no layer")
    if x.axes[-1]:
        raise ImportRefused(f"reads {x.describe(-1)} as features; was the order of the axes another? axes=")
    if x.axes[time] != "T" or x.axes[batch] not in ("B", ""):
        raise ImportRefused(
            f"runs along {x.describe(time)}, not along time, in a tensor {list(x.shape)}; set batch_first as the "
            "tensor is, or axes= as the input is"
        )
    found, index = source(x)
    if both and type(layer) not in BIDIRECTIONAL:
        raise ImportRefused("is a bidirectional RNN, for which there is no layer; use a bidirectional GRU or LSTM")
    weights: dict[str, Array] = {}
    for prefix, arrays in zip(("forward_", "backward_") if both else ("",), directions, strict=True):
        weights |= {prefix + name: array for name, array in arrays.items()}
        weights[prefix + "input_weights"] = columns(arrays["input_weights"], found, index)
    if both:
        fields = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer) if f.name != "start"}
        layer = BIDIRECTIONAL[type(layer)](**fields)
    made = layer_node(layer, found, weights=weights, path=path)
    finals = [made.final_state if both else layer_node(LastStep(), made)]
    if isinstance(made.layer, LSTM | BiLSTM):
        finals.append(made.cell_state)
    if projection:
        rows = sum(len(matrix) for matrix in projection)
        block = np.zeros((rows, made.size))
        row = column = 0
        for matrix in projection:
            block[row : row + len(matrix), column : column + matrix.shape[1]] = matrix
            row, column = row + len(matrix), column + matrix.shape[1]
        arrays = {"weights": block, "bias": np.zeros(rows)}
        made = layer_node(FullyConnected(rows), made, weights=arrays)
        finals[0] = (
            layer_node(FullyConnected(rows), finals[0], weights=arrays) if both else layer_node(LastStep(), made)
        )
    plain = x.with_(pads=(0, 0))
    y = tensor_of(made, x.axes, (*[1] * (len(x.axes) - 1), made.size), plain)
    count, axes = len(directions), ("", x.axes[batch], "")
    return [y, *(tensor_of(final, axes, (count, 1, final.size // count), plain) for final in finals)]
