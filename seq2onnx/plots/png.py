"""A picture as the bytes of a PNG file."""

from __future__ import annotations

import io
from collections.abc import Callable

from matplotlib.figure import Figure


def as_png(draw: Callable[..., object], size: tuple[float, float] = (7, 4)) -> bytes:
    """Draw a picture in a new figure, and return it as a PNG file with 120 dots per inch.

    Args:
        draw: a function that draws into its argument `ax`.
        size: width and height in inches.

    Example:
        >>> as_png(functools.partial(training_curve, history))
    """
    figure, picture = Figure(figsize=size, layout="constrained"), io.BytesIO()
    draw(ax=figure.add_subplot())
    figure.savefig(picture, dpi=120, format="png")
    return picture.getvalue()
