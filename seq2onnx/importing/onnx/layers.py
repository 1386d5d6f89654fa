"""ONNX operators that are layers: normalization, convolution, pooling, and recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import operations as lifting
from seq2onnx.importing.lifting.convolutions import Windows, convolution, pooling
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.operators import OPERATORS
from seq2onnx.importing.lifting.recurrence import Recurrent, layer_of, recurrent, weights_of
from seq2onnx.importing.lifting.windows import Pads
from seq2onnx.importing.onnx.node_calls import last_axes, padding
from seq2onnx.importing.onnx.operators import ADD_STATES, LiftCall, constant, on_array, operators, optional
from seq2onnx.importing.onnx.recurrent_inputs import check_lengths, initial_state
from seq2onnx.layers.parts import cell_nodes


@operators("BatchNormalization")
def _batch_norm(call: LiftCall) -> Any:
    if call.attributes.get("training_mode") or call.signals[0] is None:
        raise ImportRefused("normalizes with the statistics of the batch; export the network in eval mode")
    names = ("scale", "offset", "mean", "variance")
    arrays = {name: constant(call, index) for index, name in enumerate(names, 1)}
    epsilon, momentum = call.attributes.get("epsilon", 1e-5), 1 - call.attributes.get("momentum", 0.9)
    reason = ImportRefused("gives the statistics of the batch")
    return [lifting.batch_norm(call.x, 1, arrays, epsilon, momentum), *[reason] * 4]


@operators("LayerNormalization")
def _layer_norm(call: LiftCall) -> Any:
    scale, offset = optional(call, 1), optional(call, 2)
    y = lifting.layer_norm(call.x, last_axes(call), scale, offset, call.attributes.get("epsilon", 1e-5))
    reason = ImportRefused("gives the mean and deviation of a normalization")
    return [y, reason, reason]


@operators("RMSNormalization", "SimplifiedLayerNormalization")
def _rms_norm(call: LiftCall) -> Any:
    # Where a norm has no scale, exporters give it ones of the shape of the data.
    scale = None if np.all(call.numbers[1] == 1) else constant(call, 1)
    y = lifting.rms_norm(call.x, last_axes(call), scale, call.attributes.get("epsilon", 1e-5))
    return [y, ImportRefused("gives the inverse of the root mean square")]


@operators("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
def _norm_of_sum(call: LiftCall) -> Any:
    """A norm of the sum of two tensors and a bias, which its last output gives; ONNX Runtime fuses them."""
    is_simple, reason = "Simplified" in call.node.op_type, ImportRefused("gives the statistics of a normalization")
    summands = [constant(call, i) if x is None else x for i, x in enumerate(call.signals[:2])]
    scale, offset, bias = constant(call, 2), None if is_simple else optional(call, 3), optional(call, 4 - is_simple)
    total = OPERATORS["Add"](*summands, *([] if bias is None else [bias]))
    epsilon, axes = call.attributes.get("epsilon", 1e-12), [len(total.axes) - 1]
    if is_simple:
        y = lifting.rms_norm(total, axes, scale, epsilon)
    else:
        y = lifting.layer_norm(total, axes, scale, offset, epsilon)
    return [y, reason, reason, total]


@operators("GroupNormalization", "InstanceNormalization")
def _group_norm(call: LiftCall) -> Any:
    channels = call.x.shape[1]
    groups = call.attributes.get("num_groups", channels)
    scale, offset = constant(call, 1), constant(call, 2)
    if call.node.op_type == "GroupNormalization" and call.opset < 21:  # one number for each group
        scale, offset = (np.repeat(numbers, channels // groups) for numbers in (scale, offset))
    return lifting.group_norm(call.x, groups, scale, offset, call.attributes.get("epsilon", 1e-5))


def _windows(call: LiftCall, sizes: Sequence[int]) -> Windows:
    count, given = len(sizes), call.attributes
    strides, dilations = (list(given.get(name, [1] * count)) for name in ("strides", "dilations"))
    if call.x.axes[1:2] != ("",):
        raise ImportRefused(f"has {call.x.describe(1)} as its channels; is the order of the axes another? axes=")

    def apply(array: Array, pads: Sequence[Pads]) -> Array:
        numbers = [before for before, _ in pads] + [after for _, after in pads]
        return on_array(call, array, pads=numbers, auto_pad="NOTSET")

    return Windows(sizes, strides, dilations, padding(call, sizes), apply, given.get("group", 1))


@operators("Conv")
def _convolution(call: LiftCall) -> Any:
    if call.signals[0] is None:
        raise ImportRefused("takes its weights from the data")
    weights = constant(call, 1)
    return convolution(call.x, weights, optional(call, 2), _windows(call, weights.shape[2:]))


@operators("MaxPool", "AveragePool")
def _pool(call: LiftCall) -> Any:
    if call.attributes.get("ceil_mode"):
        raise ImportRefused("is a pooling with ceil_mode; no layer does that")
    window = _windows(call, call.attributes["kernel_shape"])
    is_max = call.node.op_type == "MaxPool"
    y = pooling(call.x, window, is_max, bool(call.attributes.get("count_include_pad")))
    return [y, ImportRefused("reads the positions of the largest numbers")]


NAMES = {(name.lower(), 1 / 6 if key.endswith("6") else 0.2): key for key, name in cell_nodes.ONNX_NAMES.items()}
"""For each activation of a recurrent operator, with its alpha, the name that a layer has for it."""
GATED = (("sigmoid", "hard_sigmoid", "hard_sigmoid_6"), ("tanh", "softsign", "relu"))
ALLOWED = {"LSTM": GATED, "GRU": GATED, "RNN": (("tanh", "relu"),)}
"""The activations that layers have: of the gates and of the state, or of the state alone."""
PER_DIRECTION = {"LSTM": 3, "GRU": 2, "RNN": 1}


def _activations(call: LiftCall, directions: int) -> list[str]:
    """Return the activations of one direction, as layers name them."""
    op, given = call.node.op_type, call.attributes
    default = ["Tanh"] if op == "RNN" else ["Sigmoid", *["Tanh"] * (PER_DIRECTION[op] - 1)]
    names = [name.decode() for name in given.get("activations", [])] or default * directions
    alphas, betas = iter(given.get("activation_alpha", [])), iter(given.get("activation_beta", []))
    found = []
    for name in names:
        # onnxruntime lets only functions that have an alpha read the next one.
        alpha, beta = (next(alphas, 0.2), next(betas, 0.5)) if name.lower() == "hardsigmoid" else (0.2, 0.5)
        known = [key for (label, slope), key in NAMES.items() if label == name.lower() and abs(slope - alpha) < 1e-6]
        if not known or beta != 0.5:
            raise ImportRefused(f"has the activations {', '.join(names)}, for which there is no layer; {ADD_STATES}")
        found.append(known[0])
    count = PER_DIRECTION[op]
    if len(found) != count * directions or found[:count] * directions != found or len(set(found[1:count])) > 1:
        raise ImportRefused(
            f"has the activations {', '.join(names)}; a layer has one for all gates and one for the state"
        )
    return found[:count]


@operators("LSTM", "GRU", "RNN")
def _recurrent(call: LiftCall) -> Any:
    op, given = call.node.op_type, call.attributes
    direction = given.get("direction", "forward")
    if direction == "reverse":
        raise ImportRefused("runs backward; no layer does that alone, and a stream cannot")
    for name in ("clip", "input_forget", "layout"):
        if given.get(name):
            raise ImportRefused(f"has {name}={given[name]}, for which there is no layer; {ADD_STATES}")
    if call.has(7) and np.any(call.numbers[7]):
        raise ImportRefused(f"has peepholes, for which there is no layer; {ADD_STATES}")
    if call.signals[0] is None or any(x is not None for x in call.signals[1:4]):
        raise ImportRefused("takes its weights from the data")
    check_lengths(call, call.x.steps)
    W, R = constant(call, 1), constant(call, 2)
    directions, units = len(W), R.shape[2]
    bias = constant(call, 3) if call.has(3) else np.zeros((directions, 2 * W.shape[1]))
    activations = _activations(call, directions)
    # The reset gate multiplies the recurrent bias of the candidate, too; if that is zero, a layer needs none.
    after = bool(given.get("linear_before_reset"))
    apart = op == "GRU" and after and bool(bias[:, -units:].any())
    arrays = [weights_of(op, "onnx", W[i], R[i], np.split(bias[i], 2), apart) for i in range(directions)]
    starts = _starts(call, "hc" if op == "LSTM" else "h", units)
    layer = _layer(op, units, activations, arrays[0], bool(starts), after)
    y, *finals = recurrent(call.x, layer, [array | starts for array in arrays], 0)
    y = y.with_(axes=("T", "", y.axes[1], ""), index=y.index.reshape(1, directions, 1, units))
    return [y, *finals]


def _starts(call: LiftCall, kinds: str, units: int) -> dict[str, Array]:
    """Return the start states; nothing where all are zero or carried by hand."""
    found = {f"initial_{kind}": initial_state(call, 5 + i) for i, kind in enumerate(kinds)}
    if all(start is None for start in found.values()):
        return {}
    return {name: np.zeros(units) if start is None else start[0] for name, start in found.items()}


def _layer(
    op: str, units: int, activations: list[str], arrays: dict[str, Array], starts: bool, after: bool
) -> Recurrent:
    for name, allowed in zip(activations, ALLOWED[op], strict=False):
        if name not in allowed:
            raise ImportRefused(f"has the activation {name}; a layer has {', '.join(allowed)}. {ADD_STATES}")
    mode = "before_multiplication"
    if after:
        mode = "recurrent_bias_after_multiplication" if "recurrent_bias" in arrays else "after_multiplication"
    return layer_of(op, units, activations[:2], mode, "learned" if starts else "zeros")
