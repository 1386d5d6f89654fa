"""Compare a model's predictions with the targets of a data set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data import SequenceDataset
from seq2onnx.data.columns import Column
from seq2onnx.errors import DataError

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor

Numbers = NDArray[np.float64]
Scores = tuple[float, float, float]  # R², RMSE, mean absolute error
NOTHING = "No sequence has both a target and a prediction, so there is nothing to compare."


@dataclasses.dataclass(frozen=True)
class ClassComparison:
    """True and predicted classes of n sequences, or of n steps.

    Attributes:
        classes: the labels.
        truth: the numbers of the true classes [n].
        predicted: the numbers of the predicted classes [n].
        nan_predictions: predictions left out because they are NaN.
        first_sequence: with one target per step, of the first sequence the true classes [time], negative for
            unknown, and the scores [time, k].
    """

    classes: list[str | int]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    nan_predictions: int
    first_sequence: tuple[NDArray[np.int64], Numbers] | None

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions."""
        return float(np.mean(self.truth == self.predicted))

    def by_class(self) -> list[tuple[str | int, int, float, float]]:
        """Each class with its count, recall and precision. NaN: undefined, since there are no such cases."""
        correct = self.truth[self.truth == self.predicted]
        true, predicted, hits = (
            np.bincount(numbers, minlength=len(self.classes)) for numbers in (self.truth, self.predicted, correct)
        )
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            recall, precision = hits / true, hits / predicted
        return list(zip(self.classes, true.tolist(), recall.tolist(), precision.tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The additional values of a comparison in a closed loop.

    Attributes:
        steps: how many steps were forecast.
        history: the first sequence up to the forecast [time, k].
        naive: the forecasts [n, k] of the baseline, which repeats the last value.
    """

    steps: int
    history: Numbers
    naive: Numbers


@dataclasses.dataclass(frozen=True)
class NumberComparison:
    """True and predicted numbers of n sequences, or of n steps.

    Attributes:
        truth: the true numbers [n, k].
        predicted: the predicted numbers [n, k].
        first_sequence: with one target per step, the two arrays [time, k] of the first sequence.
        nan_predictions: predictions left out because they are NaN.
        forecast: what belongs to a forecast in a closed loop, else None.
    """

    truth: Numbers
    predicted: Numbers
    first_sequence: tuple[Numbers, Numbers] | None
    nan_predictions: int
    forecast: Forecast | None


Comparison = ClassComparison | NumberComparison


def regression_scores(truth: Numbers, predicted: Numbers) -> list[Scores]:
    """R², RMSE and mean absolute error of each column. R² is NaN if all true numbers are equal."""
    error = predicted - truth
    squared, total = np.square(error).sum(0), np.square(truth - truth.mean(0)).sum(0)
    r2 = [1 - s / t if t else np.nan for s, t in zip(squared, total, strict=True)]
    return list(zip(r2, np.sqrt(squared / len(error)).tolist(), np.abs(error).mean(0).tolist(), strict=True))


def compare(model: Predictor, data: SequenceDataset) -> Comparison | str:
    """Run a model on a data set and pair its predictions with the targets.

    Returns:
        The comparison, or a sentence that says why there is nothing to compare.

    Raises:
        DataError: the targets do not fit the model.
        ShapeError: the sequences do not fit the model.
    """
    if model.closed_loop:
        return _compare_forecast(model, data, model.closed_loop)
    predictions = model.predict(data)  # raises if the sequences do not fit
    if data.targets is None:
        return "The data has no targets, so the predictions cannot be compared with anything."
    if isinstance(predictions, dict):
        return f"The file has several outputs ({', '.join(predictions)}); only those of one output can be compared."
    if data.per_step != isinstance(predictions, list):
        units = {True: "step", False: "sequence"}
        raise DataError(
            f"targets: the data has one for each {units[data.per_step]}, but the network gives one result for each "
            f"{units[not data.per_step]}"
        )
    if model.classes is None:
        if data.classes is not None:
            raise DataError(
                "targets: the data has labels, but the file has no classes; export it with classes=[…], or use "
                "numbers as targets"
            )
        return _compare_numbers(model, data, predictions)
    return _compare_classes(model, data.with_classes(model.classes), predictions, model.classes)


def _pairs(model: Predictor, data: SequenceDataset, predictions: Any) -> tuple[list[NDArray[Any]], list[Numbers]]:
    """Targets [n] or [n, k] and predictions [n, k] of each sequence; if there is one per sequence, all in one array."""
    if not data.per_step:
        return [np.asarray(data.targets)], [_as_rows(predictions)]
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
    return targets, [_as_rows(prediction) for prediction in predictions]


def _as_rows(values: Any) -> Numbers:
    """[n, …] as [n, k], also for n = 0."""
    array = np.asarray(values, np.float64)
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _compare_classes(
    model: Predictor, data: SequenceDataset, predictions: Any, classes: Sequence[str | int]
) -> ClassComparison | str:
    targets, predicted = _pairs(model, data, predictions)
    truth, scores = np.concatenate(targets), np.concatenate(predicted)
    known, is_nan = truth >= 0, np.isnan(scores).any(1)
    good = known & ~is_nan
    if not good.any():
        return NOTHING
    first = (targets[0], predicted[0]) if data.per_step else None
    return ClassComparison(list(classes), truth[good], scores[good].argmax(1), int((known & is_nan).sum()), first)


def _compare_numbers(model: Predictor, data: SequenceDataset, predictions: Any) -> NumberComparison | str:
    targets, predicted = _pairs(model, data, predictions)
    truth = [_as_rows(target) for target in targets]
    width, expected = truth[0].shape[1], predicted[0].shape[1]
    if width != expected:
        raise DataError(f"targets: expected {expected} numbers in each target, as the network predicts, got {width}")
    first = (truth[0], predicted[0]) if data.per_step else None
    return _finite(np.concatenate(truth), np.concatenate(predicted), first)


def _compare_forecast(model: Predictor, data: SequenceDataset, steps: int) -> NumberComparison | str:
    """Forecast the last steps of each sequence from those before."""
    model.predict(data.subset([0]))  # raises if the sequences do not fit
    shortest = steps + max(model.contract.min_length, 1)
    (column,) = data.parts.values()
    chosen = np.flatnonzero(data.lengths >= shortest)
    if not len(chosen):
        return f"No sequence has the {shortest:,} steps that a forecast of its last {steps:,} steps needs."
    series = column.take(chosen)
    predictions = model.predict([array[:-steps] for array in series])
    rows = [_as_rows(array) for array in series]
    truth = np.concatenate([row[-steps:] for row in rows])
    predicted = np.asarray(predictions, np.float64).reshape(len(truth), -1)
    naive = np.concatenate([np.repeat(row[-steps - 1][None], steps, 0) for row in rows])
    first = (rows[0][-steps:], predicted[:steps])
    return _finite(truth, predicted, first, Forecast(steps, rows[0][:-steps], naive))


def _finite(
    truth: Numbers, predicted: Numbers, first: tuple[Numbers, Numbers] | None, forecast: Forecast | None = None
) -> NumberComparison | str:
    """Compare the rows with a finite target and a finite prediction."""
    known, is_finite = (np.isfinite(array).all(1) for array in (truth, predicted))
    good = known & is_finite
    if not good.any():
        return NOTHING
    if forecast:
        forecast = dataclasses.replace(forecast, naive=forecast.naive[good])
    return NumberComparison(truth[good], predicted[good], first, int((known & ~is_finite).sum()), forecast)
