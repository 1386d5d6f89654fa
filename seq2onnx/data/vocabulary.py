"""Vocabulary: the words of a collection of texts, and their numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError
from seq2onnx.integers import whole_number
from seq2onnx.sequences import Text, as_tokens, is_frame, tokenize

PADDING, UNKNOWN = "<padding>", "<unknown>"


@final
@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Known words and their numbers: 1 … V in order, V + 1 for any other word, 0 for padding, which is "".

    `WordEmbedding(dimension, vocabulary.words)` numbers words in the same way, so the exported file takes words too:
    `model.predict([tokenize(text)])`.

    Args:
        words: V different words, at least one.

    Raises:
        DataError: a word is not a string, there are no words, or a word occurs twice.

    Example:
        >>> vocabulary = Vocabulary.from_texts(["A fine film!", "Not so fine."])
        >>> vocabulary.encode("a fine mess")
        array([4, 1, 8])
    """

    words: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not all(isinstance(word, str) for word in self.words):
            raise DataError(
                "vocabulary: expected a list of strings, one for each word; split a text with tokenize(text)"
            )
        object.__setattr__(self, "words", tuple(str(word) for word in self.words))
        if not self.words:
            raise DataError("vocabulary: expected at least one word, got none")
        if len(self._numbers) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise DataError(f"vocabulary: the words must differ, {twice!r} occurs twice")

    @classmethod
    def from_texts(cls, texts: Iterable[Text], size: int | None = None, min_count: int = 1) -> Vocabulary:
        """Collect the words of texts: the most frequent first, words of equal count in alphabetical order.

        Args:
            texts: strings, which `tokenize` splits, or lists of words. They are read once, so a generator works too.
            size: keep at most this many words, the most frequent.
            min_count: keep only words that occur at least this often.

        Raises:
            DataError: an entry is not a text, or no word is left.
            SpecError: `size` or `min_count` is not a whole number of at least 1.
        """
        size = None if size is None else whole_number(size, "size")
        min_count = whole_number(min_count, "min_count")
        if isinstance(texts, str):
            raise DataError("texts: expected a list of texts, got one text; put it into a list: [text]")
        if is_frame(texts):
            raise DataError('texts: expected a list of texts, got a data frame; give a column: frame["text"]')
        counts: Counter[str] = Counter()
        for index, text in enumerate(texts):
            counts.update(filter(None, _split(text, f"text {index}")))  # "" is padding, and no word
        words = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        if not words:
            most = f"the most frequent occurs {max(counts.values())} times" if counts else ""
            raise DataError(f"texts: contain no word{f' at least {min_count} times; {most}' if most else ''}")
        return cls(words[:size])

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words)"

    def __len__(self) -> int:
        """Return V, the number of known words."""
        return len(self.words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, 1)}

    def encode(self, text: Text) -> NDArray[np.int64]:
        """Return the numbers [time] of the words of a text: V + 1 for words that are not known, 0 for "".

        Args:
            text: a string, which `tokenize` splits, or a list of words.

        Raises:
            DataError: `text` has no words.
        """
        return self._encode(text, "text")

    def encode_all(self, texts: Iterable[Text]) -> list[NDArray[np.int64]]:
        """Encode each text, for SequenceDataset. A DataError names the text."""
        return [self._encode(text, f"text {index}") for index, text in enumerate(texts)]

    def _encode(self, text: Text, where: str) -> NDArray[np.int64]:
        words = _split(text, where)
        if not words:
            raise DataError(
                f"{where}: has no words, got {text!r}; a sequence needs at least one word; leave empty ones out"
            )
        unknown = len(self) + 1
        return np.array([self._numbers.get(word, unknown if word else 0) for word in words], np.int64)

    def decode(self, numbers: Any) -> list[str]:
        """Return the words of numbers [time]: <padding> for 0, <unknown> for numbers outside the vocabulary."""
        known = {0: PADDING, **dict(enumerate(self.words, 1))}
        return [known.get(number, UNKNOWN) for number in as_tokens(numbers, "numbers", None).ravel().tolist()]


def _split(text: Any, where: str) -> list[str]:
    if isinstance(text, np.ndarray):
        text = text.tolist()
    if isinstance(text, str):
        return tokenize(text)
    if not isinstance(text, list | tuple) or not all(isinstance(word, str) for word in text):
        raise DataError(f"{where}: expected a string or a list of words, got {text!r:.60}")
    return list(text)
