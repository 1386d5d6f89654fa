"""Folders of CSV files: one file for each sequence."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.contents import Contents
from seq2onnx.errors import DataError


def read(path: str | Path, *, features_by_time: bool = False) -> Contents:
    """Read all .csv files in a folder. If they are in subfolders, the name of the subfolder is the label."""
    files = sorted(Path(path).rglob("*.csv"))
    if not files:
        raise DataError(f"{path}: contains no .csv files; a data folder has one CSV file for each sequence")
    labels = [file.parent.relative_to(path).as_posix() for file in files]
    if "." in labels and len(set(labels)) > 1:
        raise DataError(
            f"{path}: has .csv files both directly and in subfolders; sort all of them into "
            "subfolders (their labels), or none"
        )
    sequences = [_read_csv(file) for file in files]
    if features_by_time:
        sequences = [sequence.T for sequence in sequences]
    return Contents(sequences, None if "." in labels else labels)


def _read_csv(path: Path) -> NDArray[np.float32]:
    """Read lines of numbers. A first line of names is skipped, and an empty field is a missing value."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows: list[list[float]] = []
    try:
        # Quotes are kept, so that a header "0","1" is not taken for numbers.
        table = list(csv.reader(lines, quoting=csv.QUOTE_NONE))
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from None
    for number, fields in enumerate(table, 1):
        where = f"{path}, line {number}"
        if len(fields) < 2 and not "".join(fields).strip():
            continue
        try:
            row = [float(field) if field.strip() else np.nan for field in fields]
        except ValueError as error:
            if number == 1 and not any(map(_is_number, fields)):
                continue
            raise DataError(f"{where}: {error}; a header line must contain only names") from None
        if rows and len(row) != len(rows[0]):
            raise DataError(f"{where}: expected {len(rows[0])} numbers as in the first line, got {len(row)}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: contains no numbers")
    return np.array(rows, np.float32)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
