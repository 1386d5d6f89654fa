"""Targets for the steps of a network's output, from events in seconds; events from the labels of steps."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.targets import Label
from seq2onnx.errors import DataError, SpecError
from seq2onnx.integers import whole_number
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.network import Network

Event = tuple[float, float, Label]


def event_targets(
    events: Sequence[Sequence[Event]],
    lengths: Sequence[int],
    *,
    rate: float,
    network: Network | None = None,
    background: Label = "none",
) -> list[Array]:
    """Return a label for each step of the network's output y, from events in seconds.

    Step i of a sequence lasts from i / rate to (i + 1) / rate seconds. If the network has a stride, step j of y stands
    for the steps j · stride to (j + 1) · stride − 1 of the sequence, as far as it goes. It gets the label of the event
    in progress in the middle of these steps: start ≤ middle < end.

    Args:
        events: for each sequence a list of (start, end, label), in any order. They must not overlap.
        lengths: the steps of each sequence, such as `data.lengths`.
        rate: steps of the sequences per second.
        network: the network, for the stride and the number of steps of y. None: y has the steps of the sequence.
        background: the label of steps without an event, of the type of the other labels.

    Raises:
        DataError: an event lies outside its sequence, does not end after its start, overlaps another, or is so short
            that no step gets its label. The message names the sequence and the event, counted from 0. An event may
            end up to one step after the sequence, since times are often rounded.
        SpecError: the network has no output for each step.

    Example:
        >>> event_targets([[(0.5, 1.25, "cough")], []], [300, 200], rate=100)
    """
    if not isinstance(rate, numbers.Real) or not 0 < rate < math.inf:
        raise DataError(f"rate: expected steps per second, a number above 0, got {rate!r}")
    if len(events) != len(lengths):
        raise DataError(f"events: expected a list for each of {len(lengths)} sequences, got {len(events)}")
    signal = None if network is None else network.signals[network.outputs[0]]
    if signal is not None and not signal.has_time:
        raise SpecError("network: expected an output for each step, but it has one for each sequence")
    stride = 1 if signal is None else signal.clock.stride
    found = []
    for index, (given, length) in enumerate(zip(events, lengths, strict=True)):
        steps = whole_number(length, f"lengths of sequence {index}", 0)
        count = steps if signal is None else signal.clock.length(steps)
        starts = np.arange(count) * stride
        middles = (starts + np.minimum(starts + stride, np.maximum(steps, starts + 1))) / (2 * float(rate))
        checked = _check(given, f"events of sequence {index}", steps, float(rate), background)
        target = np.full(count, background, object)
        for number, (start, end, label) in checked:
            is_on = (start <= middles) & (middles < end)
            if not is_on.any():
                raise DataError(
                    f"events of sequence {index}: event {number} ({start:g} to {end:g} s) is so short that no step of "
                    f"{stride / float(rate):g} s gets its label; leave it out, lengthen it, or use a smaller stride"
                )
            target[is_on] = label
        found.append(np.array(target.tolist(), np.str_ if isinstance(background, str) else np.int64))
    return found


def runs_of(is_on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first and the last step of each run of marked steps."""
    ends = np.diff(np.pad(is_on, 1).astype(int))
    starts, stops = np.flatnonzero(ends > 0).tolist(), np.flatnonzero(ends < 0).tolist()
    return [(start, stop - 1) for start, stop in zip(starts, stops, strict=True)]


def _check(given: Any, where: str, steps: int, rate: float, background: Label) -> list[tuple[int, Event]]:
    """Return the events in the order of their start, each with its number."""
    checked: list[tuple[int, Event]] = []
    kind = str if isinstance(background, str) else int
    for number, event in enumerate(given):
        try:
            start, end, label = event
            start, end = float(start), float(end)
        except (TypeError, ValueError):
            raise DataError(
                f"{where}: event {number}: expected (start in seconds, end in seconds, label), got {event!r:.60}"
            ) from None
        label = label.item() if isinstance(label, np.generic) else label
        if not isinstance(label, kind):
            raise DataError(
                f"{where}: event {number}: expected a label like the background {background!r}, got {label!r:.60}; "
                "all labels must be strings, or all integers"
            )
        if not start < end:
            raise DataError(f"{where}: event {number}: must end after its start, got {start:g} to {end:g} s")
        if not 0 <= start < steps / rate or not end <= (steps + 1) / rate:
            raise DataError(
                f"{where}: event {number}: {start:g} to {end:g} s lies outside of the sequence, which has {steps} "
                f"steps or {steps / rate:g} s at {rate:g} steps per second"
            )
        checked.append((number, (start, end, label)))
    checked.sort(key=lambda one: one[1][:2])
    for (first, (_, end, _)), (second, (start, _, _)) in itertools.pairwise(checked):
        if start < end:
            raise DataError(
                f"{where}: events {first} and {second} overlap from {start:g} to {end:g} s; a step has one label"
            )
    return checked
