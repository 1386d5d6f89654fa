"""Padded arrays with lengths, as the sequences that they contain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import Array


def cut_padding(sequences: Any, targets: Any, lengths: Any, per_step: bool | None) -> tuple[Any, Any]:
    """Return padded sequences, and padded targets of their steps, as lists of arrays without the padding.

    Args:
        sequences: [n, time, …], or for several inputs a dict of these and of vectors [n, size].
        targets: targets of sequences, which stay as they are, or of steps [n, time] or [n, time, k].
        lengths: the steps of each sequence, [n].
        per_step: whether the targets are those of steps. None: if they are labels [n, time], or [n, time, k].

    Raises:
        DataError: the lengths do not fit.
        ShapeError: the sequences are no arrays with time.
    """
    steps = np.asarray(lengths)
    if steps.ndim != 1 or steps.dtype.kind not in "iu":
        raise DataError(f"lengths: expected a whole number for each sequence, got {steps.dtype} {list(steps.shape)}")
    named = sequences if isinstance(sequences, Mapping) else {"": sequences}
    cut: dict[str, Any] = {}
    for name, values in named.items():
        array = _as_array(values)
        if array.ndim > 1 and len(array) != len(steps):
            raise DataError(f"lengths: expected one for each of {len(array)} sequences, got {len(steps)}")
        if array.ndim < 2 or (not name and array.ndim < 3 and array.dtype.kind == "f"):
            raise ShapeError(
                f"{name or 'sequences'}: with lengths, expected one array [sequences, time, features], got "
                f"{list(array.shape)}; without lengths give a list of arrays"
            )
        cut[name] = _cut(array, steps, name or "sequences") if array.ndim > 2 or array.dtype.kind in "iu" else array
    if targets is not None:
        rows = _as_array(targets)
        of_steps = rows.ndim > 1 and (rows.ndim == 3 or rows.dtype.kind in "iubU") if per_step is None else per_step
        if of_steps and rows.ndim > 1:
            targets = _cut(rows, steps, "targets")
    return cut if isinstance(sequences, Mapping) else cut[""], targets


def _as_array(values: Any) -> Array:
    """Return an array, or a torch tensor, as an array."""
    found: Array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    return found


def _cut(array: Array, lengths: NDArray[np.integer[Any]], where: str) -> list[Array]:
    """Return the first steps of each row."""
    wrong = np.flatnonzero((lengths < 0) | (lengths > array.shape[1]))
    if len(wrong):
        raise DataError(
            f"lengths: sequence {wrong[0]} has {lengths[wrong[0]]} steps, but {where} {list(array.shape)} has "
            f"{array.shape[1]}"
        )
    return [row[:length] for row, length in zip(array, lengths.tolist(), strict=True)]
