"""Functions that exporters write out in many nodes, of which only the whole is a layer: LayerNorm and GELU.

A tensor that may become part of one carries its relation to an earlier tensor, which the next operation reads. So it
does not matter how the nodes are ordered, and nothing is lost if they do not become a layer.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from seq2onnx.importing.lifting import operations as lifting
from seq2onnx.importing.lifting.layer_node import barred
from seq2onnx.importing.lifting.traced import Relation, TracedTensor
from seq2onnx.layers import GELU

PARTS = {
    ("centered", "square"): "square",
    ("square", "mean"): "variance",
    ("variance", "sum"): "variance",
    ("variance", "root"): "deviation",
    ("deviation", "reciprocal"): "inverse",
}
"""The parts of a LayerNorm: for the relation of a tensor and an operation on it the relation of the result."""


def after(y: TracedTensor, operation: str, x: TracedTensor, number: float = 0.0) -> TracedTensor:
    """Relate y, which an operation makes of x; `number` is what a sum adds."""
    known = x.relation
    kind = PARTS.get((known.kind, operation)) if known else None
    if known is None or kind is None:
        return y
    return y.with_(relation=dataclasses.replace(known, kind=kind, number=known.number + number))


def _related(x: TracedTensor, kind: str) -> Relation | None:
    return x.relation if x.relation and x.relation.kind == kind else None


def _no_layer(x: TracedTensor, what: str) -> TracedTensor:
    reason = f"calculates {what}, for which there is no layer"
    return x.with_(parts=tuple(barred(reason, part) for part in x.parts))


def after_scale(y: TracedTensor, x: TracedTensor, factor: float) -> TracedTensor:
    """Relate y = factor · x."""
    known = _related(x, "scaled") or Relation("scaled", x, number=1.0)
    return y.with_(relation=dataclasses.replace(known, number=factor * known.number))


def after_mean(y: TracedTensor, x: TracedTensor, axes: int) -> TracedTensor:
    """Relate y, which is the mean of x over its last axes, kept as axes of size 1."""
    square = _related(x, "square")
    if square and square.axes == axes:
        return after(y, "mean", x)
    return y.with_(relation=Relation("mean", x, axes))


def after_difference(y: TracedTensor, a: TracedTensor, b: TracedTensor) -> TracedTensor:
    """Relate y = a − b."""
    mean = _related(b, "mean")
    return y.with_(relation=Relation("centered", a, mean.axes)) if mean and mean.of is a else y


def one_more(x: TracedTensor) -> TracedTensor | None:
    """Return x + 1 if x is an error function, which only a product can make part of a GELU."""
    known = _related(x, "erf")
    return _no_layer(x, "erf(x)").with_(relation=Relation("erf + 1", known.of)) if known else None


def square_root(x: TracedTensor) -> TracedTensor:
    """Return √x, which only a division by it can make part of a layer."""
    return after(_no_layer(x, "a square root"), "root", x)


def reciprocal(x: TracedTensor) -> TracedTensor:
    """Return 1 / x, which only a product with it can make part of a layer."""
    return after(_no_layer(x, "a reciprocal"), "reciprocal", x)


def erf(x: TracedTensor) -> TracedTensor:
    """Return the error function of x, which only a product can make part of a GELU."""
    return _no_layer(x, "erf(x)").with_(relation=Relation("erf", x))


def product(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """Return a · b if it is a LayerNorm without scale and offset, or a GELU with a factor."""
    for x, y in ((a, b), (b, a)):
        if (found := normalized(x, y, "inverse")) or (found := _gelu(x, y)):
            return found
    return None


def normalized(a: TracedTensor, b: TracedTensor, kind: str) -> TracedTensor | None:
    """Return a LayerNorm without scale and offset if a is centered and b its "deviation", or the "inverse" of it."""
    above, below = _related(a, "centered"), _related(b, kind)
    if above is None or below is None or above.of is not below.of or above.axes != below.axes:
        return None
    return lifting.layer_norm(above.of, above.axes, None, None, below.number)


def _gelu(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """X · (1 + erf(x / √2)) = 2 · gelu(x)."""
    curve = _related(b, "erf + 1")
    inside = _related(curve.of, "scaled") if curve else None
    if inside is None or not math.isclose(inside.number, math.sqrt(0.5), rel_tol=1e-6):
        return None
    outside = _related(a, "scaled") or Relation("scaled", a, number=1.0)
    if outside.of is not inside.of:
        return None
    return lifting.affine(lifting.each_part(inside.of, GELU()), np.full(1, 2 * outside.number), np.zeros(1))
