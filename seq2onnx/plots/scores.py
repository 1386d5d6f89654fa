"""Scores over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = ("-", "--", "-.", ":")


def scores_over_time(scores: Any, classes: Sequence[str | int] | None = None, ax: Axes | None = None) -> Axes:
    """The score of each class after each step: the leading classes in colour, the others in grey.

    Args:
        scores: [time, k]
        classes: the k labels; without them classes are numbered from 0
        ax: drawn into; without one into a new figure
    Example: >>> scores_over_time(np.stack([stream.step(x) for x in sequence]), model.classes)
    """
    from matplotlib import pyplot as plt

    if ax is None:
        ax = plt.subplots(figsize=(7, 4), layout="constrained")[1]
    scores = np.asarray(scores)
    names = list(range(scores.shape[1])) if classes is None else list(classes)
    steps = np.arange(1, len(scores) + 1)
    leading = np.argsort(-scores.max(0))[: len(STYLES)]
    for index in range(scores.shape[1]):
        if index not in leading:
            ax.plot(steps, scores[:, index], color="0.8", linewidth=1)
    for style, index in zip(STYLES, leading, strict=False):
        ax.plot(steps, scores[:, index], style, linewidth=2, label=f"{names[index]}")
    ax.set(xlabel="step", ylabel="score", ylim=(-0.02, 1.02), xlim=(1, max(len(scores), 2)))
    ax.grid(alpha=0.3)
    ax.legend(title="class", loc="center right")
    return ax
