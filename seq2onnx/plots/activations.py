"""What a layer answers, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.errors import ShapeError, SpecError
from seq2onnx.plots.axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From blue over grey to yellow, ever lighter: what is below 0 is darker than grey, in black and white too.
COLOURS = "cividis"


def activations_heatmap(values: Any, units: int | None = None, ax: Axes | None = None) -> Axes:
    """The activations of a layer over the steps of one sequence: blue below 0, grey at 0, yellow above.

    The map is cividis with limits that are symmetric about 0; it grows lighter from end to end, so that it reads in
    grey as well. What is NaN is left white.
    Args:
        values: [time, units], of one sequence
        units: how many of them, the first; None: all
        ax: drawn into; without one into a new figure
    Raises: ShapeError, SpecError (units below 1)
    Example: >>> activations_heatmap(model.predict([x], outputs=["lstm_1"])["lstm_1"][0], units=40)
    """
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size:
        raise ShapeError(
            f"values: expected [time, units] with a step and a unit at least, got {list(values.shape)}; take one "
            "sequence, and make one row of all that a step has: values.reshape(len(values), -1)"
        )
    if units is not None and units < 1:
        raise SpecError(f"units: must be at least 1, got {units}; None shows all")
    shown = values[:, :units]
    ax = ax or new_axes()
    steps, count = shown.shape
    finite = np.abs(shown[np.isfinite(shown)])
    largest = float(finite.max(initial=0)) or 1.0
    image = ax.imshow(
        shown.T,
        cmap=COLOURS,
        vmin=-largest,
        vmax=largest,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(0.5, steps + 0.5, -0.5, count - 0.5),
    )
    some = f"unit, the first {count} of {values.shape[1]}" if count < values.shape[1] else "unit"
    ax.set(xlabel="step", ylabel=some)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.figure.colorbar(image, ax=ax, label="activation")
    return ax
