"""Sizes that grow with the number of steps, and then less: a bound on it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def bends(lengths: Sequence[int], sizes: ArrayLike, rounding: float = 1.0) -> bool:
    """Whether numbers follow the number of steps otherwise at the end than before; strides round them."""
    gaps, numbers = np.diff(lengths), np.asarray(sizes, float)
    rates = np.diff(numbers, axis=0) / gaps.reshape(-1, *[1] * (numbers.ndim - 1))
    pairs = zip(itertools.pairwise(rates), itertools.pairwise(rounding / gaps), strict=True)
    return any(
        (abs(after - before) > np.maximum(1, abs(before)) * sum(errors)).any() for (before, after), errors in pairs
    )
