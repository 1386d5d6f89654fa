"""Forecasts and the true values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seq2onnx.plots.axes import new_axes, with_grid
from seq2onnx.plots.series import as_series

# Lines and markers differ too, for black and white. Further forecasts start again with the first style.
LINES = (("--", "o", "C0"), ("-.", "s", "C1"), (":", "^", "C2"), ((0, (5, 1, 1, 1, 1, 1)), "D", "C4"))
MARKERS = 12


def forecast_chart(
    history: Any, truth: Any, forecasts: Mapping[str, Any], ax: Axes | None = None, unit: str = "", start: int = 1
) -> Axes:
    """Draw a series, what followed, and forecasts of it. A vertical line marks the start of the forecast.

    Args:
        history: the values [n] before the forecast.
        truth: the values [m] that followed.
        forecasts: name -> forecast values [m], such as {"closed loop": …, "seasonal naive": …}.
        ax: the axes to draw into; None: a new figure.
        unit: the unit of the values, for the y axis.
        start: the number of the first step of history.

    Raises:
        ShapeError: a series has the wrong shape; the message names it.

    Example:
        >>> forecast_chart(x[:200, 0], x[200:, 0], {"closed loop": model.forecast(x[:200], 50)})
    """
    history, truth = as_series(history, "history"), as_series(truth, "truth")
    named = {name: as_series(values, f"forecast {name!r}", len(truth)) for name, values in forecasts.items()}
    ax = ax or new_axes()
    begin = start + len(history)
    ahead = np.arange(begin, begin + len(truth))
    lines = ax.plot(np.arange(start, begin), history, "-", color="0.5", linewidth=1.5, label="before")
    lines += ax.plot(ahead, truth, "-", color="black", linewidth=2, label="true")
    every = -(-len(truth) // MARKERS)
    for number, (name, values) in enumerate(named.items()):
        line, marker, colour = LINES[number % len(LINES)]
        # Shifted, so that the markers of different lines do not cover each other.
        shift = number * every // max(len(named), 1)
        lines += ax.plot(
            ahead,
            values,
            linestyle=line,
            marker=marker,
            color=colour,
            markersize=5,
            markevery=(shift, every),
            linewidth=1.8,
            label=name,
        )
    ax.axvline(begin - 0.5, color="black", linewidth=1)
    ax.set(xlabel="step", ylabel=unit)
    ax.margins(x=0.01)
    return with_grid(ax, lines, ["before", "true", *named])
