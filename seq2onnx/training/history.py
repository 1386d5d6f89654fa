"""The history of a training run: one row of metrics for each epoch."""

from __future__ import annotations

from typing import Literal

import numpy as np

History = list[dict[str, float]]
"""One row for each epoch; `train` lists the columns."""


def validations_since_best(history: History) -> int:
    """Count the validations after the one with the lowest loss."""
    losses = [row["validation_loss"] for row in history if "validation_loss" in row]
    return len(losses) - 1 - int(np.argmin(np.nan_to_num(losses, nan=np.inf))) if losses else 0


def out_of_patience(history: History, patience: int | None) -> bool:
    """Return whether training stops early."""
    return patience is not None and validations_since_best(history) >= patience


def row_of_kept_weights(history: History, keep: Literal["last", "best"]) -> dict[str, float]:
    """Return the row of the epoch whose weights training keeps; empty if there was no epoch."""
    validated = [row for row in history if "validation_loss" in row]
    if keep == "best" and validated:
        return validated[-1 - validations_since_best(history)]
    return history[-1] if history else {}
