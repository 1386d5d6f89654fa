"""The axes of a picture, and where its legend stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def new_axes(width: float = 7, height: float = 4) -> Axes:
    """The axes of a new figure of pyplot's, of this size in inches."""
    from matplotlib import pyplot as plt

    axes: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return axes


def legend_below(ax: Axes, below: float = 0.14, **options: Any) -> None:
    """Write the legend below the axes: inside, it would lie over one line or another.

    Args:
        below: how far, as a share of the height of the axes
        options: further ones of `Axes.legend`
    """
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -below), **options)
