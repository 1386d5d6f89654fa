"""The advice after training: each holds where it should, and nowhere else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.training.advice import advise
from seq2onnx.training.task import prepare

NETWORK = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2, "last"), s2o.FullyConnected(2), s2o.Softmax()])
NUMBERS = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2, "last"), s2o.FullyConnected(1)])
RNG = np.random.default_rng(0)
SEQUENCES = [RNG.normal(size=(20, 2)) for _ in range(40)]


def ids(network, targets, losses, validation=None, **options):
    """The ids of the advice after a run with these losses."""
    data = s2o.SequenceDataset(SEQUENCES, targets)
    task = prepare(network, data, 0.25, None, False, s2o.TrainingOptions(**options))
    history = [{"epoch": float(k + 1), "loss": loss} for k, loss in enumerate(losses)]
    for row, value in zip(history, validation or [], strict=False):
        row["validation_loss"] = value
    return [id for id, _ in advise(task, s2o.build(network), history)]


EVEN = ["a", "b"] * 20
FLAT = [1.0] * 20


def test_a_plain_run_gets_no_advice():
    assert ids(NETWORK, EVEN, FLAT, FLAT) == []
    assert ids(NETWORK, EVEN, FLAT) == []
    assert ids(NUMBERS, [float(k % 3) for k in range(40)], FLAT) == []


def test_a_validation_loss_that_has_risen_again_asks_for_the_best_weights():
    risen = [2.0, 1.0, 0.5, *np.linspace(0.6, 1.5, 17)]
    assert ids(NETWORK, EVEN, FLAT, risen) == ["best-was-earlier"]
    assert ids(NETWORK, EVEN, FLAT, risen, keep="best") == []
    assert ids(NETWORK, EVEN, FLAT[:5], risen[:5]) == []  # too few to say
    assert ids(NETWORK, EVEN, FLAT, [1.0] * 19 + [1.05]) == []


def test_a_loss_that_still_falls_asks_for_more_epochs():
    falling = [2.0 * 0.9**k for k in range(20)]  # 19 % in the last two epochs
    assert ids(NETWORK, EVEN, falling) == ["still-improving"]
    assert ids(NETWORK, EVEN, FLAT, falling) == ["still-improving"]
    assert ids(NETWORK, EVEN, falling, patience=3) == []
    assert ids(NETWORK, EVEN, falling[:10] + [falling[9]] * 10) == []


def test_a_loss_that_jumps_asks_for_a_lower_learning_rate():
    assert ids(NETWORK, EVEN, [1.0, 0.8, 1.2, 0.7, 1.1, 0.9, 1.3, 0.8, 1.2, 1.1]) == ["learning-rate-too-high"]
    assert ids(NETWORK, EVEN, [1.0, 0.99] * 10) == []  # it stands still
    assert ids(NETWORK, EVEN, [1.0, 1.3, *FLAT]) == []  # one jump


def test_trained_runs_jump_with_a_high_learning_rate_alone():
    """Ten times the rate that learns best makes the loss jump; those around the best do not."""
    training, _ = s2o.datasets.japanese_vowels()
    layers = [s2o.SequenceInput(12, "zscore"), s2o.LSTM(50, "last"), s2o.FullyConnected(9), s2o.Softmax()]

    def advice(rate):
        options = s2o.TrainingOptions(epochs=20, learning_rate=rate, threads=1, progress=False)
        with warnings.catch_warnings(action="ignore"):
            return [id for id, _ in s2o.train(s2o.Network(layers), training, options=options).advice]

    assert "learning-rate-too-high" in advice(3.0)
    assert all("learning-rate-too-high" not in advice(rate) for rate in (0.001, 0.01, 0.1))


def test_rare_classes_are_named():
    assert ids(NETWORK, ["a"] * 38 + ["b"] * 2, FLAT) == ["rare-classes"]
    assert ids(NETWORK, ["a"] * 30 + ["b"] * 10, FLAT) == []


def test_large_targets_ask_for_normalization():
    targets = [1000.0 + k for k in range(40)]
    assert ids(NUMBERS, targets, FLAT) == ["targets-not-normalized"]
    scaled = s2o.Network([*NUMBERS.layers, s2o.Rescale(50, 1000)])
    assert ids(scaled, targets, FLAT) == []


def test_a_network_with_many_more_weights_than_data_is_named():
    large = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(60, "last"), s2o.FullyConnected(2), s2o.Softmax()])
    assert ids(large, EVEN, FLAT) == ["larger-than-its-data"]


def test_training_warns_at_its_caller_and_says_nothing_of_good_runs():
    data = s2o.SequenceDataset(SEQUENCES, [1000.0 + k for k in range(40)])
    options = s2o.TrainingOptions(epochs=1, progress=False)
    with pytest.warns(s2o.Seq2OnnxWarning, match="^targets-not-normalized: ") as found:
        s2o.train(NUMBERS, data, options=options)
    assert [str(warning.filename) for warning in found] == [__file__]
    training, test = s2o.datasets.japanese_vowels()
    layers = [s2o.SequenceInput(12, "zscore"), s2o.LSTM(8, "last"), s2o.FullyConnected(9), s2o.Softmax()]
    with warnings.catch_warnings():
        warnings.simplefilter("error", s2o.Seq2OnnxWarning)
        s2o.train(s2o.Network(layers), training, test, options=options)
