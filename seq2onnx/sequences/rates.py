"""Sample rates: data and network must have the same one."""

from __future__ import annotations

from seq2onnx.errors import DataError


def check_rate(given: float | None, expected: float | None, where: str) -> None:
    """Raise DataError if data has another sample rate than a network takes; None: it is not known.

    Nothing is resampled silently: the filter of a resampler is part of the features that a network has learned.
    """
    if given is None or expected is None or given == expected:
        return
    raise DataError(
        f"{where}: has {given:,g} samples a second, the network takes {expected:,g}. Resample all data in "
        f'the same way, such as with the package soxr: soxr.resample(x, {given:g}, {expected:g}, "HQ")'
    )


def differ(a: float, b: float, tolerance: float = 0.01) -> bool:
    """Return whether two rates, or two steps, differ by more than 1 %, or another part of the smaller one."""
    return abs(a - b) > tolerance * min(a, b)


def rate_text(rate: float) -> str:
    """Return a rate for people, in Hz."""
    return f"{rate:.4g} Hz"
