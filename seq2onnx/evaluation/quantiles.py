"""Coverage: how often the true numbers lie below predicted quantiles, and within their bands."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError
from seq2onnx.evaluation.tables import Shown
from seq2onnx.tables import ShownAsText, text_table

E = TypeVar("E")
QUANTILES = (0.05, 0.5, 0.95)
"""The quantiles of the loss "quantile" if none are given: a band of 90 % and the median."""


class Band(NamedTuple):
    """The band between two quantiles.

    Attributes:
        low: the lower quantile, such as 0.05.
        high: the upper one.
        covered: the share of the true numbers within the band, its ends included.
        width: the mean width of the band, in the unit of the targets.
    """

    low: float
    high: float
    covered: float
    width: float

    @property
    def expected(self) -> float:
        """The share of a right band."""
        return round(self.high - self.low, 12)


@dataclasses.dataclass(frozen=True)
class Coverage(ShownAsText):
    """How right predicted quantiles are; it prints as a table.

    Attributes:
        quantiles: the quantiles, such as (0.05, 0.5, 0.95).
        below: for each quantile the share of the true numbers that are at or below it. Of right quantiles, this is the
            quantile itself.
        bands: the bands from outside in: between the first and the last quantile, the second and the last but one …
        crossings: the share of the predictions in which a quantile is above the next one.
        loss: the mean pinball loss.
        count: how many predictions there are.
    """

    quantiles: tuple[float, ...]
    below: tuple[float, ...]
    bands: tuple[Band, ...]
    crossings: float
    loss: float
    count: int

    def __str__(self) -> str:
        rows = [
            (f"quantile {q:g}", f"{q:.4f}", f"{share:.4f}", "")
            for q, share in zip(self.quantiles, self.below, strict=True)
        ]
        rows += [
            (f"{b.low:g} to {b.high:g}", f"{b.expected:.4f}", f"{b.covered:.4f}", f"{b.width:.5g}") for b in self.bands
        ]
        table = text_table([("", "expected", "found", "mean width"), *rows], (1, 2, 3))
        return f"{table}\n{self.count:,} predictions, pinball loss {self.loss:.5g}, {self.crossings:.2%} with crossings"


def measure_coverage(predicted: Any, truth: Any, quantiles: Sequence[float]) -> Coverage:
    """Compare predicted quantiles [n, k], n from 1, with true numbers [n] or [n, 1]; or [n, m · k] with [n, m]."""
    levels = np.asarray(quantiles)
    y = np.asarray(predicted, np.float64).reshape(-1, len(levels))
    error = np.asarray(truth, np.float64).reshape(-1, 1) - y
    bands = []
    for low in range(len(levels) // 2):
        high = len(levels) - 1 - low
        covered = np.mean((error[:, low] >= 0) & (error[:, high] <= 0))
        width = np.mean(y[:, high] - y[:, low])
        bands.append(Band(*map(float, (levels[low], levels[high], covered, width))))
    return Coverage(
        quantiles=tuple(levels.tolist()),
        below=tuple((error <= 0).mean(0).tolist()),
        bands=tuple(bands),
        crossings=float((np.diff(y) < 0).any(1).mean()),
        loss=float(np.maximum(levels * error, (levels - 1) * error).mean()),
        count=len(y),
    )


@dataclasses.dataclass(frozen=True, repr=False)
class QuantileEvaluation(Shown):
    """True numbers and predicted quantiles of n sequences, or of n steps; of several numbers of a target all are rows.

    Attributes:
        quantiles: which k quantiles were predicted.
        truth: the true numbers [n].
        predicted: the predicted quantiles [n, k].
        sequences: the index of the sequence of each row [n].
        first_sequence: with one target per step, the true numbers [time] and the quantiles [time, k] of the first
            sequence; of several numbers in each target, the first.
        nan_predictions: predictions left out because they are NaN.
    """

    quantiles: tuple[float, ...]
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]
    sequences: NDArray[np.int64]
    first_sequence: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    nan_predictions: int

    head: ClassVar = ("band", "expected", "found", "mean width", "count")

    @functools.cached_property
    def coverage(self) -> Coverage:
        """How often the true numbers lie below the quantiles, and within their bands."""
        return measure_coverage(self.predicted, self.truth, self.quantiles)

    @property
    def baseline(self) -> Coverage:
        """The coverage of the quantiles of the true numbers themselves, the same for all: widths to compare with."""
        constant = np.quantile(self.truth, self.quantiles)
        return measure_coverage(np.broadcast_to(constant, self.predicted.shape), self.truth, self.quantiles)

    def of(self, sequences: Sequence[int]) -> QuantileEvaluation | None:
        """The evaluation of some sequences; None if none of them has both a target and a prediction."""
        return of_rows(self, np.isin(self.sequences, sequences))

    def rows(self) -> list[tuple[str, ...]]:
        """See Shown."""
        return [
            (
                f"{b.low:g} to {b.high:g}",
                f"{b.expected:.4f}",
                f"{b.covered:.4f}",
                f"{b.width:.5g}",
                f"{len(self.truth):,}",
            )
            for b in self.coverage.bands
        ]

    def figures(self) -> dict[str, Any]:
        """See Shown."""
        bands = [{"expected": band.expected} | band._asdict() for band in self.coverage.bands]
        return dataclasses.asdict(self.coverage) | {"bands": bands}

    def parts(self) -> list[str]:
        """Return the table of the quantiles and their bands."""
        return [str(self.coverage)]


def of_rows(found: E, rows: NDArray[np.bool_], **changes: Any) -> E | None:
    """Return an evaluation with some of its rows [n], and other changes; None if there are no such rows."""
    kept = {name: getattr(found, name)[rows] for name in ("truth", "predicted", "sequences")}
    return dataclasses.replace(found, **kept, **changes) if rows.any() else None  # type: ignore[type-var]


def check_quantiles(quantiles: Any) -> tuple[float, ...]:
    """Return quantiles as numbers; raise SpecError unless they are increasing numbers between 0 and 1."""
    given: list[Any] = list(quantiles) if isinstance(quantiles, Sequence | np.ndarray) else []
    if (
        not given
        or not all(isinstance(q, int | float | np.floating) and 0 < q < 1 for q in given)
        or sorted({*given}) != given
    ):
        raise SpecError(
            f"quantiles: expected increasing numbers between 0 and 1, such as {QUANTILES}, got {quantiles!r:.200}"
        )
    return tuple(map(float, given))


def quantile_names(quantiles: Sequence[float]) -> list[str]:
    """Return the names of the columns of quantiles in tables, such as q0.05."""
    return [f"q{quantile:g}" for quantile in quantiles]
