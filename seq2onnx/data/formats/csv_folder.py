"""Folders of CSV files: one file for each sequence."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.csv_labels import find_labels, read_labels
from seq2onnx.data.formats.csv_text import WHOLE_NUMBER, CsvTable, as_names, check_features, read_table, target_rows
from seq2onnx.data.formats.folders import files_in, labels_of_folders
from seq2onnx.data.stamps import Times
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, Names, check_names, positions


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
    """Read all .csv files in a folder, in natural order.

    If they are in subfolders, the name of the subfolder is the label, unless `labels` or `targets` are given. See
    `seq2onnx.data.read` for the arguments.
    """
    folder = Path(path)
    labels = None if labels is None else find_labels(labels, folder)
    files = [file for file in files_in(folder, ".csv") if labels is None or not file.samefile(labels)]
    if not files:
        raise DataError(f"{path}: contains no .csv or .wav files; a data folder has one file for each sequence")
    found = read_files(files, folder, features_by_time, channels, time, None if labels else targets, per_step)
    if labels:
        if per_step:
            raise DataError("per_step: a file of labels has one target for each sequence; leave per_step out")
        of_files: Any = read_labels(labels, id or "file", targets, found.ids or [])
    elif id is not None:
        raise DataError(f"{path}: in a folder, id names the column of the file names in labels; leave it out")
    elif targets is not None:
        return found
    else:
        of_files = labels_of_folders(files, folder, ".csv")
    return dataclasses.replace(found, targets=of_files, per_step=False)


def read_files(
    files: Sequence[Path],
    folder: Path,
    features_by_time: bool,
    channels: Sequence[str] | None,
    time: str | None,
    targets: str | Sequence[str] | None,
    per_step: bool,
) -> Contents:
    """Read files with one sequence each; see `seq2onnx.data.read` for the arguments. `folder` contains the files."""
    ids = [file.relative_to(folder).as_posix() for file in files]
    if features_by_time:
        if time or targets or per_step:
            raise DataError("features_by_time: time, targets and per_step name columns, which are steps here")
        tables = [read_table(file) for file in files]
        _warn_of_counted_names(tables)
        return Contents([table.matrix(range(len(table.columns))).T for table in tables], channels=channels, ids=ids)
    known = None if channels is None else check_names(channels, "channels")
    tables = [read_table(file, known) for file in files]
    _warn_of_counted_names(tables)
    target_names = as_names(targets)
    named = [table for table in tables if table.names is not None]
    if named and len(named) < len(tables):
        plain = next(table for table in tables if table.names is None)
        raise DataError(
            f"{plain.path}: has no header, but {named[0].path} has one; write one in every file, or in none"
        )
    others = [name for name in (time, *target_names) if name is not None]
    for table in tables:
        for name in others:
            table.place(name)  # raises if it is missing
    times = None
    if time is not None:
        times = Times(time, [table.sorted_times(time) for table in tables], [0] * len(tables))
    if not named:
        values = [table.matrix(range(len(table.columns))) for table in tables]
    else:
        first = named[0].names or []
        known = known or check_names([name for name in first if name not in others], str(named[0].path))
        check_features(known, others, str(named[0].path))
        values = [table.matrix(_feature_places(table, known, others, channels is None)) for table in tables]
    found = None if not target_names else _targets(tables, target_names, per_step)
    return Contents(values, found, per_step=per_step, channels=known, ids=ids, times=times)


def _warn_of_counted_names(tables: Sequence[CsvTable]) -> None:
    """Warn of a first line 0, 1, 2 …, as pandas writes it for a frame without names, that is read as data."""
    found = [table for table in tables if table.names is None and _begins_with_counted_names(table)]
    if found:
        more = f" (and {len(found) - 1:,} more files)" if len(found) > 1 else ""
        count = sum(column[0] != "" for column in found[0].columns)
        warnings.warn(
            f"{found[0].path}{more}: the first line is 0, 1 … {count - 1}, and it is read as data. Is it the header of "
            "a data frame without names? Write the file with names, frame.columns = […], or without a header: "
            "frame.to_csv(path, header=False, index=False)",
            stacklevel=2,
        )


def _begins_with_counted_names(table: CsvTable) -> bool:
    first = [column[0] for column in table.columns]
    first = first[1:] if first[0] == "" else first  # above the index
    is_counted = len(first) > 1 and first == [str(number) for number in range(len(first))]
    return is_counted and any(not WHOLE_NUMBER.fullmatch(cell) for column in table.columns for cell in column[1:])


def _feature_places(table: CsvTable, channels: Names, others: Names, is_whole: bool) -> list[int]:
    """Return the places of the features; if `is_whole`, raise DataError where there are more."""
    names = table.names or []
    places = positions(names, channels, str(table.path))
    if is_whole and (surplus := [name for name in names if name not in channels and name not in others]):
        raise DataError(
            f"{table.path}: has a column {surplus[0]!r}, which other files lack; choose the columns: channels=[…]"
        )
    return places


def _targets(tables: Sequence[CsvTable], names: Names, per_step: bool) -> Any:
    """Return the targets in columns of the files: of each step, or one for each file."""
    columns = [[cell for table in tables for cell in table.text(name)] for name in names]
    rows = np.split(target_rows(columns, names), np.cumsum([len(table.lines) for table in tables])[:-1])
    return rows if per_step else one_each(rows, [str(table.path) for table in tables], names)


def one_each(rows: Sequence[Array], places: Sequence[str], names: Names) -> Array:
    """Return the target of each sequence, which all its steps must have; an error names its place and the columns."""
    for steps, place in zip(rows, places, strict=True):
        if (steps != steps[0]).any():
            raise DataError(
                f"{place}: has different values in {', '.join(names)}; use per_step=True (--per-step) for a target of "
                "each step"
            )
    return np.array([steps[0] for steps in rows])
