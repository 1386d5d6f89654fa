"""The confusion chart."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.plots.axes import new_axes, plain_text
from seq2onnx.plots.png import as_png


def confusion_chart(truth: Any, predicted: Any, classes: Sequence[str | int], ax: Axes | None = None) -> Axes:
    """Count how often each true class (row) was predicted as each class (column). Darker: a larger part of the row.

    Args:
        truth: the true labels [n].
        predicted: the predicted labels [n].
        classes: all labels, in the order of the axes.
        ax: the axes to draw into; None: a new figure.

    Raises:
        DataError: there are no classes, or a label is not among them.
        ShapeError: there are not as many predicted labels as true ones.

    Example:
        >>> confusion_chart(test.labels, model.classify(test), model.classes)
    """
    if not len(classes):
        raise DataError("classes: expected at least one label, got none")
    if len(truth) != len(predicted):
        raise ShapeError(f"predicted: expected {len(truth)} labels, one for each true label, got {len(predicted)}")
    numbers = {label: number for number, label in enumerate(classes)}
    for where, labels in (("truth", truth), ("predicted", predicted)):
        for label in labels:
            if np.ndim(label) or label not in numbers:
                raise DataError(f"{where}: {label!r} is not among the classes; leave out sequences without a label")
    counts = np.zeros((len(classes), len(classes)), int)
    for row, column in zip(truth, predicted, strict=True):
        counts[numbers[row], numbers[column]] += 1
    ax = ax or new_axes(*_size(classes))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap="Greys", vmin=0, vmax=1.3)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.7 else "black"
            ax.text(column, row, str(count), ha="center", va="center", color=colour)
    ticks = range(len(classes))
    long = max(len(str(label)) for label in classes) > 4
    names = [plain_text(label) for label in classes]
    ax.set_xticks(ticks, names, rotation=90 if long else 0)
    ax.set_yticks(ticks, names)
    ax.set(xlabel="predicted", ylabel="true")
    return ax


def confusion_png(truth: Sequence[int], predicted: Sequence[int], classes: Sequence[str | int]) -> bytes:
    """Draw the confusion chart of class numbers as a PNG file."""
    true_labels, predicted_labels = ([classes[number] for number in numbers] for numbers in (truth, predicted))
    return as_png(functools.partial(confusion_chart, true_labels, predicted_labels, classes), _size(classes))


def _size(classes: Sequence[str | int]) -> tuple[float, float]:
    """Width and height in inches at which counts and labels can be read."""
    side = max(4.0, 1.5 + 0.45 * len(classes))
    return side, side
