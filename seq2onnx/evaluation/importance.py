"""importance: how much worse a model becomes without a channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, SpecError
from seq2onnx.evaluation.opened import opened
from seq2onnx.evaluation.quantiles import QuantileEvaluation
from seq2onnx.evaluation.scores import ClassEvaluation, Evaluation, evaluate
from seq2onnx.integers import whole_number
from seq2onnx.sequences import Array
from seq2onnx.tables import ShownAsText, text_table

if TYPE_CHECKING:
    from seq2onnx.evaluation.opened import Trained
    from seq2onnx.runtime import Predictor

Floats = NDArray[np.float64]
Arrays = dict[str, list[Array]]
Place = tuple[str, int]
DRAWS = 1000
"""Samples of sequences, with replacement, from which the interval of a fall is taken."""


class ChannelImportance(NamedTuple):
    """How much worse a metric becomes when a channel is replaced by that of another sequence.

    Attributes:
        channel: its name, or its number; of several that are replaced together, all names.
        fall: how much the metric falls, or of a pinball loss rises. 0: the model does not need the channel.
        low, high: the interval in which this lies with 95 %, by a bootstrap over the sequences.
    """

    channel: str
    fall: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Importance(ShownAsText):
    """What a model needs; it prints as a table.

    Attributes:
        metric: what was measured: "accuracy", "R²" or "pinball loss".
        value: with all channels.
        table: a row for each channel, the most important first.
    """

    metric: str
    value: float
    table: list[ChannelImportance]

    def __str__(self) -> str:
        rows = [(row.channel, *(f"{v:.4f}" for v in (row.fall, row.low, row.high))) for row in self.table]
        verb = "rise" if self.metric == "pinball loss" else "fall"
        head = ("channel replaced", verb, "low", "high")
        return f"{text_table([head, *rows], (1, 2, 3))}\n{self.metric} with all channels: {self.value:.4f}"


def importance(
    model: Trained,
    data: SequenceDataset,
    *,
    channels: Sequence[str | int | Sequence[str | int]] | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> Importance:
    """Measure which channels a model needs: each is replaced by that of another sequence, drawn at random.

    A channel that others tell too can be replaced without much loss, since the model still has the others: replace such
    channels together. Take data that was not used for training. (Permutation importance: Fisher, Rudin and Dominici,
    "All Models are Wrong, but Many are Useful", 2019.)

    Args:
        model: a file that `load` opened, its path, or a module.
        data: sequences with targets, at least two. Where another sequence is shorter, it is repeated.
        channels: names or numbers; a tuple of them is replaced together. Of several inputs a channel is named
            "input: channel". None: each channel alone.
        repeats: how often each channel is replaced, by that of other sequences each time.
        seed: of the draws.

    Returns:
        An Importance; `.table` has rows of (channel, fall, low, high). The metric is the accuracy of labels, R² of
        numbers (the mean of several), or the pinball loss of quantiles.

    Raises:
        DataError: there are no targets, no numbers, or fewer than two sequences.
        SpecError: a channel does not exist.
    """
    with opened(model) as file:
        whole_number(repeats, "repeats")
        data = data.with_channels(file.channels)
        if len(data) < 2 or file.closed_loop:
            reason = f"the data has {len(data)} sequence" if len(data) < 2 else "the file runs in a closed loop"
            raise DataError(f"importance: a channel is replaced by that of another sequence, but {reason}")
        arrays, _ = data.take(range(len(data)))
        groups = _groups(file, arrays, channels)
        rng = np.random.default_rng(seed)
        metric, before, weights = _errors(evaluate(file, data, _predictions(file, arrays)), len(data))
        draws = rng.multinomial(len(data), np.full(len(data), 1 / len(data)), DRAWS).astype(np.float64)
        rows = []
        for name, places in groups.items():
            after, counts = np.zeros_like(before), np.zeros_like(weights)
            for _ in range(repeats):
                changed = _replaced(arrays, places, rng)
                _, errors, seen = _errors(evaluate(file, data, _predictions(file, changed)), len(data))
                after, counts = after + errors / repeats, counts + seen / repeats
            every = np.ones((1, len(data)))
            fall, drawn = (_mean(d, after, counts) - _mean(d, before, weights) for d in (every, draws))
            low, high = np.nanquantile(drawn, (0.025, 0.975))
            rows.append(ChannelImportance(name, float(fall[0]), float(low), float(high)))
        worse = float(_mean(np.ones((1, len(data))), before, weights)[0])
    value = worse if metric == "pinball loss" else 1 - worse
    return Importance(metric, value, sorted(rows, key=lambda row: -row.fall))


def _mean(draws: Floats, errors: Floats, weights: Floats) -> Floats:
    """Return the mean error of each draw of sequences: over the outputs, that of the errors relative to the weights."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((draws @ errors) / (draws @ weights)).mean(1))


def _errors(found: Evaluation, count: int) -> tuple[str, Floats, Floats]:
    """Return the metric, and for each sequence the sum of its errors and of what they are relative to [count, outputs].

    The metric is 1 − the sum of all errors ÷ that of what they are relative to, or for quantiles this ratio itself.
    """
    if isinstance(found, ClassEvaluation):
        metric, errors = "accuracy", (found.truth != found.predicted).astype(np.float64)[:, None]
        weights = np.ones_like(errors)
    elif isinstance(found, QuantileEvaluation):
        metric, differences = "pinball loss", found.truth[:, None] - found.predicted
        levels = np.asarray(found.quantiles)
        errors = np.maximum(levels * differences, (levels - 1) * differences).mean(1)[:, None]
        weights = np.ones_like(errors)
    else:
        metric, errors = "R²", np.square(found.truth - found.predicted)
        weights = np.square(found.truth - found.truth.mean(0))
        if not (varies := weights.any(0)).any():
            raise DataError("importance: all targets are equal, so R² is not defined; give data with other targets")
        errors, weights = errors[:, varies], weights[:, varies]
    sums = [np.zeros((count, errors.shape[1])) for _ in range(2)]
    for total, rows in zip(sums, (errors, weights), strict=True):
        np.add.at(total, found.sequences, rows)
    return metric, sums[0], sums[1]


def _groups(file: Predictor, arrays: Arrays, channels: Any) -> dict[str, list[Place]]:
    """Return the places of each channel, or of channels that are replaced together, by name."""
    known: dict[str, list[Place]] = {}
    for entry in file.inputs:
        part = entry.layer if entry.layer in arrays else ""
        if entry.is_tokens:
            continue
        of = f"{entry.layer}: " if len(arrays) > 1 else ""
        names = entry.channels or [str(k) for k in range(entry.shape[0])]
        known |= {f"{of}{name}": [(part, k)] for k, name in enumerate(names)}
    if not known:
        raise DataError("importance: the input has words or tokens, which have no channels")
    if channels is None:
        return known
    found: dict[str, list[Place]] = {}
    for given in channels:
        together = [given] if isinstance(given, str | int) else list(given)
        names = [str(name) for name in together]
        if missing := [name for name in names if name not in known]:
            raise SpecError(f"channels: {missing[0]!r} is not among {', '.join(known)}")
        found[", ".join(names)] = [place for name in names for place in known[name]]
    return found


def _replaced(arrays: Arrays, places: list[Place], rng: np.random.Generator) -> Arrays:
    """Return sequences in which some channels are those of another sequence, the same one for all of these channels."""
    count = len(next(iter(arrays.values())))
    order = rng.permutation(count)
    others = np.empty(count, np.intp)
    others[order] = np.roll(order, 1)  # a cycle: no sequence is its own
    changed = dict(arrays)
    for part, chosen in _by_part(places):
        changed[part] = [
            _with_channels(x, arrays[part][other], chosen) for x, other in zip(arrays[part], others, strict=True)
        ]
    return changed


def _by_part(places: list[Place]) -> Iterator[tuple[str, list[int]]]:
    for part in dict.fromkeys(part for part, _ in places):
        yield part, [k for name, k in places if name == part]


def _with_channels(x: Array, other: Array, channels: list[int]) -> Array:
    """Return a sequence, or a vector, with channels of another; a shorter one is repeated."""
    made = x.copy()
    if x.ndim == 1:
        made[channels] = other[channels]
    else:
        made[:, channels] = other[np.arange(len(x)) % len(other)][:, channels]
    return made


def _predictions(file: Predictor, arrays: Arrays) -> Any:
    return file.predict(arrays.get("", arrays))
