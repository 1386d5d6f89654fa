"""The history of a training run: one row of metrics for each epoch; and the column that decides what is best."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

History = list[dict[str, float]]
"""One row for each epoch; `train` lists the columns."""


@dataclasses.dataclass(frozen=True)
class Monitor:
    """The column of the history that patience, keep="best" and the schedule "plateau" watch.

    Attributes:
        column: its name.
        largest: whether the largest value is the best.
    """

    column: str = "validation_loss"
    largest: bool = False

    def values(self, history: History) -> list[float]:
        """Return the values of the rows that have the column. The smallest is the best; NaN never is."""
        sign = -1 if self.largest else 1
        found = [sign * row[self.column] for row in history if self.column in row]
        return [np.inf if np.isnan(value) else value for value in found]

    def since_best(self, history: History) -> int:
        """Count the values after the best one."""
        values = self.values(history)
        return len(values) - 1 - int(np.argmin(values)) if values else 0

    def is_best(self, history: History) -> bool:
        """Return whether the last row has the best value so far."""
        return self.column in history[-1] and self.since_best(history) == 0


def out_of_patience(history: History, patience: int | None, monitor: Monitor) -> bool:
    """Return whether training stops early."""
    return patience is not None and monitor.since_best(history) >= patience


def row_of_kept_weights(history: History, keep: Literal["last", "best"], monitor: Monitor) -> dict[str, float]:
    """Return the row of the epoch whose weights training keeps; empty if there was no epoch."""
    measured = [row for row in history if monitor.column in row]
    if keep == "best" and measured:
        return measured[-1 - monitor.since_best(history)]
    return history[-1] if history else {}
