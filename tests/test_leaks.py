"""What makes a network look better than it is, and data from which nothing can be learned, is said once."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.data.leaks import find_leaks
from tests.command import run


def ids(data, validation=None):
    return [id for id, _ in find_leaks(data, validation)]


def texts(data, validation=None):
    return " ".join(text for _, text in find_leaks(data, validation))


def recordings(count=12, channels=2, seed=0, steps=40):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(steps + k, channels)).astype(np.float32) for k in range(count)]


LABELS = ["good", "worn"] * 6


def test_plain_data_are_fine():
    data, other = s2o.SequenceDataset(recordings(), LABELS), s2o.SequenceDataset(recordings(seed=1), LABELS)
    assert ids(data, other) == []
    assert ids(s2o.SequenceDataset(recordings(), [float(k) for k in range(12)])) == []
    assert ids(*s2o.datasets.japanese_vowels()) == []


def with_column(values):
    return [np.column_stack([x, np.full(len(x), v, np.float32)]) for x, v in zip(recordings(), values, strict=True)]


@pytest.mark.parametrize(
    "column",
    [[float(label == "worn") for label in LABELS], [3, 7, 3, 8, 3, 9, 3, 7, 3, 8, 3, 9]],
    ids=["label", "unit"],
)
def test_a_channel_that_tells_the_label_is_named(column):
    data = s2o.SequenceDataset(with_column(column), LABELS, channels=["ax", "ay", "label"])
    assert ids(data) == ["channel-tells-target"]
    assert "the channel 'label'" in texts(data)
    assert "channel 2 " in texts(s2o.SequenceDataset(with_column(column), LABELS))


def test_numbers_of_files_that_are_sorted_by_label_tell_it_too():
    by_label = sorted(LABELS)
    assert ids(s2o.SequenceDataset(with_column(range(12)), by_label)) == ["channel-tells-target"]
    assert ids(s2o.SequenceDataset(with_column(range(12)), LABELS)) == []  # no more than their order


def test_what_is_known_of_a_recording_without_its_label_is_fine():
    ages = [30, 40, 30, 50, 40, 30, 50, 40, 30, 30, 50, 40]
    assert ids(s2o.SequenceDataset(with_column(ages), LABELS)) == []


def test_a_channel_that_is_the_number_to_predict_is_named():
    targets = [float(k) ** 2 for k in range(12)]
    assert ids(s2o.SequenceDataset(with_column(targets), targets)) == ["channel-tells-target"]


def test_the_same_sequences_on_both_sides_are_counted_and_named():
    x = recordings()
    data = s2o.SequenceDataset(x, LABELS)
    other = s2o.SequenceDataset([*recordings(3, seed=1), x[4], x[9]], LABELS[:5], ids=[f"r{k}.csv" for k in range(5)])
    assert ids(data, other) == ["same-sequences"]
    assert "2 of 5 sequences (r3.csv, r4.csv) of validation are in the training data" in texts(data, other)


def test_the_training_data_as_validation_are_named():
    data = s2o.SequenceDataset(recordings(), LABELS)
    assert ids(data, data) == ["validation-is-training"]
    assert ids(data, s2o.SequenceDataset(recordings(), LABELS)) == ["validation-is-training"]


def test_windows_of_one_recording_on_both_sides_are_named():
    (long,) = recordings(1, steps=600)
    windows = [long[first : first + 60] for first in range(0, 540, 20)]
    data, other = s2o.SequenceDataset(windows[::2]), s2o.SequenceDataset(windows[1::2])
    assert ids(data, other) == ["overlapping-sequences"]
    assert "split the recordings before they are cut into windows" in texts(data, other)
    apart = s2o.SequenceDataset(windows[:10]), s2o.SequenceDataset(windows[13:])
    assert ids(*apart) == []


def test_silence_on_both_sides_is_no_overlap():
    quiet = [np.vstack([np.zeros((100, 2), np.float32), x]) for x in recordings(4)]
    other = [np.vstack([np.zeros((100, 2), np.float32), x]) for x in recordings(4, seed=1)]
    assert ids(s2o.SequenceDataset(quiet), s2o.SequenceDataset(other)) == []


@pytest.mark.parametrize(
    ("make", "id"),
    [
        (lambda: s2o.SequenceDataset(recordings(), ["Good", "worn", "good ", "worn"] * 3), "labels-alike"),
        (lambda: s2o.SequenceDataset(recordings(), ["good"] * 12), "one-class"),
        (lambda: s2o.SequenceDataset(recordings(1), [1.5]), "one-sequence"),
        (lambda: s2o.SequenceDataset(recordings(), [1.5] * 12), "constant-target"),
    ],
)
def test_targets_from_which_nothing_can_be_learned_are_named(make, id):
    assert ids(make()) == [id]


def test_inspect_shows_them_and_the_result_keeps_them(tmp_path):
    data = s2o.SequenceDataset(recordings(), ["Good", "worn", "good ", "worn"] * 3)
    data.save(tmp_path / "data.npz")
    out, _ = run("data", "inspect", tmp_path / "data.npz")
    assert "\nwarning (labels-alike):\nthe labels 'Good', 'good ' differ by case or blanks alone; join them\n" in out
    assert max(map(len, out.splitlines())) <= 80
    network = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2, "last"), s2o.FullyConnected(3), s2o.Softmax()])
    with pytest.warns(s2o.Seq2OnnxWarning, match="labels-alike"):
        result = s2o.train(network, data, options=s2o.TrainingOptions(epochs=1, progress=False))
    assert [id for id, _ in result.advice] == ["labels-alike"]


def test_training_warns_once_and_the_id_switches_it_off():
    data = s2o.SequenceDataset(recordings(), LABELS)
    network = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2, "last"), s2o.FullyConnected(2), s2o.Softmax()])
    options = s2o.TrainingOptions(epochs=1, progress=False)
    with pytest.warns(s2o.Seq2OnnxWarning, match=r"^validation-is-training: ") as found:
        s2o.train(network, data, data, options=options)
    assert len(found) == 1
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "validation-is-training", s2o.Seq2OnnxWarning)
        s2o.train(network, data, data, options=options)
