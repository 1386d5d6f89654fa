"""Convert the sequences that users give to columns, and check that the inputs fit together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Column, InMemory
from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import Array, as_floats, as_list, tokenize

# How much of the data `_warn_of_lost_steps` looks at, so that it takes no noticeable time.
SEQUENCES_TO_CHECK, STEPS_TO_CHECK = 50, 1000


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
    given = as_list(values, 1 if name else 2)
    for index, value in enumerate(given):
        arrays.append(as_sequence(value, name, index, arrays[0] if arrays else None))
    _warn_of_lost_steps(given, arrays, name)
    return InMemory(arrays, has_time(arrays[0]))


def _warn_of_lost_steps(given: list[Any], arrays: list[Array], name: str) -> None:
    """Warn if most changes from step to step of a feature, in 64 bits, are lost in float32, as those of Unix times."""
    changes: Any = 0
    lost: Any = 0
    for value, array in zip(given[:SEQUENCES_TO_CHECK], arrays, strict=False):
        if isinstance(value, np.ndarray) and value.dtype in (np.float64, np.int64) and array.dtype == np.float32:
            value, array = value[:STEPS_TO_CHECK], array[:STEPS_TO_CHECK]
            # Rounding errors of float64, of a feature that is constant, are no changes.
            with np.errstate(invalid="ignore"):
                differ = np.abs(value[1:] - value[:-1]) > 1e-14 * np.abs(value[1:])
            changes = changes + differ.sum(0)
            lost = lost + (differ & (array[1:] == array[:-1])).sum(0)
    places = np.argwhere(2 * np.asarray(lost) > changes)
    if len(places):
        place = tuple(places[0].tolist())
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        warnings.warn(
            f"sequences{f' of {name}' if name else ''}: feature {', '.join(map(str, place))}{more} loses {lost[place]} "
            f"of {changes[place]} changes from step to step, because float32 has about 7 digits. Is it a time? "
            "Subtract the first value of each sequence, or give the differences between steps",
            stacklevel=2,
        )


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
