"""PaddingPolicy: how sequences of differing lengths become one batch, in training and prediction. Needs numpy alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError
from seq2onnx.sequences import Array, pad, widest

SequenceLength = str | int | tuple[str, int]


@dataclasses.dataclass(frozen=True)
class PaddingPolicy:
    """How a batch is laid out.

    Args:
        sequence_length: "longest": as long as the longest; "shortest": all are cut to the shortest; an integer: cut
            to so many steps; ("split", n): as "longest", run in chunks of n steps from which the state goes on
        padding_value: what is put where there is no step, before normalization
        padding_direction: "right" or "left": where padding is put, and where what is too long is cut
        mask_padding: True: padding never influences a result. False: it is data; an integer sequence_length then also
            pads to so many steps
    Raises: SpecError
    Example: >>> PaddingPolicy(sequence_length=200, padding_direction="left", mask_padding=False)
    """

    sequence_length: SequenceLength = "longest"
    padding_value: float = 0.0
    padding_direction: str = "right"
    mask_padding: bool = True

    def __post_init__(self) -> None:
        length: Any = self.sequence_length
        if isinstance(length, list | tuple):
            length = tuple(length)
            object.__setattr__(self, "sequence_length", length)  # frozen, and a list where it comes from JSON or YAML
            good = len(length) == 2 and length[0] == "split" and _is_count(length[1])
        else:
            good = length in ("longest", "shortest") if isinstance(length, str) else _is_count(length)
        if not good:
            raise SpecError(
                "sequence_length: must be 'longest', 'shortest', a number of steps, at least 1, or ('split', steps), "
                f"got {length!r}"
            )
        if self.padding_direction not in ("right", "left"):
            raise SpecError(f"padding_direction: must be 'right' or 'left', got {self.padding_direction!r}")
        if not isinstance(self.padding_value, int | float) or not np.isfinite(self.padding_value):
            raise SpecError(f"padding_value: must be a finite number, got {self.padding_value!r}")
        if not isinstance(self.mask_padding, bool):
            raise SpecError(f"mask_padding: must be True or False, got {self.mask_padding!r}")

    @property
    def chunk(self) -> int | None:
        """Steps of a chunk, where sequences are split."""
        return self.sequence_length[1] if isinstance(self.sequence_length, tuple) else None

    def limit(self, lengths: NDArray[np.integer[Any]]) -> int | None:
        """The most steps that are kept of each sequence of a batch; None: all."""
        if self.sequence_length == "shortest":
            return int(lengths.min())
        return self.sequence_length if isinstance(self.sequence_length, int) else None

    def cut(self, rows: Array, limit: int | None) -> Array:
        """What is kept of a sequence, or of its targets."""
        if limit is None or len(rows) <= limit:
            return rows
        return rows[:limit] if self.padding_direction == "right" else rows[len(rows) - limit :]

    def pad(
        self, sequences: Sequence[Array], longest: int = 0, word: str | None = None
    ) -> tuple[Array, NDArray[np.int32]]:
        """Sequences that have been cut, as one batch [batch, time, …], and the steps [batch] that count as data.

        longest: steps of the longest of more sequences, of which these are a part
        word: what stands for padding_value, where sequences are words
        """
        if self.mask_padding:
            return pad(sequences)
        steps = max(longest, *(len(sequence) for sequence in sequences))
        if isinstance(self.sequence_length, int):
            steps = self.sequence_length
        shape = (len(sequences), steps, *sequences[0].shape[1:])
        if word is None:
            batch = np.full(shape, self.padding_value, sequences[0].dtype)
        else:
            batch = np.full(shape, word, widest([*sequences, np.array(word)]))
        for row, sequence in zip(batch, sequences, strict=True):
            row[self.place(steps, len(sequence))] = sequence
        return batch, np.full(len(sequences), steps, np.int32)

    def place(self, steps: int, real: int) -> slice:
        """Where among the steps of a row its real ones are."""
        return slice(steps - real, steps) if self.padding_direction == "left" and not self.mask_padding else slice(real)


MASKED = PaddingPolicy()
"""As long as the longest, and nothing of it padding: what holds where nothing else is said."""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
