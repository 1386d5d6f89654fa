"""Long tables: data frames with a row for each step, and a column that tells the sequences apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seq2onnx.data.columns import Indices
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, Names, check_names, frame_names, is_frame, positions, read_frame
from seq2onnx.sequences.channels import listed
from seq2onnx.sequences.foreign import is_missing


def read_long_frame(
    frame: Any, id: str, time: str | None, features: Sequence[str] | None, targets: Any, per_step: bool
) -> tuple[list[Array], Any, Names, Names]:
    """Return the sequences, their targets, the names of the features, and the ids; see SequenceDataset.from_frame."""
    if not is_frame(frame):
        raise DataError(f"from_frame: expected a data frame of pandas or polars, got {type(frame).__name__}")
    names = frame_names(frame, "from_frame") or []
    by_column = targets is None or isinstance(targets, str)
    others = [name for name in (id, time, targets if by_column else None) if name is not None]
    if odd := [name for name in others if not isinstance(name, str)]:
        raise DataError(f"from_frame: expected the name of one column, got {odd[0]!r}")
    if id not in names and id in (getattr(getattr(frame, "index", None), "names", None) or []):
        raise DataError(f"from_frame: {id!r} is in the index of the frame; make it a column: frame.reset_index()")
    positions(names, others, "from_frame")
    if features is None:
        features = [name for name in names if name not in others]
    chosen = check_names(features, "features")
    if overlap := [name for name in chosen if name in others]:
        raise DataError(f"features: {overlap[0]!r} is the id, the time or the target; leave it out of the features")
    rows = _rows_by_id(frame, id, time)
    values = read_frame(frame, chosen, "from_frame")
    sequences = [values[indices] for indices in rows.values()]
    if per_step:
        if not isinstance(targets, str):
            raise DataError("targets: per_step=True needs the name of a column with a target in each row")
        column = np.array(frame[targets].to_list(), object)  # missing values are checked with the targets
        found: Any = [column[indices] for indices in rows.values()]
    elif isinstance(targets, str):
        found = _one_each(_values(frame[targets], f"from_frame, column {targets!r}"), rows, targets)
    else:
        found = None if targets is None else _by_id(targets, rows)
    return sequences, found, chosen, [str(key) for key in rows]


def _rows_by_id(frame: Any, id: str, time: str | None) -> dict[Any, Indices]:
    """Return the rows of each sequence, in the order of their time, by id in the order of the frame."""
    ids = _values(frame[id], f"from_frame, id column {id!r}")
    uniques, first, numbers = np.unique(ids, return_index=True, return_inverse=True)
    if time is None:
        order = np.argsort(numbers, kind="stable")
    else:
        times = _values(frame[time], f"from_frame, time column {time!r}")
        if times.dtype.kind == "U":
            raise DataError(
                f"from_frame, time column {time!r}: holds text such as {str(times[0])!r}, which has no order in time; "
                "convert it to numbers or timestamps"
            )
        times = np.unique(times, return_inverse=True)[1] if times.dtype == object else times
        order = np.lexsort((times, numbers))
        sorted_times, sorted_numbers = times[order], numbers[order]
        same = np.flatnonzero((sorted_times[1:] == sorted_times[:-1]) & (sorted_numbers[1:] == sorted_numbers[:-1]))
        if len(same):
            raise DataError(
                f"from_frame: sequence {ids[order[same[0]]]!s} has several rows with {time} = {sorted_times[same[0]]}; "
                "a sequence has one row for each step"
            )
    parts = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    return {uniques[number]: parts[number] for number in np.argsort(first, kind="stable").tolist()}


def _values(column: Any, where: str) -> Array:
    """Return a column as an array of numbers, strings or times without missing values."""
    items = column.to_list()
    if missing := [row for row, item in enumerate(items) if is_missing(item)]:
        raise DataError(f"{where}: row {missing[0]} has no value; remove the row or fill the gap")
    array = np.asarray(column.to_numpy())
    if array.dtype != object:
        return array
    kinds = {type(item) for item in items}
    if len(kinds) > 1 and not kinds <= {int, float, bool}:
        raise DataError(f"{where}: expected values of one type, got {', '.join(sorted(k.__name__ for k in kinds))}")
    found = np.array(items)  # strings become comparable; others, such as times with a time zone, are so as objects
    return found if found.ndim == 1 else array


def _one_each(column: Array, rows: Mapping[Any, Indices], name: str) -> Array:
    """Return the target of each sequence, which all its rows must have."""
    for key, indices in rows.items():
        if (column[indices] != column[indices[0]]).any():
            raise DataError(
                f"targets: sequence {key!s} has different values in {name!r}; give per_step=True for a target in each "
                "step, or targets by id: a dict or Series"
            )
    return column[[indices[0] for indices in rows.values()]]


def _by_id(targets: Any, rows: Mapping[Any, Indices]) -> list[Any]:
    """Look up the target of each sequence in a mapping, or in a pandas Series whose index has the ids."""
    if hasattr(targets, "to_dict"):
        if not getattr(targets.index, "is_unique", True):
            raise DataError("targets: expected one target for each id, but an id occurs more than once in the index")
        targets = targets.to_dict()
    if not isinstance(targets, Mapping):
        raise DataError(f"targets: expected a column, or a dict or Series by id, got {type(targets).__name__}")
    keys = [key.item() if isinstance(key, np.generic) else key for key in rows]
    if missing := [key for key in keys if key not in targets]:
        raise DataError(f"targets: has no target for {listed([repr(key) for key in missing])}")
    return [targets[key] for key in keys]
