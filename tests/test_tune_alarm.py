"""tune_alarm: counts like a plain loop, keeps its promise on fresh streams, and says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.evaluation.alarm_tuning import alarm_steps, poisson_bound
from tests.test_alarm import by_hand

PROMISE = 0.95  # the confidence of the bound, and of 40 seeds the share that must keep it


def counted(streams, events, threshold, **arguments):
    """(events found, false alarms) by a plain loop."""
    found = false = 0
    for scores, of_stream in zip(streams, events, strict=True):
        steps = np.flatnonzero(by_hand(scores, threshold, **arguments))
        found += sum(any(start <= step <= last for step in steps) for start, last in of_stream)
        false += sum(not any(start <= step <= last for start, last in of_stream) for step in steps)
    return found, false


@pytest.mark.parametrize("seed", range(10))
def test_every_score_is_tried_and_counted_like_a_plain_loop_counts(seed):
    rng = np.random.default_rng(seed)
    streams = [np.round(rng.random(int(n)), 2).astype("f") for n in rng.integers(1, 60, 3)]
    events = []
    for scores in streams:
        starts = rng.integers(0, len(scores), 3)
        events.append([(int(s), int(min(s + rng.integers(0, 9), len(scores) - 1))) for s in starts])  # may overlap
    arguments = {
        "release": rng.choice([None, 0.3, 0.6]),
        "patience": int(rng.integers(1, 4)),
        "hold": int(rng.integers(0, 4)),
        "warm_up": int(rng.integers(0, 6)),
    }
    tuned = s2o.tune_alarm(streams, events, steps_per_second=1, false_alarms_per_hour=10**6, **arguments)
    tried = sorted({float(s) for scores in streams for s in scores if s >= np.float32(arguments["release"] or 0)})
    assert tuned.thresholds.tolist() == tried[::-1]
    expected = [counted(streams, events, threshold, **arguments) for threshold in tuned.thresholds]
    assert list(zip(tuned.found_at.tolist(), tuned.false_alarms_at.tolist(), strict=True)) == expected
    assert tuned.found == max(found for found, _ in expected)
    assert (tuned.found, tuned.false_alarms) == counted(streams, events, tuned.threshold, **arguments)
    assert tuned.alarm == s2o.Alarm(tuned.threshold, **arguments)
    steps = np.flatnonzero(by_hand(streams[0], tuned.threshold, **arguments))
    assert alarm_steps(streams[0], tuned.alarm).tolist() == steps.tolist()


def recording(rng, hours, rate=4):
    """Scores with noise that is sometimes high, and ten events."""
    steps = int(hours * 3600 * rate)
    scores = rng.normal(0, 1, steps)
    for at in rng.integers(0, steps, int(30 * hours)):
        scores[at : at + 3] += rng.exponential(2)
    events = []
    for start in np.linspace(100, steps - 100, 10).astype(int).tolist():
        scores[start : start + 10] += rng.uniform(3, 8)
        events.append((start, start + 12))
    return scores.astype("f"), events


def test_the_promise_holds_on_fresh_streams():
    """In 40 recordings, the bound is above the false alarms in 8 times as many fresh hours, in at least 38."""
    kept, spent = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        arguments = {"release": 2.0, "patience": 1, "hold": 20}
        tuned = s2o.tune_alarm(*recording(rng, 0.5), steps_per_second=4, false_alarms_per_hour=8, **arguments)
        assert tuned.false_alarms_per_hour <= 8
        assert tuned.hours == 0.5
        fresh, events = recording(rng, 4)
        steps = alarm_steps(fresh, tuned.alarm)
        false = sum(not any(start <= step <= last for start, last in events) for step in steps)
        kept += false / 4 <= tuned.upper_bound
        spent += tuned.false_alarms > 0
    assert kept >= PROMISE * 40
    assert spent > 10  # the budget is used


def test_the_bound_is_that_of_the_poisson_distribution():
    # The 95 % quantiles of χ² with 2 (n + 1) degrees of freedom, divided by 2.
    for count, bound in [(0, 2.995732), (1, 4.743865), (5, 10.513034), (100, 118.079273)]:
        assert poisson_bound(count) == pytest.approx(bound, abs=1e-5)
    tuned = s2o.tune_alarm(np.r_[np.zeros(594), 1.0], [(594, 594)], steps_per_second=1, false_alarms_per_hour=0)
    assert (tuned.found, tuned.false_alarms, round(tuned.upper_bound)) == (1, 0, 18)  # 0 in 0.165 hours
    assert "1 of 1 events found, 0 false alarms in 0.165 hours, 0 an hour (with 95 % confidence at most 18.1)" in str(
        tuned
    )


def test_one_class_of_several_gets_a_threshold():
    rng = np.random.default_rng(0)
    scores = rng.random((100, 3))
    scores[40:44, 1] = 2
    tuned = s2o.tune_alarm(
        [scores], [[(40, 43)]], steps_per_second=10, false_alarms_per_hour=0, label="go", classes=["stop", "go", "none"]
    )
    assert tuned.alarm.threshold == (None, 2.0, None)
    assert (tuned.found, tuned.false_alarms) == (1, 0)
    assert alarm_steps(scores[:, 1], tuned.alarm, 1).tolist() == [40]


def test_the_middle_of_equally_good_thresholds_is_chosen():
    scores = np.array([0.1, 0.2, 0.9, 0.5, 0.6, 0.1], "f")  # 0.2 begins early, and 0.5 to 0.9 find the event
    tuned = s2o.tune_alarm(scores, [(2, 4)], steps_per_second=1, false_alarms_per_hour=0)
    assert tuned.threshold == np.float32(0.6)


GOOD = {"steps_per_second": 10, "false_alarms_per_hour": 1}


@pytest.mark.parametrize(
    ("scores", "events", "arguments", "message"),
    [
        ([0.1, 0.9, 0.2], [], {}, "even the highest score, 0.9, gives 1 false alarms in .* 1 are allowed. Allow more"),
        ([0.1, np.nan], [], {}, "scores of stream 0: contain NaN or infinity; leave the stream out"),
        ([[0.1, 0.2], [0.3]], [[]], {}, "events: expected a list for each of 2 streams, got 1"),
        ([0.1, 0.2], [(1, 2)], {}, "event 0: expected steps from 0 to 1, the first not after the last, got 1 to 2"),
        ([0.1, 0.2], [(1, 0)], {}, "the first not after the last, got 1 to 0"),
        ([0.1, 0.2], [(0.5, 1)], {}, r"event 0: expected \(first step, last step\), two whole numbers, got \(0.5, 1\)"),
        (np.zeros((4, 2)), [], {}, r"expected \[time\], or \[time, K\] with label and classes, got \[4, 2\]"),
        (np.zeros((4, 2)), [], {"label": "c", "classes": ["a", "b"]}, "label: 'c' is not one of the classes a, b"),
        (np.zeros((4, 2)), [], {"label": "a"}, "label: needs classes, and classes a label"),
        ([0.1], [], {"steps_per_second": 0}, "steps_per_second: expected a number above 0, got 0"),
        ([0.1], [], {"false_alarms_per_hour": -1}, "false_alarms_per_hour: expected a number from 0, got -1"),
        ([0.1], [], {"release": 0.5}, "no score reaches the release 0.5; use a lower one"),
        (np.zeros(0), [], {}, "scores: have no step"),
    ],
)
def test_errors_say_what_is_wrong(scores, events, arguments, message):
    with pytest.raises(s2o.Seq2OnnxError, match=message):
        s2o.tune_alarm(scores, events, **GOOD | arguments)
