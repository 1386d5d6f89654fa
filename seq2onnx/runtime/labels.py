"""Labels from scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import ShapeError, SpecError
from seq2onnx.integers import whole_number


def scores_to_labels(scores: Any, classes: Sequence[str | int] | None, top_k: int | None = None) -> Any:
    """Return the label of the highest score, for each sequence or step; or the `top_k` highest with their scores.

    Args:
        scores: the result of `predict`: [sequences, k], or a list of [time, k].
        classes: the k labels.
        top_k: how many labels, 1 to k, from the highest score down; equal scores are in the order of the classes.

    Returns:
        An array [sequences], or a list of arrays [time]. With `top_k` a pair (labels, scores), both
        [sequences, top_k], or lists of [time, top_k]; the scores are probabilities if the network ends in a Softmax.
        Integer labels are integers. If a score is NaN, because the sequence contained NaN or infinity, the label is
        None and the array has the type object.

    Raises:
        SpecError: there are no classes, or fewer than top_k.
        ShapeError: there are not k scores.

    Example:
        >>> scores_to_labels(np.array([[0.1, 0.9]]), ["no", "yes"])
        array(['yes'])
        >>> scores_to_labels(np.array([[0.1, 0.9]]), ["no", "yes"], top_k=2)
        (array([['yes', 'no']]), array([[0.9, 0.1]]))
    """
    if classes is None:
        raise SpecError("classes: are not in the file; export with classes=[…], or pass them here")
    if top_k is not None:
        top_k = whole_number(top_k, "top_k", most=len(classes))
    if isinstance(scores, list):
        pairs = [scores_to_labels(rows, classes, top_k) for rows in scores]
        return pairs if top_k is None else ([labels for labels, _ in pairs], [best for _, best in pairs])
    scores = np.asarray(scores)
    if scores.ndim == 0 or scores.shape[-1] != len(classes):
        raise ShapeError(f"scores: expected {len(classes)} in each row, one for each class, got {list(scores.shape)}")
    # numpy would turn a mixture of integers and strings into strings.
    names = np.array(classes, None if len({type(name) for name in classes}) == 1 else object)
    indices = scores.argmax(-1) if top_k is None else np.argsort(-scores, -1, kind="stable")[..., :top_k]
    labels: NDArray[Any] = names[indices]
    missing = np.isnan(scores).any(-1)
    if missing.any():
        labels = labels.astype(object)
        labels[missing] = None
    if top_k is None:
        return labels
    best = np.take_along_axis(scores, indices, -1)
    best[missing] = np.nan
    return labels, best
