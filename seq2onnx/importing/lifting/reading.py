"""Give a layer a TracedTensor to read: as one node, with all features in place or with a table of where they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, acts_on_each_step, helper, layer_node, rebuilt
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import (
    ELU,
    GELU,
    Add,
    BatchNorm,
    BiGRU,
    BiLSTM,
    Concat,
    Conv1d,
    Dropout,
    Flatten,
    FullyConnected,
    HardSigmoid,
    LastStep,
    LeakyReLU,
    Multiply,
    ReLU,
    Rescale,
    Sigmoid,
    SiLU,
    Tanh,
)

ELEMENTWISE = (Dropout, ELU, GELU, HardSigmoid, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh)
"""Layers that apply one function to each number."""

Index = NDArray[np.int64]


def pruned(x: TracedTensor) -> TracedTensor:
    """Drop the parts that no element of the tensor comes from."""
    offsets: dict[LayerNode, int] = {}
    index, start = np.full(x.index.shape, -1), 0
    for part in x.parts:
        here = (x.index >= start) & (x.index < start + part.size)
        if here.any():
            used = _one_direction(part, x.index[here] - start)
            offset = offsets.setdefault(used, sum(other.size for other in offsets))
            index[here] = x.index[here] - start + offset
        start += part.size
    return x.with_(parts=tuple(offsets), index=index)


def _one_direction(part: LayerNode, used: Index) -> LayerNode:
    """At the last step the forward direction has its final state, which saves a copy; at the first the backward one."""
    kind, what = part.stands_for
    if isinstance(part.layer, LastStep) and not kind:
        both, is_final = part.reads[0], used.max() < part.size // 2
    elif kind == "step":
        both, is_final = what[0], what[1] == 0 and used.min() >= part.size // 2
    else:
        return part
    return both.final_state if is_final and isinstance(both.layer, BiLSTM | BiGRU) else part


def source(x: TracedTensor, joined: bool = False) -> tuple[LayerNode, Index]:
    """Return one node that has all features of the tensor, and where they are in it; -1 is the number 0.

    With `joined`, it may have no time axis where the tensor repeats it over all steps: layers that join do the same.
    """
    x = pruned(x)
    if not x.parts:
        raise ImportRefused("calculates with zeros alone")
    found = x.parts[0] if len(x.parts) == 1 else helper(Concat(), *(flat(part) for part in x.parts))
    if x.has_time and not found.has_time and not joined:
        raise ImportRefused(
            "repeats one vector over all steps and reads it as a sequence; no layer does that. Join it to a sequence"
        )
    return shift(found, *x.pads) if any(x.pads) else found, x.index


def exact(x: TracedTensor, joined: bool = False) -> LayerNode:
    """Return a node whose features are those of the tensor, in its order; `joined` as in `source`."""
    found, index = source(x, joined)
    return narrow(found, index.ravel())


def answer(x: TracedTensor, what: str) -> LayerNode:
    """Return the node of an answer, whose axes must be batch, time and features; `what` names it."""
    if sorted("".join(x.axes)) != sorted(("B" if x.rows > 1 else "") + "T" * x.has_time):
        raise ImportRefused(f"{what} has the axes {list(x.shape)}, which are not batch, time and features")
    return exact(x)


def same_features(x: TracedTensor) -> tuple[LayerNode, Index]:
    """Return a node that has the features of the tensor and no others, and where they are in it."""
    found, index = source(x)
    if np.array_equal(np.sort(index, None), np.arange(found.size)):
        return found, index
    return narrow(found, index.ravel()), np.arange(index.size).reshape(index.shape)


def flat(found: LayerNode) -> LayerNode:
    """Make one axis of the features."""
    return found if len(found.signal.shape) == 1 else helper(Flatten(), found)


def columns(weights: Array, found: LayerNode, index: Index) -> Array:
    """Permute weights [k, features of a tensor] to [k, features of the node that it is read from]."""
    wide = np.zeros((len(weights), found.size, *weights.shape[2:]))
    for column, place in enumerate(index.ravel()):
        if place >= 0:
            wide[:, place] += weights[:, column]
    return wide


def narrow(found: LayerNode, chosen: Index) -> LayerNode:
    """Choose some features of a node, in this order; -1 is the number 0.

    Where a layer has a weight for each feature, this chooses among the weights. Else a FullyConnected of zeros and ones
    follows.
    """
    if np.array_equal(chosen, np.arange(found.size)):
        return found

    def reads(one: LayerNode) -> tuple[LayerNode, ...]:
        if (chosen < 0).any() or len(one.signal.shape) != 1:
            return ()
        same = all(read.signal.shape == one.signal.shape for read in one.reads)
        joins = same and isinstance(one.layer, (*ELEMENTWISE, Add, Multiply))
        return one.reads if joins or isinstance(one.layer, BatchNorm | Rescale) else ()

    return rebuilt(found, reads, lambda one, narrowed: _narrow(one, chosen, narrowed))


def _narrow(found: LayerNode, chosen: Index, reads: Sequence[LayerNode]) -> LayerNode:
    """Choose some features of a node; `reads` are these features of what it reads, if it has each from the same one."""
    layer = found.layer
    if isinstance(layer, FullyConnected):
        layer, reads = FullyConnected(len(chosen)), found.reads
    elif isinstance(layer, Conv1d) and layer.groups == 1 and layer.axis == "time":
        layer, reads = dataclasses.replace(layer, filters=len(chosen)), found.reads
    elif reads and isinstance(layer, Rescale):
        numbers: Any = (layer.scale, layer.offset)
        scale, offset = (np.asarray(each)[chosen] if np.ndim(each) else each for each in numbers)
        layer = Rescale(scale, offset)
    if reads and layer is not None:
        rows = {name: _rows(array, chosen) for name, array in found.weights.items()}
        return layer_node(layer, *reads, weights=rows, path=found.path)
    matrix = np.zeros((len(chosen), found.size))
    matrix[np.flatnonzero(chosen >= 0), chosen[chosen >= 0]] = 1
    return helper(FullyConnected(len(chosen)), found, weights={"weights": matrix, "bias": np.zeros(len(chosen))})


def _rows(array: Array, chosen: Index) -> Array:
    rows = np.zeros((len(chosen), *array.shape[1:]), array.dtype)
    rows[chosen >= 0] = array[chosen[chosen >= 0]]
    return rows


def shift(found: LayerNode, before: int, after: int) -> LayerNode:
    """Make the same with steps of zeros added on both sides, or with negative numbers cut off."""
    # What is added on one side and cut off on the other is a delay, which keeps the number of steps; the rest of a cut
    # can become less padding.
    spare = (max(-before - max(after, 0), 0), max(-after - max(before, 0), 0))
    if cut := _with_less_padding(found, *spare):
        found, before, after = cut, before + spare[0], after + spare[1]
    if not (before or after):
        return found
    if not found.has_time:
        raise ImportRefused("pads a vector over time; no layer does that")
    # A window that is 1 at one place moves the steps and changes nothing else.
    found = flat(found)
    weights = np.zeros((found.size, 1, 1 + max(-before, 0) + max(-after, 0)))
    weights[:, :, max(-before, 0)] = 1
    padding = (max(before, 0), max(after, 0))
    layer = Conv1d(found.size, weights.shape[2], padding=padding, groups=found.size)
    return helper(layer, found, weights={"weights": weights, "bias": np.zeros(found.size)})


def _with_less_padding(found: LayerNode, before: int, after: int) -> LayerNode | None:
    """Cut steps off a convolution or pooling by giving it less padding, as networks with causal convolutions do."""

    def reads(one: LayerNode) -> tuple[LayerNode, ...]:
        windowed = _window_over_time(one) is not None
        return () if not one.has_time or windowed or not acts_on_each_step(one) else one.reads

    def cut(one: LayerNode, done: list[LayerNode | None]) -> LayerNode | None:
        window, layer = _window_over_time(one), one.layer
        if not one.has_time or layer is None:
            return None if one.has_time else one
        shorter = [read for read in done if read]
        if window is not None:
            if window.stride > 1 or window.pads is None or window.pads[0] < before or window.pads[1] < after:
                return None
            fields = {"padding": as_padding(window.pads[0] - before, window.pads[1] - after, window.reach)}
            layer, shorter = dataclasses.replace(layer, **fields), [*one.reads]
        elif not done or len(shorter) < len(done):
            return None
        return layer_node(layer, *shorter, weights=one.weights, path=one.path)

    return rebuilt(found, reads, cut)


def _window_over_time(found: LayerNode) -> Any:
    return getattr(found.layer, "window", None) if getattr(found.layer, "axis", "time") == "time" else None


def as_padding(left: int, right: int, reach: int) -> Any:
    """Return the padding in the form that a reader knows best."""
    if (left, right) == (reach, 0) and reach:
        return "causal"
    return left if left == right else (left, right)
