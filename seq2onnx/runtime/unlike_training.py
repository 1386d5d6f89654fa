"""Whether sequences are like those that a network was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import SpecError, warn
from seq2onnx.runtime.inputs import Input, Rows, read_rows
from seq2onnx.runtime.model import Model
from seq2onnx.sequences import Array, by_size
from seq2onnx.sequences.training_distance import LEAST_SPREAD, Distance, Floats, Moments

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
    entries = _inputs_of_numbers(model)
    found = {e.layer: np.full((len(rows[e.layer]), e.shape[0]), np.nan) for e in entries}
    for entry in entries:
        if distance := model.training_distances.get(entry.layer):
            steps = [array.reshape(-1, *entry.shape) for array in rows[entry.layer]]
            found[entry.layer] = distance.of(_moments(distance, steps))
    return found


def _inputs_of_numbers(model: Model) -> list[Input]:
    """Return the inputs of numbers; raise SpecError if there are none, warn if the training data is not known."""
    entries = [entry for entry in model.inputs if not entry.is_tokens and not entry.takes_words]
    if not entries:
        raise SpecError(f"{model.path}: takes tokens; only numbers have a distance from the training data")
    if not model.training_distances:
        warn(
            "no-statistics",
            f"{model.path}: does not say what the training data was like, so distances from it are NaN. Files have its "
            "statistics if build(network, data) or train made the module",
        )
    return entries


class RecentSteps:
    """How far the recent steps of a stream are from the training data: an exponential mean of MEMORY steps."""

    def __init__(self, model: Model) -> None:
        self._inputs, self._distances = _inputs_of_numbers(model), model.training_distances
        self.clear()

    def clear(self) -> None:
        """Forget all steps."""
        self._sums = {entry.layer: np.zeros((4, entry.shape[0])) for entry in self._inputs}

    def add(self, arrays: Mapping[str, Array]) -> None:
        """Add the steps of a chunk, by input layer."""
        for entry in self._inputs:
            if not (distance := self._distances.get(entry.layer)):
                continue
            steps = np.asarray(arrays[entry.layer], np.float64).reshape(-1, *entry.shape)[-20 * MEMORY :]
            from_mean = steps.reshape(*steps.shape[:2], -1) - distance.mean[:, None]
            finite = np.isfinite(from_mean)
            from_mean[~finite] = 0
            weights = (1 - 1 / MEMORY) ** np.arange(len(steps))[::-1]
            terms = np.stack([finite, from_mean, from_mean**2, np.abs(from_mean)]).mean(3)
            self._sums[entry.layer] *= (1 - 1 / MEMORY) ** len(steps)
            self._sums[entry.layer] += np.einsum("t,ktc->kc", weights, terms)

    def distances(self) -> dict[str, Floats]:
        """Return the distance of each channel [channels], by input layer; NaN before the first step."""
        found = {layer: np.full(sums.shape[1], np.nan) for layer, sums in self._sums.items()}
        for layer, known in self._distances.items():
            count, *sums = self._sums[layer][:, None]
            mean, square, distance = (np.divide(s, count, out=np.full_like(s, np.nan), where=count > 0) for s in sums)
            spread = np.sqrt(np.maximum(square - mean**2, 0))
            found[layer] = known.of(Moments(count, mean + known.mean, spread, distance))[0]
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
        self._many = trained is not None and trained.recordings >= FEWEST_RECORDINGS
        self._known = [
            (e, model.training_distances[e.layer]) for e in model.inputs if e.layer in model.training_distances
        ]
        self._rows: Rows = {entry.layer: [] for entry, _ in self._known}
        self._every = max(-(-(total or 0) // MOST_SEQUENCES), 1)

    def add(self, rows: Rows, indices: NDArray[np.intp]) -> None:
        """Look at sequences, whose indices among all are given."""
        for entry, _ in self._known:
            taken = self._rows[entry.layer]
            chosen = np.flatnonzero(indices % self._every == 0)[: MOST_SEQUENCES - len(taken)]
            for array in map(rows[entry.layer].__getitem__, chosen.tolist()):
                steps = array.reshape(-1, *entry.shape)
                taken.append(steps[:: -(-len(steps) // MOST_STEPS)])

    def unlike(self) -> str | None:
        """Return which channels are unlike the training data; None: none is known to be."""
        found = []
        for entry, known in self._known:
            if not (rows := self._rows[entry.layer]):
                continue
            moments = _moments(known, rows)
            far = known.of(moments) if self._many else known.of_steps(moments)
            unlike = far > LIMIT
            if not unlike.any() or unlike.any(1).mean() <= USUAL_SHARE:
                continue
            for channel in np.argsort(-unlike.sum(0), kind="stable")[:MOST_NAMED].tolist():
                chosen = np.flatnonzero(unlike[:, channel])
                if len(chosen):
                    name = entry.channels[channel] if entry.channels else f"channel {channel} of {entry.layer}"
                    distance, spread = (np.median(values[chosen, channel]) for values in (far, moments.spread))
                    values = np.concatenate([np.ravel(rows[row][:, channel]) for row in chosen])
                    low, high = known.low[channel], known.high[channel]
                    outside = np.mean((values < low) | (values > high))
                    found.append(
                        f"{name} is {distance:,.0f} standard deviations from the training data in {len(chosen):,} of "
                        f"{len(rows):,} sequences, and {outside:.0%} of its values there are outside {low:.4g} to "
                        f"{high:.4g} ({_guess(spread / known.unit[channel])})"
                    )
        return "; ".join(found) or None


def _guess(factor: float) -> str:
    """What is wrong with a channel, by its spread relative to that of the training data."""
    if factor <= LEAST_SPREAD:
        return "it does not change: is its sensor dead or stuck?"
    return "an offset, or another unit?" if 0.1 < factor < 10 else f"×{factor:.2g}: another unit?"


def _moments(known: Distance, rows: list[Array]) -> Moments:
    """Return the moments of sequences [steps, channels, …]."""
    if len(rows) == 1:
        return known.moments(rows[0], np.array([len(rows[0])]))
    parts = []
    for block in by_size(np.arange(len(rows)), np.array([row.size for row in rows]), _VALUES_AT_ONCE):
        arrays = [rows[index] for index in block.tolist()]
        parts.append(known.moments(np.concatenate(arrays), np.array([len(array) for array in arrays])))
    return Moments(*(np.concatenate([getattr(part, name) for part in parts]) for name in Moments.__annotations__))
