"""Which sequences go into a batch together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Indices
from seq2onnx.errors import SpecError
from seq2onnx.sequences import chunk

Shuffle = Literal["bucket", "random", "sorted", "none"]
Windows = Callable[[np.random.Generator | None], Sequence[Indices]]

BATCHES_IN_A_BUCKET = 16


def batches(
    lengths: NDArray[np.integer],
    batch_size: int,
    shuffle: Shuffle,
    rng: np.random.Generator,
    windows: Windows | None = None,
) -> list[Indices]:
    """The indices of every sequence, once each, in batches.

    shuffle: "bucket": at random, then sorted by length within each bucket of 16 batches, and the batches
        at random: little padding, and still random
        "random": at random; "sorted": by length; "none": as they come
    windows: `data.windows`, for data that is read from files: batches are drawn from one window after another, so that
        what is read together is used together
    Example: >>> batches(data.lengths, 32, "bucket", np.random.default_rng(0), data.windows)
    """
    if shuffle not in get_args(Shuffle):
        raise SpecError(f"shuffle: must be one of {', '.join(get_args(Shuffle))}, got {shuffle!r}")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise SpecError(f"batch_size: must be a whole number, at least 1, got {batch_size!r}")
    is_random = shuffle in ("bucket", "random")
    if windows is None:
        drawn: Sequence[Indices] = [rng.permutation(len(lengths)) if is_random else np.arange(len(lengths))]
    else:
        drawn = windows(rng if is_random else None)
    found: list[Indices] = []
    rest = np.zeros(0, np.intp)
    for number, window in enumerate(drawn, 1):
        if shuffle == "sorted":
            window = window[np.argsort(lengths[window], kind="stable")]
        if len(rest):
            # What is left of one window makes one batch with the first of the next, so that all are full, and no more
            # than one batch needs both.
            rest, window = np.concatenate([rest, window[: batch_size - len(rest)]]), window[batch_size - len(rest) :]
            if len(rest) < batch_size:
                continue
            found.append(rest)
        end = len(window) - len(window) % batch_size if number < len(drawn) else len(window)
        found += _batches_of(window[:end], lengths, batch_size, shuffle, rng)
        rest = window[end:]
    return [*found, rest] if len(rest) else found


def _batches_of(
    window: Indices, lengths: NDArray[np.integer], batch_size: int, shuffle: Shuffle, rng: np.random.Generator
) -> list[Indices]:
    if shuffle != "bucket":
        return chunk(window, batch_size)
    found: list[Indices] = []
    for bucket in chunk(window, BATCHES_IN_A_BUCKET * batch_size):
        found += chunk(bucket[np.argsort(lengths[bucket], kind="stable")], batch_size)
    return [found[index] for index in rng.permutation(len(found))]
