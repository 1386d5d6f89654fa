"""Axes, legends and labels, for all pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes


def new_axes(width: float = 7, height: float = 4) -> Axes:
    """The axes of a new pyplot figure; width and height are in inches."""
    from matplotlib import pyplot as plt

    axes: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return axes


def add_legend(
    ax: Axes, lines: Sequence[Any] | None = None, labels: Sequence[object] | None = None, **options: Any
) -> None:
    """Add a legend below the axes, where it hides no line.

    Args:
        ax: the axes.
        lines: what the legend names; None: all labelled lines of the axes.
        labels: their labels, also those that begin with _, which `Axes.legend` omits; None: the labels of the lines.
        options: options of `Axes.legend`.
    """
    lines = ax.get_legend_handles_labels()[0] if lines is None else lines
    labels = [line.get_label() for line in lines] if labels is None else labels
    placed = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)} | options
    legend = ax.legend(lines, [str(number) for number in range(len(labels))], **placed)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(plain_text(label))


def plain_text(label: object) -> str:
    """A label that matplotlib does not read as a formula between two $; half a surrogate pair becomes "?"."""
    return str(label).encode("utf-8", "replace").decode().replace("$", r"\$")
