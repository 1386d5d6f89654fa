"""What a model answers to a data set beside the targets of that, for seq2onnx report."""

from __future__ import annotations

import dataclasses
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
NOTHING = "No sequence has both a target and an answer: there is nothing to compare."


@dataclasses.dataclass(frozen=True)
class ClassComparison:
    """True and predicted classes [n], by their numbers; left_out: answers with NaN; one a step or one a sequence.

    one_series: of the first sequence true classes [time], −1 for none, and scores [time, k], where there is one a step
    """

    classes: list[str | int]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    left_out: int
    one_series: tuple[NDArray[np.int64], Numbers] | None

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(np.mean(self.truth == self.predicted))

    def by_class(self) -> list[tuple[str | int, int, float, float]]:
        """(class, how many there are, recall, precision) of each; NaN where there is nothing to take a share of."""
        rows = []
        for number, label in enumerate(self.classes):
            there, taken = self.truth == number, self.predicted == number
            right = int((there & taken).sum())
            rows.append((label, int(there.sum()), _share(right, there.sum()), _share(right, taken.sum())))
        return rows


@dataclasses.dataclass(frozen=True)
class NumberComparison:
    """True and predicted numbers [n, k]; left_out: answers with NaN.

    one_series: truth and answers of the first sequence [time, k] each, where there is one a step
    horizon: K where they are the K steps that follow, forecast in a closed loop; history [time, k] is then what comes
        before one_series, and naive the numbers [n, k] of who says that the last value stays
    """

    truth: Numbers
    predicted: Numbers
    one_series: tuple[Numbers, Numbers] | None
    left_out: int = 0
    horizon: int | None = None
    history: Numbers | None = None
    naive: Numbers | None = None

    def figures(self) -> list[tuple[float, float, float]]:
        """(R², RMSE, mean absolute error) of each of the k numbers; R² is NaN where all true ones are equal."""
        error = self.predicted - self.truth
        spread = np.square(self.truth - self.truth.mean(0)).sum(0)
        squared = np.square(error).sum(0)
        r2 = [1 - s / t if t else np.nan for s, t in zip(squared, spread, strict=True)]
        rmse, absolute = np.sqrt(squared / len(error)), np.abs(error).mean(0)
        return list(zip(r2, rmse.tolist(), absolute.tolist(), strict=True))


Comparison = ClassComparison | NumberComparison


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else np.nan


def compare(model: Predictor, data: SequenceDataset) -> Comparison | str:
    """What the model answers beside what is true; or in a sentence why there is nothing to compare.

    Raises: DataError, ShapeError: the data does not fit the model
    """
    if model.closed_loop:
        return _forecast(model, data, model.closed_loop)
    answers = model.predict(data)  # where it does not fit, this says so
    if data.targets is None:
        return "The data has no targets: its sequences are run, and nothing says what is right."
    if isinstance(answers, dict):
        return f"The file answers with several outputs, {', '.join(answers)}; targets are those of networks with one."
    if data.per_step != isinstance(answers, list):
        steps = {True: "each step", False: "each sequence"}
        raise DataError(
            f"targets: are one for {steps[data.per_step]}, and the network answers {steps[not data.per_step]}"
        )
    if model.classes is None and data.classes is not None:
        raise DataError(
            "targets: are labels, and the file has no classes; export it with classes=[…], or give data with numbers"
        )
    if model.classes is not None:
        return _classes(data.with_classes(model.classes), answers, model.classes, model)
    return _numbers(data, answers, model)


def _rows(data: SequenceDataset, answers: Any, model: Predictor) -> tuple[list[NDArray[Any]], list[Numbers]]:
    """Targets [n] or [n, k] and answers [n, k] of each sequence; where there is one a sequence, of all as if of one."""
    if not data.per_step:
        return [np.asarray(data.targets)], [np.asarray(answers, np.float64).reshape(len(answers), -1)]
    targets, found = [], []
    assert isinstance(data.targets, Column)
    for index, (target, answer) in enumerate(zip(data.targets.take(range(len(data))), answers, strict=True)):
        count = len(answer)
        if model.policy.sequence_length != "longest" and count < len(target):  # cut, as in training
            target = model.policy.cut(target, count)
        if len(target) != count:
            raise DataError(f"targets of sequence {index}: expected {count}, as many as answers, got {len(target)}")
        targets.append(np.asarray(target))
        found.append(np.asarray(answer, np.float64).reshape(count, -1))
    return targets, found


def _classes(
    data: SequenceDataset, answers: Any, classes: Sequence[str | int], model: Predictor
) -> ClassComparison | str:
    targets, found = _rows(data, answers, model)
    truth, scores = np.concatenate(targets), np.concatenate(found)
    missing = np.isnan(scores).any(1)
    good = (truth >= 0) & ~missing
    if not good.any():
        return NOTHING
    return ClassComparison(
        list(classes),
        truth[good],
        scores[good].argmax(1),
        int((missing & (truth >= 0)).sum()),
        (targets[0], found[0]) if data.per_step else None,
    )


def _numbers(data: SequenceDataset, answers: Any, model: Predictor) -> NumberComparison | str:
    targets, found = _rows(data, answers, model)
    shaped = [np.asarray(target, np.float64).reshape(len(target), -1) for target in targets]
    truth, predicted = np.concatenate(shaped), np.concatenate(found)
    if truth.shape != predicted.shape:
        raise DataError(
            f"targets: expected {predicted.shape[1]} numbers each, as the network answers, got {truth.shape[1]}"
        )
    return _finite(NumberComparison(truth, predicted, (shaped[0], found[0]) if data.per_step else None))


def _finite(found: NumberComparison) -> NumberComparison | str:
    """The comparison of what is known and answered alone."""
    known, answered = (np.isfinite(array).all(1) for array in (found.truth, found.predicted))
    good = known & answered
    if not good.any():
        return NOTHING
    return dataclasses.replace(
        found,
        truth=found.truth[good],
        predicted=found.predicted[good],
        left_out=int((known & ~answered).sum()),
        naive=None if found.naive is None else found.naive[good],
    )


def _forecast(model: Predictor, data: SequenceDataset, steps: int) -> NumberComparison | str:
    """The last K steps of each sequence, forecast from those before."""
    model.predict(data.subset([0]))  # where it does not fit, this says so
    least = max(model.metadata["min_length"], 1)
    (column,) = data.parts.values()
    chosen = np.flatnonzero(data.lengths >= steps + least)
    if not len(chosen):
        return f"No sequence is long enough to be cut {steps} steps before its end and forecast from there."
    series = column.take(chosen)
    answers = model.predict([array[:-steps] for array in series])
    rows = [array.reshape(len(array), -1).astype(np.float64) for array in series]
    truth = np.concatenate([row[-steps:] for row in rows])
    predicted = np.asarray(answers, np.float64).reshape(len(truth), -1)
    naive = np.concatenate([np.repeat(row[-steps - 1][None], steps, 0) for row in rows])
    one = (rows[0][-steps:], predicted[:steps])
    return _finite(NumberComparison(truth, predicted, one, horizon=steps, history=rows[0][:-steps], naive=naive))
