"""Padded arrays with lengths, as the sequences that they contain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import as_array, as_list


def cut_padding(sequences: Any, targets: Any, lengths: Any, per_step: bool | None) -> tuple[Any, Any]:
    """Return padded sequences, and padded targets of their steps, as lists of arrays without the padding.

    Args:
        sequences: [n, time, …] or a list of n [time, …]; for several inputs a dict of these and of vectors [n, size].
        targets: targets of sequences, which stay as they are, or of steps [n, time] or [n, time, k].
        lengths: the steps of each sequence, [n].
        per_step: whether the targets are those of steps. None: if they are labels [n, time], or [n, time, k].
    """
    steps = as_array(lengths, "lengths")
    if steps.ndim != 1 or steps.dtype.kind not in "iu":
        raise DataError(f"lengths: expected a whole number for each sequence, got {steps.dtype} {list(steps.shape)}")
    named = sequences if isinstance(sequences, Mapping) else {"": sequences}
    cut = {name: _cut_input(values, steps, name) for name, values in named.items()}
    if isinstance(targets, list | tuple) and len({len(row) if np.ndim(row) else 0 for row in targets}) == 1:
        targets = as_array(targets, "targets")  # rows of one length may be padded
    if getattr(targets, "ndim", 0) > 1 and per_step is not False:
        rows = as_array(targets, "targets")
        width = {int(array.shape[1]) for array in named.values() if getattr(array, "ndim", 0) > 2}
        if per_step is None and rows.ndim == 2 and rows.dtype.kind == "f" and rows.shape[1] in width:
            raise DataError(
                f"targets: {list(rows.shape)} may be a number for each step, then give per_step=True, or a vector for "
                "each sequence, then give per_step=False"
            )
        if per_step or rows.ndim == 3 or rows.dtype.kind in "iubU":
            targets = _cut(rows, steps, "targets")
    return cut if isinstance(sequences, Mapping) else cut[""], targets


def _cut_input(values: Any, steps: NDArray[np.integer[Any]], name: str) -> Any:
    """Cut the sequences of one input: one array, or a list of arrays or data frames."""
    where = name or "sequences"
    is_list = not hasattr(values, "ndim") or str(values.dtype) == "object"
    array: Any = as_list(values) if is_list else as_array(values, where)
    if len(array) != len(steps):
        raise DataError(f"lengths: expected one for each of {len(array)} sequences, got {len(steps)}")
    if is_list:
        return _cut(array, steps, where)
    if array.ndim < 2 or (not name and array.ndim < 3 and array.dtype.kind == "f"):
        raise ShapeError(
            f"{where}: with lengths, expected one array [sequences, time, features], got {list(array.shape)}; "
            "without lengths give a list of arrays"
        )
    return _cut(array, steps, where) if array.ndim > 2 or array.dtype.kind in "iu" else array


def _cut(rows: Any, lengths: NDArray[np.integer[Any]], where: str) -> list[Any]:
    for index, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
        if not 0 <= length <= len(row):
            raise DataError(f"lengths: sequence {index} has {length} steps, but {where} has {len(row)} there")
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]
