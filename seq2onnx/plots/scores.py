"""The scores of classes over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seq2onnx.errors import ShapeError
from seq2onnx.plots.axes import add_legend, new_axes, plain_text
from seq2onnx.plots.series import stretches

STYLES = ("-", "--", "-.", ":")
BAND = (-0.15, -0.05)  # the true labels, below the lines
GREYS = ("0.95", "0.8", "0.88", "0.7")


def scores_over_time(
    scores: Any, classes: Sequence[str | int] | None = None, ax: Axes | None = None, *, truth: Any = None
) -> Axes:
    """Draw the score of each class after each step: the leading classes in colour, the others in grey.

    Args:
        scores: the scores [time, k] of one sequence.
        classes: the k labels; None: numbers from 0.
        ax: the axes to draw into; None: a new figure.
        truth: the true label of each step [time], None for an unknown one. They are a band below the lines, in which
            each stretch of equal labels has its name if it fits.

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
    ax = ax or new_axes()
    steps = np.arange(1, len(scores) + 1)
    leading = np.argsort(-scores.max(0))[: len(STYLES)]
    for index in range(scores.shape[1]):
        if index not in leading:
            ax.plot(steps, scores[:, index], color="0.8", linewidth=1)
    lines = []
    for style, index in zip(STYLES, leading, strict=False):
        lines += ax.plot(steps, scores[:, index], style, linewidth=2, label=f"{names[index]}")
    labels = [names[index] for index in leading]
    ax.set(xlabel="step", ylabel="score", ylim=(-0.02, 1.02), xlim=(1, max(len(scores), 2)))
    ax.grid(alpha=0.3)
    if truth is None:
        add_legend(ax, lines, labels, title="class", loc="center right", bbox_to_anchor=None)
    else:
        labelled = list(truth)
        if len(labelled) != len(scores):
            raise ShapeError(f"truth: expected {len(scores)} labels, one for each step, got {len(labelled)}")
        _band(ax, [stretch for stretch in stretches(labelled) if stretch[2] is not None], len(scores))
        add_legend(ax, lines, labels, title="class", ncols=len(STYLES))
    return ax


def _band(ax: Axes, known: list[tuple[int, int, Any]], steps: int) -> None:
    """Draw stretches of labels below 0; equal labels have the same grey."""
    ax.set(xlim=(0.5, steps + 0.5), ylim=(BAND[0] - 0.03, 1.02), yticks=np.linspace(0, 1, 6))
    greys = {label: GREYS[number % len(GREYS)] for number, label in enumerate(dict.fromkeys(s[2] for s in known))}
    pixels = ax.get_window_extent().width / steps
    for begin, end, label in known:
        ax.broken_barh(
            [(begin + 0.5, end - begin)],
            (BAND[0], BAND[1] - BAND[0]),
            facecolor=greys[label],
            edgecolor="black",
            linewidth=0.6,
        )
        name = ax.text((begin + end + 1) / 2, sum(BAND) / 2, plain_text(label), ha="center", va="center", fontsize=8)
        if name.get_window_extent().width > 0.95 * pixels * (end - begin):
            name.remove()
    ax.text(0, sum(BAND) / 2, "true ", transform=ax.get_yaxis_transform(), ha="right", va="center")
