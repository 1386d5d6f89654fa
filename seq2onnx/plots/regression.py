"""Predicted numbers and true numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seq2onnx.plots.axes import new_axes, with_grid
from seq2onnx.plots.series import as_series


def predicted_against_true(truth: Any, predicted: Any, unit: str = "", ax: Axes | None = None) -> Axes:
    """Draw a point for each target; correct predictions are on the diagonal. Both axes have the same limits.

    Args:
        truth: the true numbers [n].
        predicted: the predicted numbers [n]. Points that are not finite are left out.
        unit: the unit of the numbers.
        ax: the axes to draw into; None: a new figure.

    Raises:
        ShapeError: the arrays do not have the same n numbers.

    Example:
        >>> predicted_against_true(test.targets, model.predict(test), "°C")
    """
    truth = as_series(truth, "truth")
    predicted = as_series(predicted, "predicted", len(truth))
    ax = ax or new_axes(5, 5)
    good = np.isfinite(truth) & np.isfinite(predicted)
    truth, predicted = truth[good], predicted[good]
    both = np.concatenate([truth, predicted]) if len(truth) else np.array([0.0, 1.0])
    low, high = float(both.min()), float(both.max())
    margin = 0.05 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, "-", color="0.4", linewidth=1.2, label="predicted = true")
    # The more points, the more transparent: dense regions appear darker.
    alpha = min(max(150 / max(len(truth), 1), 0.15), 0.7)
    ax.plot(truth, predicted, "o", color="C0", markersize=3 if len(truth) > 300 else 5, alpha=alpha, mew=0)
    suffix = f", {unit}" if unit else ""
    ax.set(xlabel=f"true{suffix}", ylabel=f"predicted{suffix}", xlim=limits, ylim=limits, aspect="equal")
    return with_grid(ax)


def series_over_time(truth: Any, predicted: Any, unit: str = "", title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the targets and the predictions for each step of one sequence.

    Args:
        truth: the true numbers [time].
        predicted: the predicted numbers [time].
        unit: the unit of the numbers, for the y axis.
        title: the title of the picture.
        ax: the axes to draw into; None: a new figure.

    Raises:
        ShapeError: the arrays do not have the same number of steps.

    Example:
        >>> series_over_time(test.targets[0], model.predict(test)[0], "cycles", "engine 1")
    """
    truth = as_series(truth, "truth")
    predicted = as_series(predicted, "predicted", len(truth))
    ax = ax or new_axes()
    steps = np.arange(1, len(truth) + 1)
    ax.plot(steps, truth, "-", color="black", linewidth=2, label="true")
    ax.plot(steps, predicted, "--", color="C1", linewidth=2, label="predicted")
    ax.set(xlabel="step", ylabel=unit, title=title, xlim=(1, max(len(truth), 2)))
    return with_grid(ax)
