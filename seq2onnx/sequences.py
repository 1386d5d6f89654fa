"""What feeding and running share: ragged lists of sequences, checked and padded. Needs numpy alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError

Array = NDArray[Any]
Shape = tuple[int, ...]


def as_floats(value: Any, where: str) -> NDArray[np.float32]:
    """`value` as float32, or a DataError: real numbers of any width are taken, all else is not."""
    if type(value) is np.ndarray and value.dtype == np.float32:
        return value
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)  # what is masked is not known
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{where}: expected an array of numbers, got rows of different lengths") from None
    if array.dtype.kind not in "fiub":
        text = array.size and isinstance(array.flat[0], str)
        remedy = "text becomes numbers with a Vocabulary" if text else "convert it to float32"
        raise DataError(f"{where}: expected real numbers, got {array.dtype}; {remedy}")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is treated as that
        return array.astype(np.float32)


def tokenize(text: str) -> list[str]:
    """The words and signs of a text in lower case, as a Vocabulary counts and a network of words reads them.

    A word is a run of letters, digits and _, with apostrophes inside it; each other sign is one of its own, and spaces
    fall away. Marks of accents and vowels stay with what they follow, and letters are composed with them (NFC).

    Raises:  DataError unless `text` is a string
    Example: >>> tokenize("Don't miss it!")
             ["don't", 'miss', 'it', '!']
    """
    if not isinstance(text, str):
        raise DataError(f"text: expected a string, got {type(text).__name__}")
    text = unicodedata.normalize("NFC", text.lower().replace("\u2019", "'"))  # the typographic apostrophe
    # \w leaves out combining marks and joiners, without which most Indic words would fall apart.
    marks = "" if text.isascii() else "".join(sorted(filter(_is_mark, set(text))))
    more = f"[{marks}]*" if marks else ""
    return re.findall(rf"[\w{marks}]+(?:'[\w{marks}]+)*|[^\w\s]{more}", text)


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter).startswith("M") or letter in "\u200c\u200d"


def as_tokens(value: Any, where: str, numbers: dict[str, int] | None) -> NDArray[np.int64]:
    """`value` as numbers of words, int64.

    Words are looked up in `numbers`; unknown ones get the last + 1, and "", which is padding, gets 0.
    """
    array = _words_or_numbers(value, where, "words or their numbers")
    if array.dtype.kind == "U":
        if numbers is None:
            raise DataError(f"{where}: expected numbers of words, got words, and the file has no vocabulary")
        unknown = len(numbers) + 1
        found = [numbers.get(word, unknown if word else 0) for word in array.ravel().tolist()]
        return np.array(found, np.int64).reshape(array.shape)
    if array.dtype.kind not in "iu" and array.size:
        raise DataError(f"{where}: expected numbers of words, integers, got {array.dtype}")
    return array.astype(np.int64)


def as_strings(value: Any, where: str) -> NDArray[np.str_]:
    """`value` as words, for a file that looks them up itself; a DataError where it has their numbers, or others."""
    array = _words_or_numbers(value, where, "words")
    if array.dtype.kind != "U" and array.size:
        raise DataError(
            f"{where}: expected words, strings, got {array.dtype}; the file was exported with words=True and numbers "
            "them itself: give it words, or export it without"
        )
    return array.astype(np.str_, copy=False)


def _words_or_numbers(value: Any, where: str, expected: str) -> Array:
    """`value` as an array, of strings where it has words."""
    if isinstance(value, str):
        raise DataError(f"{where}: expected a list of {expected}, got the text {value!r}; split it: tokenize(text)")
    if np.ma.is_masked(value):
        raise DataError(f'{where}: expected {expected}, some are masked; say what is there: x.filled(0), of words ""')
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{where}: expected a list of {expected}, got lists of different lengths") from None
    # Objects, and numpy's strings of any width ("T"), whose missing ones may be no strings.
    if array.dtype.kind in "OT" and all(isinstance(word, str) for word in array.ravel()):
        array = np.array(array.tolist(), np.str_).reshape(array.shape)  # "T" cannot be cast
    mixed = array.dtype.kind == "U" and not isinstance(value, np.ndarray) and any(not isinstance(w, str) for w in value)
    if mixed:
        raise DataError(f"{where}: expected {expected}, got words and others")
    return array


def is_finite(array: Array) -> bool:
    """Whether no number in it is NaN or infinite; words are none."""
    return array.dtype.kind == "U" or bool(np.isfinite(array).all())


def check_steps(array: Array, where: str, shape: Shape | None, dimensions: int = 1) -> None:
    """Raise ShapeError unless `array` is [time, *shape]; without a shape, [time] and so many dimensions more."""
    if array.ndim == 1 + (dimensions if shape is None else len(shape)) and shape in (None, array.shape[1:]):
        return
    size = "features" if shape is None else ", ".join(map(str, shape))
    remedy = "a sequence is steps by features"
    if shape is not None:
        wanted = " × ".join(map(str, shape)) or "one token"
        remedy = f"the network's input size is {wanted}"
        if len(shape) == 1 and array.ndim == 2 and array.shape[0] == shape[0]:
            remedy += "; is it features by time? transpose it"
    expected = "[time]" if shape == () else f"[time, {size}]"
    raise ShapeError(f"{where}: expected {expected}, got {list(array.shape)}; {remedy}")


def as_list(values: Any, dimensions: int = 2) -> list[Any]:
    """A list of sequences, never empty; each has `dimensions` dimensions, so an array of as many is but one."""
    if isinstance(values, np.ndarray) and values.ndim == dimensions and values.dtype != object:
        raise ShapeError(
            f"sequences: expected a list of [time, features] arrays, got one array {list(values.shape)}; "
            "put a single sequence into a list: [x]"
        )
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__iter__"):
        remedy = "; a text is one sequence of words: [tokenize(text)]" if isinstance(values, str) else ""
        raise DataError(f"sequences: expected a list of [time, features] arrays, got {type(values).__name__}{remedy}")
    found = list(values)
    if not found:
        raise DataError("sequences: expected at least one sequence, got none")
    return found


def pad(sequences: Sequence[Array]) -> tuple[Array, NDArray[np.int32]]:
    """Sequences [time, …] as one batch [batch, longest, …], padded on the right, and their lengths [batch].

    Padding is zeros; after words it is "".
    """
    lengths = np.array([len(sequence) for sequence in sequences], np.int32)
    if (lengths == lengths[0]).all():
        return np.stack(sequences), lengths
    batch = np.empty((len(sequences), int(lengths.max()), *sequences[0].shape[1:]), widest(sequences))
    batch[:, lengths.min() :] = np.zeros((), batch.dtype)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    return batch, lengths


def widest(sequences: Sequence[Array]) -> np.dtype[Any]:
    """Their type; of words the one that the longest word needs."""
    return max((sequence.dtype for sequence in sequences), key=lambda dtype: dtype.itemsize)


def by_size(order: NDArray[np.intp], sizes: NDArray[np.integer[Any]], most: int) -> list[NDArray[np.intp]]:
    """An order of indices in parts whose sizes add up to about `most`, one index at least in each."""
    parts = np.cumsum(sizes[order], dtype=np.int64) // most
    return np.split(order, np.flatnonzero(np.diff(parts)) + 1)


def chunk(order: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """An order of indices in batches of `size`; the last may be smaller."""
    return [order[start : start + size] for start in range(0, len(order), size)]
