"""The array layout that .npz and HDF5 files share, for a data set of one input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Column
from seq2onnx.data.contents import Contents
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array

NAMES = ("values", "lengths", "targets", "target_lengths", "classes", "ignore", "channels", "ids", "sample_rate")


def to_arrays(contents: Contents, path: str | Path) -> dict[str, Array]:
    """Return the arrays of a data set of one input; raise DataError, which names `path`, if there are several.

    They are values [all steps, features] and lengths [sequences]; with targets also targets (a row for each sequence,
    or a row for each step and target_lengths [sequences]), with labels classes, and ignore where a target is ignored;
    channels [features] and ids [sequences] where there are such names, and sample_rate where it is known.
    """
    if list(contents.sequences) != [""]:
        raise DataError(f"{path}: this format stores one input, but the data set has {', '.join(contents.sequences)}")
    column, targets = contents.sequences[""], contents.targets
    values = np.concatenate(list(column))
    arrays: dict[str, Array] = {"values": values.astype(np.str_) if values.dtype == object else values}
    arrays["lengths"] = column.lengths
    if targets is not None:
        rows = list(targets)
        arrays["targets"] = np.concatenate(rows) if contents.per_step else np.asarray(rows)
        if contents.ignore is not None:
            arrays["ignore"] = np.array(contents.ignore)
        if contents.per_step:
            arrays["target_lengths"] = np.array([len(row) for row in rows], np.int32)
        if contents.classes is not None:
            arrays["classes"] = np.array(contents.classes)
    for name, given in (("channels", contents.channels), ("ids", contents.ids)):
        if given is not None:
            arrays[name] = np.array(list(given), np.str_)
    if contents.sample_rate is not None:
        arrays["sample_rate"] = np.array(float(contents.sample_rate))
    return arrays


def from_arrays(arrays: dict[str, Any], path: str | Path) -> Contents:
    """Return the data set that is stored in arrays: the inverse of `to_arrays`. A DataError names `path` and the array.

    Values may be a Column of sequences. Without target_lengths, the number of targets says whether there is one for
    each step or for each sequence.
    """
    for name in ("values", "lengths"):
        if name not in arrays:
            raise DataError(f"{path}: has no array {name!r}, only {sorted(arrays)}; see SequenceDataset.save")
    values: Any = arrays["values"]
    if not isinstance(values, Column) and not values.ndim:
        raise DataError(f"{path}: expected values [all steps, features], got one number")
    steps = int(values.lengths.sum()) if isinstance(values, Column) else len(values)
    cuts = sequence_ends(arrays["lengths"], steps, f"{path}: expected lengths")[:-1]
    sequences = values if isinstance(values, Column) else np.split(values, cuts)
    targets: Any = arrays.get("targets")
    if targets is not None:
        count, rows = len(cuts) + 1, len(targets) if targets.ndim else 0
        if "target_lengths" in arrays:
            target_ends = sequence_ends(arrays["target_lengths"], rows, f"{path}: expected target_lengths")
            targets = np.split(targets, target_ends[:-1])
        elif rows == steps and count != rows:
            targets = np.split(targets, cuts)
        elif rows != count:
            raise DataError(
                f"{path}: expected targets with a row for each of the {count} sequences or each of the "
                f"{steps} steps, got {rows}"
            )
    about: dict[str, Any] = {"classes": arrays.get("classes"), "per_step": isinstance(targets, list)}
    if "ignore" in arrays:
        if arrays["ignore"].size != 1:
            raise DataError(f"{path}: ignore: expected one label or number, got {list(arrays['ignore'].shape)}")
        about["ignore"] = arrays["ignore"].item()
    for name in ("channels", "ids"):
        if name in arrays:
            if arrays[name].ndim != 1 or arrays[name].dtype.kind != "U":
                raise DataError(f"{path}: {name}: expected a list of texts, got {arrays[name].dtype}")
            about[name] = arrays[name].tolist()
    if (rate := arrays.get("sample_rate")) is not None:
        if rate.shape != () or rate.dtype.kind not in "fiu":
            raise DataError(f"{path}: sample_rate: expected one number, got {rate.dtype} {list(rate.shape)}")
        about["sample_rate"] = float(rate)
    return Contents(sequences, targets, **about)


def sequence_ends(lengths: Array, rows: int, expected: str) -> NDArray[np.int64]:
    """Return where each sequence [sequences] ends among all `rows`; raise DataError, which begins with `expected`."""
    good = lengths.ndim == 1 and len(lengths) and lengths.dtype.kind in "iu"
    # Each is at most their sum, so that the sum cannot overflow.
    good = good and lengths.min() >= 0 and lengths.max() <= rows and len(lengths) * rows < 2**62
    if not good or lengths.sum() != rows:
        raise DataError(
            f"{expected} [sequences]: non-negative integers, at least one, with the sum {rows}; "
            f"got {lengths.dtype} {list(lengths.shape)}{f' with the sum {lengths.sum()}' if good else ''}"
        )
    return np.cumsum(lengths, dtype=np.int64)
