"""tune_alarm: the threshold of an Alarm, from scores and the events in them."""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.layers import Alarm
from seq2onnx.layers.parts.alarm_nodes import LOWEST
from seq2onnx.sequences import is_finite
from seq2onnx.tables import ShownAsText

Scores = NDArray[np.float32]
Event = tuple[int, int]
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class AlarmTuning(ShownAsText):
    """An alarm, and what it does on the scores that it was tuned on.

    Attributes:
        alarm: the layer, with its threshold.
        threshold: the threshold of the class.
        found: how many events have an alarm that begins in them.
        events: how many events there are.
        false_alarms: how many alarms begin outside of all events.
        hours: how long the scores are.
        thresholds: every threshold that was tried, from the highest to the lowest.
        found_at: the events that each of them finds.
        false_alarms_at: its false alarms.
    """

    alarm: Alarm
    threshold: float
    found: int
    events: int
    false_alarms: int
    hours: float
    thresholds: Scores
    found_at: NDArray[np.int64]
    false_alarms_at: NDArray[np.int64]

    @property
    def false_alarms_per_hour(self) -> float:
        """The false alarms, divided by the hours."""
        return self.false_alarms / self.hours

    @property
    def upper_bound(self) -> float:
        """The false alarms an hour that there are at most, with a confidence of 95 %.

        If the alarms of a rate above it are independent of each other, so few of them occur in less than 5 % of cases
        (Poisson distribution, one-sided).
        """
        return poisson_bound(self.false_alarms) / self.hours

    def __str__(self) -> str:
        alarms = f"{self.false_alarms} false alarm{'s' * (self.false_alarms != 1)}"
        return (
            f"threshold {self.threshold:.6g}: {self.found} of {self.events} events found, {alarms} in "
            f"{self.hours:.3g} hours, {self.false_alarms_per_hour:.3g} an hour (with 95 % confidence at most "
            f"{self.upper_bound:.3g})"
        )


def tune_alarm(
    scores: Any,
    events: Any,
    *,
    steps_per_second: float,
    false_alarms_per_hour: float,
    release: float | None = None,
    patience: int = 1,
    hold: int = 0,
    warm_up: int = 0,
    label: str | int | None = None,
    classes: Sequence[str | int] | None = None,
) -> AlarmTuning:
    """Find the threshold of an Alarm that finds the most events with no more false alarms than are allowed.

    An event is found if an alarm begins in it. An alarm that begins outside of all events is false. Every score is
    tried as a threshold, from the highest down to the first with too many false alarms. Among those that find the most
    events, those with the fewest false alarms are best, and the one in the middle of these is returned.

    Use scores of sequences that the network was not trained on. The fewer hours they have, the less is known of the
    false alarms of other sequences: `upper_bound` says how many there may be.

    Args:
        scores: what `predict` returns: [time], or [time, K] with `label`; of several streams a list of these.
        events: the events of the stream, (first step, last step) each, both included; of several streams a list of
            lists. They may overlap.
        steps_per_second: how many steps of the scores a second has.
        false_alarms_per_hour: how many false alarms an hour are allowed in these scores.
        release: see Alarm; thresholds below it are not tried. None: the threshold.
        patience: see Alarm.
        hold: see Alarm.
        warm_up: see Alarm; the first steps of each stream.
        label: the class of the events, for scores of several classes. The alarm then has no threshold for the others.
        classes: the K labels, such as `model.classes`.

    Raises:
        DataError: scores or events are wrong, or even the highest score gives too many false alarms.
        ShapeError: the scores have another shape.
        SpecError: an argument is wrong.

    Example:
        >>> tuned = tune_alarm(model.predict(recordings), events, steps_per_second=100, false_alarms_per_hour=0.5)
        >>> print(tuned)
        >>> export(append(module, [tuned.alarm]), "alarm.onnx")
    """
    for name, number in (("steps_per_second", steps_per_second), ("false_alarms_per_hour", false_alarms_per_hour)):
        least = "above 0" if name == "steps_per_second" else "from 0"
        if not isinstance(number, numbers.Real) or not 0 <= number < math.inf or (number == 0 and least == "above 0"):
            raise SpecError(f"{name}: expected a number {least}, got {number!r:.60}")
    checked = Alarm(0.0 if release is None else release, release, patience, hold, warm_up=warm_up)
    place = _place(label, classes)
    streams, wanted = _read_streams(scores, events, place, None if classes is None else len(classes))
    hours = sum(map(len, streams)) / float(steps_per_second) / 3600
    thresholds = np.unique(np.concatenate(streams))[::-1]
    if checked.release is not None:
        thresholds = thresholds[thresholds >= np.float32(checked.release)]
    if not len(thresholds):
        raise DataError(f"scores: no score reaches the release {release}; use a lower one")
    false, found = _counts(streams, wanted, thresholds, checked)
    allowed = int(np.argmax(np.append(false / hours > false_alarms_per_hour, True)))
    if not allowed:
        raise DataError(
            f"false_alarms_per_hour: even the highest score, {thresholds[0]:.6g}, gives {false[0]} false alarms in "
            f"{hours:.3g} hours, {false[0] / hours:.3g} an hour; {false_alarms_per_hour:g} are allowed. Allow "
            "more, use a larger patience, or check whether events are missing"
        )
    best = _best(thresholds[:allowed], found[:allowed], false[:allowed])
    threshold = float(thresholds[best])
    each = threshold if place is None else [threshold if k == place else None for k in range(len(classes or ()))]
    return AlarmTuning(
        alarm=dataclasses.replace(checked, threshold=each),
        threshold=threshold,
        found=int(found[best]),
        events=sum(map(len, wanted)),
        false_alarms=int(false[best]),
        hours=hours,
        thresholds=thresholds,
        found_at=found,
        false_alarms_at=false,
    )


def on_levels(scores: Scores, alarm: Alarm) -> Scores:
    """Return for each step the highest threshold with which an Alarm is on after it: [time + 1], first before all.

    With the threshold θ, the alarm begins in step t if levels[t] < θ ≤ levels[t + 1]. The alarm's own threshold does
    not count.
    """
    scores = scores.copy()
    scores[: alarm.warm_up] = LOWEST
    high = _extreme(scores, alarm.patience, np.minimum, -np.inf)  # a threshold up to it is reached long enough
    if alarm.release is None:
        kept = _extreme(scores, alarm.hold + 1, np.maximum, np.inf)  # with one up to it, the alarm is not over
    else:
        low = np.where(scores < np.float32(alarm.release), np.float32(-np.inf), np.float32(np.inf))
        kept = _extreme(low, alarm.hold + 1, np.maximum, np.inf)
    level, levels = -math.inf, [-math.inf]
    for reached, stays in zip(high.tolist(), kept.tolist(), strict=True):
        if stays < level:
            level = stays
        if reached > level:
            level = reached
        levels.append(level)
    return np.array(levels, np.float32)


def alarm_steps(scores: Any, alarm: Alarm, place: int = 0) -> NDArray[np.intp]:
    """Return the steps of one stream [time] in which an Alarm begins; `place`: which of its thresholds counts."""
    threshold = alarm.threshold[place] if isinstance(alarm.threshold, tuple) else alarm.threshold
    levels = on_levels(np.asarray(scores, np.float32), alarm)
    if threshold is None:
        return np.zeros(0, np.intp)
    is_on = levels >= np.float32(threshold)
    return np.flatnonzero(is_on[1:] & ~is_on[:-1])


def poisson_bound(count: int, confidence: float = CONFIDENCE) -> float:
    """Return the mean of a Poisson distribution of which `count` or fewer have the probability 1 − confidence."""
    logarithms = np.append(0.0, np.cumsum(np.log(np.arange(1, count + 1))))
    counts = np.arange(count + 1)
    low, high = 0.0, count + 10 * math.sqrt(count + 1) + 10
    while (mean := (low + high) / 2) not in (low, high):
        is_below = np.exp(counts * math.log(mean) - mean - logarithms).sum() > 1 - confidence
        low, high = (mean, high) if is_below else (low, mean)
    return high


def _extreme(values: Scores, size: int, choose: np.ufunc, first: float) -> Scores:
    """The least or largest of the last `size` values at each step; `first` where there are fewer."""
    found = values.copy()
    found[: size - 1] = first
    if size > len(values):
        return found
    # The extreme of 1, 2, 4 … values, and of two overlapping stretches for any other size.
    stretch, part = 1, values
    while 2 * stretch <= size:
        part = choose(part[stretch:], part[:-stretch])
        stretch *= 2
    rest = size - stretch
    found[size - 1 :] = choose(part[rest:], part[: len(part) - rest])
    return found


def _counts(
    streams: list[Scores], wanted: list[list[Event]], thresholds: Scores, alarm: Alarm
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the false alarms, and the events found, with each threshold, from the highest."""
    false, found = (np.zeros(len(thresholds) + 1, np.int64) for _ in range(2))
    ascending = thresholds[::-1]
    for scores, events in zip(streams, wanted, strict=True):
        levels = on_levels(scores, alarm)
        steps = np.flatnonzero(levels[1:] > levels[:-1])
        # An alarm begins in the step with the thresholds from number `first` to before number `end`.
        first, end = (
            len(thresholds) - np.searchsorted(ascending, bounds, "right")
            for bounds in (levels[steps + 1], levels[steps])
        )
        is_false = np.ones(len(steps), bool)
        for start, last in events:
            inside = slice(*np.searchsorted(steps, [start, last + 1]))
            is_false[inside] = False
            reached = 0
            for a, b in sorted(zip(first[inside].tolist(), end[inside].tolist(), strict=True)):
                if b > (a := max(a, reached)):
                    found[a] += 1
                    found[b] -= 1
                    reached = b
        np.add.at(false, first[is_false], 1)
        np.add.at(false, end[is_false], -1)
    return np.cumsum(false)[:-1], np.cumsum(found)[:-1]


def _best(thresholds: Scores, found: NDArray[np.int64], false: NDArray[np.int64]) -> int:
    """Choose the most events found, then the fewest false alarms, then the middle of the highest such range."""
    candidates = np.flatnonzero(found == found.max())
    candidates = candidates[false[candidates] == false[candidates].min()]
    ends = np.flatnonzero(np.diff(candidates) > 1)
    candidates = candidates[: ends[0] + 1 if len(ends) else None]
    middle = (float(thresholds[candidates[0]]) + float(thresholds[candidates[-1]])) / 2
    return int(candidates[np.argmin(np.abs(thresholds[candidates] - middle))])


def _place(label: str | int | None, classes: Sequence[str | int] | None) -> int | None:
    if (label is None) != (classes is None):
        raise SpecError("label: needs classes, and classes a label; got only one of them")
    if label is None or classes is None:
        return None
    if label not in list(classes):
        raise SpecError(f"label: {label!r} is not one of the classes {', '.join(map(str, classes))}")
    return list(classes).index(label)


def _read_streams(
    scores: Any, events: Any, place: int | None, size: int | None
) -> tuple[list[Scores], list[list[Event]]]:
    """Return the scores of each stream [time], and its events."""
    if not (isinstance(scores, list | tuple) and len(scores) and np.ndim(scores[0])):
        scores, events = [scores], [events]
    if len(events) != len(scores):
        raise DataError(f"events: expected a list for each of {len(scores)} streams, got {len(events)}")
    streams, wanted = [], []
    for index, (given, of_stream) in enumerate(zip(scores, events, strict=True)):
        array = np.asarray(given, np.float32)
        where = f"scores of stream {index}"
        if array.ndim == 2 and array.shape[1] == (1 if size is None else size):
            array = array[:, place or 0]
        elif array.ndim != 1 or size is not None:
            expected = "[time], or [time, K] with label and classes" if size is None else f"[time, {size}]"
            raise ShapeError(f"{where}: expected {expected}, got {list(array.shape)}")
        if not is_finite(array):
            raise DataError(f"{where}: contain NaN or infinity; leave the stream out")
        streams.append(array)
        wanted.append(_read_events(of_stream, f"events of stream {index}", len(array)))
    if not sum(map(len, streams)):
        raise DataError("scores: have no step")
    return streams, wanted


def _read_events(given: Any, where: str, steps: int) -> list[Event]:
    found = []
    for number, event in enumerate(given):
        try:
            start, last = map(operator.index, event)
        except (TypeError, ValueError):
            raise DataError(
                f"{where}: event {number}: expected (first step, last step), two whole numbers, got {event!r:.60}"
            ) from None
        if not 0 <= start <= last < steps:
            raise DataError(
                f"{where}: event {number}: expected steps from 0 to {steps - 1}, the first not after the last, got "
                f"{start} to {last}"
            )
        found.append((start, last))
    return found
