"""Accuracy against latency."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox, BboxBase

from seq2onnx.errors import DataError
from seq2onnx.plots.axes import new_axes, plain_text

# Possible positions of a label: directions (right, up) from its point, and distances in typographic points.
DISTANCES = (8, 22, 38, 56, 76, 98)
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))
FONT = 9
LEADER = {"arrowstyle": "-", "linewidth": 0.6, "color": "0.4", "shrinkA": 1, "shrinkB": 0}
POINT = 5  # half the width of a marker, in typographic points


def accuracy_against_latency(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw a labelled point for each network: its accuracy, and its latency per step. The best are at the top left.

    The labels fit the current size of the figure, so resize it before and not after.

    Args:
        rows: a dict for each network: name, accuracy (0 to 1), latency (µs per step) and size (MB of the file).
        ax: the axes to draw into; None: a new figure.

    Raises:
        DataError: there are no rows, or a latency is not above 0 and finite.

    Example:
        >>> accuracy_against_latency([{"name": "LSTM 100", "accuracy": 0.98, "latency": 10.2, "size": 0.19}])
    """
    if not rows:
        raise DataError("rows: expected at least one network, got none")
    for row in rows:
        if not 0 < row["latency"] < math.inf:
            raise DataError(f"{row['name']}: latency must be above 0 and finite, got {row['latency']}")
    ax = ax or new_axes(7, 4.5)
    latencies, accuracies = ([float(row[key]) for row in rows] for key in ("latency", "accuracy"))
    ax.plot(latencies, accuracies, "o", color="C0", markersize=7, markeredgecolor="black")
    room = 0.18 * (max(accuracies) - min(accuracies)) or 0.02
    ax.set(
        xlabel="latency of a step, µs",
        ylabel="accuracy",
        xscale="log",
        xlim=(_round(0.8 * min(latencies), up=False), _round(1.25 * max(latencies), up=True)),
        ylim=(min(accuracies) - room, max(accuracies) + room),
    )
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks([tick for tick in ax.get_yticks() if ax.get_ylim()[0] <= tick <= min(1, ax.get_ylim()[1])])
    ax.grid(alpha=0.3)
    texts = [f"{plain_text(row['name'])}, {row['size']:.3g} MB" for row in rows]
    _label(ax, list(zip(latencies, accuracies, strict=True)), texts)
    return ax


def _round(value: float, *, up: bool) -> float:
    """Round up or down to one of …, 1, 2, 5, 10, 20, …, for the ends of the axis."""
    decade = 10.0 ** math.floor(math.log10(value))
    steps = [decade, 2 * decade, 5 * decade, 10 * decade]
    return min(s for s in steps if s >= value) if up else max(s for s in steps if s <= value)


def _label(ax: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str]) -> None:
    """Write each text near its point, inside the axes; if there is room, it covers no other text or marker."""
    ax.figure.figure.draw_without_rendering()  # the points have no position before the layout
    scale, frame = ax.figure.dpi / 72, ax.get_window_extent()
    places = [ax.transData.transform(point) for point in points]
    taken = [Bbox([place - POINT * scale, place + POINT * scale]) for place in places]
    for point, place, text in zip(points, places, texts, strict=True):
        probe = ax.text(0, 0, text, fontsize=FONT)
        size = np.array(probe.get_window_extent().size)
        probe.remove()
        found = []
        for distance, side in itertools.product(DISTANCES, SIDES):
            # The distance is that of the nearest edge or corner of the text.
            begin = place + distance * scale * np.array(side) + size * (np.sign(side) - 1) / 2
            box = Bbox([begin, begin + size])
            covered = sum(_area(Bbox.intersection(box, other)) for other in taken)
            beyond = _area(box) - _area(Bbox.intersection(box, frame))
            found.append((covered + beyond, box))
        _, box = min(found, key=lambda entry: entry[0])  # the first of equals, which is the nearest
        note = ax.annotate(
            text,
            point,
            (box.p0 - place) / scale,
            textcoords="offset points",
            va="bottom",
            fontsize=FONT,
            arrowprops=LEADER,
        )
        note.set_in_layout(False)
        taken.append(box)


def _area(box: BboxBase | None) -> float:
    return 0.0 if box is None else float(box.width * box.height)
