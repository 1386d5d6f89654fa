"""Folders of CSV files: one file for each sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.contents import Contents
from seq2onnx.errors import DataError


def read(path: str | Path, *, features_by_time: bool = False) -> Contents:
    """Read all .csv files in a folder; where they lie in folders of their own, the folder is the label."""
    files = sorted(Path(path).rglob("*.csv"))
    if not files:
        raise DataError(f"{path}: holds no .csv files; a folder is read as CSV files, one for each sequence")
    labels = [file.parent.relative_to(path).as_posix() for file in files]
    if "." in labels and len(set(labels)) > 1:
        raise DataError(f"{path}: has .csv files beside folders of them; a file's folder is its label, or none has one")
    sequences = [_read_csv(file) for file in files]
    if features_by_time:
        sequences = [sequence.T for sequence in sequences]
    return Contents(sequences, None if "." in labels else labels)


def _read_csv(path: Path) -> NDArray[np.float32]:
    """Read lines of numbers. A first line of names is skipped, and an empty field is a missing value."""
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        fields = line.split(",")  # quotes are kept, so that a header "0","1" is not taken for numbers
        try:
            row = [float(field) if field.strip() else np.nan for field in fields]
        except ValueError as error:
            if number == 1 and not any(map(_is_number, fields)):
                continue
            raise DataError(f"{where}: {error}; a first line of names has no numbers in it") from None
        if rows and len(row) != len(rows[0]):
            raise DataError(f"{where}: expected {len(rows[0])} numbers as in the first line, got {len(row)}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: has no numbers in it")
    return np.array(rows, np.float32)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
