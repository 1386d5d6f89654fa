"""Bands between predicted quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from seq2onnx.errors import ShapeError
from seq2onnx.evaluation.quantiles import check_quantiles
from seq2onnx.plots.axes import new_axes, with_grid
from seq2onnx.plots.series import as_series


def bands_over_time(
    truth: Any,
    predicted: Any,
    quantiles: Sequence[float],
    unit: str = "",
    title: str = "",
    ax: Axes | None = None,
    *,
    xlabel: str = "step",
) -> Axes:
    """Draw the bands between predicted quantiles, and the true numbers; those outside of all bands are crosses.

    The outer a band, the lighter. The quantile in the middle is a line.

    Args:
        truth: the true numbers [n] of the steps of one sequence, or of n sequences. NaN are left out.
        predicted: the predicted quantiles [n, k].
        quantiles: which k quantiles they are, such as `model.quantiles`.
        unit: the unit of the numbers, for the y axis.
        title: the title of the picture.
        ax: the axes to draw into; None: a new figure.
        xlabel: what the n numbers are.

    Raises:
        ShapeError: the arrays do not have the same n, or there are not as many quantiles as columns.
        SpecError: the quantiles are no increasing numbers between 0 and 1.

    Example:
        >>> bands_over_time(test.targets[0], model.predict(test)[0], model.quantiles, "°C")
    """
    levels = check_quantiles(quantiles)
    truth = as_series(truth, "truth")
    predicted = np.asarray(predicted, np.float64)
    if predicted.shape != (len(truth), len(levels)):
        raise ShapeError(
            f"predicted: expected [{len(truth)}, {len(levels)}], a row for each true number and a column for each "
            f"quantile, got {list(predicted.shape)}"
        )
    ax = ax or new_axes()
    steps = np.arange(1, len(truth) + 1)
    count = len(levels) // 2
    for k in range(count):
        low, high = levels[k], levels[-1 - k]
        ax.fill_between(
            steps,
            predicted[:, k],
            predicted[:, -1 - k],
            color="C0",
            alpha=0.2 + 0.2 * k / count,
            linewidth=0,
            label=f"{low:g} to {high:g}: {100 * (high - low):.4g} %",
        )
    if len(levels) % 2:
        ax.plot(steps, predicted[:, count], "-", color="C0", linewidth=1.5, label=f"quantile {levels[count]:g}")
    with np.errstate(invalid="ignore"):
        outside = (truth < predicted[:, 0]) | (truth > predicted[:, -1]) if count else np.zeros(len(truth), bool)
    for name, chosen, style in (("true", ~outside, "ok"), ("true, outside", outside, "xC3")):
        if chosen.any():
            size = 3 if style == "ok" else 6
            ax.plot(steps[chosen], truth[chosen], style, markersize=size, label=name)
    ax.set(xlabel=xlabel, ylabel=unit, title=title, xlim=(0.5, max(len(truth), 2) + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return with_grid(ax)
