"""The training curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from seq2onnx.errors import DataError
from seq2onnx.plots.axes import new_axes, with_grid


def training_curve(history: Sequence[dict[str, float]], ax: Axes | None = None) -> Axes:
    """Draw the loss of the training data and, if they were measured, validation loss and accuracy of each epoch.

    Points mark values that not every epoch measured. The axis of the loss is logarithmic if all losses are above 0.

    Args:
        history: `result.history` of `train`. A line connects the epochs that measured its value.
        ax: the axes to draw into; None: a new figure.

    Returns:
        The axes with the loss.

    Raises:
        DataError: there are no epochs.

    Example:
        >>> training_curve(result.history).figure.savefig("curve.png")
    """
    if not history:
        raise DataError("history: expected at least one epoch, got none")
    ax = ax or new_axes()
    epochs = [row["epoch"] for row in history]
    lines: list[Any] = []
    for name, style in (("loss", "C0-"), ("validation_loss", "C0--")):
        lines += _draw(ax, history, name, style)
    if all(np.all(np.greater(line.get_ydata(), 0) | np.isnan(line.get_ydata())) for line in lines):
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(5))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="epoch", ylabel="loss", xlim=(epochs[0], max(epochs[-1], epochs[0] + 1)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any("accuracy" in row for row in history):
        right = ax.twinx()
        for name, style in (("accuracy", "C1-."), ("validation_accuracy", "C1:")):
            lines += _draw(right, history, name, style, linewidth=2)
        right.set(ylabel="accuracy", ylim=(0, 1.03))
    return with_grid(ax, lines)


def _draw(ax: Axes, history: Sequence[dict[str, float]], name: str, style: str, **options: Any) -> list[Any]:
    """Draw the epochs that measured a value. Returns the line; nothing if no epoch did."""
    rows = [row for row in history if name in row]
    if not rows:
        return []
    epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
    marker = "o" if len(rows) < len(history) or len(rows) == 1 else ""  # a line of one point would be invisible
    return ax.plot(epochs, values, style, marker=marker, label=name.replace("_", " "), markersize=4, **options)
