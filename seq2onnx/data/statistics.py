"""Compute mean, spread and range of each channel in one pass, and find missing values."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Block
from seq2onnx.errors import DataError
from seq2onnx.sequences import InputStatistics
from seq2onnx.sequences.training_distance import LEAST_SPREAD, moments_of

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Gap:
    """A value that is NaN or infinite, and its place."""

    sequence: int
    step: int
    feature: tuple[int, ...]
    value: float


@dataclasses.dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each channel [channels], over its finite values.

    Attributes:
        count: how many values there are.
        mean: their mean.
        squares: the sum of their squared distances from the mean.
        low: the smallest.
        high: the largest.
        gaps: how many sequences have a value that is NaN or infinite.
        first_gap: the first such value.
    """

    count: Floats
    mean: Floats
    squares: Floats
    low: Floats
    high: Floats
    gaps: int = 0
    first_gap: Gap | None = None

    def summary(self) -> dict[str, Floats]:
        """Return mean, std (N − 1), min and max of each channel."""
        spread = np.sqrt(self.squares / np.maximum(self.count - 1, 1))
        spread[self.low == self.high] = 0  # rounding gives a constant channel a spread in its last digits
        return {"mean": self.mean, "std": spread, "min": self.low, "max": self.high}

    def check_finite(
        self, name: str, has_time: bool, channels: Sequence[str] | None = None, ids: Sequence[str] | None = None
    ) -> None:
        """Raise DataError, which names input, feature and sequence, where a value is not finite."""
        if gap := self.first_gap:
            step = f", step {gap.step}" if has_time else ""
            feature = f"feature {', '.join(map(str, gap.feature))}"
            if channels is not None:
                feature = " ".join([channels[gap.feature[0]], *(f"[{place}]" for place in gap.feature[1:])])
            raise DataError(
                f"{with_id(gap.sequence, ids)}{f' of {name}' if name else ''}{step}: {feature} is {gap.value}; "
                "training needs finite numbers: remove the sequence, fill the gap, or let the network do so with "
                "SequenceInput(…, missing=True) and Missing()"
            )


def with_id(index: int, ids: Sequence[str] | None) -> str:
    """Return which sequence it is, for error messages."""
    return f"sequence {index}" if ids is None else f"sequence {index} ({ids[index]})"


def channel_statistics(blocks: Iterable[Block]) -> ChannelStatistics:
    """Compute the statistics of blocks in one pass, in float64. It is as exact as two passes over all values."""
    found = (_block_statistics(block) for block in blocks if block.values.size)
    nothing = np.zeros(0)
    return functools.reduce(_merged, found, next(found, ChannelStatistics(nothing, nothing, nothing, nothing, nothing)))


def merge_moments(a: tuple[Any, Any, Any], b: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Merge (count, mean, sum of squared distances from the mean) of two parts of the data.

    Plain sums of squares would lose all digits where the mean is large (Chan, Golub & LeVeque 1983). The numbers may be
    arrays of numpy or torch.
    """
    count = a[0] + b[0]
    difference, share = b[1] - a[1], b[0] / np.maximum(count, 1)
    return count, a[1] + difference * share, a[2] + b[2] + difference**2 * a[0] * share


def input_statistics(found: ChannelStatistics, blocks: Iterable[Block]) -> InputStatistics:
    """Return statistics of the steps of an input, and of how much its sequences differ, in a second pass."""
    summary = found.summary()
    std = summary["std"]
    known = np.where(std > 0, std, 1)
    moments = [moments_of(block.values, block.lengths, summary["mean"]) for block in blocks]
    means, spreads, distances = (
        np.where(found.count, np.concatenate([getattr(part, name) for part in moments]), 0)
        for name in ("mean", "spread", "distance")
    )
    logs = np.where(std > 0, np.log(np.maximum(spreads, LEAST_SPREAD * known)), 0 * spreads)
    columns = {
        **summary,
        "mean_of_means": np.nanmean(means, 0),
        "std_of_means": np.nanstd(means, 0),
        "mean_of_log_spreads": np.nanmean(logs, 0),
        "std_of_log_spreads": np.nanstd(logs, 0),
        "distance": np.where(std > 0, np.nanmax(distances, 0) / known, 0),
    }
    return InputStatistics(**{name: tuple(np.where(found.count, v, 0).tolist()) for name, v in columns.items()})


def _block_statistics(block: Block) -> ChannelStatistics:
    channels = np.moveaxis(block.values, 1, 0).reshape(block.values.shape[1], -1).astype(np.float64)
    finite = np.isfinite(channels)
    if finite.all():
        count, mean = np.full(len(channels), float(channels.shape[1])), channels.mean(1)
        squares = np.square(channels - mean[:, None]).sum(1)
        return ChannelStatistics(count, mean, squares, channels.min(1), channels.max(1))
    rows = np.flatnonzero(~np.isfinite(block.values).reshape(len(block.values), -1).all(1))
    ends = np.cumsum(block.lengths)
    places = np.searchsorted(ends, rows, side="right")
    row, place = rows[0], places[0]
    feature = tuple(int(i) for i in np.argwhere(~np.isfinite(block.values[row]))[0])
    step = int(row - (ends[place] - block.lengths[place]))
    gap = Gap(int(block.indices[place]), step, feature, float(block.values[row][feature]))
    count = finite.sum(1).astype(np.float64)
    mean = np.where(finite, channels, 0).sum(1) / np.maximum(count, 1)
    squares = np.square(np.where(finite, channels - mean[:, None], 0)).sum(1)
    low, high = np.where(finite, channels, np.inf).min(1), np.where(finite, channels, -np.inf).max(1)
    return ChannelStatistics(count, mean, squares, low, high, len(np.unique(places)), gap)


def _merged(a: ChannelStatistics, b: ChannelStatistics) -> ChannelStatistics:
    count, mean, squares = merge_moments((a.count, a.mean, a.squares), (b.count, b.mean, b.squares))
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    return ChannelStatistics(count, mean, squares, low, high, a.gaps + b.gaps, a.first_gap or b.first_gap)
