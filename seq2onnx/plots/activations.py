"""The activations of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from seq2onnx.errors import ShapeError
from seq2onnx.integers import whole_number
from seq2onnx.plots.axes import MAX_NAMES, new_axes, plain_text
from seq2onnx.plots.series import thinned

# From blue through grey to yellow, and from dark to light, so that the picture works in black and white.
COLOURS = "cividis"


def activations_heatmap(
    values: Any, units: int | None = None, ax: Axes | None = None, *, channels: Sequence[str] | None = None
) -> Axes:
    """Draw the activations of a layer over the steps of one sequence: blue below 0, grey at 0, yellow above.

    The colour map is cividis with limits that are symmetric about 0. NaN is white. Steps and units are counted from 1.
    Of more than 600 steps, each column shows the value furthest from 0 of several steps.

    Args:
        values: the activations [time, units] of one sequence.
        units: how many units to show, from the first on; None: all.
        ax: the axes to draw into; None: a new figure.
        channels: a name for each unit, such as the channels of an input; None: numbers.

    Raises:
        ShapeError: the values are not [time, units] with at least one step and one unit, or have another number of
            channels.
        SpecError: units is not a whole number, at least 1.

    Example:
        >>> activations_heatmap(model.predict([x], outputs=["lstm_1"])["lstm_1"][0], units=40)
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size:
        raise ShapeError(
            f"values: expected [time, units] with at least one step and one unit, got {list(values.shape)}. Take one "
            "sequence, and flatten each step: values.reshape(len(values), -1)."
        )
    shown = values[:, : None if units is None else whole_number(units, "units")]
    if channels is not None and len(channels) != values.shape[1]:
        raise ShapeError(f"channels: expected {values.shape[1]} names, one for each unit, got {len(channels)}")
    ax = ax or new_axes()
    steps, count = shown.shape
    shown, size = thinned(shown)
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
        extent=(0.5, size * len(shown) + 0.5, 0.5, count + 0.5),
    )
    label = "unit" if channels is None else "channel"
    first = f", the first {count} of {values.shape[1]}" if count < values.shape[1] else ""
    ax.set(xlabel="step", ylabel=f"{label}{first}", xlim=(0.5, steps + 0.5))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    if channels is not None:
        every = -(-count // MAX_NAMES)
        ax.set_yticks(range(1, count + 1, every), [plain_text(name) for name in channels[:count:every]])
    ax.figure.colorbar(image, ax=ax, label="activation" + (f", furthest from 0 of {size} steps" if size > 1 else ""))
    return ax
