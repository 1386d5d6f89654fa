"""What feeding and running share: ragged lists of sequences, checked and padded. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2onnx.errors import DataError, ShapeError

Floats = NDArray[np.float32]


def as_floats(value: ArrayLike, where: str) -> Floats:
    """`value` as float32, or a DataError: real numbers of any width are taken, all else is not."""
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{where}: expected an array of numbers, got rows of different lengths") from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where}: expected real numbers, got {array.dtype}; convert it to float32")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is treated as that
        return array.astype(np.float32)


def as_sequence(value: ArrayLike, where: str, features: int | None = None) -> Floats:
    """`value` as a sequence [time, features] of float32, or an error that says what it is instead."""
    array = as_floats(value, where)
    if array.ndim != 2 or (features is not None and array.shape[1] != features):
        size = "features" if features is None else features
        remedy = "a sequence is steps by features"
        if array.ndim == 2 and array.shape[0] == features:
            remedy = f"the network's input size is {features}; is it features by time? transpose it"
        elif features is not None:
            remedy = f"the network's input size is {features}"
        raise ShapeError(f"{where}: expected [time, {size}], got {list(array.shape)}; {remedy}")
    return array


def as_sequences(values: Any, features: int | None = None) -> list[Floats]:
    """A ragged list of sequences, each [time, features]; never empty."""
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype != object:
        raise ShapeError(
            f"sequences: expected a list of [time, features] arrays, got one array {list(values.shape)}; "
            "put a single sequence into a list: [x]"
        )
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__iter__"):
        raise DataError(f"sequences: expected a list of [time, features] arrays, got {type(values).__name__}")
    sequences = [as_sequence(value, f"sequence {index}", features) for index, value in enumerate(values)]
    if not sequences:
        raise DataError("sequences: expected at least one sequence, got none")
    return sequences


def pad(sequences: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Sequences [time, …] as one batch [batch, longest, …], zeros on the right, and their lengths [batch]."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int32)
    batch = np.zeros((len(sequences), int(lengths.max()), *sequences[0].shape[1:]), sequences[0].dtype)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    return batch, lengths


def chunk(order: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """An order of indices in batches of `size`; the last may be smaller."""
    return [order[start : start + size] for start in range(0, len(order), size)]
