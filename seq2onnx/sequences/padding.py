"""Lay out sequences of different lengths as batches, in training and in prediction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError
from seq2onnx.integers import whole_number
from seq2onnx.limits import PADDED_BYTES, STEPS
from seq2onnx.sequences.conversion import Array

SequenceLength = str | int | tuple[str, int]


def pad(sequences: Sequence[Array]) -> tuple[Array, NDArray[np.int32]]:
    """Pad sequences [time, …], numbers with 0 and words with "", on the right to the longest.

    Returns:
        The batch [batch, longest, …] and the lengths [batch].
    """
    lengths = np.array([len(sequence) for sequence in sequences], np.int32)
    if (lengths == lengths[0]).all():
        return np.stack(sequences), lengths
    batch = np.empty((len(sequences), int(lengths.max()), *sequences[0].shape[1:]), _widest(sequences))
    batch[:, lengths.min() :] = np.zeros((), batch.dtype)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    return batch, lengths


def by_size(order: NDArray[np.intp], sizes: NDArray[np.integer[Any]], most: int) -> list[NDArray[np.intp]]:
    """Split indices into parts whose `sizes`, by index, add up to about `most`. A part has at least one index."""
    parts = np.cumsum(sizes[order], dtype=np.int64) // most
    return np.split(order, np.flatnonzero(np.diff(parts)) + 1)


def chunk(order: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """Split indices into parts of `size` indices. The last part may be smaller."""
    return [order[start : start + size] for start in range(0, len(order), size)]


@dataclasses.dataclass(frozen=True)
class PaddingPolicy:
    """How a batch is laid out.

    Args:
        sequence_length: "longest": pad to the longest sequence of the batch. "shortest": cut to the shortest. A whole
            number: cut to this many steps. ("split", n): as "longest", but the network runs in chunks of n steps and
            carries the state from chunk to chunk.
        padding_value: the value of padding, before normalization.
        padding_direction: "right" or "left": the end at which sequences are padded and cut.
        mask_padding: True: padding never influences a result. False: padding counts as data; if sequence_length is a
            number, sequences are also padded to it.

    Raises:
        SpecError: an argument has another value.

    Example:
        >>> PaddingPolicy(sequence_length=200, padding_direction="left", mask_padding=False)
    """

    sequence_length: SequenceLength = "longest"
    padding_value: float = 0.0
    padding_direction: str = "right"
    mask_padding: bool = True

    def __post_init__(self) -> None:
        length: Any = self.sequence_length
        # JSON and YAML turn the tuple into a list.
        if isinstance(length, list | tuple) and len(length) == 2 and length[0] == "split":
            length = ("split", whole_number(length[1], "sequence_length: the steps of 'split'", most=STEPS))
        elif not isinstance(length, str | list | tuple):
            length = whole_number(length, "sequence_length", most=STEPS)
        elif length not in ("longest", "shortest"):
            raise SpecError(
                "sequence_length: must be 'longest', 'shortest', a number of steps, at least 1, or ('split', steps), "
                f"got {length!r}"
            )
        object.__setattr__(self, "sequence_length", length)
        if self.padding_direction not in ("right", "left"):
            raise SpecError(f"padding_direction: must be 'right' or 'left', got {self.padding_direction!r}")
        if not isinstance(self.padding_value, int | float) or not np.isfinite(self.padding_value):
            raise SpecError(f"padding_value: must be a finite number, got {self.padding_value!r}")
        if not isinstance(self.mask_padding, bool):
            raise SpecError(f"mask_padding: must be True or False, got {self.mask_padding!r}")

    @property
    def chunk(self) -> int | None:
        """The steps of a chunk, or None if sequences are not split."""
        return self.sequence_length[1] if isinstance(self.sequence_length, tuple) else None

    @property
    def keeps_order(self) -> bool:
        """Whether batches are in the given order, because a result may depend on the other sequences of its batch."""
        return not self.mask_padding or self.sequence_length == "shortest"

    def limit(self, lengths: NDArray[np.integer[Any]]) -> int | None:
        """Return to how many steps the sequences of a batch are cut; None: they are not cut."""
        if self.sequence_length == "shortest":
            return int(lengths.min())
        return self.sequence_length if isinstance(self.sequence_length, int) else None

    def cut(self, rows: Array, limit: int | None) -> Array:
        """Cut a sequence, or the targets of its steps, to `limit` steps."""
        if limit is None or len(rows) <= limit:
            return rows
        return rows[:limit] if self.padding_direction == "right" else rows[len(rows) - limit :]

    def pad(
        self, sequences: Sequence[Array], longest: int = 0, word: str | None = None
    ) -> tuple[Array, NDArray[np.int32]]:
        """Pad sequences, which have been cut, to one batch.

        Args:
            sequences: at least one.
            longest: the steps of the longest sequence of the batch, where these are a part of it.
            word: the padding of sequences of words, in place of `padding_value`.

        Returns:
            The batch [batch, time, …] and the number of steps [batch] that count as data.

        Raises:
            SpecError: sequence_length pads to more than a sequence may have.
        """
        if self.mask_padding:
            return pad(sequences)
        length = self.sequence_length
        steps = length if isinstance(length, int) else max(longest, *map(len, sequences))
        bytes_of_step = sequences[0].itemsize * math.prod(sequences[0].shape[1:])
        if isinstance(length, int) and steps > max(map(len, sequences)) and steps * bytes_of_step > PADDED_BYTES:
            raise SpecError(
                f"sequence_length: pads a sequence to {steps:,} steps, {steps * bytes_of_step:,} bytes; at most "
                f"{PADDED_BYTES:,} are allowed. Choose a smaller one"
            )
        padding = np.array(self.padding_value, sequences[0].dtype) if word is None else np.array(word)
        batch = np.full((len(sequences), steps, *sequences[0].shape[1:]), padding, _widest([*sequences, padding]))
        for row, sequence in zip(batch, sequences, strict=True):
            row[self.place(steps, len(sequence))] = sequence
        return batch, np.full(len(sequences), steps, np.int32)

    def place(self, steps: int, real: int) -> slice:
        """Return where the `real` steps of a sequence lie in a row of `steps`."""
        return slice(steps - real, steps) if self.padding_direction == "left" and not self.mask_padding else slice(real)


MASKED = PaddingPolicy()
"""The default: pad to the longest sequence and mask the padding."""


def _widest(sequences: Sequence[Array]) -> np.dtype[Any]:
    """Return the type that holds all sequences: for words that of the longest word."""
    return max((sequence.dtype for sequence in sequences), key=lambda dtype: dtype.itemsize)
