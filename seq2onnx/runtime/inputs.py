"""The data inputs of an exported file, and the rows that a caller gives for them."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.contract import Contract, input_names
from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import (
    Array,
    as_floats,
    as_list,
    as_strings,
    as_tokens,
    by_names,
    check_rising_index,
    check_steps,
    is_finite,
    is_frame,
    read_frame,
    row_names,
    tokenize,
    warn_of_large_samples,
)

Rows = dict[str, list[Array]]

# Mapped over many sequences these run in C, without a Python call for each.
_dtype, _ndim, _shape = map(operator.attrgetter, ("dtype", "ndim", "shape"))
_step = operator.itemgetter(slice(1, None))


@dataclasses.dataclass(frozen=True)
class Input:
    """A data input of the file.

    Attributes:
        tensor: its name in the file.
        layer: the input layer.
        shape: the shape of one step; of one row if it has no time.
        has_time: whether it is a sequence.
        is_tokens: whether its values are words, or their numbers.
        words: the number of each word, for token inputs whose vocabulary is in the file.
        takes_words: whether the file looks up the words itself, so that its values are strings.
        channels: the names of its features. None: they have no names.
        tokens: how many different tokens there are. None: any number is a token, known or unknown.
        sample_reader: the layer that takes its values as samples of a raw signal. None: there is none.
        missing: whether values may be missing, so that NaN and infinity are no mistakes.
    """

    tensor: str
    layer: str
    shape: tuple[int, ...]
    has_time: bool
    is_tokens: bool
    words: dict[str, int] | None = None
    takes_words: bool = False
    channels: tuple[str, ...] | None = None
    tokens: int | None = None
    sample_reader: str | None = None
    missing: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its arrays; for words the narrowest, since numpy's strings are as wide as the longest."""
        if self.takes_words:
            return np.dtype("U1")
        return np.dtype(np.int64 if self.is_tokens else np.float32)

    def accepts(self, array: Array) -> bool:
        """Whether all values are finite or may be missing."""
        return self.missing or is_finite(array)

    def finite_rows(self, array: Array) -> NDArray[np.bool_]:
        """Return for each row [rows, …] whether all values are finite or may be missing."""
        are_finite: NDArray[np.bool_] = np.ones(len(array), bool)
        return are_finite if self.accepts(array) else np.isfinite(array.reshape(len(array), -1)).all(1, out=are_finite)

    def are_ready(self, values: list[Any], least: int) -> bool:
        """Whether no value needs conversion and each has at least `least` steps: a fast check for the usual case."""
        return (
            self.has_time
            and not self.takes_words
            and self.tokens is None
            and set(map(type, values)) == {np.ndarray}
            and set(map(_dtype, values)) == {self.dtype}
            and set(map(_ndim, values)) == {1 + len(self.shape)}
            and set(map(_step, map(_shape, values))) == {self.shape}
            and min(map(len, values)) >= max(least, 1)
        )

    def is_chunk(self, value: Any) -> bool:
        """Whether it is an array of steps that needs no conversion."""
        return (
            self.has_time
            and not self.is_tokens
            and type(value) is np.ndarray
            and value.dtype == np.float32
            and value.ndim == 1 + len(self.shape)
            and value.shape[1:] == self.shape
        )

    def convert(self, value: Any, where: str) -> Array:
        """Return `value` in the type of the input; `where` begins the error message.

        Data frames, rows of pandas and named tuples are read by the names of the channels.
        """
        if is_frame(value):
            if self.has_time:
                check_rising_index(value, where)
            value = read_frame(value, self.channels, where)
        elif self.channels is not None and not isinstance(value, np.ndarray):
            if row_names(value):
                value = by_names(value, self.channels, where)
            elif isinstance(value, list | tuple) and value and row_names(value[0]):
                value = [by_names(row, self.channels, where) for row in value]
        if not self.takes_words:
            if not self.is_tokens:
                return as_floats(value, where)
            numbers = as_tokens(value, where, self.words)
            if self.tokens is not None and numbers.size and not 0 <= numbers.min() <= numbers.max() < self.tokens:
                raise DataError(
                    f"{where}: expected tokens from 0 to {self.tokens - 1}, got {numbers.min()} to {numbers.max()}"
                )
            return numbers
        words, known = as_strings(value, where), self.words or {}
        # All unknown words are replaced by the same short one. A long one would widen the whole batch, and onnxruntime
        # cuts numpy's strings at a NUL and refuses half of a surrogate pair.
        sent = [word if word in known or not word else self._spelling[-1] for word in words.ravel().tolist()]
        return np.array(sent, np.str_).reshape(words.shape)

    @cached_property
    def _spelling(self) -> list[str]:
        """The word of each number, from 0 (padding) to V + 1 (unknown)."""
        known, unknown = self.words or {}, "?"
        while unknown in known:
            unknown += "?"
        return ["", *known, unknown]

    def spell(self, numbers: Any) -> NDArray[np.str_]:
        """Return the words with these numbers, for an input that takes words."""
        array, last = np.asarray(numbers), len(self._spelling) - 1
        words = [self._spelling[number if 0 <= number < last else last] for number in array.ravel().tolist()]
        return np.array(words, np.str_).reshape(array.shape)


def step_shape(entry: Any, contract: Contract) -> tuple[bool, tuple[int, ...]]:
    """Return whether an input or output of onnxruntime has a time axis, and the shape after batch and time."""
    has_time = len(entry.shape) > 1 and (isinstance(entry.shape[1], str) or entry.name in (contract.steps or {}))
    return has_time, tuple(entry.shape[1 + has_time :])


def read_inputs(entries: Sequence[Any], contract: Contract) -> tuple[Input, ...]:
    """Return the data inputs among onnxruntime's inputs, in the order of the file."""
    layers = {tensor: layer for layer, tensor in input_names(contract.input_layers).items()}
    inputs = []
    for entry in entries:
        if entry.name in layers:
            layer = layers[entry.name]
            vocabulary = contract.vocabulary.get(layer)
            words = None if vocabulary is None else {word: number for number, word in enumerate(vocabulary, 1)}
            has_time, shape = step_shape(entry, contract)
            takes_words = entry.type == "tensor(string)"
            is_tokens = takes_words or entry.type == "tensor(int64)"
            tokens = contract.tokens if is_tokens else None
            names = contract.channel_names.get(layer)
            channels = None if names is None else tuple(names)
            reader = contract.sample_readers.get(layer)
            missing = layer in contract.layers and contract.layers[layer][1].get("missing") is True
            known = (is_tokens, words, takes_words, channels, tokens, reader, missing)
            inputs.append(Input(entry.name, layer, shape, has_time, *known))
    return tuple(inputs)


def by_layer(values: Any, inputs: tuple[Input, ...], where: str) -> dict[str, Any]:
    """Return the data of each input by its layer; with one input it may be given without a dict."""
    names = ", ".join(entry.layer for entry in inputs)
    if not isinstance(values, Mapping):
        if len(inputs) > 1:
            raise DataError(f"{where}: expected a dict with data for each of {names}, got {type(values).__name__}")
        return {inputs[0].layer: values}
    if set(values) != {entry.layer for entry in inputs}:
        raise DataError(f"{where}: expected a dict with data for {names}, got {', '.join(map(str, values))}")
    return dict(values)


def by_name(values: Any, inputs: tuple[Input, ...]) -> Any:
    """Return a SequenceDataset with the channels of the inputs, in their order; return other data unchanged."""
    if not hasattr(values, "with_channels"):
        return values
    return values.with_channels({entry.layer: entry.channels for entry in inputs})


def read_rows(values: Any, inputs: tuple[Input, ...], contract: Contract, indices: Sequence[int] | None = None) -> Rows:
    """Convert and check the sequences for each input, as `predict` takes them.

    `indices` are those of the sequences, for error messages, if they are part of more.

    Raises:
        DataError: a sequence has wrong values or is too short, or the inputs do not go together.
        ShapeError: a sequence has a wrong shape.
    """
    values = by_name(values, inputs)
    given = by_layer(getattr(values, "sequences", values), inputs, "sequences")
    several, least = len(inputs) > 1, contract.min_length
    rows: Rows = {}
    for entry in inputs:
        values = given[entry.layer]
        if not entry.has_time and is_frame(values):
            values = list(entry.convert(values, entry.layer))
        values = as_list(values, len(entry.shape) + entry.has_time)
        if entry.are_ready(values, least):
            rows[entry.layer] = values
            continue
        rows[entry.layer] = []
        for row, value in enumerate(values):
            index = row if indices is None else indices[row]
            where = f"sequence {index} of {entry.layer}" if several else f"sequence {index}"
            if entry.takes_words and isinstance(value, str):
                value = tokenize(value)
            array = entry.convert(value, where)
            if entry.has_time:
                check_steps(array, where, entry.shape)
                if len(array) < least:
                    raise DataError(f"{where}: has {len(array)} steps, the network needs at least {least}")
            elif array.shape != entry.shape:
                raise ShapeError(f"{where}: expected {list(entry.shape)}, got {list(array.shape)}")
            rows[entry.layer].append(array)
    for entry in inputs:
        warn_of_large_samples(rows[entry.layer], entry.sample_reader, 6)
    timed = [entry.layer for entry in inputs if entry.has_time]
    _check_equal_lengths(rows, timed, indices)
    if contract.chunk_steps > 1 and timed:
        for row, array in enumerate(rows[timed[0]]):
            check_chunk(len(array), contract, f"sequence {row if indices is None else indices[row]}")
    return rows


def check_chunk(steps: int, contract: Contract, where: str) -> None:
    """Raise DataError unless the file can run this number of steps."""
    if steps % contract.chunk_steps:
        raise DataError(
            f"{where}: has {steps} steps; this step file runs {contract.chunk_steps} at a time, so their number must "
            f'be a multiple of {contract.chunk_steps}. Add or remove steps, or export with form="dynamic"'
        )


def _check_equal_lengths(rows: Rows, timed: list[str], indices: Sequence[int] | None) -> None:
    """Raise DataError unless all inputs have the same number of sequences, and those with time the same lengths."""
    counts = {layer: len(arrays) for layer, arrays in rows.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"sequences: expected the same number for each input, got {counts}")
    if len(timed) < 2:
        return
    for row, arrays in enumerate(zip(*(rows[layer] for layer in timed), strict=True)):
        if len(set(map(len, arrays))) > 1:
            lengths = dict(zip(timed, map(len, arrays), strict=True))
            index = row if indices is None else indices[row]
            raise DataError(f"sequence {index}: expected the same number of steps for each input, got {lengths}")
