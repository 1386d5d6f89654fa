"""Whether sequences are like those that a network was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError, warn
from seq2onnx.runtime.inputs import Input, Rows, read_rows
from seq2onnx.runtime.model import Model
from seq2onnx.sequences import Array, InputStatistics, by_size
from seq2onnx.sequences.training_distance import LEAST_SPREAD, Floats, Moments, moments_of, units

LIMIT = 8
"""A sequence with a channel that is further from the training data, in standard deviations, is unlike it."""
FEWEST_RECORDINGS = 8
"""With fewer training sequences it is not known how much they differ; then the distance of single steps counts."""
USUAL_SHARE = 0.05
"""So many of the sequences may be unlike the training data without a warning."""
MOST_SEQUENCES = 256
MOST_STEPS = 2**12
"""How much of the data a Sample looks at, so that it takes no noticeable time."""
MOST_NAMED = 3
MEMORY = 1000
"""How many steps of a stream count."""
_VALUES_AT_ONCE = 2**22


def distances(model: Model, rows: Rows) -> dict[str, Floats]:
    """Return how far sequences are from the training data [sequences, channels], for each input of numbers.

    Raises:
        SpecError: no input takes numbers.
    """
    known = _statistics(model)
    return {
        entry.layer: np.full((len(rows[entry.layer]), entry.shape[0]), np.nan)
        if trained is None
        else _moments(entry, rows[entry.layer], trained).distances(trained)
        for entry, trained in known
    }


def _statistics(model: Model) -> list[tuple[Input, InputStatistics | None]]:
    """Return the inputs of numbers with the statistics of the training data; warn where these are not known."""
    entries = [entry for entry in model.inputs if not entry.is_tokens and not entry.takes_words]
    if not entries:
        raise SpecError(f"{model.path}: takes tokens; only numbers have a distance from the training data")
    trained = model.contract.data_info.training_statistics
    if trained is None:
        warn(
            "no-statistics",
            f"{model.path}: does not say what the training data was like, so distances from it are NaN. Files have its "
            "statistics if build(network, data) or train made the module",
        )
    return [(entry, None if trained is None else trained.inputs.get(entry.layer)) for entry in entries]


class RecentSteps:
    """How far the recent steps of a stream are from the training data: an exponential mean of MEMORY steps."""

    def __init__(self, model: Model) -> None:
        self._known = _statistics(model)
        self.clear()

    def clear(self) -> None:
        """Forget all steps."""
        self._sums = {entry.layer: np.zeros((4, entry.shape[0])) for entry, _ in self._known}

    def add(self, arrays: Mapping[str, Array]) -> None:
        """Add the steps of a chunk, by input layer."""
        for entry, trained in self._known:
            if trained is None:
                continue
            steps = np.asarray(arrays[entry.layer], np.float64).reshape(-1, *entry.shape)[-20 * MEMORY :]
            from_mean = steps.reshape(*steps.shape[:2], -1) - np.asarray(trained.mean)[:, None]
            finite = np.isfinite(from_mean)
            from_mean[~finite] = 0
            weights = (1 - 1 / MEMORY) ** np.arange(len(steps))[::-1]
            terms = np.stack([finite, from_mean, from_mean**2, np.abs(from_mean)]).mean(3)
            self._sums[entry.layer] *= (1 - 1 / MEMORY) ** len(steps)
            self._sums[entry.layer] += np.einsum("t,ktc->kc", weights, terms)

    def distances(self) -> dict[str, Floats]:
        """Return the distance of each channel [channels], by input layer; NaN before the first step."""
        found = {}
        for entry, trained in self._known:
            count, *sums = self._sums[entry.layer][:, None]
            if trained is None:
                found[entry.layer] = np.full(entry.shape[0], np.nan)
                continue
            mean, square, distance = (np.divide(s, count, out=np.full_like(s, np.nan), where=count > 0) for s in sums)
            spread = np.sqrt(np.maximum(square - mean**2, 0))
            found[entry.layer] = Moments(count, mean + trained.mean, spread, distance).distances(trained)[0]
        return found


def find_unlike(model: Model, data: Any) -> str | None:
    """Return which channels of a data set are unlike the training data; None: none is known to be."""
    chosen = np.arange(0, len(data), -(-len(data) // MOST_SEQUENCES))
    sample = Sample(model, None)
    sample.add(read_rows(data.subset(chosen), model.inputs, model.contract), np.arange(len(chosen)))
    return sample.unlike()


class Sample:
    """Some of the sequences of a call, drawn evenly.

    Args:
        model: the model.
        total: how many sequences there are. None: not known, so that the first are taken.
    """

    def __init__(self, model: Model, total: int | None) -> None:
        trained = model.contract.data_info.training_statistics
        self._trained = {} if trained is None else trained.inputs
        self._many = trained is not None and trained.recordings >= FEWEST_RECORDINGS
        self._inputs = [entry for entry in model.inputs if entry.layer in self._trained]
        self._rows: Rows = {entry.layer: [] for entry in self._inputs}
        self._every = max(-(-(total or 0) // MOST_SEQUENCES), 1)

    def add(self, rows: Rows, indices: NDArray[np.intp]) -> None:
        """Look at sequences, whose indices among all are given."""
        for entry in self._inputs:
            taken = self._rows[entry.layer]
            chosen = np.flatnonzero(indices % self._every == 0)[: MOST_SEQUENCES - len(taken)]
            for array in map(rows[entry.layer].__getitem__, chosen.tolist()):
                steps = array.reshape(-1, *entry.shape)
                taken.append(steps[:: -(-len(steps) // MOST_STEPS)])

    def unlike(self) -> str | None:
        """Return which channels are unlike the training data; None: none is known to be."""
        found = []
        for entry in self._inputs:
            rows, trained = self._rows[entry.layer], self._trained[entry.layer]
            if not rows:
                continue
            moments = _moments(entry, rows, trained)
            far = moments.distances(trained) if self._many else moments.from_steps(trained)
            unlike = far > LIMIT
            if np.mean(unlike.any(1)) <= USUAL_SHARE:
                continue
            for channel in np.argsort(-unlike.sum(0), kind="stable")[:MOST_NAMED].tolist():
                chosen = np.flatnonzero(unlike[:, channel])
                if len(chosen):
                    name = entry.channels[channel] if entry.channels else f"channel {channel} of {entry.layer}"
                    distance, spread = (np.median(values[chosen, channel]) for values in (far, moments.spread))
                    outside = _share_outside([rows[row][:, channel] for row in chosen], trained, channel)
                    found.append(
                        f"{name} is {distance:,.0f} standard deviations from the training data in {len(chosen):,} of "
                        f"{len(rows):,} sequences, and {outside} ({_guess(spread / units(trained)[channel])})"
                    )
        return "; ".join(found) or None


def _share_outside(arrays: list[Array], trained: InputStatistics, channel: int) -> str:
    low, high = trained.min[channel], trained.max[channel]
    values = np.concatenate([np.ravel(array) for array in arrays])
    values = values[np.isfinite(values)]
    return f"{np.mean((values < low) | (values > high)):.0%} of its values there are outside {low:.4g} to {high:.4g}"


def _guess(factor: float) -> str:
    """What is wrong with a channel, by its spread relative to that of the training data."""
    if factor <= LEAST_SPREAD:
        return "it does not change: is its sensor dead or stuck?"
    return "an offset, or another unit?" if 0.1 < factor < 10 else f"×{factor:.2g}: another unit?"


def _moments(entry: Input, rows: list[Array], trained: InputStatistics) -> Moments:
    sizes = np.array([row.size for row in rows])
    parts = []
    for block in by_size(np.arange(len(rows)), sizes, _VALUES_AT_ONCE):
        arrays = [rows[index].reshape(-1, *entry.shape) for index in block.tolist()]
        lengths = np.array([len(array) for array in arrays])
        parts.append(moments_of(np.concatenate(arrays), lengths, np.asarray(trained.mean)))
    return Moments(*(np.concatenate([getattr(part, name) for part in parts]) for name in Moments.__annotations__))
