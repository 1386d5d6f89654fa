"""Evaluations as text that fits 80 columns, and as plain data for JSON."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seq2onnx.tables import WIDTH, ShownAsText, text_table

_TEXTS = ("band", "output")
"""The columns that hold no numbers."""


class Shown(ShownAsText, abc.ABC):
    """An evaluation of any kind, which prints as the tables of `seq2onnx evaluate`."""

    head: ClassVar[tuple[str, ...]]
    """The names of the columns of `rows`."""
    nan_predictions: int

    @abc.abstractmethod
    def rows(self) -> list[tuple[str, ...]]:
        """Return the figures as text; of quantiles and numbers, a row for each band or output."""

    @abc.abstractmethod
    def figures(self) -> dict[str, Any]:
        """Return the figures of all rows together as plain data."""

    def parts(self) -> list[str]:
        """Return the tables."""
        right = [place for place, name in enumerate(self.head) if name not in _TEXTS]
        return [text_table([self.head, *self.rows()], right)]

    def details(self) -> dict[str, Any]:
        """Return what the plain data has besides the figures."""
        return {}

    def __str__(self) -> str:
        return evaluation_text(self)

    def __repr__(self) -> str:
        """Return the main figures in one line."""
        row, *more = self.rows()
        figures = [f"{name} {cell}" for name, cell in zip(self.head, row, strict=True) if name != "output"]
        line = ", ".join(figures) + (f", and {len(more)} more" if more else "")
        return f"{type(self).__name__}({line})"


Groups = Mapping[str, Shown | None]


def evaluation_text(found: Shown, groups: Groups | None = None, by: str | None = None) -> str:
    """Return the tables of an evaluation; `by` heads that of the groups, None: there are no groups."""
    parts = found.parts()
    if found.nan_predictions:
        parts.append(f"{found.nan_predictions:,} predictions are NaN and left out: their input has NaN or infinity.")
    if by is not None:
        parts.append(_group_table(found.head, groups or {}, by))
    return "\n\n".join(parts)


def evaluation_data(found: Shown, groups: Groups, by: str | None) -> dict[str, Any]:
    """Return the figures of an evaluation as plain data, with None for undefined ones; see `evaluation_text`."""
    data = plain(found.figures()) | {"nan_predictions": found.nan_predictions} | found.details()
    if by is not None:
        nothing = {"accuracy": None, "macro_f1": None, "count": 0}
        data |= {
            "by": by,
            "groups": [{"name": name} | (plain(part.figures()) if part else nothing) for name, part in groups.items()],
        }
    return data


def plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures with None for undefined ones."""
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in figures.items()}


def decimal(value: float) -> str:
    """Return a share as text."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def _group_table(head: tuple[str, ...], groups: Groups, by: str) -> str:
    nothing = tuple("" if name in _TEXTS else "0" if name == "count" else "–" for name in head)
    rows = [(name, *row) for name, found in groups.items() for row in (found.rows() if found else [nothing])]
    numeric = [place for place, name in enumerate(head, 1) if name not in _TEXTS]
    return text_table([(by, *head), *rows], numeric)


def confusion_text(table: NDArray[np.int64], classes: Sequence[object]) -> str:
    """Return a confusion matrix [true, predicted], in several blocks of columns if it is wide."""
    size = max(len(f"{table.max():,}"), len(str(len(classes) - 1)))
    rows = [f"{number} {name}" for number, name in enumerate(classes)]
    longest = min(max(map(len, rows)), WIDTH // 2)
    at_once = max((WIDTH - longest) // (size + 2), 1)
    lines = ["confusion: a row for each true class, a column for each predicted one"]
    for start in range(0, len(rows), at_once):
        stop = min(start + at_once, len(rows))
        counts = np.where(table == 0, "·", np.char.mod("%d", table))[:, start:stop].tolist()
        block = [("", *range(start, stop)), *((name, *cells) for name, cells in zip(rows, counts, strict=True))]
        lines.append(text_table(block, range(1, stop - start + 1)))
    return "\n\n".join(lines[:1]) + "\n" + "\n\n".join(lines[1:])
