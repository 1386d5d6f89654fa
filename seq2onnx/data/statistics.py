"""What one pass over data tells: mean, spread and range of each channel, and where a value is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Block

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Survey:
    """Of the finite values of each channel [channels]: count, mean, squares (their squared distance from the mean,
    summed), low and high; and gaps, how many sequences hold NaN or infinity.

    first_gap: (sequence, step, place in the step, value) of the first, or None
    """

    count: Floats
    mean: Floats
    squares: Floats
    low: Floats
    high: Floats
    gaps: int = 0
    first_gap: tuple[int, int, tuple[int, ...], float] | None = None

    def statistics(self) -> dict[str, Floats]:
        """mean, std (N − 1), min and max of each channel."""
        spread = np.sqrt(self.squares / np.maximum(self.count - 1, 1))
        # Rounding gives a constant channel a spread of its last digits; it has none.
        spread[self.low == self.high] = 0
        return {"mean": self.mean, "std": spread, "min": self.low, "max": self.high}


def survey(blocks: Iterable[Block], has_time: bool) -> Survey:
    """One pass, with nothing kept of it but some numbers for each channel.

    The mean and the squares of parts are joined as in Chan, Golub & LeVeque 1983, in float64: as exact as two
    passes over all.
    """
    total: Survey | None = None
    for block in blocks:
        if block.values.size:
            found = _survey_of(block, has_time)
            total = found if total is None else _joined(total, found)
    if total is None:
        nothing = np.zeros(0)
        return Survey(nothing, nothing, nothing, nothing, nothing)
    return total


def _survey_of(block: Block, has_time: bool) -> Survey:
    channels = np.moveaxis(block.values, 1, 0).reshape(block.values.shape[1], -1).astype(np.float64)
    finite = np.isfinite(channels)
    gaps, first = 0, None
    if finite.all():
        count = np.full(len(channels), float(channels.shape[1]))
        mean = channels.mean(1)
        return Survey(count, mean, np.square(channels - mean[:, None]).sum(1), channels.min(1), channels.max(1))
    rows = np.flatnonzero(~np.isfinite(block.values).reshape(len(block.values), -1).all(1))
    ends = np.cumsum(block.lengths) if has_time else np.arange(1, len(block.values) + 1)
    sequences = np.searchsorted(ends, rows, side="right")
    gaps, row, sequence = len(np.unique(sequences)), rows[0], sequences[0]
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(block.values[row]))[0])
    begin = int(ends[sequence] - (block.lengths[sequence] if has_time else 1))
    first = (int(block.indices[sequence]), int(row) - begin, place, float(block.values[row][place]))
    count = finite.sum(1).astype(np.float64)
    mean = np.where(finite, channels, 0).sum(1) / np.maximum(count, 1)
    squares = np.square(np.where(finite, channels - mean[:, None], 0)).sum(1)
    low, high = np.where(finite, channels, np.inf).min(1), np.where(finite, channels, -np.inf).max(1)
    return Survey(count, mean, squares, low, high, gaps, first)


def _joined(a: Survey, b: Survey) -> Survey:
    count = a.count + b.count
    apart, share = b.mean - a.mean, b.count / np.maximum(count, 1)
    return Survey(
        count,
        a.mean + apart * share,
        a.squares + b.squares + apart**2 * a.count * share,
        np.minimum(a.low, b.low),
        np.maximum(a.high, b.high),
        a.gaps + b.gaps,
        a.first_gap or b.first_gap,
    )
