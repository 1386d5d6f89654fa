"""Alarms: scores, threshold, events and false alarms over time; missed events at each rate of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter

from seq2onnx.errors import SpecError
from seq2onnx.evaluation.alarm_tuning import AlarmTuning, alarm_steps
from seq2onnx.layers import Alarm
from seq2onnx.plots.axes import new_axes, with_grid
from seq2onnx.plots.series import as_series


def alarms_over_time(
    scores: Any,
    alarm: Alarm,
    events: Sequence[tuple[int, int]] = (),
    steps_per_second: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the scores of one stream, the threshold, the true events, and the alarms, of which some are false.

    Args:
        scores: the scores [time].
        alarm: the layer, with one threshold.
        events: (first step, last step) of each event, both included.
        steps_per_second: None: the x axis has steps, not seconds.
        ax: the axes to draw into; None: a new figure.

    Raises:
        ShapeError: the scores are not one number for each step.
        SpecError: the alarm has a threshold for each class; use one with the threshold of the class.

    Example:
        >>> alarms_over_time(scores[0], tuned.alarm, events[0], steps_per_second=100)
    """
    if isinstance(alarm.threshold, tuple):
        raise SpecError(
            f"alarm: expected one threshold, got a list; use dataclasses.replace(alarm, threshold=…): {alarm}"
        )
    series = as_series(scores, "scores")
    ax = ax or new_axes(8, 4)
    seconds = steps_per_second or 1
    for number, (start, last) in enumerate(events):
        label = "event" if not number else None
        ax.axvspan(start / seconds, (last + 1) / seconds, color="C2", alpha=0.25, linewidth=0, label=label)
    ax.plot(np.arange(len(series)) / seconds, series, color="0.35", linewidth=1, label="score")
    ax.axhline(alarm.threshold, color="C0", linestyle="--", linewidth=1.5, label="threshold")
    if alarm.release is not None:
        ax.axhline(alarm.release, color="C0", linestyle=":", linewidth=1.5, label="release")
    steps = alarm_steps(series, alarm)
    is_right = np.array([any(start <= step <= last for start, last in events) for step in steps], bool)
    for name, chosen, style in (("alarm in an event", is_right, "^C2"), ("false alarm", ~is_right, "vC3")):
        if chosen.any():
            at = steps[chosen]
            ax.plot(at / seconds, series[at], style, markersize=8, markeredgecolor="black", label=name)
    end = max(len(series) - 1, 1) / seconds
    ax.set(xlabel="step" if steps_per_second is None else "time in seconds", ylabel="score", xlim=(0, end))
    return with_grid(ax)


def misses_against_false_alarms(tuned: AlarmTuning, ax: Axes | None = None) -> Axes:
    """Draw which share of the events is missed at each rate of false alarms (detection error tradeoff, DET).

    The line goes through the fewest misses with at most so many false alarms an hour, for every threshold that was
    tried. The bar at the chosen threshold ends at the rate that is not exceeded with a confidence of 95 %.

    Args:
        tuned: the result of `tune_alarm`.
        ax: the axes to draw into; None: a new figure.

    Raises:
        SpecError: there was no event.

    Example:
        >>> misses_against_false_alarms(tuned)
    """
    if not tuned.events:
        raise SpecError("tuned: there was no event, so that none could be missed")
    ax = ax or new_axes(6, 4.5)
    order = np.lexsort((-tuned.found_at, tuned.false_alarms_at))
    rates = tuned.false_alarms_at[order] / tuned.hours
    misses = 100 * (1 - np.maximum.accumulate(tuned.found_at[order]) / tuned.events)
    ax.step(rates, misses, where="post", color="C0", linewidth=2, label="all thresholds")
    miss = 100 * (1 - tuned.found / tuned.events)
    ax.plot(
        [tuned.false_alarms_per_hour, tuned.upper_bound],
        [miss, miss],
        "-|",
        color="C3",
        linewidth=1.5,
        label="95 % bound",
    )
    ax.plot(tuned.false_alarms_per_hour, miss, "oC3", markersize=8, label=f"threshold {tuned.threshold:.4g}")
    # Few false alarms matter most; below one in the whole time the scale is linear.
    ax.set_xscale("symlog", linthresh=1 / tuned.hours)
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.set(xlabel="false alarms an hour", ylabel="missed events in %", ylim=(-3, 103))
    ax.set_xlim(left=0)
    return with_grid(ax)
