"""The samples of raw signals, whose scale has a meaning."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

from seq2onnx.sequences.conversion import Array

LARGEST = 2
"""Samples of recordings lie in ±1; filters may make them a little larger."""


def is_surely_small(array: Array) -> bool:
    """Whether one dot product shows that all numbers are finite and at most LARGEST. False: they may be, all the same.

    It is true of most chunks of sound, and takes a third of the time of minimum and maximum.
    """
    return bool(np.vdot(array, array) <= LARGEST**2)


def _is_large(array: Array) -> bool:
    return not is_surely_small(array) and bool(array.size and max(array.max(), -array.min()) > LARGEST)


def warn_of_large_samples(arrays: Iterable[Array], reader: str | None, stacklevel: int) -> None:
    """Warn if samples are not in ±1. Python shows the warning once at each place of a program.

    `reader` is the layer that takes samples in ±1; None: nothing is checked.
    """
    if reader is None or not any(map(_is_large, arrays)):
        return
    warnings.warn(
        f"{reader} takes samples in ±1, but some are beyond ±{LARGEST}; divide integers of 16 bits by 32768. Its floor "
        "depends on the scale, and so do the layers after it",
        stacklevel=stacklevel,
    )
