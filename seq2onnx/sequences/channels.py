"""Channels: the names of the features, and how data frames and arrays are read by these names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError
from seq2onnx.sequences.foreign import column_numbers, row_names
from seq2onnx.texts import unfit_text

Names = list[str]
Channels = Sequence[str] | Mapping[str, Sequence[str] | None] | None
"""The names of the features: a list, or for several inputs a dict by input layer. None: there are no names."""


def is_frame(value: Any) -> TypeGuard[Any]:
    """Return whether a value is a data frame of pandas or polars."""
    return hasattr(value, "to_numpy") and hasattr(value, "columns")


def by_names(row: Any, channels: Sequence[str], where: str) -> list[Any]:
    """Return the values of a row that has names, see `row_names`, in the order of the channels."""
    values = list(row)
    return [values[place] for place in positions(row_names(row) or [], channels, where)]


def frame_names(frame: Any, where: str) -> Names | None:
    """Return the names of the columns of a data frame; None if they are only counted from 0."""
    names = list(frame.columns)
    if names == list(range(len(names))):
        return None
    if odd := [name for name in names if not isinstance(name, str)]:
        raise DataError(
            f"{where}: expected column names that are strings, got {odd[0]!r}; rename the columns, for example "
            "frame.columns = [str(name) for name in frame.columns], or give them by position: frame.to_numpy()"
        )
    return names


def check_names(names: Iterable[Any], where: str, size: int | None = None) -> Names:
    """Return the names of channels as a list.

    Raises:
        DataError: a name is no string, has control characters, or is there twice; or their number differs from `size`.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise DataError(f"{where}: expected a list of names, got {names!r:.60}")
    found = list(names)
    for name in found:
        if not isinstance(name, str):
            raise DataError(f"{where}: names of channels must be strings, got {name!r:.60}")
    if repeated := [name for name, count in Counter(found).items() if count > 1]:
        raise DataError(f"{where}: names of channels must differ, got {repeated[0]!r} twice")
    if wrong := unfit_text(found):
        raise DataError(f"{where}: {wrong}; rename it")
    if size is not None and len(found) != size:
        raise DataError(f"{where}: expected a name for each of the {size} channels, got {len(found)}: {listed(found)}")
    return [str(name) for name in found]  # numpy's strings cannot be written to YAML


def positions(given: Sequence[str], wanted: Sequence[str], where: str) -> list[int]:
    """Return the place in `given` of each wanted name, which must be there once. Other names in `given` are ignored."""
    counts = Counter(given)
    if missing := [name for name in wanted if not counts[name]]:
        raise DataError(f"{where}: has no {listed(missing)}; its columns are {listed(given)}")
    if repeated := [name for name in wanted if counts[name] > 1]:
        raise DataError(f"{where}: has several columns {repeated[0]!r}; rename or remove one")
    place = {name: index for index, name in enumerate(given)}
    return [place[name] for name in wanted]


def read_frame(frame: Any, channels: Sequence[str] | None, where: str) -> NDArray[np.floating[Any]]:
    """Return columns of a data frame of pandas or polars as floats [time, channels]; missing values become NaN.

    Other columns than `channels` are ignored; None: all columns.
    """
    given = frame_names(frame, where)
    names = list(frame.columns) if given is None or channels is None else list(channels)
    positions(list(frame.columns), names, where)
    if not names:
        raise DataError(f"{where}: expected a data frame with at least one column of numbers, got none")
    return np.column_stack([column_numbers(frame[name], f"{where}, column {name!r}") for name in names])


def check_rising_index(frame: Any, where: str, rows: Iterable[NDArray[Any]] | None = None) -> None:
    """Raise DataError if the index of a data frame of pandas is times that go back.

    Args:
        frame: the frame, of one sequence.
        where: begins the error message.
        rows: the rows of each sequence, if it has several.
    """
    index: Any = getattr(frame, "index", None)
    if type(index).__name__ != "DatetimeIndex":
        return
    times = np.asarray(index.astype("int64"))
    for chosen in [np.arange(len(times))] if rows is None else rows:
        if (back := np.flatnonzero(times[chosen][1:] < times[chosen][:-1])).size:
            before, after = index[chosen[back[0]]], index[chosen[back[0] + 1]]
            raise DataError(
                f"{where}: the time {after} in the index comes after {before}; sort the rows: frame.sort_index()"
            )


def listed(names: Sequence[Any], limit: int = 12) -> str:
    """Return names for an error message, at most `limit` of them."""
    shown = ", ".join(map(str, names[:limit]))
    return shown if len(names) <= limit else f"{shown}, … ({len(names)} in all)"
