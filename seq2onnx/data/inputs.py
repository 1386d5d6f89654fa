"""Convert the sequences that users give to columns, and check that the inputs fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Column, InMemory
from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import Array, as_floats, as_list, tokenize


def as_columns(sequences: Any) -> dict[str, Column]:
    """Return a column for each input.

    Args:
        sequences: a list of sequences or a Column, or for several inputs a dict of these by input layer.

    Returns:
        The columns by input layer; by "" if the input has no name.

    Raises:
        DataError: an input has no sequences, or another number of them than the others.
        ShapeError: the sequences of an input differ in the shape of their steps.
    """
    named = sequences if isinstance(sequences, Mapping) else {"": sequences}
    if not named:
        raise DataError("sequences: expected data for at least one input, got an empty dict")
    columns = {name: _as_column(values, name) for name, values in named.items()}
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"sequences: expected the same number for each input, got {counts}")
    return columns


def common_lengths(columns: Mapping[str, Column]) -> NDArray[np.int32]:
    """Return the steps [sequences], which all inputs with time must share; raise DataError where they do not."""
    timed = [column.lengths for column in columns.values() if column.has_time]
    if not timed:
        raise DataError("sequences: expected at least one input with time, got float vectors only")
    for lengths in timed:
        if (differ := np.flatnonzero(lengths != timed[0])).size:
            i = differ[0]
            raise DataError(
                f"sequence {i}: expected the same number of steps in each input, got {timed[0][i]} and {lengths[i]}"
            )
    return timed[0]


def _as_column(values: Any, name: str) -> Column:
    """Return the sequences of one input as a column; all must have steps of one shape."""
    if isinstance(values, Column):
        return values
    arrays: list[Array] = []
    for index, value in enumerate(as_list(values, 1 if name else 2)):
        arrays.append(as_sequence(value, name, index, arrays[0] if arrays else None))
    return InMemory(arrays, has_time(arrays[0]))


def as_sequence(value: Any, name: str, index: int, first: Array | None) -> Array:
    """Return one sequence as int64 for an array of tokens, object for words, and else float32.

    Args:
        value: the sequence.
        name: its input, "" where it has no name.
        index: its index, for error messages.
        first: the first sequence of the input, whose steps have the same shape. None: this is the first.
    """
    where = f"sequence {index}{f' of {name}' if name else ''}"
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        found: Array = np.asarray(value).astype(np.int64)
    else:
        found = word_array(value, where) if isinstance(value, str) or _is_words(value) else as_floats(value, where)
    if not found.ndim or (not name and found.ndim == 1 and found.dtype.kind == "f"):
        raise ShapeError(f"{where}: expected [time, features], got {list(found.shape)}; tokens are integers")
    if first is not None and (found.ndim != first.ndim or _step(found) != _step(first)):
        remedy = "; is it features by time? transpose it" if first.ndim == found.ndim == 2 else ""
        expected = ", ".join(["time"] * has_time(first) + [str(size) for size in _step(first)])
        raise ShapeError(f"{where}: expected [{expected}] like sequence 0, got {list(found.shape)}{remedy}")
    return found


def word_array(value: Any, where: str) -> Array:
    """Return the words of a text, or of a list of words, as an array of objects."""
    words = tokenize(value) if isinstance(value, str) else [str(word) for word in value]
    if not words:
        raise DataError(
            f"{where}: has no words, got {value!r}; a sequence needs at least one word; leave empty ones out"
        )
    return np.array(words, object)


def has_time(array: Array) -> bool:
    """Return whether an array is a sequence: steps, tokens or words. A float vector is none."""
    return array.ndim > 1 or array.dtype.kind in "iO"


def _is_words(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and (
            value.dtype.kind == "U" or (value.dtype == object and isinstance(next(iter(value), ""), str))
        )
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(word, str) for word in value)


def _step(array: Array) -> tuple[int, ...]:
    return array.shape[1:] if has_time(array) else array.shape
