"""Reading data sets from files and folders, by what they are: .npz, .h5, .mat, .ts, and folders of CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.data.hdf5 import read_hdf5
from seq2onnx.data.matlab import read_mat
from seq2onnx.data.npz import load_npz
from seq2onnx.data.parquet import read_parquet
from seq2onnx.errors import DataError


def read(
    path: str | Path,
    *,
    sequences: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    targets: str | None = None,
    features_by_time: bool = False,
) -> SequenceDataset:
    """The data set at a path.

    Args:
        path: a .parquet file with list columns (`read_parquet`), an .npz that `SequenceDataset.save` describes, an .h5
            or .hdf5 file of the same arrays (`write_hdf5`), a .mat file with a cell array of matrices (`read_mat`), a
            .ts file of the time series archives, or a folder of CSV files, a sequence each, with a line a step and
            perhaps a header; where they lie in folders of their own, the name of the folder is the label
        sequences, targets: which variables of a .mat file or columns of a .parquet file, where that needs to be said;
            targets="" takes none
        features_by_time: matrices of a .mat file, and CSV files, have a row a feature and not a row a step
    Raises: DataError naming file and line, OSError where it cannot be read
    """
    path = Path(path)
    if path.suffix == ".mat":
        if not isinstance(sequences, str | None):
            raise DataError(f"{path}: sequences is the name of one variable in a .mat file, got {list(sequences)}")
        return read_mat(path, features_by_time=features_by_time, sequences=sequences, targets=targets)
    if path.suffix == ".parquet":
        return read_parquet(path, sequences, targets)
    if sequences is not None or targets is not None:
        raise DataError(f"{path}: sequences and targets are names in a .mat or .parquet file, and this is none")
    if path.is_dir():
        return _read_folder(path, features_by_time)
    if path.suffix == ".npz":
        return load_npz(path)
    if path.suffix in (".h5", ".hdf5"):
        return read_hdf5(path)
    if path.suffix == ".ts":
        return read_ts(path)
    raise DataError(
        f"{path}: data is read from .parquet, .npz, .h5, .mat and .ts files and from folders of CSV files, "
        f"got {path.suffix!r}"
    )


def read_ts(path: str | Path) -> SequenceDataset:
    """A .ts file: features separated by colons, steps by commas, the label last; ? is a value that is missing."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    start = next((i for i, line in enumerate(lines, 1) if line.strip().lower() == "@data"), None)
    if start is None:
        raise DataError(f"{path}: has no line @data; is it a .ts file?")
    header = " ".join(lines[:start]).lower()
    has_label = "@classlabel true" in header or "@targetlabel true" in header
    is_number = "@targetlabel true" in header
    if "@timestamps true" in header:
        raise DataError(f"{path}: has time stamps, which are not read; write it without")
    sequences: list[NDArray[np.float32]] = []
    targets: list[str] = []
    for number, line in enumerate(lines[start:], start + 1):
        if not line.strip():
            continue
        *columns, target = line.strip().split(":") if has_label else [*line.strip().split(":"), ""]
        try:
            features = [[np.nan if v.strip() == "?" else float(v) for v in column.split(",")] for column in columns]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if len({len(column) for column in features}) != 1:
            raise DataError(f"{path}, line {number}: features have {sorted({len(c) for c in features})} steps")
        sequences.append(np.array(features, np.float32).T)
        targets.append(target)
    if not has_label:
        return SequenceDataset(sequences)
    return SequenceDataset(sequences, np.array(targets, float) if is_number else targets)


def _read_folder(folder: Path, features_by_time: bool) -> SequenceDataset:
    files = sorted(folder.rglob("*.csv"))
    if not files:
        raise DataError(f"{folder}: holds no .csv files")
    labels = [file.parent.relative_to(folder).as_posix() for file in files]
    if "." in labels and len(set(labels)) > 1:
        raise DataError(
            f"{folder}: has .csv files beside folders of them; a file's folder is its label, or none has one"
        )
    sequences = [_read_csv(file) for file in files]
    if features_by_time:
        sequences = [sequence.T for sequence in sequences]
    return SequenceDataset(sequences, None if "." in labels else labels)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _read_csv(path: Path) -> NDArray[np.float32]:
    """Lines of numbers, the first perhaps with names alone; an empty field is a value that is missing."""
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(field) if field.strip() else np.nan for field in line.split(",")]
        except ValueError as error:
            if number == 1 and not any(map(_is_number, line.split(","))):
                continue
            raise DataError(f"{path}, line {number}: {error}; a first line of names has no numbers in it") from None
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{path}, line {number}: expected {len(rows[0])} numbers as in the first line, got {len(row)}"
            )
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: has no numbers in it")
    return np.array(rows, np.float32)
