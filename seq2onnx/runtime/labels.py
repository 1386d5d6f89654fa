"""From scores to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ShapeError, SpecError


def scores_to_labels(scores: Any, classes: Sequence[str | int] | None) -> Any:
    """The label of the highest score, for each sequence or each step.

    Args:
        scores: what `predict` gave: [sequences, k], or a list of [time, k]
        classes: the k labels
    Returns: an array [sequences], or a list of arrays [time]. Where a score is NaN, as for sequences that
        cannot be answered, the label is None, and its array one of objects.
    Raises: SpecError (no classes), ShapeError (not k scores)
    Example: >>> scores_to_labels(np.array([[0.1, 0.9]]), ["no", "yes"])  # array(['yes'])
    """
    if classes is None:
        raise SpecError("classes: are not in the file; export with classes=[…], or pass them here")
    if isinstance(scores, list):
        return [scores_to_labels(rows, classes) for rows in scores]
    scores = np.asarray(scores)
    if scores.ndim == 0 or scores.shape[-1] != len(classes):
        raise ShapeError(f"scores: expected {len(classes)} in each row, one for each class, got {list(scores.shape)}")
    labels: NDArray[Any] = np.array(classes)[scores.argmax(-1)]
    missing = np.isnan(scores).any(-1)
    if missing.any():
        labels = labels.astype(object)
        labels[missing] = None
    return labels
