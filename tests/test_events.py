"""Targets from events in seconds: a label for each step of y, and clear errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

import seq2onnx as s2o
from seq2onnx.data import event_targets


def network(stride, padding="causal"):
    layers = [s2o.SequenceInput(2), s2o.Conv1d(3, 4, stride=stride, padding=padding), s2o.FullyConnected(2)]
    return s2o.Network([*layers, s2o.Softmax()])


def test_each_step_gets_the_label_of_the_event_in_its_middle():
    labels = event_targets([[(0.2, 0.5, "cough"), (0.5, 0.74, "sneeze")], []], [10, 3], rate=10)
    assert labels[0].tolist() == ["none"] * 2 + ["cough"] * 3 + ["sneeze"] * 2 + ["none"] * 3
    assert labels[1].tolist() == ["none"] * 3


def test_a_network_with_a_stride_needs_fewer_labels():
    net = network(4)
    # y has 3 steps for 9 steps of x: their middles are 0.2, 0.6 and, of the one step that is left, 0.85 seconds.
    for event, expected in [((0.2, 0.3), [1, 0, 0]), ((0.21, 0.61), [0, 1, 0]), ((0.8, 0.9), [0, 0, 1])]:
        (labels,) = event_targets([[(*event, 1)]], [9], rate=10, network=net, background=0)
        assert labels.tolist() == expected
        assert labels.dtype == np.int64


@given(st.data())
def test_there_are_as_many_labels_as_steps_of_y_and_they_follow_the_rule(data):
    stride = data.draw(st.integers(1, 5))
    length, rate = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([1, 7, 100.0]))
    net = network(stride, data.draw(st.sampled_from(["causal", "same", 0])))
    cuts = sorted(data.draw(st.sets(st.integers(0, length), min_size=2, max_size=6)))
    events = [(a / rate, b / rate, "ab"[n % 2]) for n, (a, b) in enumerate(zip(cuts[::2], cuts[1::2], strict=False))]
    count = net.signals[net.outputs[0]].clock.length(length)
    ends = [max(min((step + 1) * stride, length), step * stride + 1) for step in range(count)]
    middles = [(step * stride + end) / (2 * rate) for step, end in enumerate(ends)]
    if any(not any(start <= middle < end for middle in middles) for start, end, _ in events):
        with pytest.raises(s2o.DataError, match="is so short that no step"):
            event_targets([events], [length], rate=rate, network=net)
        return
    (found,) = event_targets([events], [length], rate=rate, network=net)
    expected = [[name for start, end, name in events if start <= middle < end] for middle in middles]
    assert found.tolist() == [(*names, "none")[0] for names in expected]


def test_the_labels_train_a_network_with_a_stride():
    rng = np.random.default_rng(0)
    events, sequences = [], []
    for _ in range(40):
        start = rng.uniform(0, 2)
        x = rng.normal(0, 0.1, (60, 2))
        x[int(start * 20) : int((start + 1) * 20)] += 1
        sequences.append(x)
        events.append([(start, start + 0.95, "loud")])
    net = network(4)
    targets = event_targets(events, [60] * 40, rate=20, network=net)
    data = s2o.SequenceDataset(sequences, targets, per_step=True)
    options = s2o.TrainingOptions(epochs=10, batch_size=8, learning_rate=0.05, progress=False, device="cpu")
    assert s2o.train(net, data, options=options).history[-1]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([(0.1, 0.5, "a"), (0.4, 0.6, "b")], "sequence 1: events 0 and 1 overlap from 0.4 to 0.5 s; a step has one"),
        ([(0.5, 0.9, "a"), (0.1, 0.6, "b")], "sequence 1: events 1 and 0 overlap from 0.5 to 0.6 s"),
        ([(0.5, 0.4, "a")], "sequence 1: event 0: must end after its start, got 0.5 to 0.4 s"),
        ([(0.5, 0.5, "a")], "sequence 1: event 0: must end after its start"),
        ([(float("nan"), 0.5, "a")], "sequence 1: event 0: must end after its start, got nan to 0.5 s"),
        ([(-0.1, 0.5, "a")], "event 0: -0.1 to 0.5 s lies outside of the sequence, which has 10 steps or 1 s at 10"),
        ([(0.2, 0.4, "a"), (0.5, 1.2, "a")], "event 1: 0.5 to 1.2 s lies outside of the sequence"),
        ([(0.11, 0.14, "a")], r"event 0 \(0.11 to 0.14 s\) is so short that no step of 0.1 s gets its label"),
        ([(0.1, 0.5)], r"event 0: expected \(start in seconds, end in seconds, label\), got \(0.1, 0.5\)"),
        ([("soon", 0.5, "a")], "event 0: expected .start in seconds"),
        ([(0.1, 0.5, 3)], "event 0: expected a label like the background 'none', got 3; all labels must be strings"),
    ],
)
def test_errors_name_the_sequence_and_the_event(events, message):
    with pytest.raises(s2o.DataError, match=message):
        event_targets([[], events], [10, 10], rate=10)


def test_an_event_may_end_a_step_after_the_sequence():
    assert event_targets([[(0.95, 1.04, "a")]], [10], rate=10)[0].tolist() == ["none"] * 9 + ["a"]


def test_other_errors_say_what_was_expected():
    with pytest.raises(s2o.DataError, match="events: expected a list for each of 2 sequences, got 1"):
        event_targets([[]], [1, 2], rate=10)
    with pytest.raises(s2o.DataError, match="rate: expected steps per second, a number above 0, got 0"):
        event_targets([[]], [1], rate=0)
    with pytest.raises(s2o.SpecError, match="an output for each step, but it has one for each sequence"):
        event_targets([[]], [1], rate=1, network=s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3, "last")]))
