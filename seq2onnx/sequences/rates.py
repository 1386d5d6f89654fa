"""Sample rates: data and network must have the same one."""

from __future__ import annotations

import numpy as np

from seq2onnx.errors import DataError, warn


def check_rate(given: float | None, expected: float | None, where: str, is_fixed: bool = True) -> None:
    """Raise DataError if data has another sample rate than a network takes; None: it is not known.

    If no layer knows it, so that it is not `is_fixed`, it is that of the training data: then warn beyond 1 %.

    Nothing is resampled silently: the filter of a resampler is part of the features that a network has learned.
    """
    if given is None or expected is None or given == expected:
        return
    if not is_fixed:
        if differ(given, expected):
            warn(
                "rate-differs",
                f"{where}: has {rate_text(given)}, and the training data of the network had {rate_text(expected)}; "
                "give both the same rate: read(…, rate=…)",
            )
        return
    raise DataError(
        f"{where}: has {given:,g} samples a second, the network takes {expected:,g}. Resample all data in "
        f'the same way, such as with the package soxr: soxr.resample(x, {given:g}, {expected:g}, "HQ"). If the '
        f"rate was measured from time stamps and is the same, give it: sample_rate={expected:g}"
    )


def check_number(value: float | None, name: str) -> None:
    """Raise DataError unless a value is a number above 0, or None."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value < np.inf):
        raise DataError(f"{name}: expected a number above 0, got {value!r:.60}")


def differ(a: float, b: float, tolerance: float = 0.01) -> bool:
    """Return whether two rates, or two steps, differ by more than 1 %, or another part of the smaller one."""
    return abs(a - b) > tolerance * min(a, b)


def rate_text(rate: float) -> str:
    """Return a rate for people, in Hz."""
    return f"{rate:.4g} Hz"
