"""The axes of a picture, and where its legend stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# For `Axes.legend`: inside the axes, it would lie over one line or another.
BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}


def new_axes(width: float = 7, height: float = 4) -> Axes:
    """The axes of a new figure of pyplot's, of this size in inches."""
    from matplotlib import pyplot as plt

    axes: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return axes


def legend_below(ax: Axes, **options: Any) -> None:
    """Write the legend below the axes; `options` are further ones of `Axes.legend`, or others than BELOW."""
    ax.legend(**BELOW | options)
