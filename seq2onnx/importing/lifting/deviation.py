"""The deviation over time, as people and exporters write it: a mean, squares of differences, their mean, a root."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout, operations, time_axis
from seq2onnx.importing.lifting.layer_node import barred, layer_node
from seq2onnx.importing.lifting.traced import Relation, TracedTensor
from seq2onnx.layers import GlobalAvgPool1d, GlobalStdPool1d, GlobalSumPool1d, Multiply


def is_mean(b: TracedTensor, a: TracedTensor, axis: int) -> bool:
    """Whether b is the mean of a over time, which is this axis of both."""
    if len(a.axes) != len(b.axes) or len(a.parts) != len(b.parts) or b.index.shape != a.index.shape:
        return False
    pools = [isinstance(part.layer, GlobalAvgPool1d) and part.reads for part in b.parts]
    return pools == [(part,) for part in a.parts] and bool((a.index == b.index).all()) and a.axes[axis] == "T"


def of_squares(x: TracedTensor, axes: Sequence[int], keepdims: int) -> TracedTensor | None:
    """Return the deviation over time, if x is the square of the differences from its mean and this axis is time."""
    centered = x.relation.of.relation if x.relation and x.relation.kind == "square" else None
    if not centered or centered.kind != "centered" or [x.axes[axis] for axis in axes] != ["T"]:
        return None
    of, (axis,) = centered.of, axes
    if centered.axes != (axis % len(x.axes),) or not all(part.has_time for part in of.parts):
        return None
    y = time_axis.pool_time(of, axis, GlobalStdPool1d())
    return layout.unsqueeze(y, axis) if keepdims else y


def changed(deviation: TracedTensor, **fields: Any) -> TracedTensor:
    """Change fields of the layers of a deviation."""
    parts = []
    for part in deviation.parts:
        assert part.layer is not None
        parts.append(layer_node(dataclasses.replace(part.layer, **fields), *part.reads, path=part.path))
    return deviation.with_(parts=tuple(parts))


def variance(deviation: TracedTensor) -> TracedTensor:
    """Return the square of a deviation, of which the root is the deviation again."""
    return operations.join(Multiply(), deviation, deviation).with_(relation=Relation("variance", deviation))


def corrected(x: TracedTensor, correction: float) -> TracedTensor:
    """Return a variance over time that is divided by the number of steps − correction in place of this number."""
    if correction not in (0, 1) or not x.relation or x.relation.kind not in ("variance", "squares"):
        raise ImportRefused(f"divides by the number of steps − {correction}, for which only a variance has a layer")
    return variance(changed(x.relation.of, correction=int(correction)))


def times_steps(x: TracedTensor) -> TracedTensor:
    """Return a variance times the number of steps, which only a division by this number or one less makes a layer."""
    if not x.relation or x.relation.kind != "variance":
        raise ImportRefused("multiplies with the number of steps, which a stream does not know at the start")
    reason = "sums squares over time; only their sum divided by the number of steps, or by one less, is a layer"
    parts = tuple(barred(reason, part) for part in x.parts)
    return x.with_(parts=parts, relation=Relation("squares", x.relation.of))


def divided_by_steps(x: TracedTensor, less: int) -> TracedTensor | None:
    """Return x / (steps − less) for the sum over time x, where it is a mean or a variance; `less` is 0 or 1."""
    if x.relation and x.relation.kind == "squares":
        return corrected(x, less)
    if less or not all(isinstance(part.layer, GlobalSumPool1d) for part in x.parts):
        return None
    return x.with_(parts=tuple(layer_node(GlobalAvgPool1d(), *part.reads) for part in x.parts))
