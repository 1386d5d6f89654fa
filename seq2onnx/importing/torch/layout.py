"""Operators of torch that change the layout of tensors, or choose some of their elements."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout, time_axis
from seq2onnx.importing.lifting.layout import END
from seq2onnx.importing.lifting.operators import concat
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.torch.operators import Operation, Ragged, array, operators, refuse_random


@operators("contiguous", "clone", "alias", "detach", "lift_fresh_copy", "dropout1d", "feature_dropout", "alpha_dropout")
def _same(op: Operation) -> Any:
    if op.get("train"):
        refuse_random(op)
    return next(iter(op.arguments.values()))


@operators("to", "_to_copy", "type_as", "float", "double")
def _convert(op: Operation) -> Any:
    x = op["self"]
    if op.result.dtype.is_floating_point == (x.parts[0].signal.dtype == "int64"):
        raise ImportRefused(f"converts numbers to {op.result.dtype}; leave the conversion out")
    return x


@operators("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "permute", "movedim")
def _transpose(op: Operation) -> Any:
    """Reorder the axes as the operator reorders those of a tensor whose sizes are their numbers."""
    numbered = torch.empty(tuple(range(len(op["self"].axes))), device="meta")
    return layout.transpose(op["self"], op.target(numbered, *op.positional[1:], **op.keywords).shape)


operators("squeeze")(lambda op: layout.squeeze(op["self"], op.get("dim")))
operators("unsqueeze")(lambda op: layout.unsqueeze(op["self"], op["dim"]))
operators("view", "reshape", "flatten", "_unsafe_view", "unflatten", "view_as", "reshape_as")(
    lambda op: layout.reshape(op["self"], op.shape)
)
operators("flip")(lambda op: functools.reduce(layout.flip, op["dims"], op["self"]))


@operators("expand", "expand_as", "repeat", "tile", "broadcast_to")
def _expand(op: Operation) -> Any:
    x = op["self"]
    extra = len(op.shape) - len(x.axes)
    if any(new != old != 1 for old, new in zip(x.shape, op.shape[extra:], strict=True)):
        raise ImportRefused("repeats a tensor several times along an axis")
    return layout.expand(x, op.shape)


@operators("select", "narrow", "slice")
def _slice(op: Operation) -> Any:
    x, axis = op["self"], (op["dim"] or 0) % len(op["self"].axes)
    if op.name == "select":
        return _step(x, axis, op["index"])
    size, start, stop, step = x.shape[axis], op.get("start") or 0, op.get("end"), op.get("step", 1)
    if op.name == "narrow":
        stop = start + op["length"]
    low, high, _ = slice(start, stop, step).indices(size)
    if (low, high, step) == (0, size, 1) and (stop is None or stop == size or stop >= END // 2):
        return x
    if x.axes[axis] != "T":
        return layout.take(x, axis, slice(low, high, step))
    if step == 1 and high == low + 1 and size > 1:
        return time_axis.step(x, axis, low, True)
    if step != 1 or start < 0 or (stop is not None and size < stop < END // 2):
        raise ImportRefused(
            "takes steps by their number or by their distance from the end; use all steps, the last one, or a stride"
        )
    return time_axis.pad_time(x, -low, high - size)


def _step(x: TracedTensor, axis: int, index: int) -> TracedTensor:
    """Take one element of an axis, which goes."""
    if x.axes[axis] != "T":
        return layout.take(x, axis, index)
    return time_axis.step(x, axis, index % x.steps, False)


@operators("split", "split_with_sizes", "chunk", "unbind", "tensor_split", "unsafe_chunk", "unsafe_split")
def _split(op: Operation) -> Any:
    x, axis = op["self"], op["dim"] % len(op["self"].axes)
    if op.name == "unbind":
        return [_step(x, axis, index) for index in range(len(op.result))]
    ends = np.cumsum([piece.shape[axis] for piece in op.result])
    return [layout.take(x, axis, slice(end - p.shape[axis], end)) for end, p in zip(ends, op.result, strict=True)]


@operators("cat", "concat", "stack")
def _concat(op: Operation) -> Any:
    xs, axis = list(op["tensors"]), op["dim"]
    if op.name == "stack":
        axis %= op.result.ndim
        xs = [layout.unsqueeze(x, axis) if isinstance(x, TracedTensor) else x.unsqueeze(axis) for x in xs]
    if any(isinstance(x, Ragged) for x in xs):
        raise ImportRefused("joins features with numbers other than zeros; add them with a bias")
    return concat([x if isinstance(x, TracedTensor) else array(x) for x in xs], axis)


@operators("pad", "constant_pad_nd")
def _pad(op: Operation) -> Any:
    x, widths = op["self"], list(op["pad"])
    if op.get("mode", "constant") != "constant" or op["value"]:
        raise ImportRefused("pads with other numbers than zeros; use zeros")
    for i in range(len(widths) // 2):
        axis, (before, after) = len(x.axes) - 1 - i, widths[2 * i : 2 * i + 2]
        x = time_axis.pad(x, axis, before, after)
    return x


@operators("index_select", "index", "gather")
def _index(op: Operation) -> Any:
    x = op["self"]
    chosen: dict[int, Any] = (
        {op["dim"] % len(x.axes): op["index"]} if op.name != "index" else dict(enumerate(op["indices"]))
    )
    chosen = {axis: value for axis, value in chosen.items() if value is not None}
    last = [axis for axis, value in chosen.items() if isinstance(value, Ragged)]
    if last:
        axis = last[0]
        value, rows = array(chosen.pop(axis).value), array(torch.arange(x.rows))
        ends = array(op.lengths) - 1
        fits = value.reshape(len(value), -1) == ends[:, None] if len(value) == x.rows else np.zeros(1, bool)
        rest = [array(v) for v in chosen.values()]
        if x.axes[axis] == "T" and fits.all() and all(np.array_equal(v.ravel(), rows) for v in rest):
            found = time_axis.last_step(x, axis)
            return layout.unsqueeze(found, axis) if op.name == "gather" else found
        raise ImportRefused("takes steps that are not the last valid ones; only lengths - 1 can be read so")
    if op.name != "gather" and len(chosen) == 1 and all(isinstance(v, Tensor) and v.ndim == 1 for v in chosen.values()):
        ((axis, value),) = chosen.items()
        if value.dtype != torch.bool:
            return layout.take(x, axis, value.cpu().numpy())
    raise ImportRefused("takes elements by calculated numbers; only features by constant numbers can be taken so")
