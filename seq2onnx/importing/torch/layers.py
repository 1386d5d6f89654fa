"""Operators of torch that are layers: embedding, normalization, convolution, pooling, and recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout, operations as lifting
from seq2onnx.importing.lifting.convolutions import Windows, convolution, pooling
from seq2onnx.importing.lifting.layer_node import Array, LayerNode
from seq2onnx.importing.lifting.reading import pruned
from seq2onnx.importing.lifting.recurrence import Recurrent, cell, cell_before, layer_of, recurrent, weights_of
from seq2onnx.importing.lifting.time_axis import concat
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.lifting.windows import Pads
from seq2onnx.importing.torch.operators import Operation, Ragged, array, operators
from seq2onnx.layers import Dropout


def _optional(value: Tensor | None) -> Array | None:
    return None if value is None else array(value)


operators("embedding")(lambda op: lifting.embedding(op["indices"], array(op["weight"])))


@operators("one_hot")
def _one_hot(op: Operation) -> Any:
    if op["num_classes"] < 0:
        raise ImportRefused("has a one_hot without num_classes, whose size depends on the numbers; give num_classes")
    return lifting.embedding(op["self"], np.eye(op["num_classes"]))


@operators("batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(op: Operation) -> Any:
    x, mean, variance = op["input"], op["running_mean"], op["running_var"]
    if op.get("training") or mean is None:
        raise ImportRefused(
            "normalizes with the statistics of the batch, not with stored ones; train it with track_running_stats=True"
        )
    shape = (len(mean),)
    arrays = {
        "scale": np.ones(shape) if op["weight"] is None else array(op["weight"]),
        "offset": np.zeros(shape) if op["bias"] is None else array(op["bias"]),
        "mean": array(mean),
        "variance": array(variance),
    }
    y = lifting.batch_norm(x, 1, arrays, op["eps"], op["momentum"] or 0.1)
    return (y, None, None) if op.name.startswith("_native") else y


@operators("layer_norm")
def _layer_norm(op: Operation) -> Any:
    scale, offset = _optional(op["weight"]), _optional(op["bias"])
    return lifting.layer_norm(op["input"], _last_axes(op), scale, offset, op["eps"])


@operators("rms_norm")
def _rms_norm(op: Operation) -> Any:
    epsilon = torch.finfo(torch.float32).eps if op["eps"] is None else op["eps"]
    return lifting.rms_norm(op["input"], _last_axes(op), _optional(op["weight"]), epsilon)


def _last_axes(op: Operation) -> range:
    rank = len(op["input"].axes)
    return range(rank - len(op["normalized_shape"]), rank)


@operators("group_norm")
def _group_norm(op: Operation) -> Any:
    scale, offset = _optional(op["weight"]), _optional(op["bias"])
    return lifting.group_norm(op["input"], op["num_groups"], scale, offset, op["eps"])


@operators("instance_norm")
def _instance_norm(op: Operation) -> Any:
    if not op["use_input_stats"]:
        return _batch_norm(op)
    scale, offset = _optional(op["weight"]), _optional(op["bias"])
    return lifting.group_norm(op["input"], op["input"].shape[1], scale, offset, op["eps"])


def _pair(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * count if len(values) == 1 else values


@operators("conv1d", "conv2d", "convolution")
def _convolution(op: Operation) -> Any:
    x, weights, bias, padding = op["input"], op["weight"], _optional(op["bias"]), op["padding"]
    if isinstance(weights, TracedTensor) or op.get("transposed"):
        raise ImportRefused("is a transposed convolution, or one with calculated weights; no layer does that")
    count = weights.ndim - 2
    strides, dilations = _pair(op["stride"], count), _pair(op["dilation"], count)
    reaches = [d * (k - 1) for d, k in zip(dilations, weights.shape[2:], strict=True)]
    if isinstance(padding, str):
        pads = [(r // 2, r - r // 2) if padding == "same" else (0, 0) for r in reaches]
    else:
        pads = [(p, p) for p in _pair(padding, count)]

    def apply(array: Array, pads: Sequence[Pads]) -> Array:
        symmetric = all(before == after for before, after in pads)
        return op.on(array, padding=[before for before, _ in pads]) if symmetric else op.on(array)

    window = Windows(weights.shape[2:], strides, dilations, pads, apply, op["groups"])
    if count > 1 and isinstance(padding, str) and window.time(x) is not None:
        raise ImportRefused('is a convolution over time and features with padding="same"; give the padding as numbers')
    return convolution(x, array(weights), bias, window)


@operators("max_pool1d", "avg_pool1d", "max_pool2d", "avg_pool2d", "max_pool1d_with_indices", "max_pool2d_with_indices")
def _pool(op: Operation) -> Any:
    is_max, count = op.name.startswith("max"), int(op.name[8])
    sizes = _pair(op["kernel_size"], count)
    strides = _pair(op["stride"], count) if op["stride"] else sizes
    pads = [(p, p) for p in _pair(op["padding"], count)]
    if op["ceil_mode"] or op.get("divisor_override"):
        raise ImportRefused("is a pooling with ceil_mode or divisor_override; no layer does that")
    window = Windows(sizes, strides, _pair(op.get("dilation", 1), count), pads, lambda array, _: op.on(array))
    y = pooling(op["self"], window, is_max, bool(op.get("count_include_pad")))
    return (y, ImportRefused("reads the positions of the largest numbers")) if "indices" in op.name else y


RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
CELLS = tuple(f"{name}_cell" for name in RECURRENT)


@operators(*RECURRENT)
def _recurrent(op: Operation) -> Any:
    x, params, layers = op["input"], list(op["params"]), op["num_layers"]
    if op.get("batch_sizes") is not None:
        raise ImportRefused("reads packed sequences that were packed outside; pack them in forward")
    if op["train"] and op["dropout"] and layers > 1:
        raise ImportRefused("drops random numbers in eval mode, too")
    both = 2 if op["bidirectional"] else 1
    count = len(params) // (layers * both)
    time, states = 1 if op["batch_first"] else 0, _states(op)
    in_loop = not x.axes[time] and any(part.stands_for[0] == "step" for part in x.parts)
    before = [cell_before([_of_layer(s, layer) for s in states]) if in_loop else None for layer in range(layers)]
    starts = {} if any(before) else _start_states(states)
    kind, _, function = op.name.upper().partition("_")
    path, finals = x.lifting.place, list[list[TracedTensor]]()
    for layer in range(layers):
        arrays = []
        projection: list[Array] = []
        for direction in range(both):
            place = layer * both + direction
            weights = [array(p) for p in params[place * count : (place + 1) * count]]
            if kind == "LSTM" and count in (3, 5):  # proj_size: the last matrix reduces the output
                projection.append(weights.pop())
                weights[1] = weights[1] @ projection[-1]
            start = _starts_of(before[layer]) or {name: rows[place] for name, rows in starts.items()}
            if start and projection:  # a state that the projection reduces to the one given
                start["initial_h"] = np.linalg.pinv(projection[-1]) @ start["initial_h"]
            W, R, *biases = weights
            biases = biases or [np.zeros(len(W))] * 2
            arrays.append(weights_of(kind, "torch", W, R, biases, kind == "GRU") | start)
        made = _layer(kind, arrays[0]["recurrent_weights"].shape[1], function, bool(start))
        label = path if layers == 1 else f"{path}.l{layer}"
        if in_loop and (both > 1 or projection):
            raise ImportRefused(
                "is called for each step, with bidirectional=True or proj_size; call it once with the whole sequence"
            )
        if in_loop:
            final = cell(layout.squeeze(x, time), made, arrays[0], before[layer], label)
            x, final = layout.unsqueeze(final[0], time), [layout.unsqueeze(state, 0) for state in final]
        else:
            x, *final = recurrent(x, made, arrays, time, projection or None, label)
        finals.append(final)
        if op["dropout"] and layer < layers - 1:
            x = lifting.each_part(x, Dropout(op["dropout"]))
    return (x, *(concat(states, 0) for states in zip(*finals, strict=True)))


@operators(*CELLS)
def _cell(op: Operation) -> Any:
    kind, _, function = op.name.removesuffix("_cell").upper().partition("_")
    states = _states(op)
    before = cell_before(states)
    starts = _starts_of(before)
    if not before:
        tall = [state[None] if isinstance(state, Tensor) else state for state in states]
        starts = {name: rows[0] for name, rows in _start_states(tall).items()}
    W, R = array(op["w_ih"]), array(op["w_hh"])
    biases = [np.zeros(len(W)) if op[name] is None else array(op[name]) for name in ("b_ih", "b_hh")]
    layer = _layer(kind, R.shape[1], function, bool(starts))
    found = cell(op["input"], layer, weights_of(kind, "torch", W, R, biases, kind == "GRU") | starts, before)
    return tuple(found) if kind == "LSTM" else found[0]


def _layer(kind: str, units: int, function: str, starts: bool) -> Recurrent:
    activations = [function.lower()] if function else ["sigmoid", "tanh"]
    start = "learned" if starts else "zeros"
    return layer_of(kind, units, activations, "recurrent_bias_after_multiplication", start)


def _states(op: Operation) -> Sequence[Any]:
    return op["hx"] if isinstance(op["hx"], list | tuple) else [op["hx"]]


def _of_layer(state: Any, layer: int) -> Any:
    """Return the state of one layer of several, [batch, H] of [layers, batch, H]."""
    return pruned(layout.take(state, 0, layer)) if isinstance(state, TracedTensor) else state[layer]


def _starts_of(before: tuple[LayerNode, int] | None) -> dict[str, Array]:
    """Return the start states of the layer whose step before is known."""
    weights = before[0].weights if before else {}
    return {name: array for name, array in weights.items() if name.startswith("initial_")}


def _start_states(given: Sequence[Any]) -> dict[str, list[Array]]:
    """Return the constant start states, each [layers · directions] of [H]; nothing where they are zero or passed in."""
    found = {}
    for name, state in zip(("initial_h", "initial_c"), given, strict=False):
        if isinstance(state, TracedTensor):
            whole = np.arange(state.parts[0].size).reshape(state.index.shape)
            part = state.parts[0]
            if not part.barred or part.stands_for[0] or len(state.parts) > 1 or not np.array_equal(state.index, whole):
                raise ImportRefused(
                    "starts from a state that is calculated, as a decoder after an encoder does; no layer does that"
                )
            continue
        if isinstance(state, Ragged) or (state != state[:, :1]).any():
            raise ImportRefused("starts from states that differ from sequence to sequence; use the same for all")
        found[name] = [array(row) for row in state[:, 0]]
    return found if any(np.any(row) for rows in found.values() for row in rows) else {}
