"""Which sequences go into a batch together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    is_random = shuffle in ("bucket", "random")
    if windows is None:
        drawn: Sequence[Indices] = [rng.permutation(len(lengths)) if is_random else np.arange(len(lengths))]
    else:
        drawn = windows(rng if is_random else None)
    found: list[Indices] = []
    for window in _multiples_of(batch_size, drawn):
        if shuffle == "sorted":
            window = window[np.argsort(lengths[window], kind="stable")]
        if shuffle != "bucket":
            found += chunk(window, batch_size)
            continue
        sorted_ones = []
        for bucket in chunk(window, BATCHES_IN_A_BUCKET * batch_size):
            sorted_ones += chunk(bucket[np.argsort(lengths[bucket], kind="stable")], batch_size)
        found += [sorted_ones[index] for index in rng.permutation(len(sorted_ones))]
    return found


def _multiples_of(size: int, windows: Sequence[Indices]) -> Iterator[Indices]:
    """The windows, each but the last a multiple of the size: what is over begins the next."""
    rest = np.zeros(0, np.intp)
    for number, window in enumerate(windows, 1):
        window = np.concatenate([rest, window])
        end = len(window) - len(window) % size if number < len(windows) else len(window)
        rest = window[end:]
        if end:
            yield window[:end]
