"""Check and split series: one number, or one label, for each step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ShapeError


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
