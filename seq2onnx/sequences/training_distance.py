"""How far recordings are from the training data of a network, by the statistics that its file keeps."""

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

    def distances(self, trained: InputStatistics) -> Floats:
        """Return how far each sequence is from the training data in each channel, in standard deviations.

        It is the largest of three: of the mean of the sequence, in deviations of the training sequences' means; of the
        logarithm of its spread, in the same way; and of the mean distance of its steps, beyond that of any training
        sequence, in deviations of the steps. NaN where no value is finite.
        """
        return np.maximum(self.from_recordings(trained), self.from_steps(trained))

    def from_steps(self, trained: InputStatistics) -> Floats:
        """Return the last of the three, which needs one training sequence."""
        return self.distance / units(trained) - trained.distance

    def from_recordings(self, trained: InputStatistics) -> Floats:
        """Return the larger of the first two, which need several training sequences."""
        unit, steps = units(trained), np.maximum(self.count, 1)
        of_mean = np.abs(self.mean - trained.mean_of_means)
        of_mean /= np.maximum(trained.std_of_means, unit / np.sqrt(steps))
        of_spread = np.abs(self.log_spread(trained) - trained.mean_of_log_spreads)
        of_spread /= np.maximum(trained.std_of_log_spreads, 1 / np.sqrt(2 * steps))
        of_spread[self.count < 2] = 0
        return np.maximum(of_mean, of_spread)

    def log_spread(self, trained: InputStatistics) -> Floats:
        """Return the logarithm of the spread, as the statistics of training data have it."""
        std = np.asarray(trained.std)
        logs: Floats = np.log(np.maximum(self.spread, LEAST_SPREAD * units(trained)))
        return np.where(std > 0, logs, 0 * logs)


def units(trained: InputStatistics) -> Floats:
    """Return the standard deviation of each channel; a channel that did not change has a small one."""
    std, mean = np.asarray(trained.std), np.asarray(trained.mean)
    return np.where(std > 0, std, LEAST_UNIT * np.maximum(np.abs(mean), 1))


def moments_of(values: NDArray[np.generic], lengths: NDArray[np.integer], mean: Floats) -> Moments:
    """Return the moments of sequences [all steps, channels, …] that follow each other; `mean` is that of training."""
    numbers: Floats = values.reshape(*values.shape[:2], -1).astype(np.float64)
    finite = np.isfinite(numbers)
    starts = np.cumsum(lengths) - lengths

    def averages(of: Floats) -> Floats:
        sums = np.add.reduceat(np.where(finite, of, 0).sum(2), starts)
        return np.divide(sums, count, out=np.full_like(sums, np.nan), where=count > 0)

    count = np.add.reduceat(finite.sum(2), starts).astype(np.float64)
    means = averages(numbers)
    centred = numbers - np.repeat(means, lengths, 0)[:, :, None]
    return Moments(count, means, np.sqrt(averages(centred**2)), averages(np.abs(numbers - mean[:, None])))
