"""An evaluation as text that fits 80 columns, and as plain data for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from seq2onnx.evaluation.quantiles import QuantileEvaluation
from seq2onnx.evaluation.scores import ClassEvaluation, Evaluation, NumberEvaluation
from seq2onnx.tables import WIDTH, text_table

Groups = Mapping[str, Evaluation | None]
_HEADS = {
    ClassEvaluation: ("accuracy", "macro F1", "count"),
    QuantileEvaluation: ("band", "expected", "found", "mean width", "count"),
    NumberEvaluation: ("output", "RMSE", "MAE", "R²", "count"),
}
"""The columns of `_rows`."""
_TEXTS = ("band", "output")
"""Those that hold no numbers."""


def evaluation_line(found: Evaluation) -> str:
    """Return the main figures of an evaluation in one line."""
    head, (row, *more) = _HEADS[type(found)], _rows(found)
    figures = [f"{name} {cell}" for name, cell in zip(head, row, strict=True) if name != "output"]
    return ", ".join(figures) + (f", and {len(more)} more" if more else "")


def evaluation_text(found: Evaluation, groups: Groups | None = None, by: str | None = None) -> str:
    """Return the tables of an evaluation; `by` heads that of the groups, None: there are no groups."""
    if isinstance(found, ClassEvaluation):
        parts = _class_parts(found)
    elif isinstance(found, QuantileEvaluation):
        parts = [str(found.coverage)]
    else:
        parts = [text_table([_HEADS[NumberEvaluation], *_rows(found)], (1, 2, 3, 4))]
    if found.nan_predictions:
        parts.append(f"{found.nan_predictions:,} predictions are NaN and left out: their input has NaN or infinity.")
    if by is not None:
        parts.append(_group_table(_HEADS[type(found)], groups or {}, by))
    return "\n\n".join(parts)


def evaluation_data(found: Evaluation, groups: Groups, by: str | None) -> dict[str, Any]:
    """Return the figures of an evaluation as plain data, with None for undefined ones; see `evaluation_text`."""
    data: dict[str, Any] = _plain(_summary(found)) | {"nan_predictions": found.nan_predictions}
    if isinstance(found, ClassEvaluation):
        data["classes"] = [_plain(vars(row)) for row in found.by_class()]
        data["confusion"] = found.confusion().tolist()
    if by is not None:
        data |= {"by": by, "groups": [{"name": name} | _plain(_summary(part)) for name, part in groups.items()]}
    return data


def _summary(found: Evaluation | None) -> dict[str, Any]:
    """The figures of all rows together; the count is 0 if there are none."""
    if found is None:
        return {"accuracy": math.nan, "macro_f1": math.nan, "count": 0}
    if isinstance(found, ClassEvaluation):
        return {"accuracy": found.accuracy, "macro_f1": found.macro_f1, "count": len(found.truth)}
    if isinstance(found, QuantileEvaluation):
        coverage = dataclasses.asdict(found.coverage)
        bands = [{"expected": band.expected} | band._asdict() for band in found.coverage.bands]
        return coverage | {"bands": bands}
    names = output_names(found)
    outputs = [
        {"output": name, "rmse": rmse, "mae": mae, "r2": r2}
        for name, (r2, rmse, mae) in zip(names, found.scores(), strict=True)
    ]
    return {"outputs": [_plain(row) for row in outputs], "count": len(found.truth)}


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in figures.items()}


def _rows(found: Evaluation) -> list[tuple[str, ...]]:
    """The figures of an evaluation, for quantiles and numbers a row for each band or output."""
    count = f"{len(found.truth):,}"
    if isinstance(found, ClassEvaluation):
        return [(_decimal(found.accuracy), _decimal(found.macro_f1), count)]
    if isinstance(found, QuantileEvaluation):
        return [
            (
                f"{band.low:g} to {band.high:g}",
                f"{band.expected:.4f}",
                f"{band.covered:.4f}",
                f"{band.width:.5g}",
                count,
            )
            for band in found.coverage.bands
        ]
    return [
        (name, *("–" if math.isnan(value) else f"{value:.5g}" for value in (rmse, mae, r2)), count)
        for name, (r2, rmse, mae) in zip(output_names(found), found.scores(), strict=True)
    ]


def _group_table(head: tuple[str, ...], groups: Groups, by: str) -> str:
    nothing = tuple("" if name in _TEXTS else "0" if name == "count" else "–" for name in head)
    rows = [(name, *row) for name, found in groups.items() for row in (_rows(found) if found else [nothing])]
    numeric = [place for place, name in enumerate(head, 1) if name not in _TEXTS]
    return text_table([(by, *head), *rows], numeric)


def output_names(found: NumberEvaluation) -> list[str]:
    """The names of the outputs of numbers: y, or y0, y1 and so on if there are several."""
    count = found.truth.shape[1]
    return [f"y{k}" for k in range(count)] if count > 1 else ["y"]


def _decimal(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _class_parts(found: ClassEvaluation) -> list[str]:
    by_class, count = found.by_class(), len(found.truth)
    baseline = max(row.count for row in by_class) / count
    figures = [
        ("accuracy", f"{found.accuracy:.4f}", f"of {count:,} labels; the most frequent class has {baseline:.4f}"),
        ("macro F1", f"{found.macro_f1:.4f}", "the mean of the classes"),
    ]
    rows = [(row.name, *map(_decimal, (row.precision, row.recall, row.f1)), f"{row.count:,}") for row in by_class]
    classes = text_table([("class", "precision", "recall", "F1", "count"), *rows], (1, 2, 3, 4))
    return [text_table(figures), classes, _confusion_text(found)]


def _confusion_text(found: ClassEvaluation) -> str:
    """The confusion matrix, in several blocks of columns if it is wide."""
    table = found.confusion()
    size = max(len(f"{table.max():,}"), len(str(len(found.classes) - 1)))
    rows = [f"{number} {name}" for number, name in enumerate(found.classes)]
    longest = min(max(map(len, rows)), WIDTH // 2)
    at_once = max((WIDTH - longest) // (size + 2), 1)
    lines = ["confusion: a row for each true class, a column for each predicted one"]
    for start in range(0, len(rows), at_once):
        stop = min(start + at_once, len(rows))
        counts = np.where(table == 0, "·", np.char.mod("%d", table))[:, start:stop].tolist()
        block = [("", *range(start, stop)), *((name, *cells) for name, cells in zip(rows, counts, strict=True))]
        lines.append(text_table(block, range(1, stop - start + 1)))
    return "\n\n".join(lines[:1]) + "\n" + "\n\n".join(lines[1:])
