"""Time stamps: when the steps of the sequences were taken."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.sequences import Array

_UNITS = {
    1e-9: ("ns", "nanosecond", "nanoseconds"),
    1e-6: ("us", "µs", "microsecond", "microseconds"),
    1e-3: ("ms", "msec", "millis", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("min", "minute", "minutes"),
    3600.0: ("hour", "hours"),
    86400.0: ("day", "days"),
}
UNIT_OF_WORD = {word: unit for unit, words in _UNITS.items() for word in words}
_EPOCH = {1.0: "seconds", 1e-3: "milliseconds", 1e-6: "microseconds", 1e-9: "nanoseconds"}
_FIRST_EPOCH, _LAST_EPOCH = 9e8, 5e9
"""Seconds since 1970 of the years 1998 to 2128: a number in this range, in some unit, is taken for a date."""


@dataclasses.dataclass(frozen=True)
class Times:
    """The time stamps of sequences, as a format reads them.

    Attributes:
        column: the name of their column.
        values: the stamps [time] of each sequence, in rising order: numbers, datetime64 or objects.
        back: how many stamps of each sequence went back in the file, before its rows were sorted.
    """

    column: str
    values: list[Array]
    back: list[int]


@dataclasses.dataclass(frozen=True)
class Stamps:
    """The time stamps of one sequence.

    Attributes:
        seconds: since the first stamp [time].
        unit: the seconds of a 1 where the stamps are numbers of a unit that is known. None: they are dates, or numbers
            of no known unit, which are taken for seconds.
        is_known: whether the unit is known: not if numbers say nothing.
    """

    seconds: NDArray[np.float64]
    unit: float | None
    is_known: bool


def stamps(values: Array, column: str) -> Stamps:
    """Convert time stamps to seconds since the first; the name of their column, such as time_ms, may have the unit."""
    if values.dtype.kind in "Mm":
        return Stamps((values - values[:1]).astype("timedelta64[ns]").astype(np.float64) / 1e9, None, True)
    if values.dtype == object:
        seconds = np.array([_seconds(item) for item in values.tolist()])
        return Stamps(seconds - seconds[:1], None, True)
    unit = _unit(values, column)
    return Stamps((values - values[:1]).astype(np.float64) * (unit or 1), unit, unit is not None)


def unit_name(unit: float) -> str:
    """Return the name of a unit of time."""
    return _UNITS[unit][-1]


def _unit(values: Array, column: str) -> float | None:
    """Return the seconds of a 1: as the name of the column says, or as dates since 1970 show by their size."""
    words = re.findall(r"[a-zµ]+", column.lower())
    if words and (unit := UNIT_OF_WORD.get(words[-1])):
        return unit
    ends = values[[0, -1]].astype(np.float64)
    return next((u for u in _EPOCH if (ends * u > _FIRST_EPOCH).all() and (ends * u < _LAST_EPOCH).all()), None)


def _seconds(item: Any) -> float:
    """Return a date or time of Python or pandas as seconds, from a start that all items of its type share."""
    if isinstance(item, datetime.datetime):
        return item.timestamp()
    if isinstance(item, datetime.timedelta):
        return item.total_seconds()
    if isinstance(item, datetime.time):
        item = datetime.datetime.combine(datetime.date.min, item)
        return float((item - datetime.datetime.min).total_seconds())
    return float(item.toordinal() * 86400) if isinstance(item, datetime.date) else float(item)
