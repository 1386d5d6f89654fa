"""compare_files: what changes if one file takes the place of another, such as one with smaller weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError
from seq2onnx.evaluation.quantiles import QuantileEvaluation
from seq2onnx.evaluation.scores import ClassEvaluation, Evaluation, NothingToCompare, evaluate
from seq2onnx.tables import ShownAsText, about, text_table

LIMITS = {"float32": ((1.0, 1e-5),), "float16": ((1.0, 2e-3),), "int8": ((0.95, 1e-2), (1.0, 5e-2))}
"""For each way to store weights, which share of the scores has at most which error."""


@dataclasses.dataclass(frozen=True)
class ComparedFigure:
    """One figure of two files.

    Attributes:
        name: "bytes", "largest score error", "mean score error", or a metric: "accuracy" and "macro F1", or "RMSE",
            "MAE" and "R²", with the name of the output if there are several.
        before: the figure of the first file; an error is 0.
        after: that of the second file.
    """

    name: str
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class Comparison(ShownAsText):
    """The figures of two files; it prints as a table.

    Attributes:
        path: the second file.
        weights: how the second file stores its weights.
        rows: the figures.
        errors: for each score, the difference between the files, relative to max(1, largest score of the output).
        notes: why there are no metrics, if there are none.
    """

    path: str
    weights: str
    rows: list[ComparedFigure]
    errors: NDArray[np.float64] = dataclasses.field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the errors are within the limits: see `compare_files`."""
        return all(np.mean(self.errors <= limit) >= share for share, limit in LIMITS[self.weights])

    def __str__(self) -> str:
        rows = [(row.name, *(_text(row.name, value) for value in (row.before, row.after))) for row in self.rows]
        shares = [
            f"{100 * float(np.mean(self.errors <= limit)):.4g} % of the scores are within {limit:g}; promised are "
            f"{100 * share:g} %"
            for share, limit in LIMITS[self.weights]
        ]
        verdict = f"{'ok' if self.ok else 'FAILED'}, {self.weights}: {', '.join(shares)}"
        table = text_table([("", "before", "after"), *rows], (1, 2))
        return "\n".join([table, about(self.path, verdict), *(about("note", note) for note in self.notes)])


def compare_files(before: str | Path, after: str | Path, data: Any) -> Comparison:
    """Compare the scores of two files of the same network, and their figures if the data has targets.

    The errors of the scores are relative to max(1, largest score of the output). Their limits depend on how the second
    file stores its weights. int8: 95 % of the scores are within 0.01 and all within 0.05. float16: all are within
    0.002. float32: all are within 0.00001, for example after an export in another form.

    Args:
        before: a file that `export` wrote, usually with weights="float32".
        after: a file of the same network, for example with weights="int8".
        data: a SequenceDataset, or what `predict` takes. Take data that was not used for training.

    Returns:
        The report: `ok`, `rows` with name, before and after, and `errors`.

    Raises:
        DataError: the files do not give the same number of scores, or the targets do not fit them.
        ShapeError: the sequences do not fit the files.

    Example:
        >>> print(compare_files("vowels.onnx", "vowels_int8.onnx", test))
    """
    from seq2onnx.runtime import load

    if not isinstance(data, SequenceDataset):
        data = SequenceDataset(data)
    models = [load(path) for path in (before, after)]
    for name in ("classes", "channels"):
        first, second = (getattr(model, name) for model in models)
        if None not in (first, second) and first != second:
            raise DataError(
                f"{before} and {after}: have other {name}, {first} and {second}; compare files of one network"
            )
    data = data.with_channels(models[0].channels)
    predictions = [model.predict(data) for model in models]
    errors = _errors(predictions[0], predictions[1], f"{before} and {after}")
    sizes = [float(Path(path).stat().st_size) for path in (before, after)]
    rows = [
        ComparedFigure("bytes", *sizes),
        ComparedFigure("largest score error", 0.0, float(errors.max(initial=0.0))),
        ComparedFigure("mean score error", 0.0, float(errors.mean()) if errors.size else 0.0),
    ]
    metrics, notes = list[dict[str, float]](), dict[str, None]()
    for model, found in zip(models, predictions, strict=True):
        try:
            metrics.append(dict(_metrics(evaluate(model, data, found))))
        except NothingToCompare as error:
            metrics.append({})
            notes[str(error)] = None
    rows += [ComparedFigure(name, value, metrics[1].get(name, np.nan)) for name, value in metrics[0].items()]
    return Comparison(str(after), models[1].contract.weights, rows, errors, tuple(notes))


def _metrics(found: Evaluation) -> Iterator[tuple[str, float]]:
    """Yield the names and values of the metrics."""
    if isinstance(found, ClassEvaluation):
        yield from (("accuracy", found.accuracy), ("macro F1", found.macro_f1))
    elif isinstance(found, QuantileEvaluation):
        yield ("pinball loss", found.coverage.loss)
        yield from ((f"coverage of {b.low:g} to {b.high:g}", b.covered) for b in found.coverage.bands)
    else:
        scores = found.scores()
        for number, (r2, rmse, mae) in enumerate(scores):
            output = f" y{number}" if len(scores) > 1 else ""
            yield from ((f"RMSE{output}", rmse), (f"MAE{output}", mae), (f"R²{output}", r2))


def _errors(before: Any, after: Any, where: str) -> NDArray[np.float64]:
    """Return the errors of all scores. A score that is NaN in one file only has an infinite error."""
    if not isinstance(before, dict):
        before, after = {"y": before}, {"y": after}
    found = []
    if before.keys() != after.keys():
        raise DataError(f"{where}: have other outputs, {list(before)} and {list(after)}; compare files of one network")
    for name in before:
        rows = [[np.ravel(array) for array in given[name]] for given in (before, after)]
        if [len(array) for array in rows[0]] != [len(array) for array in rows[1]]:
            raise DataError(f"{where}: do not give the same number of scores; compare two files of one network")
        a, b = (np.concatenate([*arrays, []]).astype(np.float64) for arrays in rows)
        known = ~(np.isnan(a) & np.isnan(b))
        a, b = a[known], b[known]
        error = np.abs(a - b) / np.abs(np.nan_to_num(a)).max(initial=1.0)
        found.append(np.where(np.isnan(error), np.inf, error))
    return np.concatenate(found)


def _text(name: str, value: float) -> str:
    return f"{value:,.0f}" if name == "bytes" else f"{value:.2g}" if name.endswith("error") else f"{value:.5g}"
