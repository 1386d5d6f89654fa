"""evaluate: compare a model's predictions with the targets of a data set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data import SequenceDataset
from seq2onnx.data.columns import Column
from seq2onnx.errors import DataError
from seq2onnx.evaluation.opened import opened
from seq2onnx.evaluation.quantiles import E, QuantileEvaluation, of_rows
from seq2onnx.evaluation.tables import Shown, confusion_text, decimal, plain
from seq2onnx.tables import text_table

if TYPE_CHECKING:
    from seq2onnx.evaluation.opened import Trained
    from seq2onnx.runtime import Predictor

Numbers = NDArray[np.float64]
Scores = tuple[float, float, float]  # R², RMSE, mean absolute error


class NothingToCompare(DataError):
    """There are no predictions that could be compared with targets."""


@dataclasses.dataclass(frozen=True)
class ClassFigures:
    """Precision, recall and F1 of one class. A figure is NaN if it is undefined, since there are no such cases.

    Attributes:
        name: the label.
        count: how many cases have this label.
        precision: the share of the predictions of this label that are right.
        recall: the share of the cases with this label that are recognized.
        f1: the harmonic mean of precision and recall.
    """

    name: str | int
    count: int
    precision: float
    recall: float
    f1: float


@dataclasses.dataclass(frozen=True, repr=False)
class ClassEvaluation(Shown):
    """True and predicted classes of n sequences, or of n steps.

    Attributes:
        classes: the labels.
        truth: the numbers of the true classes [n].
        predicted: the numbers of the predicted classes [n].
        sequences: the index of the sequence of each row [n].
        nan_predictions: predictions left out because they are NaN.
        first_sequence: with one target per step, of the first sequence the true classes [time], negative for
            unknown, and the scores [time, k].
    """

    classes: list[str | int]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    sequences: NDArray[np.int64]
    nan_predictions: int
    first_sequence: tuple[NDArray[np.int64], Numbers] | None

    head: ClassVar = ("accuracy", "macro F1", "count")

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions."""
        return float(np.mean(self.truth == self.predicted))

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occur among the true or the predicted ones."""
        return float(np.nanmean([row.f1 for row in self.by_class()]))

    def confusion(self) -> NDArray[np.int64]:
        """How often each true class [row] is predicted as each class [column]."""
        size = len(self.classes)
        return np.bincount(self.truth * size + self.predicted, minlength=size * size).reshape(size, size)

    def by_class(self) -> list[ClassFigures]:
        """The figures of each class."""
        table = self.confusion()
        true, predicted, hits = table.sum(1), table.sum(0), np.diag(table)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            figures = [hits / predicted, hits / true, 2 * hits / (true + predicted)]
        return [
            ClassFigures(*row) for row in zip(self.classes, true.tolist(), *(f.tolist() for f in figures), strict=True)
        ]

    def of(self, sequences: Sequence[int]) -> ClassEvaluation | None:
        """The evaluation of some sequences; None if none of them has both a target and a prediction."""
        return of_rows(self, np.isin(self.sequences, sequences))

    def rows(self) -> list[tuple[str, ...]]:
        """See Shown."""
        return [(decimal(self.accuracy), decimal(self.macro_f1), f"{len(self.truth):,}")]

    def figures(self) -> dict[str, Any]:
        """See Shown."""
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "count": len(self.truth)}

    def details(self) -> dict[str, Any]:
        """Return the figures of each class, and the confusion matrix."""
        return {"classes": [plain(vars(row)) for row in self.by_class()], "confusion": self.confusion().tolist()}

    def parts(self) -> list[str]:
        """Return the tables of all classes together, of each class, and of their confusion."""
        by_class, count = self.by_class(), len(self.truth)
        baseline = max(row.count for row in by_class) / count
        most = f"of {count:,} labels; the most frequent class has {baseline:.4f}"
        figures = [
            ("accuracy", f"{self.accuracy:.4f}", most),
            ("macro F1", f"{self.macro_f1:.4f}", "the mean of the classes"),
        ]
        rows = [(row.name, *map(decimal, (row.precision, row.recall, row.f1)), f"{row.count:,}") for row in by_class]
        classes = text_table([("class", "precision", "recall", "F1", "count"), *rows], (1, 2, 3, 4))
        return [text_table(figures), classes, confusion_text(self.confusion(), self.classes)]


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The additional values of an evaluation in a closed loop.

    Attributes:
        steps: how many steps were forecast.
        history: the first sequence up to the forecast [time, k].
        naive: the forecasts [n, k] of the baseline, which repeats the last value.
    """

    steps: int
    history: Numbers
    naive: Numbers


@dataclasses.dataclass(frozen=True, repr=False)
class NumberEvaluation(Shown):
    """True and predicted numbers of n sequences, or of n steps.

    Attributes:
        truth: the true numbers [n, k].
        predicted: the predicted numbers [n, k].
        sequences: the index of the sequence of each row [n].
        first_sequence: with one target per step, the two arrays [time, k] of the first sequence.
        nan_predictions: predictions left out because they are NaN.
        forecast: what belongs to a forecast in a closed loop, else None.
    """

    truth: Numbers
    predicted: Numbers
    sequences: NDArray[np.int64]
    first_sequence: tuple[Numbers, Numbers] | None
    nan_predictions: int
    forecast: Forecast | None

    head: ClassVar = ("output", "RMSE", "MAE", "R²", "count")

    @property
    def outputs(self) -> list[str]:
        """The names of the k numbers: y, or y0, y1 and so on if there are several."""
        count = self.truth.shape[1]
        return [f"y{k}" for k in range(count)] if count > 1 else ["y"]

    def scores(self) -> list[Scores]:
        """R², RMSE and mean absolute error of each of the k numbers."""
        return regression_scores(self.truth, self.predicted)

    def of(self, sequences: Sequence[int]) -> NumberEvaluation | None:
        """The evaluation of some sequences; None if none of them has both a target and a prediction."""
        return of_rows(self, np.isin(self.sequences, sequences), forecast=None)

    def rows(self) -> list[tuple[str, ...]]:
        """See Shown."""
        return [
            (name, *("–" if math.isnan(value) else f"{value:.5g}" for value in (rmse, mae, r2)), f"{len(self.truth):,}")
            for name, (r2, rmse, mae) in zip(self.outputs, self.scores(), strict=True)
        ]

    def figures(self) -> dict[str, Any]:
        """See Shown."""
        outputs = [
            plain({"output": name, "rmse": rmse, "mae": mae, "r2": r2})
            for name, (r2, rmse, mae) in zip(self.outputs, self.scores(), strict=True)
        ]
        return {"outputs": outputs, "count": len(self.truth)}


Evaluation = ClassEvaluation | NumberEvaluation | QuantileEvaluation


def regression_scores(truth: Numbers, predicted: Numbers) -> list[Scores]:
    """R², RMSE and mean absolute error of each column. R² is NaN if all true numbers are equal."""
    error = predicted - truth
    squared, total = np.square(error).sum(0), np.square(truth - truth.mean(0)).sum(0)
    r2 = [1 - s / t if t else np.nan for s, t in zip(squared, total, strict=True)]
    return list(zip(r2, np.sqrt(squared / len(error)).tolist(), np.abs(error).mean(0).tolist(), strict=True))


def evaluate(model: Trained, data: SequenceDataset, predictions: Any = None) -> Evaluation:
    """Run a model on a data set and compare its predictions with the targets; the result prints as a table.

    Args:
        model: a file that `load` opened, its path, or a module, which is exported and run as a file.
        data: sequences with targets: labels or numbers, one for each sequence or for each step. Of a file with a closed
            loop, the last steps of each sequence are forecast from those before, and need no targets.
        predictions: what `predict` returns for the data, if it is known. A file with a closed loop runs in any case.

    Returns:
        For labels a ClassEvaluation with accuracy, macro F1 and confusion matrix, for numbers a NumberEvaluation with
        R², RMSE and mean absolute error, for quantiles a QuantileEvaluation with their coverage.

    Raises:
        DataError: the targets do not fit the model, or there are none.
        ShapeError: the sequences do not fit the model.

    Example:
        >>> print(s2o.evaluate("vowels.onnx", test))
    """
    with opened(model) as file:
        return _evaluate(file, data, predictions)


def _evaluate(model: Predictor, data: SequenceDataset, predictions: Any) -> Evaluation:
    data = data.with_channels(model.channels)
    if model.contract.answer == "events":
        raise NothingToCompare(
            "The file answers events, so its results are not compared with targets; tune_alarm counts missed events."
        )
    if model.closed_loop:
        return _evaluate_forecast(model, data, model.closed_loop)
    if predictions is None:
        predictions = model.predict(data)  # raises if the sequences do not fit
    if data.targets is None:
        raise NothingToCompare("The data has no targets, so the predictions cannot be compared with anything.")
    if isinstance(predictions, dict):
        raise NothingToCompare(
            f"The file has several outputs ({', '.join(predictions)}); only those of one output can be compared."
        )
    if data.per_step != isinstance(predictions, list):
        units = {True: "step", False: "sequence"}
        raise DataError(
            f"targets: the data has one for each {units[data.per_step]}, but the network gives one result for each "
            f"{units[not data.per_step]}"
        )
    if model.classes is None:
        if data.classes is not None:
            remedy = "Convert them: targets.astype(float), or --numbers on the command line"
            if any(isinstance(label, str) for label in data.classes):
                remedy = "If the scores are those of classes, export the file with classes=[…]"
            raise DataError(
                "targets: the file has no classes, so that it needs numbers as targets, got labels. Integers and "
                f"strings are labels, floats are numbers. {remedy}"
            )
        return _evaluate_numbers(model, data, predictions)
    return _evaluate_classes(model, data.with_classes(model.classes), predictions, model.classes)


def _pairs(
    model: Predictor, data: SequenceDataset, predictions: Any
) -> tuple[list[NDArray[Any]], list[Numbers], NDArray[np.int64]]:
    """Targets [n] or [n, k] and predictions [n, k] of each sequence, and the index of the sequence of each row.

    If there is one target per sequence, all are in one array.
    """
    indices = np.arange(len(data))
    if not data.per_step:
        return [np.asarray(data.targets)], [_as_rows(predictions)], indices
    targets = []
    assert isinstance(data.targets, Column)
    for index, (target, prediction) in enumerate(zip(data.targets.take(range(len(data))), predictions, strict=True)):
        count = len(prediction)
        if model.policy.sequence_length != "longest":  # cut as in training
            target = model.policy.cut(target, count)
        if len(target) != count:
            raise DataError(
                f"targets of sequence {index}: expected {count}, one for each predicted step, got {len(target)}"
            )
        targets.append(np.asarray(target))
    predicted = [_as_rows(prediction) for prediction in predictions]
    return targets, predicted, np.repeat(indices, [len(rows) for rows in predicted])


def _as_rows(values: Any) -> Numbers:
    """[n, …] as [n, k], also for n = 0."""
    array = np.asarray(values, np.float64)
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _evaluate_classes(
    model: Predictor, data: SequenceDataset, predictions: Any, classes: Sequence[str | int]
) -> ClassEvaluation:
    targets, predicted, sequences = _pairs(model, data, predictions)
    truth, scores = np.concatenate(targets), np.concatenate(predicted)
    first = (targets[0], predicted[0]) if data.per_step else None
    found = ClassEvaluation(list(classes), truth, scores.argmax(1), sequences, 0, first)
    return _comparable(found, truth >= 0, np.all(~np.isnan(scores), axis=1))


def _evaluate_numbers(
    model: Predictor, data: SequenceDataset, predictions: Any
) -> NumberEvaluation | QuantileEvaluation:
    targets, predicted, sequences = _pairs(model, data, predictions)
    rows = [_as_rows(target) for target in targets]
    width, expected = rows[0].shape[1], predicted[0].shape[1]
    truth, y = np.concatenate(rows), np.concatenate(predicted)
    found: NumberEvaluation | QuantileEvaluation
    if model.quantiles is not None:
        each = len(model.quantiles)
        if width * each != expected:
            raise DataError(
                f"targets: expected {expected // each} numbers in each target, of which the file predicts quantiles, "
                f"got {width}"
            )
        first = (rows[0][:, 0], predicted[0][:, :each]) if data.per_step else None
        truth, y, sequences = truth.reshape(-1, 1), y.reshape(-1, each), np.repeat(sequences, width)
        found = QuantileEvaluation(tuple(model.quantiles), truth[:, 0], y, sequences, first, 0)
    elif width != expected:
        raise DataError(f"targets: expected {expected} numbers in each target, as the network predicts, got {width}")
    else:
        found = NumberEvaluation(truth, y, sequences, (rows[0], predicted[0]) if data.per_step else None, 0, None)
    return _comparable(found, *(np.all(np.isfinite(array), axis=1) for array in (truth, y)))


def _evaluate_forecast(model: Predictor, data: SequenceDataset, steps: int) -> NumberEvaluation:
    """Forecast the last steps of each sequence from those before."""
    model.predict(data.subset([0]))  # raises if the sequences do not fit
    shortest = steps + max(model.contract.min_length, 1)
    (column,) = data.parts.values()
    chosen = np.flatnonzero(data.lengths >= shortest)
    if not len(chosen):
        raise NothingToCompare(
            f"No sequence has the {shortest:,} steps that a forecast of its last {steps:,} steps needs."
        )
    series = column.take(chosen)
    predictions = model.predict([array[:-steps] for array in series])
    rows = [_as_rows(array) for array in series]
    truth = np.concatenate([row[-steps:] for row in rows])
    predicted = np.asarray(predictions, np.float64).reshape(len(truth), -1)
    naive = np.concatenate([np.repeat(row[-steps - 1][None], steps, 0) for row in rows])
    first = (rows[0][-steps:], predicted[:steps])
    known, usable = (np.all(np.isfinite(array), axis=1) for array in (truth, predicted))
    forecast = Forecast(steps, rows[0][:-steps], naive[known & usable])
    found = NumberEvaluation(truth, predicted, np.repeat(chosen, steps), first, 0, forecast)
    return _comparable(found, known, usable)


def _comparable(found: E, known: NDArray[np.bool_], usable: NDArray[np.bool_]) -> E:
    """Return an evaluation of the rows with a known target and a usable prediction; count the predictions left out."""
    kept = of_rows(found, known & usable, nan_predictions=int((known & ~usable).sum()))
    if kept is None:
        raise NothingToCompare("No sequence has both a target and a prediction, so there is nothing to compare.")
    return kept
