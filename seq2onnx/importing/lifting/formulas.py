"""Functions that exporters write out in many nodes, of which only the whole is a layer: LayerNorm and GELU.

A tensor that may become part of one is noted together with what it is of another tensor. The next operation looks this
up. So it does not matter how the nodes are ordered, and nothing is lost if they do not become a layer.
"""

from __future__ import annotations

import dataclasses
import math
import weakref

from seq2onnx.importing.lifting import operations as lifting
from seq2onnx.importing.lifting.layer_node import barred
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import GELU


@dataclasses.dataclass(frozen=True)
class Note:
    """Algebraic relation of a tensor to an earlier one.

    Attributes:
        kind: "scaled" (number · of), "mean" (over the last axes), "centered" (of − mean), "square" (of centered),
            "variance", "deviation" (√(variance + number)), "inverse" (1 / deviation), or "erf" (erf(of)), "erf + 1".
        of: the other tensor.
        axes: how many last axes the mean is over.
        number: the factor, or the epsilon.
    """

    kind: str
    of: TracedTensor
    axes: int = 0
    number: float = 0.0


_NOTES: weakref.WeakKeyDictionary[TracedTensor, Note] = weakref.WeakKeyDictionary()


def note(y: TracedTensor, kind: str, of: TracedTensor, axes: int = 0, number: float = 0.0) -> TracedTensor:
    """Note what a tensor is of another; return it."""
    _NOTES[y] = Note(kind, of, axes, number)
    return y


def noted(x: TracedTensor | None, *kinds: str) -> Note | None:
    """Return what is known of a tensor if it is one of these kinds."""
    found = None if x is None else _NOTES.get(x)
    return found if found and found.kind in kinds else None


def _no_layer(x: TracedTensor, what: str) -> TracedTensor:
    """Return a tensor that no layer gives."""
    reason = f"calculates {what}, for which there is no layer"
    return x.with_(parts=tuple(barred(reason, part) for part in x.parts))


def after_scale(y: TracedTensor, x: TracedTensor, factor: float) -> TracedTensor:
    """Note y = factor · x."""
    known = noted(x, "scaled")
    return note(y, "scaled", known.of, number=factor * known.number) if known else note(y, "scaled", x, number=factor)


def after_mean(y: TracedTensor, x: TracedTensor, axes: int) -> TracedTensor:
    """Note that y is the mean of x over its last axes, kept as axes of size 1."""
    square = noted(x, "square")
    if square and square.axes == axes:
        return note(y, "variance", square.of, axes)
    return note(y, "mean", x, axes)


def after_difference(y: TracedTensor, a: TracedTensor, b: TracedTensor) -> TracedTensor:
    """Note y = a − b."""
    mean = noted(b, "mean")
    return note(y, "centered", a, mean.axes) if mean and mean.of is a else y


def after_square(y: TracedTensor, x: TracedTensor) -> TracedTensor:
    """Note y = x²."""
    centered = noted(x, "centered")
    return note(y, "square", centered.of, centered.axes) if centered else y


def after_sum(y: TracedTensor, x: TracedTensor, number: float) -> TracedTensor:
    """Note y = x + number."""
    variance = noted(x, "variance")
    return note(y, "variance", variance.of, variance.axes, variance.number + number) if variance else y


def one_more(x: TracedTensor) -> TracedTensor | None:
    """Return x + 1 if x is an error function, which only a product can make part of a GELU."""
    known = noted(x, "erf")
    return note(_no_layer(x, "erf(x)"), "erf + 1", known.of) if known else None


def square_root(x: TracedTensor) -> TracedTensor:
    """Return √x, which only a division by it can make part of a layer."""
    y = _no_layer(x, "a square root")
    variance = noted(x, "variance")
    return note(y, "deviation", variance.of, variance.axes, variance.number) if variance else y


def reciprocal(x: TracedTensor) -> TracedTensor:
    """Return 1 / x, which only a product with it can make part of a layer."""
    y = _no_layer(x, "a reciprocal")
    deviation = noted(x, "deviation")
    return note(y, "inverse", deviation.of, deviation.axes, deviation.number) if deviation else y


def erf(x: TracedTensor) -> TracedTensor:
    """Return the error function of x, which only a product can make part of a GELU."""
    return note(_no_layer(x, "erf(x)"), "erf", x)


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
    above, below = noted(a, "centered"), noted(b, kind)
    if above is None or below is None or above.of is not below.of or above.axes != below.axes:
        return None
    return lifting.layer_norm(above.of, above.axes, None, None, below.number)


def _gelu(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """X · (1 + erf(x / √2)) = 2 · gelu(x)."""
    curve = noted(b, "erf + 1")
    inside = noted(curve.of, "scaled") if curve else None
    if inside is None or not math.isclose(inside.number, math.sqrt(0.5), rel_tol=1e-6):
        return None
    outside = noted(a, "scaled")
    x, factor = (outside.of, outside.number) if outside else (a, 1.0)
    if x is not inside.of:
        return None
    from seq2onnx.importing.lifting.functions import scaled

    return scaled(lifting.each_part(x, GELU()), 2 * factor)
