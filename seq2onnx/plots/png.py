"""A picture as the bytes of a PNG file."""

from __future__ import annotations

import io
from collections.abc import Callable


def as_png(draw: Callable[..., object], size: tuple[float, float] = (7, 4)) -> bytes:
    """What `draw` draws into the `ax` that it is given, in a figure of its own, 120 dots an inch; size: in inches.

    Example: >>> as_png(functools.partial(training_curve, history))
    """
    from matplotlib.figure import Figure

    figure, picture = Figure(figsize=size, layout="constrained"), io.BytesIO()
    draw(ax=figure.add_subplot())
    figure.savefig(picture, dpi=120, format="png")
    return picture.getvalue()
