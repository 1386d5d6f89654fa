"""Long tables: data frames with a row for each step, and a column that tells the sequences apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seq2onnx.data.columns import Indices
from seq2onnx.data.contents import Contents
from seq2onnx.data.stamps import Times
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, check_names, check_rising_index, frame_names, is_frame, positions, read_frame
from seq2onnx.sequences.channels import listed
from seq2onnx.sequences.foreign import is_missing

PER_STEP = "needs the targets of the steps in a column of the frame: targets='column', per_step=True"


def read_long_frame(
    frame: Any, id: str, time: str | None, features: Sequence[str] | None, targets: Any, per_step: bool
) -> Contents:
    """Return the sequences, their targets, the names of the features, ids and times; see SequenceDataset.from_frame."""
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
        if index := [name for name in features if re.fullmatch(r"Unnamed: \d+", name)]:
            raise DataError(
                f"from_frame: the column {index[0]!r} is probably an index that was written to a CSV file; read the "
                f"file with index_col=0, or leave the column out: frame.drop(columns={index[0]!r}). If it is a "
                "feature, name all features: features=[…]"
            )
    chosen = check_names(features, "features")
    if overlap := [name for name in chosen if name in others]:
        raise DataError(f"features: {overlap[0]!r} is the id, the time or the target; leave it out of the features")
    rows, times = _rows_by_id(frame, id, time)
    if time is None:
        check_rising_index(frame, "from_frame", rows.values())
    values = read_frame(frame, chosen, "from_frame")
    sequences = [values[indices] for indices in rows.values()]
    if per_step:
        if not isinstance(targets, str):
            raise DataError(f"targets: per_step=True {PER_STEP}")
        column = np.array(frame[targets].to_list(), object)  # missing values are checked with the targets
        found: Any = [column[indices] for indices in rows.values()]
    elif isinstance(targets, str):
        found = _one_each(_values(frame[targets], f"from_frame, column {targets!r}"), rows, targets)
    else:
        found = None if targets is None else _by_id(targets, rows)
    ids = [str(key) for key in rows]
    return Contents(sequences, found, per_step=per_step, channels=chosen, ids=ids, times=times)


def _rows_by_id(frame: Any, id: str, time: str | None) -> tuple[dict[Any, Indices], Times | None]:
    """Return the rows of each sequence, sorted by time, by id in the order of the frame; and their times."""
    ids = _values(frame[id], f"from_frame, id column {id!r}")
    uniques, first, numbers = np.unique(ids, return_index=True, return_inverse=True)
    order, given, back = np.argsort(numbers, kind="stable"), None, np.zeros(len(uniques), int)
    if time is not None:
        times = _values(frame[time], f"from_frame, time column {time!r}")
        if times.dtype.kind == "U":
            raise DataError(
                f"from_frame, time column {time!r}: holds text such as {str(times[0])!r}, which has no order in time; "
                f"convert it to timestamps, pd.to_datetime(frame[{time!r}]), or to numbers"
            )
        given, times = times, np.unique(times, return_inverse=True)[1] if times.dtype == object else times
        unsorted, of = times[order], numbers[order]
        back = np.bincount(of[1:][(unsorted[1:] < unsorted[:-1]) & (of[1:] == of[:-1])], minlength=len(uniques))
        order = np.lexsort((times, numbers))
        sorted_times, sorted_numbers = times[order], numbers[order]
        same = np.flatnonzero((sorted_times[1:] == sorted_times[:-1]) & (sorted_numbers[1:] == sorted_numbers[:-1]))
        if len(same):
            raise DataError(
                f"from_frame: sequence {ids[order[same[0]]]!s} has several rows with {time} = {sorted_times[same[0]]}; "
                "a sequence has one row for each step"
            )
    parts = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    numbers_in_order = np.argsort(first, kind="stable").tolist()
    rows = {uniques[number]: parts[number] for number in numbers_in_order}
    if time is None or given is None:
        return rows, None
    return rows, Times(time, [given[indices] for indices in rows.values()], back[numbers_in_order].tolist())


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
    if is_frame(targets):
        raise DataError(
            "targets: expected a column of the frame, or a dict or Series by id, got a data frame; make it a Series: "
            'targets.set_index("id")["label"]'
        )
    if hasattr(targets, "to_dict"):
        if not getattr(targets.index, "is_unique", True):
            raise DataError("targets: expected one target for each id, but an id occurs more than once in the index")
        targets = targets.to_dict()
    if not isinstance(targets, Mapping):
        raise DataError(f"targets: expected a column, or a dict or Series by id, got {type(targets).__name__}")
    keys = [key.item() if isinstance(key, np.generic) else key for key in rows]
    if missing := [key for key in keys if key not in targets]:
        raise DataError(f"targets: has no target for {listed([repr(key) for key in missing])}")
    found = [targets[key] for key in keys]
    shapes: list[tuple[int, ...]] = [() if isinstance(target, str) else np.shape(target) for target in found]
    if len(set(shapes)) > 1 or (shapes[0] and all(s[0] == len(rows[key]) for s, key in zip(shapes, rows, strict=True))):
        raise DataError(f"targets: a dict has one target for each id, got several; one for each step {PER_STEP}")
    return found
