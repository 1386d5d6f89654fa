"""Single CSV files: a long table of several sequences, or one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.csv_folder import one_each, read_files
from seq2onnx.data.formats.csv_labels import find_labels, read_labels
from seq2onnx.data.formats.csv_text import CsvTable, as_names, check_features, read_table, target_rows
from seq2onnx.data.stamps import Times
from seq2onnx.errors import DataError
from seq2onnx.sequences import check_names, positions


def read(
    path: str | Path,
    *,
    features_by_time: bool = False,
    channels: Sequence[str] | None = None,
    time: str | None = None,
    targets: str | Sequence[str] | None = None,
    labels: str | Path | None = None,
    id: str | None = None,
    per_step: bool = False,
) -> Contents:
    """Read a table with a line for each step; see `seq2onnx.data.read` for the arguments.

    Without `id`, the file is one sequence.
    """
    path = Path(path)
    if labels is not None and id is None:
        raise DataError(f"{path}: labels need the column that tells the sequences apart: id=NAME")
    if id is None:
        return read_files([path], path.parent, features_by_time, channels, time, targets, per_step)
    if features_by_time or (labels and per_step):
        given = "features_by_time" if features_by_time else "per_step"
        raise DataError(f"{path}: {given} does not apply to a table with id={'' if labels is None else ' and labels'}")
    table = read_table(path, [id])
    rows, times = _rows_by_id(table, id, time)
    target_names = as_names(None if labels else targets)
    others = [id, *([time] if time else []), *target_names]
    if channels is None:
        channels = [name for name in table.names or [] if name not in others]
    names = check_names(channels, "channels")
    places = positions(table.names or [], names, str(path))
    check_features(names, others, str(path))
    values = table.matrix(places)
    found: Any = None
    if labels:
        found = read_labels(find_labels(labels, path), id, targets, list(rows))
    elif target_names:
        column = target_rows([table.text(name) for name in target_names], target_names)
        steps = [column[indices] for indices in rows.values()]
        found = steps if per_step else one_each(steps, [f"{path}, {id} {key}" for key in rows], target_names)
    sequences = [values[indices] for indices in rows.values()]
    return Contents(sequences, found, per_step=per_step, channels=names, ids=list(rows), times=times)


def _rows_by_id(table: CsvTable, id: str, time: str | None) -> tuple[dict[str, list[int]], Times | None]:
    """Return the rows of each sequence, sorted by time, by id in the order of the file; and their times."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(table.text(id)):
        rows.setdefault(key, []).append(row)
    if time is None:
        return rows, None
    times, back = table.times(time), []
    for key, found in rows.items():
        given = times[found]
        order = np.argsort(given, kind="stable")
        back.append(int((given[1:] < given[:-1]).sum()))
        found[:] = np.array(found)[order].tolist()
        ordered = given[order]
        if (same := np.flatnonzero(ordered[1:] == ordered[:-1])).size:
            raise DataError(
                f"{table.path}: {id} {key} has several lines with {time} = {table.text(time)[found[same[0]]]}; a "
                "sequence has one line for each step"
            )
    return rows, Times(time, [times[found] for found in rows.values()], back)
