"""How a file stores the weights: float32, float16 or int8. It calculates in float32 with all of them.

Weights are rounded before the layers emit anything, so all forms of a network hold the same numbers. Rounding a second
time changes nothing: what `restore` reads is exported as the same file.

    float16   w = Cast(stored)
    int8      w = Cast(stored) · scale    one scale for each output of the weight, stored in −127 … 127

Layers rearrange the entries of weights and may join several weights in one array. So the graph is emitted twice, with
the weights and with the scale of each entry in its place. The two together are split into the stored form.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from seq2onnx.contract import Storage
from seq2onnx.exporting.emission import Weights
from seq2onnx.exporting.forms import emit
from seq2onnx.exporting.options import ExportPlan
from seq2onnx.layers.nodes import DATA_TYPES, Graph, Node

if TYPE_CHECKING:
    from seq2onnx.building.module import SequenceModule

Array = NDArray[Any]

LEVELS = 127
"""The largest stored integer. −128 is not used, so that a weight and its negative are rounded alike."""
FEW_INPUTS, FINE_SHARE = 32, 1 / 8
"""Weights that read at most FEW_INPUTS numbers for each output, and together have at most FINE_SHARE of the numbers of
a network, are stored finer: as float16 with int8, as float32 with float16. Mostly these are the weights of its inputs.
They cause the largest errors of the scores, since inputs are larger than activations, and may have different scales."""
SMALL_NETWORK = 2**13
"""In networks of at most so many numbers, int8 stores all weights as float16. It would save less than 8 kB, and
forecasts that such networks continue from their own outputs would suffer."""
HALF = np.float32(np.inf)
"""The scale of an entry that is stored as float16; no other scale is infinite."""
NODE_BYTES = 256
"""What the nodes and names of a stored weight add to a file, about."""

# The scale is rounded up to 17 bits, so that a product with up to 7 bits is exact in float32. The largest entry of an
# output is then exactly 127 · scale, and rounding again finds the same scale.
_DROPPED_BITS = 2**7 - 1
_LEAST_SCALE, _MOST_SCALE = np.float32(2.0**-119), np.float32(132_104 * 2.0**104)
_HALF_ERROR = 2.0**-11
"""The largest error of a weight in float16, relative to its largest entry; else it stays float32."""


def round_module(module: SequenceModule, kind: Storage) -> SequenceModule:
    """Return a copy of a module with the weights that a file stores."""
    import torch

    copied = copy.deepcopy(module)
    rounded, _ = round_weights(module_weights(module), kind)
    for layer, arrays in rounded.items():
        copied.layers[layer].load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return copied


def module_weights(module: SequenceModule) -> Weights:
    """Return the weights of a module by layer and name, float32."""
    return {
        name: {key: tensor.detach().cpu().float().numpy() for key, tensor in layer.state_dict().items()}
        for name, layer in module.layers.items()
    }


def emit_stored(plan: ExportPlan, weights: Weights) -> Graph:
    """Write the graph of a network with its weights as the options store them."""
    kind = plan.options.weights
    if kind == "float32":
        return emit(plan, weights)
    rounded, scales = round_weights(weights, kind)
    return _store(emit(plan, rounded), emit(plan, scales).initializers)


def round_weights(weights: Weights, kind: Storage) -> tuple[Weights, Weights]:
    """Round weights, float32 with their outputs as axis 0, to numbers that can be stored.

    Returns:
        The rounded weights, and an array of the same shape for each weight: the scales of its entries, HALF where they
        are stored as float16, 0 where they stay float32.
    """
    rounded: dict[str, dict[str, Array]] = {}
    scales: dict[str, dict[str, Array]] = {}
    bits = _bits(weights, kind)
    for layer, arrays in weights.items():
        rounded[layer], scales[layer] = {}, {}
        for name, array in arrays.items():
            scale = np.broadcast_to(_scale(array, bits.get((layer, name), 32)), array.shape)
            rounded[layer][name] = _calculated(_stored(array, scale), scale)
            scales[layer][name] = scale
    return rounded, scales


def _bits(weights: Weights, kind: Storage) -> dict[tuple[str, str], int]:
    """Return the bits of each weight that is no vector: see FEW_INPUTS and SMALL_NETWORK."""
    shapes = {(layer, name): a.shape for layer, arrays in weights.items() for name, a in arrays.items() if a.ndim > 1}
    total = sum(map(math.prod, shapes.values()))
    usual, fine = (16, 32) if kind == "float16" else (16, 16) if total <= SMALL_NETWORK else (8, 16)
    by_weight, rest = dict.fromkeys(shapes, usual), FINE_SHARE * total
    for inputs, size, key in sorted((math.prod(shape[1:]), math.prod(shape), key) for key, shape in shapes.items()):
        if inputs > FEW_INPUTS or size > rest:
            break
        rest -= size
        by_weight[key] = fine
    return by_weight


def _scale(array: Array, bits: int) -> Array:
    """Return the scale of each output, or one for all, by which a weight is stored in so many bits or more."""
    if bits == 8 and array.size + 4 * len(array) + NODE_BYTES <= 4 * array.size:
        largest = np.abs(array).max(axis=tuple(range(1, array.ndim)), keepdims=True)
        scale = np.ascontiguousarray(largest / np.float32(LEVELS))
        up = ((scale.view(np.int32) + _DROPPED_BITS) & ~_DROPPED_BITS).view(np.float32)
        return np.clip(up, _LEAST_SCALE, _MOST_SCALE)
    if bits == 16 and 2 * array.size > NODE_BYTES:
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.abs(array.astype(np.float16) - array).max()
        if error <= _HALF_ERROR * np.abs(array).max():
            return np.array(HALF)
    return np.zeros((), np.float32)


def _stored(array: Array, scale: Array) -> Array:
    """Return the numbers of the file."""
    if not (scale > 0).any():
        return array
    if np.isinf(scale).any():
        return array.astype(np.float16)
    return np.clip(np.rint(array / np.where(scale > 0, scale, 1)), -LEVELS, LEVELS).astype(np.int8)


def _calculated(stored: Array, scale: Array) -> Array:
    """Return the numbers that the file calculates with."""
    return stored.astype(np.float32) * scale if stored.dtype == np.int8 else stored.astype(np.float32)


def _store(graph: Graph, scales: Mapping[str, Array]) -> Graph:
    """Insert dequantization nodes, given the scale of each entry of the weights."""
    nodes: list[Node] = []
    initializers: dict[str, Array] = {}
    for name, array in graph.initializers.items():
        parts = _parts(array, scales[name]) if "." in name and scales[name].any() else None
        if parts is None:
            initializers[name] = array
            continue
        axis, bounds = parts
        pieces = [name] if len(bounds) == 2 else [f"{name}.{i}" for i in range(len(bounds) - 1)]
        for piece, (start, stop) in zip(pieces, pairwise(bounds), strict=True):
            part = np.arange(start, stop)
            _add_piece(piece, array.take(part, axis), scales[name].take(part, axis), nodes, initializers)
        if len(pieces) > 1:
            nodes.append(Node("Concat", pieces, [name], f"{name}/Concat", {"axis": axis}))
    return dataclasses.replace(graph, nodes=[*nodes, *graph.nodes], initializers=initializers)


def _add_piece(name: str, array: Array, scales: Array, nodes: list[Node], initializers: dict[str, Array]) -> None:
    """Add what computes the tensor `name` in float32."""
    scale = _shared(array, scales)
    stored = array if scale is None else _stored(array, scale)
    if stored.dtype == np.float32:
        initializers[name] = np.ascontiguousarray(array)
        return
    source = f"{name}.{stored.dtype}"
    initializers[source] = np.ascontiguousarray(stored)
    cast = f"{name}.cast" if stored.dtype == np.int8 else name
    nodes.append(Node("Cast", [source], [cast], f"{name}/Cast", {"to": DATA_TYPES["float32"]}))
    if scale is not None and stored.dtype == np.int8:
        initializers[f"{name}.step"] = scale
        nodes.append(Node("Mul", [cast, f"{name}.step"], [name], f"{name}/Mul"))


def _parts(array: Array, scales: Array) -> tuple[int, list[int]] | None:
    """Return an axis, and where to cut an array along it so that each part has one scale for each output.

    None: the array has no such axis, and is stored as it is.
    """
    if _shared(array, scales) is not None:
        return 0, [0, len(array)]
    for axis, size in enumerate(array.shape):
        rows = np.moveaxis(scales, axis, 0).reshape(size, -1)
        cuts = [0, *(np.flatnonzero((rows[1:] != rows[:-1]).any(1)) + 1).tolist(), size]
        if len(cuts) < size and all(
            _shared(array.take(part, axis), scales.take(part, axis)) is not None
            for part in (np.arange(start, stop) for start, stop in pairwise(cuts))
        ):
            return axis, cuts
    return None


def _shared(array: Array, scales: Array) -> Array | None:
    """Return the scales without the axes along which they are the same; None if that is not possible.

    Zeros between the weights have the scale 0, and go with any scale. Other entries without a scale of their own stay
    float32, so that all of the array must.
    """
    fixed = (scales <= 0) & (array != 0)
    if fixed.any():
        return None if (scales > 0).any() else np.zeros((1,) * array.ndim, np.float32)
    shared = scales
    for axis in range(array.ndim):
        largest = shared.max(axis, keepdims=True)
        if ((shared == largest) | (shared == 0)).all():
            shared = largest
    of_float16 = np.isinf(shared)
    if (of_float16.any() and not of_float16.all()) or (not of_float16.any() and 4 * shared.size >= 3 * array.size):
        return None
    return np.ascontiguousarray(shared)


def read_stored(graph: onnx.GraphProto, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the initializers of a file, and the weights in float32 that it computes from them."""
    computed = dict(arrays)
    for node in graph.node:
        inputs = [computed.get(name) for name in node.input]
        is_weight = "/" not in node.output[0] and node.op_type in ("Cast", "Mul", "Concat")
        if is_weight and all(array is not None for array in inputs):
            computed[node.output[0]] = _computed(node, inputs)
    return computed


def _computed(node: onnx.NodeProto, inputs: list[Any]) -> Array:
    if node.op_type == "Concat":
        return np.concatenate(inputs, onnx.helper.get_node_attr_value(node, "axis"))
    x, *scales = inputs
    return np.asarray(np.multiply(x, *scales) if scales else x, np.float32)
