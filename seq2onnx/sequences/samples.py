"""The samples of raw signals, whose scale has a meaning."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

from seq2onnx.sequences.conversion import Array

LARGEST = 2
"""Samples of recordings lie in ±1; filters may make them a little larger."""


def _is_large(array: Array) -> bool:
    numbers = array.reshape(-1)
    if np.vdot(numbers, numbers) <= LARGEST**2:  # the usual case of a chunk, in a third of the time
        return False
    return bool(numbers.size and max(numbers.max(), -numbers.min()) > LARGEST)


def warn_of_large_samples(arrays: Iterable[Array], reader: str | None, stacklevel: int) -> None:
    """Warn if samples are not in ±1. Python shows the warning once at each place of a program.

    Args:
        arrays: the signals.
        reader: the layer that takes samples in ±1. None: nothing is checked.
        stacklevel: which caller the warning names.
    """
    if reader is None or not any(map(_is_large, arrays)):
        return
    warnings.warn(
        f"{reader} takes samples in ±1, but some are beyond ±{LARGEST}; divide integers of 16 bits by 32768. Its floor "
        "depends on the scale, and so do the layers after it",
        stacklevel=stacklevel,
    )
