"""Choose which sequences go into a batch together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Indices
from seq2onnx.errors import SpecError
from seq2onnx.integers import whole_number
from seq2onnx.sequences import chunk

Shuffle = Literal["bucket", "random", "sorted", "none"]
Shards = Callable[[np.random.Generator | None], Sequence[Indices]]

BATCHES_IN_A_BUCKET = 16


def batch_indices(
    lengths: NDArray[np.integer],
    batch_size: int,
    shuffle: Shuffle,
    rng: np.random.Generator,
    shards: Shards | None = None,
) -> list[Indices]:
    """Return the indices of every sequence, once each, in batches.

    Args:
        lengths: the steps of each sequence.
        batch_size: how many sequences are in a batch; the last batch may be smaller.
        shuffle: "bucket": shuffle, sort by length within buckets of 16 batches, and shuffle the batches of a bucket.
            This needs little padding and is still random. "random": shuffle. "sorted": sort by length. "none": keep
            the order.
        rng: draws the order.
        shards: `data.shards`, for data that is read from files: batches are drawn from one shard after another, so
            that sequences that are read together are used together.

    Raises:
        SpecError: `batch_size` or `shuffle` has another value.

    Example:
        >>> batch_indices(data.lengths, 32, "bucket", np.random.default_rng(0), data.shards)
    """
    if shuffle not in get_args(Shuffle):
        raise SpecError(f"shuffle: must be one of {', '.join(get_args(Shuffle))}, got {shuffle!r}")
    batch_size = whole_number(batch_size, "batch_size")
    is_random = shuffle in ("bucket", "random")
    if shards is None:
        drawn: Sequence[Indices] = [rng.permutation(len(lengths)) if is_random else np.arange(len(lengths))]
    else:
        drawn = shards(rng if is_random else None)
    found: list[Indices] = []
    rest = np.zeros(0, np.intp)
    for number, shard in enumerate(drawn, 1):
        if shuffle == "sorted":
            shard = shard[np.argsort(lengths[shard], kind="stable")]
        if len(rest):
            # The rest of one shard and the start of the next make one batch. So all batches are full, and no more than
            # one needs both shards.
            rest, shard = np.concatenate([rest, shard[: batch_size - len(rest)]]), shard[batch_size - len(rest) :]
            if len(rest) < batch_size:
                continue
            found.append(rest)
        end = len(shard) - len(shard) % batch_size if number < len(drawn) else len(shard)
        found += _batches_of_shard(shard[:end], lengths, batch_size, shuffle, rng)
        rest = shard[end:]
    return [*found, rest] if len(rest) else found


def _batches_of_shard(
    shard: Indices, lengths: NDArray[np.integer], batch_size: int, shuffle: Shuffle, rng: np.random.Generator
) -> list[Indices]:
    if shuffle != "bucket":
        return chunk(shard, batch_size)
    found: list[Indices] = []
    for bucket in chunk(shard, BATCHES_IN_A_BUCKET * batch_size):
        found += chunk(bucket[np.argsort(lengths[bucket], kind="stable")], batch_size)
    return [found[index] for index in rng.permutation(len(found))]
