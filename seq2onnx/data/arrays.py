"""A data set as plain arrays by name: what its files hold, be they .npz or HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Column
from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.errors import DataError

Array = NDArray[Any]


def to_arrays(data: SequenceDataset, path: str | Path) -> dict[str, Array]:
    """The arrays of a data set of one input.

    values [all steps, features], lengths [sequences]; with targets also targets (a row a sequence, or a row a step and
    target_lengths [sequences]), with labels classes, and ignore where there is such a target.
    """
    if list(data.parts) != [""]:
        raise DataError(f"{path}: a file holds one input, this data set has {', '.join(data.parts)}")
    values = np.concatenate(list(data.parts[""]))
    arrays: dict[str, Array] = {"values": values.astype(np.str_) if values.dtype == object else values}
    arrays["lengths"] = data.lengths
    if data.targets is not None:
        targets: Any = list(data.targets) if data.classes is None else data.labels
        arrays["targets"] = np.concatenate(list(targets)) if data.per_step else np.asarray(targets)
        if data.ignore is not None:
            arrays["ignore"] = np.array(data.ignore)
        if data.per_step:
            arrays["target_lengths"] = np.array([len(row) for row in data.targets], np.int32)
        if data.classes is not None:
            arrays["classes"] = np.array(data.classes)
    return arrays


def from_arrays(arrays: dict[str, Any], path: str | Path) -> SequenceDataset:
    """The data set that `to_arrays` describes. Without target_lengths there is a target for each step, or sequence.

    arrays: their values may be a Column of sequences
    Raises: DataError naming file and array
    """
    for name in ("values", "lengths"):
        if name not in arrays:
            raise DataError(f"{path}: has no array {name!r}, only {sorted(arrays)}; see SequenceDataset.save")
    values = arrays["values"]
    sequences: Any = values
    if isinstance(values, Column):
        steps, cuts = int(values.lengths.sum()), np.cumsum(values.lengths, dtype=np.int64)[:-1]
    else:
        if not values.ndim:
            raise DataError(f"{path}: expected values [all steps, features], got one number")
        steps, cuts = len(values), ends(arrays["lengths"], len(values), f"{path}: expected lengths")[:-1]
        sequences = np.split(values, cuts)
    targets: Any = arrays.get("targets")
    if targets is not None:
        count, rows = len(cuts) + 1, len(targets) if targets.ndim else 0
        if "target_lengths" in arrays:
            targets = np.split(targets, ends(arrays["target_lengths"], rows, f"{path}: expected target_lengths")[:-1])
        elif rows == steps and count != rows:
            targets = np.split(targets, cuts)
        elif rows != count:
            raise DataError(
                f"{path}: expected targets with a row for each of the {count} sequences or each of the "
                f"{steps} steps, got {rows}"
            )
    per_step = None if targets is None else isinstance(targets, list)
    ignore = arrays["ignore"].item() if "ignore" in arrays else None
    classes: Any = arrays.get("classes")
    return SequenceDataset(sequences, targets, classes, ignore=ignore, per_step=per_step)


def ends(lengths: Array, rows: int, expected: str) -> NDArray[np.int64]:
    """Where each sequence ends among all steps, [sequences]; the last ends at `rows`."""
    good = lengths.ndim == 1 and len(lengths) and lengths.dtype.kind in "iu" and lengths.min() >= 0
    if not good or lengths.sum() != rows:
        raise DataError(
            f"{expected} [sequences], one at least, integers that are not negative and add up to {rows}, "
            f"got {lengths.dtype} {list(lengths.shape)}{f' that add up to {lengths.sum()}' if good else ''}"
        )
    return np.cumsum(lengths, dtype=np.int64)
