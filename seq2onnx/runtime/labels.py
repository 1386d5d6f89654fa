"""From scores to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ShapeError, SpecError


def scores_to_labels(scores: Any, classes: Sequence[str | int] | None, top_k: int | None = None) -> Any:
    """The label of the highest score, for each sequence or each step; or the `top_k` highest, and their scores.

    Args:
        scores: what `predict` gave: [sequences, k], or a list of [time, k]
        classes: the k labels
        top_k: how many, 1 to k; from the highest score down, equal scores in the order of the classes
    Returns: an array [sequences], or a list of arrays [time]. With `top_k` a pair (labels, scores), both
        [sequences, top_k], or lists of [time, top_k]; the scores are probabilities where the network ends in a
        Softmax. Integer labels are integers. Where a score is NaN, as for sequences that cannot be answered, the label
        is None, and its array one of objects.
    Raises: SpecError (no classes, or not so many), ShapeError (not k scores)
    Example: >>> scores_to_labels(np.array([[0.1, 0.9]]), ["no", "yes"])  # array(['yes'])
             >>> scores_to_labels(np.array([[0.1, 0.9]]), ["no", "yes"], top_k=2)
             (array([['yes', 'no']]), array([[0.9, 0.1]]))
    """
    if classes is None:
        raise SpecError("classes: are not in the file; export with classes=[…], or pass them here")
    if top_k is not None and not (_is_whole(top_k) and 1 <= top_k <= len(classes)):
        raise SpecError(f"top_k: must be a whole number from 1 to {len(classes)}, the classes, got {top_k!r}")
    if isinstance(scores, list):
        found = [scores_to_labels(rows, classes, top_k) for rows in scores]
        return found if top_k is None else ([labels for labels, _ in found], [best for _, best in found])
    scores = np.asarray(scores)
    if scores.ndim == 0 or scores.shape[-1] != len(classes):
        raise ShapeError(f"scores: expected {len(classes)} in each row, one for each class, got {list(scores.shape)}")
    # An array of integers and texts would make texts of all.
    names = np.array(classes, None if len({type(name) for name in classes}) == 1 else object)
    places = scores.argmax(-1) if top_k is None else np.argsort(-scores, -1, kind="stable")[..., :top_k]
    labels: NDArray[Any] = names[places]
    missing = np.isnan(scores).any(-1)
    if missing.any():
        labels = labels.astype(object)
        labels[missing] = None
    if top_k is None:
        return labels
    best = np.take_along_axis(scores, places, -1)
    best[missing] = np.nan
    return labels, best


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
