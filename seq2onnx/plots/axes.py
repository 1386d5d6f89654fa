"""Axes, legends and labels, for all pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

DISTANCE = 34  # of the legend from the axes, in typographic points: room for the numbers and name of the x axis
MAX_NAMES = 30  # of the rows of a heat map; of more rows, every second, third … has its name


def new_axes(width: float = 7, height: float = 4) -> Axes:
    """The axes of a new pyplot figure; width and height are in inches."""
    from matplotlib import pyplot as plt

    axes: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return axes


def add_legend(
    ax: Axes, lines: Sequence[Any] | None = None, labels: Sequence[object] | None = None, title: str | None = None
) -> None:
    """Add a legend below the axes, where it hides no line.

    Args:
        ax: the axes.
        lines: what the legend names; None: all labelled lines of the axes.
        labels: their labels, also those that begin with _, which `Axes.legend` omits; None: the labels of the lines.
        title: what the labels are.
    """
    lines = ax.get_legend_handles_labels()[0] if lines is None else lines
    labels = [line.get_label() for line in lines] if labels is None else labels
    # As many columns as fit: 15 characters an inch, and 6 for the line of each label.
    width = ax.get_position().width * ax.figure.figure.get_figwidth()
    columns = int(15 * width / (6 + max(len(str(label)) for label in labels)))
    below = ax.transAxes + ScaledTranslation(0, -DISTANCE / 72, ax.figure.dpi_scale_trans)
    legend = ax.legend(
        lines,
        [str(number) for number in range(len(labels))],
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=below,
        ncols=max(1, min(columns, len(labels))),
        title=title,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(plain_text(label))


def with_grid(
    ax: Axes, lines: Sequence[Any] | None = None, labels: Sequence[object] | None = None, title: str | None = None
) -> Axes:
    """Finish a picture of lines or points: add a grid, and the legend of `add_legend`."""
    ax.grid(alpha=0.3)
    add_legend(ax, lines, labels, title)
    return ax


def plain_text(label: object) -> str:
    """A label that matplotlib does not read as a formula between two $; half a surrogate pair becomes "?"."""
    return str(label).encode("utf-8", "replace").decode().replace("$", r"\$")
