"""Losses and metrics by name, and the monitor: what patience, keep="best" and the schedule "plateau" watch."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.training.losses import LOSSES, METRICS
from seq2onnx.training.optimization import make_optimizer
from tests.conftest import random_data, small_network
from tests.test_training import options


def numbers(count=60, seed=0, outliers=0):
    """The target is the last value of the first feature."""
    rng = np.random.default_rng(seed)
    sequences = [rng.normal(size=(n, 2)) for n in rng.integers(3, 9, count)]
    targets = np.array([x[-1, 0] for x in sequences])
    targets[:outliers] += 100
    return s2o.SequenceDataset(sequences, targets)


def regressor(size=1):
    return s2o.Network([s2o.SequenceInput(2), s2o.LSTM(8, "last"), s2o.FullyConnected(size)])


def test_mae_and_huber_are_the_documented_losses():
    y, target = torch.tensor([[0.0, 3.0], [1.5, -0.5]]), torch.tensor([[0.5, 1.0], [1.5, 0.5]])
    np.testing.assert_allclose(LOSSES["mae"].function(y, target), [1.25, 0.5])
    np.testing.assert_allclose(LOSSES["huber"].function(y, target), [(0.125 + 1.5) / 2, 0.25])
    column = torch.tensor([[0.0], [3.0]])
    np.testing.assert_allclose(LOSSES["mae"].function(column, torch.tensor([1.0, 1.0])), [1, 2])


def test_outliers_count_less_with_mae_and_huber_than_with_mse():
    data, validation = numbers(60, outliers=6), numbers(30, seed=1)
    settings = options(epochs=15, learning_rate=0.04, batch_size=20)
    mae, huber, squares = (
        s2o.train(regressor(), data, validation, loss, options=settings).history[-1] for loss in ("mae", "huber", "mse")
    )
    assert max(mae["validation_mae"], huber["validation_mae"]) < 0.7 < 2 < squares["validation_mae"]
    assert {"validation_rmse", "validation_r2"} < mae.keys()


def test_metrics_by_name_equal_those_by_hand():
    training, validation = random_data(60), random_data(40, seed=1)
    settings = options(epochs=6, learning_rate=0.02, metrics=("precision", "recall", "accuracy"))
    result = s2o.train(small_network(), training, validation, options=settings)
    truth = validation.targets
    found = np.array([result.module(torch.from_numpy(x)[None])[0][0].argmax().item() for x in validation.sequences])
    right = np.array([((found == c) & (truth == c)).sum() for c in range(3)])
    precision, recall = right / np.maximum(np.bincount(found, minlength=3), 1), right / np.bincount(truth, minlength=3)
    last = result.history[-1]
    assert last["validation_precision"] == pytest.approx(precision.mean())
    assert last["validation_recall"] == pytest.approx(recall.mean())
    assert last["validation_f1"] == pytest.approx((2 * precision * recall / (precision + recall)).mean())
    assert last["validation_accuracy"] == pytest.approx((found == truth).mean())
    assert "precision" not in last


def test_several_labels_at_once_and_functions_have_metrics_too():
    y, target = torch.tensor([[2.0, -1.0], [-3.0, 4.0], [1.0, 2.0]]), torch.tensor([[1.0, 0], [1, 1], [1, 0]])
    assert METRICS["precision"].function(y, target).item() == pytest.approx((1 + 0.5) / 2)
    assert METRICS["recall"].function(y, target).item() == pytest.approx((2 / 3 + 1) / 2)
    assert METRICS["accuracy"].function(y, target).item() == pytest.approx(4 / 6)

    def cubed(y, target):
        return (y[:, 0] - target).abs() ** 3

    row = s2o.train(regressor(), numbers(), 0.5, cubed, options=options(epochs=1, metrics=["mae"])).history[0]
    assert "validation_mae" in row
    assert "validation_rmse" not in row


def test_metrics_go_into_the_history_file_and_a_resumed_run(tmp_path):
    settings = {"metrics": ("recall",), "monitor": "recall", "keep": "best", "learning_rate": 0.05}
    data = random_data(20), random_data(20, seed=3)
    whole = s2o.train(small_network(), *data, options=options(epochs=8, **settings)).module.state_dict()
    s2o.train(small_network(), *data, options=options(epochs=4, **settings), run_dir=tmp_path)
    with (tmp_path / "history.csv").open() as file:
        assert "validation_recall" in next(csv.reader(file))
    again = s2o.train(small_network(), *data, options=options(epochs=8, **settings), run_dir=tmp_path, resume=True)
    assert all(torch.equal(value, whole[name]) for name, value in again.module.state_dict().items())
    other = options(epochs=9, **settings | {"monitor": "f1"})
    with pytest.raises(s2o.SpecError, match="belongs to a run with monitor='recall', not 'f1'"):
        s2o.train(small_network(), *data, options=other, run_dir=tmp_path, resume=True)


@pytest.mark.parametrize(("monitor", "best"), [("accuracy", max), ("f1", max), ("loss", min), ("training_loss", min)])
def test_the_best_weights_are_those_of_the_best_epoch_by_the_monitor(tmp_path, monitor, best):
    training, validation = random_data(40), random_data(20, seed=3)
    settings = options(epochs=30, learning_rate=0.05, batch_size=20, keep="best", monitor=monitor, patience=4)
    result = s2o.train(small_network(), training, validation, options=settings, run_dir=tmp_path)
    column = "loss" if monitor == "training_loss" else f"validation_{monitor}"
    values = [row[column] for row in result.history]
    assert len(values) in (30, values.index(best(values)) + 5)
    row = result.history[values.index(best(values))]
    scores = [result.module(torch.from_numpy(x)[None])[0][0].detach() for x in validation.sequences]
    loss = torch.nn.functional.nll_loss(torch.stack(scores).log(), torch.from_numpy(validation.targets)).item()
    assert loss == pytest.approx(row["validation_loss"], rel=1e-4)


def test_a_plateau_of_the_monitor_lowers_the_rate():
    """At this rate nothing gets better."""
    settings = options(
        epochs=6, schedule="plateau", drop_every=2, drop_factor=0.5, learning_rate=1e-12, monitor="accuracy"
    )
    history = s2o.train(small_network(), random_data(20), random_data(20, seed=3), options=settings).history
    assert [row["learning_rate"] / 1e-12 for row in history] == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 3}, "options: patience needs validation data, and there is none. Pass validation=0.2"),
        ({"keep": "best"}, 'options: keep="best" needs validation data.* or watch the .* monitor="training_loss"'),
        ({"metrics": ("recall",)}, "options: metrics needs validation data"),
        ({"schedule": "plateau", "monitor": "f1"}, 'options: monitor="f1" needs validation data'),
    ],
)
def test_what_does_nothing_without_validation_data_is_refused(settings, message):
    with pytest.raises(s2o.SpecError, match=message):
        s2o.train(small_network(), random_data(), options=options(**settings))


def test_patience_and_best_can_watch_the_training_data():
    settings = options(epochs=60, keep="best", patience=2, monitor="training_accuracy", learning_rate=0.05)
    history = s2o.train(small_network(), random_data(40), options=settings).history
    accuracies = [row["accuracy"] for row in history]
    assert len(history) == accuracies.index(max(accuracies)) + 3 < 60


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"monitor": "f2"},
            r"options.monitor: must be one of loss, accuracy, f1, training_loss, training_accuracy, got 'f2'. "
            r"More are measured with metrics=\(…\), one or several of accuracy, f1, precision",
        ),
        ({"monitor": "rmse"}, "options.monitor: must be one of loss, accuracy, f1"),
        ({"metrics": ("rmse",)}, "options.metrics: must be among accuracy, f1, .* if targets are labels, got 'rmse'"),
    ],
)
def test_a_monitor_or_metric_that_is_not_measured_is_named(settings, message):
    with pytest.raises(s2o.SpecError, match=message):
        s2o.train(small_network(), random_data(20), 0.25, options=options(**settings))


def test_the_optimizers_take_betas_and_epsilon():
    module = s2o.build(small_network())
    for name in ("adam", "adamw"):
        given = make_optimizer(module, options(optimizer=name, betas=(0.8, 0.99), epsilon=1e-3)).defaults
        assert (given["betas"], given["eps"]) == ((0.8, 0.99), 1e-3)
        default = make_optimizer(module, options(optimizer=name)).defaults
        assert (default["betas"], default["eps"]) == ((0.9, 0.999), 1e-8)
    assert make_optimizer(module, options(optimizer="rmsprop", epsilon=1e-3)).defaults["eps"] == 1e-3
    with pytest.raises(s2o.SpecError, match=r"options.betas.*less than 1"):
        options(betas=(0.9, 1.0))
