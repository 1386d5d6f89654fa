"""Text as sequences: the words that a collection of texts has, and their numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError
from seq2onnx.sequences import as_tokens, tokenize

Text = str | Sequence[str]

PADDING, UNKNOWN = "<padding>", "<unknown>"


@final
@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The words that are known, and their numbers: 1 … V in order, V + 1 for any other, 0 for padding, "".

    It goes with `WordEmbedding(dimension, vocabulary.words)`, which numbers words in the same way, so that the exported
    file takes words too: `model.predict([tokenize(text)])`.

    Args:    words: V different words, at least one
    Raises:  DataError where words are no strings, occur twice, or there are none
    Example: >>> vocabulary = Vocabulary.from_texts(["A fine film!", "Not so fine."])
             >>> vocabulary.encode("a fine mess")
             array([4, 1, 8])
    """

    words: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not all(isinstance(word, str) for word in self.words):
            raise DataError("vocabulary: expected a list of words, strings; a text is split with tokenize(text)")
        object.__setattr__(self, "words", tuple(str(word) for word in self.words))
        if not self.words:
            raise DataError("vocabulary: expected at least one word, got none")
        if len(self._numbers) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise DataError(f"vocabulary: the words must differ, {twice!r} is there twice")

    @classmethod
    def from_texts(cls, texts: Iterable[Text], size: int | None = None, min_count: int = 1) -> Vocabulary:
        """The words of texts, the most frequent first, those of equal count in the order of the alphabet.

        Args:   texts: strings, which `tokenize` splits, or lists of words; gone through once, so a generator will do
                size: no more words than this, the most frequent
                min_count: no words that occur less often
        Raises: DataError naming the text that is not one, or where no word is left
        """
        for name, value in (("size", 1 if size is None else size), ("min_count", min_count)):
            if not isinstance(value, int) or value < 1:
                raise DataError(f"{name}: expected an integer from 1 on, got {value!r}")
        if isinstance(texts, str):
            raise DataError("texts: expected a list of texts, got one text; put it into a list: [text]")
        counts: Counter[str] = Counter()
        for index, text in enumerate(texts):
            counts.update(filter(None, _words(text, f"text {index}")))  # "" is padding, and no word
        words = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        if not words:
            most = (
                f" {min_count} times or more; the most frequent occurs {max(counts.values())} times" if counts else ""
            )
            raise DataError(f"texts: have no word in them{most}")
        return cls(words[:size])

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words)"

    def __len__(self) -> int:
        """V, how many words are known."""
        return len(self.words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, 1)}

    def encode(self, text: Text) -> NDArray[np.int64]:
        """The numbers of the words of a text, or of a list of words as they are: [time] int64.

        V + 1 where a word is not known, 0 for "", which is padding.

        Raises: DataError where there is no word: a sequence has at least one step
        """
        return self._encode(text, "text")

    def encode_all(self, texts: Iterable[Text]) -> list[NDArray[np.int64]]:
        """`encode` for each text, as SequenceDataset takes them; a DataError names the text."""
        return [self._encode(text, f"text {index}") for index, text in enumerate(texts)]

    def _encode(self, text: Text, where: str) -> NDArray[np.int64]:
        words = _words(text, where)
        if not words:
            raise DataError(f"{where}: has no words, got {text!r}; a sequence needs one at least: leave it out")
        unknown = len(self) + 1
        return np.array([self._numbers.get(word, unknown if word else 0) for word in words], np.int64)

    def decode(self, numbers: Any) -> list[str]:
        """The words of numbers [time]; <padding> for 0, <unknown> for all that are not numbers of words."""
        known = {0: PADDING, **dict(enumerate(self.words, 1))}
        return [known.get(number, UNKNOWN) for number in as_tokens(numbers, "numbers", None).ravel().tolist()]


def _words(text: Any, where: str) -> list[str]:
    if isinstance(text, np.ndarray):
        text = text.tolist()
    if isinstance(text, str):
        return tokenize(text)
    if not isinstance(text, list | tuple) or not all(isinstance(word, str) for word in text):
        raise DataError(f"{where}: expected a string or a list of words, got {text!r:.60}")
    return list(text)
