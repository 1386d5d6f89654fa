"""How far sequences are from the training data of a network, by the statistics that its file keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from seq2onnx.sequences.training_statistics import InputStatistics

Floats = NDArray[np.float64]
LEAST_SPREAD = 1e-3
"""The least spread of a sequence, relative to that of all steps: the logarithm of a constant one is finite."""
LEAST_UNIT = 1e-3
"""The unit of a channel that did not change in training, relative to its value, or to 1 if that is larger."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """What some sequences are like, [sequences, channels] each; NaN where no value is finite.

    Attributes:
        count: how many values are finite.
        mean: their mean.
        spread: their standard deviation, that of N.
        distance: the mean of |x − m|, where m is the mean of the training data.
    """

    count: Floats
    mean: Floats
    spread: Floats
    distance: Floats


def moments_of(values: NDArray[np.floating], lengths: NDArray[np.integer], mean: Floats) -> Moments:
    """Return the moments of sequences [all steps, channels, …] that follow each other; `mean` is that of training."""
    terms: Floats = np.empty((len(values), 3, *values.shape[1:]))
    difference = np.subtract(values.reshape(*values.shape[:2], -1), mean[:, None], dtype=np.float64)
    difference = difference.reshape(values.shape)
    finite = np.isfinite(difference)
    if is_whole := bool(finite.all()):
        counts: Floats = np.repeat(lengths[:, None], values.shape[1], 1) * float(np.prod(values.shape[2:]))
    else:
        difference[~finite] = 0
    terms[:, 0] = difference
    np.square(difference, out=terms[:, 1])
    np.abs(difference, out=terms[:, 2])
    starts = np.cumsum(lengths) - lengths

    def sums(of: Floats, axes: int) -> Floats:
        found: Floats = np.add.reduceat(of, starts)
        return found.sum(tuple(range(axes, found.ndim))) if found.ndim > axes else found

    if not is_whole:
        counts = sums(finite.astype(np.float64), 2)
    total, count = sums(terms, 3), counts[:, None]
    means = total / count if is_whole else np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    from_mean, square, distance = means[:, 0], means[:, 1], means[:, 2]
    return Moments(counts, mean + from_mean, np.sqrt(np.maximum(square - from_mean**2, 0)), distance)


class Distance:
    """How far the sequences of an input are from the training data, in standard deviations for each channel."""

    def __init__(self, trained: InputStatistics) -> None:
        arrays = {name: np.asarray(column) for name, column in vars(trained).items()}
        self.mean, self.low, self.high, std = (arrays[name] for name in ("mean", "min", "max", "std"))
        self.unit: Floats = np.where(std > 0, std, LEAST_UNIT * np.maximum(np.abs(self.mean), 1))
        self._changed = std > 0
        self._means, self._spread_of_means = arrays["mean_of_means"], arrays["std_of_means"]
        self._logs, self._spread_of_logs = arrays["mean_of_log_spreads"], arrays["std_of_log_spreads"]
        self._distance = arrays["distance"]

    def moments(self, values: NDArray[np.floating], lengths: NDArray[np.integer]) -> Moments:
        """Return the moments of sequences [all steps, channels, …] that follow each other."""
        return moments_of(values, lengths, self.mean)

    def of(self, found: Moments) -> Floats:
        """Return the distance [sequences, channels], NaN where no value is finite.

        It is the largest of three: of the mean of the sequence, in deviations of the training sequences' means; of the
        logarithm of its spread, in the same way; and of the mean distance of its steps, beyond that of any training
        sequence, in deviations of the steps.
        """
        steps = np.maximum(found.count, 1)
        of_mean = np.abs(found.mean - self._means) / np.maximum(self._spread_of_means, self.unit / np.sqrt(steps))
        logs = np.log(np.maximum(found.spread / self.unit, LEAST_SPREAD)) + np.log(self.unit)
        of_spread = np.abs(logs - self._logs) / np.maximum(self._spread_of_logs, 1 / np.sqrt(2 * steps))
        of_spread[(found.count < 2) | ~self._changed] = 0
        largest: Floats = np.maximum(np.maximum(of_mean, of_spread), self.of_steps(found))
        return largest

    def of_steps(self, found: Moments) -> Floats:
        """Return the last of the three, the only one that a single training sequence says something of."""
        distance: Floats = found.distance / self.unit - self._distance
        return distance
