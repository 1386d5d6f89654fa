"""Split texts into words, and convert words to their numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError
from seq2onnx.sequences.conversion import Array

Text = str | Sequence[str]


def tokenize(text: str) -> list[str]:
    """Split a text into words and punctuation marks, in lower case.

    `Vocabulary` counts them, and networks that take words read them. A word is a run of letters, digits and _, with
    apostrophes inside it. Every other character is a word of its own, and spaces are dropped. Combining marks stay with
    their letter; both become one character if Unicode has one (NFC).

    Args:
        text: one text.

    Raises:
        DataError: `text` is not a string.

    Example:
        >>> tokenize("Don't miss it!")
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


def as_tokens(value: Any, where: str, numbers: Mapping[str, int] | None) -> NDArray[np.int64]:
    """Return words, or their numbers, an array or nested lists, as numbers; raise DataError for something else.

    `numbers` has the number of each known word. Other words get len(numbers) + 1, and "", which is padding, gets 0.
    None: only numbers are taken.
    """
    array = _words_or_numbers(value, where, "words or their numbers")
    if array.dtype.kind == "U":
        if numbers is None:
            raise DataError(f"{where}: expected word numbers, got words; the file has no vocabulary")
        unknown = len(numbers) + 1
        found = [numbers.get(word, unknown if word else 0) for word in array.ravel().tolist()]
        return np.array(found, np.int64).reshape(array.shape)
    if array.dtype.kind not in "iu" and array.size:
        raise DataError(f"{where}: expected word numbers (integers), got {array.dtype}")
    return as_int64(array)


def as_int64(array: Array) -> NDArray[np.int64]:
    """Return whole numbers as int64. Those above its range become its largest, which is no word, and do not wrap."""
    if array.dtype == np.uint64:
        array = np.minimum(array, np.iinfo(np.int64).max)
    return array.astype(np.int64, copy=False)


def as_strings(value: Any, where: str) -> NDArray[np.str_]:
    """Return words, an array or nested lists, as an array of strings, for a file that looks them up itself."""
    array = _words_or_numbers(value, where, "words")
    if array.dtype.kind != "U" and array.size:
        raise DataError(
            f"{where}: expected words (strings), got {array.dtype}; the file was exported with words=True and looks "
            "them up itself: give it words, or export without words"
        )
    return array.astype(np.str_, copy=False)


def _words_or_numbers(value: Any, where: str, expected: str) -> Array:
    """Return `value` as an array; its type is string where it holds words."""
    if isinstance(value, str):
        raise DataError(f"{where}: expected a list of {expected}, got the text {value!r}; split it: tokenize(text)")
    if np.ma.is_masked(value):
        raise DataError(f"{where}: expected {expected}, but some are masked; fill them: x.filled(0), or with ''")
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{where}: expected a list of {expected}, got lists of different lengths") from None
    # Objects, and numpy's strings of any width ("T"), whose missing values may be something else.
    if array.dtype.kind in "OT" and all(isinstance(word, str) for word in array.ravel()):
        array = np.array(array.tolist(), np.str_).reshape(array.shape)  # "T" cannot be cast
    if array.dtype.kind == "U" and not isinstance(value, np.ndarray) and not all(isinstance(w, str) for w in value):
        raise DataError(f"{where}: expected {expected}, got words and other values")
    return array
