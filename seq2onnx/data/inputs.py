"""Convert the sequences that users give to columns, and check that the inputs fit together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Column, InMemory
from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import (
    Array,
    Channels,
    Names,
    as_array,
    as_floats,
    as_int64,
    as_list,
    by_names,
    check_names,
    check_rising_index,
    frame_names,
    is_frame,
    positions,
    read_frame,
    row_names,
    tokenize,
)

# How much of the data `_warn_of_lost_steps` looks at, so that it takes no noticeable time.
SEQUENCES_TO_CHECK, STEPS_TO_CHECK = 50, 1000


def as_columns(sequences: Any, channels: Channels) -> tuple[dict[str, Column], dict[str, Names | None]]:
    """Return a column for each input, and the names of its channels, both by input layer; by "" if it has no name.

    Args:
        sequences: a list of sequences or a Column, or for several inputs a dict of these by input layer.
        channels: the names of the channels. None: the names of the columns if the sequences are data frames.

    Raises:
        DataError: an input has no sequences, or another number of them than the others; or names do not fit.
        ShapeError: the sequences of an input differ in the shape of their steps.
    """
    named = sequences if isinstance(sequences, Mapping) else {"": sequences}
    if not named:
        raise DataError("sequences: expected data for at least one input, got an empty dict")
    wanted = _names_by_input(channels, list(named))
    columns: dict[str, Column] = {}
    names: dict[str, Names | None] = {}
    for name, values in named.items():
        columns[name], names[name] = _as_column(values, name, wanted[name])
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"sequences: expected the same number for each input, got {counts}")
    return columns, names


def _names_by_input(channels: Channels, inputs: list[str]) -> dict[str, Names | None]:
    if channels is None:
        return dict.fromkeys(inputs)
    if not isinstance(channels, Mapping):
        if len(inputs) > 1:
            raise DataError(f"channels: expected a dict with names for some of {', '.join(inputs)}, got a list")
        channels = {inputs[0]: channels}
    if unknown := [name for name in channels if name not in inputs]:
        raise DataError(f"channels: {unknown[0]!r} is not among the inputs {inputs}")
    return {name: None if (names := channels.get(name)) is None else check_names(names, "channels") for name in inputs}


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


def _as_column(values: Any, name: str, channels: Names | None) -> tuple[Column, Names | None]:
    """Return the sequences of one input as a column, and the names of its channels; all steps have one shape."""
    if isinstance(values, Column):
        column = values
    else:
        if name and is_frame(values):  # a row for each sequence: the vectors of a FeatureInput
            channels = channels or frame_names(values, name)
            values = list(read_frame(values, channels, name))
        rows = as_list(values, 1 if name else 2)
        if name and all(row_names(row) for row in rows):
            channels = channels or row_names(rows[0]) or []
            rows = [by_names(row, channels, place(index, name)) for index, row in enumerate(rows)]
        if any(map(is_frame, rows)):
            rows, channels = _read_frames(rows, name, channels)
        arrays: list[Array] = []
        for index, value in enumerate(rows):
            arrays.append(as_sequence(value, name, index, arrays[0] if arrays else None))
        _warn_of_lost_steps(rows, arrays, name, channels)
        column = InMemory(arrays, has_time(arrays[0]))
    if channels is not None:
        if not column.shape:
            raise DataError(
                f"channels: {name or 'the input'} has words or tokens, which have no channels; leave them out"
            )
        check_names(channels, "channels", column.shape[0])
    return column, channels


def _read_frames(frames: list[Any], name: str, channels: Names | None) -> tuple[list[Array], Names | None]:
    """Read data frames by the names of their columns. Without `channels`, all have the columns of the first."""
    if odd := [index for index, frame in enumerate(frames) if not is_frame(frame)]:
        got = type(frames[odd[0]]).__name__
        raise DataError(f"{place(odd[0], name)}: expected a data frame, as other sequences are, got {got}")
    if channels is not None:
        for index, frame in enumerate(frames):
            check_rising_index(frame, place(index, name))
        return [read_frame(frame, channels, place(index, name)) for index, frame in enumerate(frames)], channels
    names = frame_names(frames[0], place(0, name))
    return [read_like_first(frame, names, place(index, name)) for index, frame in enumerate(frames)], names


def read_like_first(frame: Any, names: Names | None, where: str) -> Array:
    """Read a data frame by the names of the columns of the first, which must be the same in any order."""
    given = frame_names(frame, where)
    if (names is None) != (given is None):
        raise DataError(f"{where}: only some of the data frames have names of columns; name them in all")
    if surplus := [column for column in given or [] if column not in (names or [])]:
        raise DataError(f"{where}: has a column {surplus[0]!r}, which sequence 0 lacks; name the columns: channels=[…]")
    check_rising_index(frame, where)
    return read_frame(frame, names, where)


def place(index: int, name: str) -> str:
    """Return where a sequence is, for error messages."""
    return f"sequence {index}{f' of {name}' if name else ''}"


def _warn_of_lost_steps(given: list[Any], arrays: list[Array], name: str, channels: Names | None) -> None:
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
        feature = channels[place[0]] if channels else ", ".join(map(str, place))
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        warnings.warn(
            f"sequences{f' of {name}' if name else ''}: feature {feature}{more} loses {lost[place]} "
            f"of {changes[place]} changes from step to step, because float32 has about 7 digits. Is it a time? "
            "Subtract the first value of each sequence, or give the differences between steps",
            stacklevel=2,
        )


def as_sequence(value: Any, name: str, index: int, first: Array | None) -> Array:
    """Return one sequence as int64 for an array of tokens, object for words, and else float32.

    Its steps have the shape of those of `first`, the first sequence of the input `name`; None: this is the first.
    """
    where = place(index, name)
    if (hasattr(value, "dtype") or hasattr(value, "as_py")) and not isinstance(value, np.ndarray):
        value = as_array(value, where)  # a tensor or a column, whose type tells tokens from features
    found: Array
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        if np.ma.is_masked(value):
            raise DataError(f"{where}: some tokens are masked; fill them: x.filled(0)")
        found = as_int64(np.asarray(value))
    else:
        found = word_array(value, where) if isinstance(value, str) or _is_words(value) else as_floats(value, where)
    if not found.ndim:
        remedy = (
            "a dict has a list of sequences for each input layer. For rows of a table with a sequence in a cell give "
            'pairs: SequenceDataset.from_items((row["x"], row["label"]) for row in rows)'
            if name
            else "put a single sequence into a list: [x]"
        )
        raise ShapeError(f"{where}: expected [time, features], got a single value; {remedy}")
    if not name and found.ndim == 1 and found.dtype.kind == "f":
        raise ShapeError(
            f"{where}: expected [time, features], got {list(found.shape)}; tokens are integers in an array, and a "
            "sequence of one feature is [time, 1]: x[:, None]"
        )
    if first is not None and (found.ndim != first.ndim or _step(found) != _step(first)):
        remedy = "; is it features by time? transpose it" if first.ndim == found.ndim == 2 else ""
        expected = ", ".join(["time"] * has_time(first) + [str(size) for size in _step(first)])
        raise ShapeError(f"{where}: expected [{expected}] like sequence 0, got {list(found.shape)}{remedy}")
    return found


def select_channels(
    columns: Mapping[str, Column], names: Mapping[str, Names | None], channels: Channels
) -> dict[str, list[int]]:
    """Return the places of the wanted channels, for each input whose channels are others or in another order.

    An input without names on either side is left out. A channel that an input lacks is a DataError.
    """
    if channels is not None and not isinstance(channels, Mapping):
        if len(columns) > 1:
            raise DataError(f"channels: expected a dict with names for some of {', '.join(columns)}, got a list")
        channels = dict.fromkeys(columns, check_names(channels, "channels"))
    found: dict[str, list[int]] = {}
    for name in columns:
        wanted = None
        if channels is not None:
            wanted = next(iter(channels.values())) if name == "" and len(channels) == 1 else channels.get(name)
        have = names[name]
        if wanted is not None and have is not None and list(wanted) != have:
            found[name] = positions(have, list(wanted), f"data{f' of {name}' if name else ''}")
    return found


def word_array(value: Any, where: str) -> Array:
    """Return the words of a text, or of a list of words, as an array of objects."""
    words = tokenize(value) if isinstance(value, str) else list(value)
    if odd := [step for step, word in enumerate(words) if not isinstance(word, str)]:
        raise DataError(f"{where}: expected words, but step {odd[0]} has {words[odd[0]]!r}; leave it out or fill it")
    if not words:
        raise DataError(
            f"{where}: has no words, got {value!r}; a sequence needs at least one word; leave empty ones out"
        )
    return np.array([str(word) for word in words], object)


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
