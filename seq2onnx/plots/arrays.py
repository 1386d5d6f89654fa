"""What pictures of series take: one number, or one label, a step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ShapeError


def as_series(values: Any, where: str, like: int | None = None) -> NDArray[np.float64]:
    """`values`, [n] or [n, 1], as [n] numbers; like: how many they must be. Raises ShapeError."""
    array = np.asarray(values, np.float64)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ShapeError(
            f"{where}: expected one number each, [n], got {list(array.shape)}; pick one feature: values[:, 0]"
        )
    if like is not None and len(array) != like:
        raise ShapeError(f"{where}: expected {like} numbers, as many as there are true ones, got {len(array)}")
    return array


def stretches(labels: Sequence[Any]) -> list[tuple[int, int, Any]]:
    """(begin, end, label) of each stretch of equal labels, one a step."""
    changes = [step for step in range(1, len(labels)) if labels[step] != labels[step - 1]]
    return [(begin, end, labels[begin]) for begin, end in itertools.pairwise([0, *changes, len(labels)])]
