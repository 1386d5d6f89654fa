"""Functions that exporters write out in many nodes, of which only the whole is a layer: LayerNorm and GELU.

A tensor that may become part of one carries its relation to an earlier tensor, which the next operation reads. So it
does not matter how the nodes are ordered, and nothing is lost if they do not become a layer.
"""

from __future__ import annotations

import math

from seq2onnx.importing.lifting import operations as lifting
from seq2onnx.importing.lifting.layer_node import barred
from seq2onnx.importing.lifting.traced import Relation, TracedTensor
from seq2onnx.layers import GELU


def related(y: TracedTensor, kind: str, of: TracedTensor, axes: int = 0, number: float = 0.0) -> TracedTensor:
    """Return a tensor with its relation to an earlier one."""
    return y.with_(relation=Relation(kind, of, axes, number))


def relation(x: TracedTensor | None, *kinds: str) -> Relation | None:
    """Return the relation of a tensor if it is one of these kinds."""
    found = None if x is None else x.relation
    return found if found and found.kind in kinds else None


def _no_layer(x: TracedTensor, what: str) -> TracedTensor:
    """Return a tensor that no layer gives."""
    reason = f"calculates {what}, for which there is no layer"
    return x.with_(parts=tuple(barred(reason, part) for part in x.parts))


def after_scale(y: TracedTensor, x: TracedTensor, factor: float) -> TracedTensor:
    """Relate y = factor · x."""
    known = relation(x, "scaled")
    of, known_factor = (known.of, known.number) if known else (x, 1.0)
    return related(y, "scaled", of, number=factor * known_factor)


def after_mean(y: TracedTensor, x: TracedTensor, axes: int) -> TracedTensor:
    """Relate y, which is the mean of x over its last axes, kept as axes of size 1."""
    square = relation(x, "square")
    if square and square.axes == axes:
        return related(y, "variance", square.of, axes)
    return related(y, "mean", x, axes)


def after_difference(y: TracedTensor, a: TracedTensor, b: TracedTensor) -> TracedTensor:
    """Relate y = a − b."""
    mean = relation(b, "mean")
    return related(y, "centered", a, mean.axes) if mean and mean.of is a else y


def after_square(y: TracedTensor, x: TracedTensor) -> TracedTensor:
    """Relate y = x²."""
    centered = relation(x, "centered")
    return related(y, "square", centered.of, centered.axes) if centered else y


def after_sum(y: TracedTensor, x: TracedTensor, number: float) -> TracedTensor:
    """Relate y = x + number."""
    variance = relation(x, "variance")
    return related(y, "variance", variance.of, variance.axes, variance.number + number) if variance else y


def one_more(x: TracedTensor) -> TracedTensor | None:
    """Return x + 1 if x is an error function, which only a product can make part of a GELU."""
    known = relation(x, "erf")
    return related(_no_layer(x, "erf(x)"), "erf + 1", known.of) if known else None


def square_root(x: TracedTensor) -> TracedTensor:
    """Return √x, which only a division by it can make part of a layer."""
    y = _no_layer(x, "a square root")
    variance = relation(x, "variance")
    return related(y, "deviation", variance.of, variance.axes, variance.number) if variance else y


def reciprocal(x: TracedTensor) -> TracedTensor:
    """Return 1 / x, which only a product with it can make part of a layer."""
    y = _no_layer(x, "a reciprocal")
    deviation = relation(x, "deviation")
    return related(y, "inverse", deviation.of, deviation.axes, deviation.number) if deviation else y


def erf(x: TracedTensor) -> TracedTensor:
    """Return the error function of x, which only a product can make part of a GELU."""
    return related(_no_layer(x, "erf(x)"), "erf", x)


def quotient(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """Return a / b if it is a LayerNorm without scale and offset."""
    return _normalized(a, b, "deviation")


def product(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """Return a · b if it is a LayerNorm without scale and offset, or a GELU with a factor."""
    for x, y in ((a, b), (b, a)):
        if (found := _normalized(x, y, "inverse")) or (found := _gelu(x, y)):
            return found
    return None


def _normalized(a: TracedTensor, b: TracedTensor, kind: str) -> TracedTensor | None:
    above, below = relation(a, "centered"), relation(b, kind)
    if above is None or below is None or above.of is not below.of or above.axes != below.axes:
        return None
    return lifting.layer_norm(above.of, above.axes, None, None, below.number)


def _gelu(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """X · (1 + erf(x / √2)) = 2 · gelu(x)."""
    curve = relation(b, "erf + 1")
    inside = relation(curve.of, "scaled") if curve else None
    if inside is None or not math.isclose(inside.number, math.sqrt(0.5), rel_tol=1e-6):
        return None
    outside = relation(a, "scaled")
    x, factor = (outside.of, outside.number) if outside else (a, 1.0)
    if x is not inside.of:
        return None
    from seq2onnx.importing.lifting.functions import scaled

    return scaled(lifting.each_part(x, GELU()), 2 * factor)
