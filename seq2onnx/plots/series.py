"""Check, split and thin out series."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ShapeError

MAX_COLUMNS = 600  # a heat map with more columns than pixels would leave some out


def as_series(values: Any, where: str, count: int | None = None) -> NDArray[np.float64]:
    """Convert [n] or [n, 1] to an array of [n] numbers; raise ShapeError if the shape or n = `count` does not fit."""
    array = np.asarray(values, np.float64)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ShapeError(
            f"{where}: expected one number each, [n], got {list(array.shape)}. Pick a feature: values[:, 0]."
        )
    if count is not None and len(array) != count:
        raise ShapeError(f"{where}: expected {count} numbers, one for each true value, got {len(array)}")
    return array


def stretches(labels: Sequence[Any]) -> list[tuple[int, int, Any]]:
    """Find the stretches of equal labels, as (begin, end, label)."""
    changes = [step for step in range(1, len(labels)) if labels[step] != labels[step - 1]]
    return [(begin, end, labels[begin]) for begin, end in itertools.pairwise([0, *changes, len(labels)])]


def thinned(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Divide [time, n] into at most 600 blocks of steps, and take from each the number furthest from 0 of each column.

    Returns:
        The numbers [blocks, n], NaN where all numbers of a block are NaN, and the number of steps in a block.
    """
    size = -(-len(values) // MAX_COLUMNS)
    count = -(-len(values) // size)
    filled = np.pad(values, ((0, size * count - len(values)), (0, 0)), constant_values=np.nan)
    blocks = filled.reshape(count, size, values.shape[1])
    furthest = np.where(np.isnan(blocks), -1, np.abs(blocks)).argmax(1)
    return np.take_along_axis(blocks, furthest[:, None], 1)[:, 0], size
