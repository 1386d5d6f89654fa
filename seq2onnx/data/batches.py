"""Which sequences go into a batch together."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError
from seq2onnx.sequences import chunk

Shuffle = Literal["bucket", "random", "sorted", "none"]

BATCHES_IN_A_BUCKET = 16


def batches(
    lengths: NDArray[np.integer], batch_size: int, shuffle: Shuffle, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """The indices of every sequence, once each, in batches.

    shuffle: "bucket": at random, then sorted by length within each bucket of 16 batches, and the batches
        at random: little padding, and still random
        "random": at random; "sorted": by length; "none": as they come
    Example: >>> batches(data.lengths, 32, "bucket", np.random.default_rng(0))
    """
    if shuffle == "none":
        return chunk(np.arange(len(lengths)), batch_size)
    if shuffle == "sorted":
        return chunk(np.argsort(lengths, kind="stable"), batch_size)
    order = rng.permutation(len(lengths))
    if shuffle == "random":
        return chunk(order, batch_size)
    if shuffle != "bucket":
        raise SpecError(f"shuffle: must be one of {', '.join(get_args(Shuffle))}, got {shuffle!r}")
    found = []
    for bucket in chunk(order, BATCHES_IN_A_BUCKET * batch_size):
        found += chunk(bucket[np.argsort(lengths[bucket], kind="stable")], batch_size)
    return [found[index] for index in rng.permutation(len(found))]
