"""The data inputs of an exported file: x, or several x_{layer}."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import Array, as_floats, as_list, as_strings, as_tokens, check_steps, tokenize

Rows = dict[str, list[Array]]

# Mapped over many sequences these run in C, without a call of Python's for each.
_dtype, _ndim, _shape = map(operator.attrgetter, ("dtype", "ndim", "shape"))
_step = operator.itemgetter(slice(1, None))


@dataclasses.dataclass(frozen=True)
class Input:
    """One data input of the file.

    tensor: its name there; layer: the input layer; shape: of a step, or of the one vector of a sequence
    where it has no time; is_tokens: of words, or their numbers; words: the number of each word, for token inputs whose
    vocabulary the file holds; takes_words: the file looks them up itself, and takes strings alone
    """

    tensor: str
    layer: str
    shape: tuple[int, ...]
    has_time: bool
    is_tokens: bool
    words: dict[str, int] | None = None
    takes_words: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of its arrays; of words the narrowest: numpy's strings are as wide as the longest."""
        if self.takes_words:
            return np.dtype("U1")
        return np.dtype(np.int64 if self.is_tokens else np.float32)

    def are_ready(self, values: list[Any], least: int) -> bool:
        """Whether each has so many steps, just as the file takes them: a quick look at all, for the usual case."""
        return (
            self.has_time
            and not self.takes_words
            and set(map(type, values)) == {np.ndarray}
            and set(map(_dtype, values)) == {self.dtype}
            and set(map(_ndim, values)) == {1 + len(self.shape)}
            and set(map(_step, map(_shape, values))) == {self.shape}
            and min(map(len, values)) >= max(least, 1)
        )

    def convert(self, value: Any, where: str) -> Array:
        """`value` in the type of the input."""
        if not self.takes_words:
            return as_tokens(value, where, self.words) if self.is_tokens else as_floats(value, where)
        words, known = as_strings(value, where), self.words or {}
        # All that are not known go in as one of them: a long one would make all of its batch as wide, and onnxruntime
        # cuts a string of numpy at a NUL, and refuses half of a surrogate pair.
        sent = [word if word in known or not word else self._spelling[-1] for word in words.ravel().tolist()]
        return np.array(sent, np.str_).reshape(words.shape)

    @cached_property
    def _spelling(self) -> list[str]:
        """The word of each number, from 0, padding, to V + 1, one that is not known."""
        known, unknown = self.words or {}, "?"
        while unknown in known:
            unknown += "?"
        return ["", *known, unknown]

    def spell(self, numbers: Any) -> NDArray[np.str_]:
        """Words that have these numbers, of an input that takes words."""
        array, last = np.asarray(numbers), len(self._spelling) - 1
        words = [self._spelling[number if 0 <= number < last else last] for number in array.ravel().tolist()]
        return np.array(words, np.str_).reshape(array.shape)


def read_inputs(entries: list[Any], about: Mapping[str, Any]) -> tuple[Input, ...]:
    """The data inputs among onnxruntime's input entries, in the order of the file."""
    kinds = ("sequence_input", "feature_input")
    layers = [next(iter(layer.values()))["name"] for layer in about["network"]["layers"] if next(iter(layer)) in kinds]
    vocabulary = about.get("vocabulary") or {}
    found = []
    for entry in entries:
        layer = layers[0] if entry.name == "x" else entry.name.removeprefix("x_")
        if entry.name != "x" and (not entry.name.startswith("x_") or layer not in layers):
            continue
        has_time = len(entry.shape) > 1 and isinstance(entry.shape[1], str)
        words = {word: number for number, word in enumerate(vocabulary[layer], 1)} if layer in vocabulary else None
        shape = tuple(entry.shape[1 + has_time :])
        takes_words = entry.type == "tensor(string)"
        is_tokens = takes_words or entry.type == "tensor(int64)"
        found.append(Input(entry.name, layer, shape, has_time, is_tokens, words, takes_words))
    return tuple(found)


def by_layer(values: Any, inputs: tuple[Input, ...], where: str) -> dict[str, Any]:
    """The data of each input by its layer's name; a file with one input takes it without a dict too."""
    if not isinstance(values, Mapping):
        if len(inputs) > 1:
            names = ", ".join(entry.layer for entry in inputs)
            raise DataError(f"{where}: expected a dict with data for each of {names}, got {type(values).__name__}")
        return {inputs[0].layer: values}
    if set(values) != {entry.layer for entry in inputs}:
        names = ", ".join(entry.layer for entry in inputs)
        raise DataError(f"{where}: expected a dict with data for {names}, got {', '.join(map(str, values))}")
    return dict(values)


def read_rows(values: Any, inputs: tuple[Input, ...], least: int, places: Sequence[int] | None = None) -> Rows:
    """A ragged list of sequences for each input, checked; as many in each, and as long.

    places: their numbers, where they are part of more
    """
    given = by_layer(getattr(values, "sequences", values), inputs, "sequences")
    several = len(inputs) > 1
    rows: Rows = {}
    for entry in inputs:
        values = as_list(given[entry.layer], len(entry.shape) + entry.has_time)
        if entry.are_ready(values, least):
            rows[entry.layer] = values
            continue
        rows[entry.layer] = []
        for row, value in enumerate(values):
            index = row if places is None else places[row]
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
    counts = {name: len(arrays) for name, arrays in rows.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"sequences: expected as many for each input, got {counts}")
    timed = [entry.layer for entry in inputs if entry.has_time]
    if len(timed) < 2:
        return rows
    for index, arrays in enumerate(zip(*(rows[name] for name in timed), strict=True)):
        if len(set(map(len, arrays))) > 1:
            lengths = dict(zip(timed, map(len, arrays), strict=True))
            place = index if places is None else places[index]
            raise DataError(f"sequence {place}: expected as many steps for each input, got {lengths}")
    return rows
