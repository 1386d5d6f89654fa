"""The scores of classes over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seq2onnx.errors import ShapeError
from seq2onnx.plots.axes import MAX_NAMES, add_legend, new_axes, plain_text, with_grid
from seq2onnx.plots.series import stretches, thinned

STYLES = ("-", "--", "-.", ":")
BAND = (-0.15, -0.05)  # the true labels, below the lines
# More classes or steps are a heat map: their lines could not be told apart.
MAX_LINES, MAX_STEPS = 10, 500

Stretches = list[tuple[int, int, Any]]


def scores_over_time(
    scores: Any, classes: Sequence[str | int] | None = None, ax: Axes | None = None, *, truth: Any = None
) -> Axes:
    """Draw the score of each class after each step: as lines, or as a heat map of many classes or steps.

    Up to 10 classes over up to 500 steps are lines. Else each class is a row of a heat map, the darker the higher its
    score. In a heat map of more than 600 steps, each column shows the highest scores of several steps.

    Args:
        scores: the scores [time, k] of one sequence.
        classes: the k labels; None: numbers from 0.
        ax: the axes to draw into; None: a new figure.
        truth: the true label of each step [time], None for an unknown one. They are a band below the lines, in which
            each stretch of equal labels has its name if it fits; in a heat map, bars in the rows of their classes.

    Raises:
        ShapeError: there is no step or class, or the number of classes or true labels does not fit the scores.

    Example:
        >>> scores_over_time(np.stack([stream.step(x) for x in sequence]), model.classes)
        >>> scores_over_time(model.predict(test)[0], model.classes, truth=test.labels[0])
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or not scores.size:
        raise ShapeError(
            f"scores: expected [time, k] with at least one step and class, got {list(scores.shape)}; take one sequence"
        )
    names = list(range(scores.shape[1])) if classes is None else list(classes)
    if len(names) != scores.shape[1]:
        raise ShapeError(f"classes: expected {scores.shape[1]} labels, one for each score, got {len(names)}")
    labels = None if truth is None else list(truth)
    if labels is not None and len(labels) != len(scores):
        raise ShapeError(f"truth: expected {len(scores)} labels, one for each step, got {len(labels)}")
    known = None if labels is None else [stretch for stretch in stretches(labels) if stretch[2] is not None]
    draw = _lines if len(names) <= MAX_LINES and len(scores) <= MAX_STEPS else _heat_map
    ax = ax or new_axes(*picture_size(len(names)))
    draw(ax, scores, names, known)
    return ax


def picture_size(classes: int) -> tuple[float, float]:
    """Width and height in inches at which the names of so many classes can be read."""
    return 7, max(4.0, 1.5 + 0.2 * min(classes, MAX_NAMES))


def _lines(ax: Axes, scores: NDArray[np.float64], names: list[Any], known: Stretches | None) -> None:
    steps = np.arange(1, len(scores) + 1)
    lines = []
    for index, name in enumerate(names):
        style = STYLES[index % len(STYLES)]
        lines += ax.plot(steps, scores[:, index], style, color=f"C{index}", linewidth=2, label=str(name))
    ax.set(xlabel="step", ylabel="score", ylim=(-0.02, 1.02), xlim=(1, max(len(scores), 2)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if known is not None:
        _band(ax, known, len(scores), {str(name): f"C{index}" for index, name in enumerate(names)})
    with_grid(ax, lines, names, title="class")


def _band(ax: Axes, known: Stretches, steps: int, colours: dict[str, str]) -> None:
    """Draw stretches of labels below 0, in a light shade of the colours of their classes."""
    ax.set(xlim=(0.5, steps + 0.5), ylim=(BAND[0] - 0.03, 1.02), yticks=np.linspace(0, 1, 6))
    pixels = ax.get_window_extent().width / steps
    for begin, end, label in known:
        ax.broken_barh(
            [(begin + 0.5, end - begin)],
            (BAND[0], BAND[1] - BAND[0]),
            facecolor=(colours.get(str(label), "0.5"), 0.35),
            edgecolor="black",
            linewidth=0.6,
        )
        name = ax.text((begin + end + 1) / 2, sum(BAND) / 2, plain_text(label), ha="center", va="center", fontsize=8)
        if name.get_window_extent().width > 0.95 * pixels * (end - begin):
            name.remove()
    ax.text(0, sum(BAND) / 2, "true ", transform=ax.get_yaxis_transform(), ha="right", va="center")


def _heat_map(ax: Axes, scores: NDArray[np.float64], names: list[Any], known: Stretches | None) -> None:
    """Draw a row for each class, from the top; true labels that are no class have a row without scores."""
    shown, size = thinned(scores)
    rows = {name: row for row, name in enumerate(map(str, names))}
    for _, _, label in known or ():
        rows.setdefault(str(label), len(rows))
    shown = np.pad(shown, ((0, 0), (0, len(rows) - len(names))), constant_values=np.nan)
    extent = (0.5, size * len(shown) + 0.5, len(rows) - 0.5, -0.5)
    image = ax.imshow(shown.T, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=extent)
    every = -(-len(rows) // MAX_NAMES)
    ax.set_yticks(range(0, len(rows), every), [plain_text(name) for name in list(rows)[::every]])
    ax.set(xlabel="step", ylabel="class", xlim=(0.5, len(scores) + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    label = "score" if size == 1 else f"highest score of {size} steps"
    ax.figure.colorbar(image, ax=ax, label=label)
    if known is not None:
        for begin, end, label in known:
            row = rows[str(label)]
            bar = ax.broken_barh([(begin + 0.5, end - begin)], (row + 0.22, 0.22), facecolor="C1", label="true class")
        if known:
            add_legend(ax, [bar])
