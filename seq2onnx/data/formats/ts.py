""".ts files of the time series archives (timeseriesclassification.com)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.parsing import read_lines
from seq2onnx.errors import DataError


def read(path: str | Path) -> Contents:
    """Read a line for each sequence: features separated by colons, steps by commas, the label last; ? is missing.

    If the line @classLabel lists labels, only these may follow.
    """
    lines = read_lines(path)
    start = next((i for i, line in enumerate(lines, 1) if line.strip().lower() == "@data"), None)
    if start is None:
        raise DataError(f"{path}: has no line @data; is it a .ts file?")
    header = " ".join(lines[:start]).lower()
    if "@timestamps true" in header:
        raise DataError(f"{path}: has time stamps, which are not supported; write the file without them")
    is_number = "@targetlabel true" in header
    has_label = is_number or "@classlabel true" in header
    known = next((line.split()[2:] for line in lines[:start] if line.lower().startswith("@classlabel true")), [])
    sequences: list[NDArray[np.float32]] = []
    targets: list[str] = []
    for number, line in enumerate(lines[start:], start + 1):
        if not line.strip():
            continue
        columns = line.strip().split(":")
        if has_label:
            targets.append(columns.pop().strip())
            if known and targets[-1] not in known:
                raise DataError(
                    f"{path}, line {number}: label {targets[-1]!r:.40} is not among those of the line @classLabel, "
                    f"{', '.join(known):.200}"
                )
        try:
            features = [[np.nan if v.strip() == "?" else float(v) for v in column.split(",")] for column in columns]
            if is_number:
                float(targets[-1])
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if len({len(column) for column in features}) != 1:
            raise DataError(f"{path}, line {number}: features have {sorted({len(c) for c in features})} steps")
        with np.errstate(over="ignore"):
            sequences.append(np.array(features, np.float32).T)
    return Contents(sequences, (np.array(targets, float) if is_number else targets) if has_label else None)
