"""Resampling: sequences with time stamps get one rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError
from seq2onnx.sequences import Array

MOST_NEW_STEPS, MOST_STEPS_PER_STAMP = 10**7, 1000
"""Resampling to more steps than both is refused: a wrong date would fill the memory."""
_ROUNDING = 1e-6
"""Parts of a step by which stamps and steps may differ and still be at the same time."""


def step_count(seconds: NDArray[np.float64], rate: float, where: str, trusted: bool) -> int:
    """Return how many steps a sequence has at a rate, from its first stamp to its last; raise DataError if too many."""
    count = int((seconds[-1] - seconds[0]) * rate + _ROUNDING) + 1
    if not trusted and count > max(MOST_NEW_STEPS, MOST_STEPS_PER_STAMP * len(seconds)):
        raise DataError(
            f"rate: {where} would have {count:,} steps at {rate:g} Hz instead of {len(seconds):,}, as its time stamps "
            f"reach over {seconds[-1] - seconds[0]:,.0f} s. Check their unit, and remove wrong dates; trusted=True "
            "lifts this limit"
        )
    return count


def resample(
    values: Array, seconds: NDArray[np.float64], count: int, rate: float, max_gap: float | None
) -> NDArray[np.float64]:
    """Return a sequence at `count` steps of a rate: on lines between the values, each channel by itself.

    Args:
        values: the sequence [time, channels]; NaN where a value is missing.
        seconds: the time [time] of each step since the first, which never goes back. Of equal ones the last counts.
        count: the steps of the result.
        rate: its steps per second.
        max_gap: between values that are further apart, in seconds, the result is NaN. None: no gap is too long.
    """
    steps = np.arange(count) / rate
    found = np.empty((count, values.shape[1]))
    is_there = np.isfinite(values)
    for channel in range(values.shape[1]):
        there = is_there[:, channel]
        times, numbers = (seconds, values[:, channel]) if there.all() else (seconds[there], values[there, channel])
        if not len(times):
            found[:, channel] = np.nan
            continue
        # The last step may be beyond the last stamp, by rounding.
        ends = [times[0] - _ROUNDING / rate, times[-1] + _ROUNDING / rate]
        line = np.interp(steps, times, numbers)
        line[(steps < ends[0]) | (steps > ends[1])] = np.nan
        if max_gap is not None:
            line[_in_gaps(times, count, rate, max_gap)] = np.nan
        found[:, channel] = line
    return found


def earlier(seconds: NDArray[np.float64], count: int, rate: float) -> NDArray[np.intp]:
    """Return the place of the nearest earlier stamp for each step of a rate."""
    return np.searchsorted(seconds, (np.arange(count) + _ROUNDING) / rate, "right") - 1


def _in_gaps(times: NDArray[np.float64], count: int, rate: float, max_gap: float) -> NDArray[np.bool_]:
    """Return which steps are between two stamps that are further apart than `max_gap`."""
    long = np.flatnonzero(np.diff(times) > max_gap + _ROUNDING / rate)
    edges = np.zeros(count + 1, np.intp)
    np.add.at(edges, np.floor(times[long] * rate + _ROUNDING).astype(np.intp) + 1, 1)
    np.add.at(edges, np.ceil(times[long + 1] * rate - _ROUNDING).astype(np.intp), -1)
    return np.cumsum(edges[:-1]) > 0
