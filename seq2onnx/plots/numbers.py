"""Numbers that a network answers beside the true ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.plots.arrays import as_series
from seq2onnx.plots.axes import legend_below, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def predicted_against_true(truth: Any, predicted: Any, unit: str = "", ax: Axes | None = None) -> Axes:
    """A point for each target; on the diagonal the answer is right. Both axes have the same limits.

    Args:
        truth, predicted: [n] each; a point of which one is not finite is left out
        unit: of the numbers
        ax: drawn into; without one into a new figure
    Raises: ShapeError
    Example: >>> predicted_against_true(test.targets, model.predict(test), "°C")
    """
    truth = as_series(truth, "truth")
    predicted = as_series(predicted, "predicted", len(truth))
    ax = ax or new_axes(5, 5)
    good = np.isfinite(truth) & np.isfinite(predicted)
    truth, predicted = truth[good], predicted[good]
    both = np.concatenate([truth, predicted]) if len(truth) else np.array([0.0, 1.0])
    low, high = float(both.min()), float(both.max())
    room = 0.05 * (high - low) or 0.5
    limits = (low - room, high + room)
    ax.plot(limits, limits, "-", color="0.4", linewidth=1.2, label="predicted = true")
    # The more points there are, the lighter each: those that lie on one another are seen as darker.
    alpha = min(max(150 / max(len(truth), 1), 0.15), 0.7)
    ax.plot(truth, predicted, "o", color="C0", markersize=3 if len(truth) > 300 else 5, alpha=alpha, mew=0)
    of = f", {unit}" if unit else ""
    ax.set(xlabel=f"true{of}", ylabel=f"predicted{of}", xlim=limits, ylim=limits, aspect="equal")
    ax.grid(alpha=0.3)
    legend_below(ax, bbox_to_anchor=(0.5, -0.12))
    return ax


def series_over_time(truth: Any, predicted: Any, unit: str = "", title: str = "", ax: Axes | None = None) -> Axes:
    """The targets of one sequence, a step after another, and what the network answered to each.

    Args:
        truth, predicted: [time] each
        unit: of the numbers, on the y axis
        title: above the picture
        ax: drawn into; without one into a new figure
    Raises: ShapeError
    Example: >>> series_over_time(test.targets[0], model.predict(test)[0], "cycles", "engine 1")
    """
    truth = as_series(truth, "truth")
    predicted = as_series(predicted, "predicted", len(truth))
    ax = ax or new_axes()
    steps = np.arange(1, len(truth) + 1)
    ax.plot(steps, truth, "-", color="black", linewidth=2, label="true")
    ax.plot(steps, predicted, "--", color="C1", linewidth=2, label="predicted")
    ax.set(xlabel="step", ylabel=unit, title=title, xlim=(1, max(len(truth), 2)))
    ax.grid(alpha=0.3)
    legend_below(ax, ncols=2)
    return ax
