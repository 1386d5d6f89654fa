"""Functions that exporters write out in many nodes, of which only the whole is a layer: LayerNorm, RMSNorm and GELU.

A tensor that may become part of one carries its relation to an earlier tensor, or its part stands for a Norm, which the
next operation reads. So it does not matter how the nodes are ordered, and nothing is lost if they do not become a
layer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import deviation, layout, operations as lifting
from seq2onnx.importing.lifting.layer_node import Array, barred
from seq2onnx.importing.lifting.traced import Relation, TracedTensor
from seq2onnx.layers import GELU

LEAST = 1e-30
"""The epsilon of a norm that has none, where its square is a float32."""
TINY = {"limited to at least": 1e-5, "increased by": 1e-7}
"""The largest numbers that may hold a norm off 0 and that an epsilon replaces, which acts in another way near 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class Norm:
    """The number gain · √(mean of squares + epsilon), or gain / √(…) if `inverse`; the mean is over `axes` of `of`."""

    of: TracedTensor
    axes: tuple[int, ...]
    epsilon: float
    gain: float
    inverse: bool = False


def _related(x: TracedTensor, kind: str) -> Relation | None:
    return x.relation if x.relation and x.relation.kind == kind else None


def _mean_of_squares(x: TracedTensor) -> Relation | None:
    mean = _related(x, "mean")
    return mean if mean and _related(mean.of, "square") else None


def _no_layer(x: TracedTensor, what: str) -> TracedTensor:
    reason = f"calculates {what}, for which there is no layer"
    return x.with_(parts=tuple(barred(reason, part) for part in x.parts))


def _norm_of(x: TracedTensor) -> Norm | None:
    kind, found = x.parts[0].stands_for
    return found if kind == "norm" and len(x.parts) == 1 else None


def _changed(x: TracedTensor, norm: Norm, **changes: Any) -> TracedTensor:
    (part,) = x.parts
    made = barred(part.barred, part, stands_for=("norm", dataclasses.replace(norm, **changes)))
    return x.with_(parts=(made,))


def after_scale(y: TracedTensor, x: TracedTensor, factors: Array) -> TracedTensor:
    """Relate y = factors · x."""
    if np.ptp(factors):
        return y.with_(relation=Relation("weighted", x, factors=factors))
    factor = float(factors.flat[0])
    known = _mean_of_squares(x) or _related(x, "scaled") or Relation("scaled", x, number=1.0)
    return y.with_(relation=dataclasses.replace(known, number=factor * known.number))


def after_sum(y: TracedTensor, x: TracedTensor, number: float) -> TracedTensor:
    """Relate y = x + number."""
    return y.with_(relation=Relation("sum", x, number=number))


def after_limit(y: TracedTensor, x: TracedTensor, low: float) -> TracedTensor:
    """Relate y, which is x limited to numbers of at least `low`: a tiny one is as good as added to squares."""
    if 0 < low <= TINY["limited to at least"] ** 2:
        return after_sum(y, x, low)
    return y.with_(relation=Relation("limited", x, number=low)) if low > 0 else y


def after_square(y: TracedTensor, x: TracedTensor) -> TracedTensor:
    """Relate y = x²."""
    return y.with_(relation=Relation("square", x))


def after_mean(y: TracedTensor, x: TracedTensor, axes: Sequence[int], factor: float = 1.0) -> TracedTensor:
    """Relate y, which is `factor` times the mean of x over axes."""
    return y.with_(relation=Relation("mean", x, tuple(sorted(axes)), factor))


def after_difference(y: TracedTensor, a: TracedTensor, b: TracedTensor) -> TracedTensor:
    """Relate y = a − b."""
    mean = _related(b, "mean")
    if mean and mean.of is a and mean.number == 1:
        expected = [
            ("", 1) if axis in mean.axes else kept for axis, kept in enumerate(zip(a.axes, a.index.shape, strict=True))
        ]
        in_place = list(zip(b.axes, b.index.shape, strict=True)) == expected
        return y.with_(relation=Relation("centered", a, mean.axes)) if in_place else y
    if "T" in a.axes and deviation.is_mean(b, a, time := a.axes.index("T")):
        return y.with_(relation=Relation("centered", a, (time,)))
    return y


def one_more(x: TracedTensor) -> TracedTensor | None:
    """Return x + 1 if x is an error function, which only a product can make part of a GELU."""
    known = _related(x, "erf")
    return _no_layer(x, "erf(x)").with_(relation=Relation("erf + 1", known.of)) if known else None


def square_root(x: TracedTensor) -> TracedTensor:
    """Return √x: of a variance a deviation, of a mean of squares a norm, which only a division by it makes a layer."""
    gain, number, inner = 1.0, 0.0, x  # x = gain · inner + number
    while inner.relation and inner.relation.kind in ("scaled", "sum"):
        if inner.relation.kind == "scaled":
            gain *= inner.relation.number
        else:
            number += gain * inner.relation.number
        inner = inner.relation.of
    if (variance := _related(inner, "variance")) and gain > 0 and number >= 0:
        return lifting.affine(
            deviation.changed(variance.of, epsilon=number / gain), np.full(1, math.sqrt(gain)), np.zeros(1)
        )
    mean = _mean_of_squares(inner)
    if mean is None or gain * mean.number <= 0 or number < 0:
        return _no_layer(x, "a square root")
    gain *= mean.number
    assert mean.of.relation is not None
    norm = Norm(mean.of.relation.of, mean.axes, number / gain, math.sqrt(gain))
    like, index = x.parts[0], np.arange(x.index.size).reshape(x.index.shape)
    signal = dataclasses.replace(like.signal, shape=(index.size,))
    reason = "calculates a norm, which only a division of what it is the norm of can make a layer"
    return x.with_(parts=(barred(reason, like, signal, ("norm", norm)),), index=index, pads=(0, 0))


def reciprocal(x: TracedTensor) -> TracedTensor:
    """Return 1 / x, which only a product with it can make part of a layer."""
    if norm := _norm_of(x):
        return _changed(x, norm, gain=1 / norm.gain, inverse=not norm.inverse)
    return _no_layer(x, "a reciprocal")


def erf(x: TracedTensor) -> TracedTensor:
    """Return the error function of x, which only a product can make part of a GELU."""
    return _no_layer(x, "erf(x)").with_(relation=Relation("erf", x))


def scaled_norm(x: TracedTensor, factor: float) -> TracedTensor | None:
    """Return factor · x if x is a norm."""
    norm = _norm_of(x)
    return _changed(x, norm, gain=factor * norm.gain) if norm and factor > 0 else None


def held_norm(x: TracedTensor, how: str, number: float) -> TracedTensor | None:
    """Return a norm that a tiny number, its least value or an addend, holds off 0; None if x is no norm."""
    norm = _norm_of(x)
    if norm is None or norm.inverse:
        return None
    if not 0 <= number <= TINY[how]:
        raise ImportRefused(
            f"divides by a deviation or length that is {how} {number:.6g}, for which there is no layer: LayerNorm and "
            "RMSNorm add their epsilon to the mean of the squares, which gives other numbers. Only where it is at most "
            f"{TINY[how]} do they agree. Train the network with nn.LayerNorm or nn.RMSNorm"
        )
    return _changed(x, norm, epsilon=norm.epsilon + (number / norm.gain) ** 2)


def product(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """Return a · b if it is a LayerNorm or RMSNorm with the same weights everywhere, or a GELU with a factor."""
    for x, y in ((a, b), (b, a)):
        if (found := normalized(x, y, True)) or (found := _gelu(x, y)):
            return found
    return None


def normalized(a: TracedTensor, b: TracedTensor, inverse: bool) -> TracedTensor | None:
    """Return a / b, or a · b with `inverse`, if b is the norm of a, or its inverse, at each place."""
    if (weighted := _related(a, "weighted")) and (found := normalized(weighted.of, b, inverse)):
        return lifting.affine(found, weighted.factors, np.zeros(1))
    norm, centered = _norm_of(b), _related(a, "centered")
    if norm is None or norm.inverse != inverse or not same(a, norm.of):
        return None
    groups = [1 if axis in norm.axes else n for axis, n in enumerate(a.index.shape)]
    wide, divisor = layout.broadcast(a, b)
    expected = np.arange(math.prod(groups)).reshape(groups)
    if wide.axes != a.axes or not np.array_equal(divisor.index, np.broadcast_to(expected, a.index.shape)):
        return None
    epsilon, gain = max(norm.epsilon, LEAST), norm.gain if inverse else 1 / norm.gain
    if centered and centered.axes == norm.axes:
        y = lifting.layer_norm(centered.of, norm.axes, None, None, epsilon)
    else:
        y = lifting.rms_norm(a, norm.axes, None, epsilon)
    return lifting.affine(y, np.full(1, gain), np.zeros(1))


def same(a: TracedTensor, b: TracedTensor) -> bool:
    """Whether two tensors are the same, or the same differences from a mean, calculated twice."""
    known, other = _related(a, "centered"), _related(b, "centered")
    return a is b or bool(known and other and known.of is other.of and known.axes == other.axes)


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
