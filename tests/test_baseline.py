"""The baseline beside each training: what it is, when there is none, and that its module is one like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.training.baseline import find_season, logistic, ridge

OPTIONS = {"epochs": 1, "progress": False}


def trained(layers, data, validation=0.3, loss=None, normalize_targets=False, **options):
    torch.manual_seed(0)
    options = s2o.TrainingOptions(**OPTIONS | options)
    return s2o.train(s2o.Network(layers), data, validation, loss, normalize_targets, options)


def labelled(count=60, channels=2, names=("calm", "wild")):
    """Recordings whose deviation tells the classes apart."""
    rng = np.random.default_rng(0)
    labels = [names[k % 2] for k in range(count)]
    sequences = [rng.normal(0, 1 + 2 * (k % 2), (rng.integers(8, 20), channels)) for k in range(count)]
    return s2o.SequenceDataset(sequences, labels, channels=[f"c{k}" for k in range(channels)])


CLASSIFIER = [s2o.SequenceInput(2, "zscore"), s2o.LSTM(4, "last"), s2o.FullyConnected(2), s2o.Softmax()]


def test_a_logistic_regression_on_statistics_finds_what_an_untrained_network_does_not(tmp_path, capsys):
    data = labelled()
    result = trained(CLASSIFIER, data)
    baseline = result.baseline
    assert (baseline.kind, baseline.metric) == ("logistic regression", "accuracy")
    assert baseline.value > 0.9 > baseline.network_value
    assert baseline.wins
    assert baseline.network_value == result.history[-1]["validation_accuracy"]
    s2o.export(baseline.module, tmp_path / "baseline.onnx")
    model = s2o.load(tmp_path / "baseline.onnx")
    assert np.mean(np.array(model.classify(data)) == data.labels) > 0.9
    assert s2o.verify(tmp_path / "baseline.onnx", baseline.module, data)
    assert model.model.contract.channels == ["c0", "c1"]
    assert capsys.readouterr().err == ""


def test_training_says_who_is_better(tmp_path, capsys):
    result = trained(CLASSIFIER, labelled(), progress=True)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == str(result.baseline)
    assert line.startswith("baseline  logistic regression  accuracy ")
    assert line.endswith("better than the network: result.baseline.module has it")


def test_a_baseline_changes_nothing_of_the_network():
    with_one, without = (trained(CLASSIFIER, labelled(), baseline=wanted) for wanted in (True, False))
    assert without.baseline is None
    for a, b in zip(with_one.module.parameters(), without.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_run_folder_has_the_figure(tmp_path):
    network = s2o.Network(CLASSIFIER)
    result = s2o.train(network, labelled(), 0.3, options=s2o.TrainingOptions(**OPTIONS), run_dir=tmp_path / "run")
    assert f'"baseline_accuracy": {result.baseline.value}' in (tmp_path / "run" / "metrics.json").read_text()


def series(channels=1, count=20):
    """Series in which each step is a known sum of the last three, and noise."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        x = np.zeros((80, channels))
        for t in range(3, 80):
            x[t] = 1.2 * x[t - 1] - 0.7 * x[t - 2] + 0.2 * x[t - 3] + rng.normal(0, 0.1, channels)
        made.append(x.astype(np.float32))
    return s2o.SequenceDataset.next_step(made)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_ridge_on_the_last_steps_forecasts_as_well_as_the_noise_allows(normalize, tmp_path):
    data = series()
    network = s2o.Network([s2o.SequenceInput(1, "zscore"), s2o.LSTM(4), s2o.FullyConnected(1)])
    result = s2o.train(network, data, 0.3, normalize_targets=normalize, options=s2o.TrainingOptions(**OPTIONS))
    assert (result.baseline.kind, result.baseline.metric) == ("ridge", "rmse")
    assert 0.09 < result.baseline.value < 0.11 < result.baseline.network_value
    assert result.baseline.wins
    s2o.export(result.baseline.module, tmp_path / "baseline.onnx")
    assert s2o.verify(tmp_path / "baseline.onnx", result.baseline.module, data)


def test_a_ridge_on_statistics_predicts_numbers_of_sequences():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(k / 10, 1, (30, 2)).astype(np.float32) for k in range(50)]
    targets = [float(3 * x[:, 0].mean() - x[:, 1].max() + 5) for x in sequences]
    layers = [s2o.SequenceInput(2), s2o.GRU(3, "last"), s2o.FullyConnected(1)]
    result = trained(layers, s2o.SequenceDataset(sequences, targets))
    assert result.baseline.value < 0.01 * result.baseline.network_value


def test_labels_of_steps_have_one_too():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(40, 2)).astype(np.float32) for _ in range(30)]
    targets = [np.where(x[:, 0] + np.roll(x[:, 0], 1) > 0, "up", "down") for x in sequences]
    layers = [s2o.SequenceInput(2), s2o.GRU(3), s2o.FullyConnected(2), s2o.Softmax()]
    result = trained(layers, s2o.SequenceDataset(sequences, targets))
    assert result.baseline.value > 0.95


@pytest.mark.parametrize(
    ("layers", "data"),
    [
        (
            [s2o.SequenceInput((1, 4, 4)), s2o.Conv2d(2, 3), s2o.ReLU(), s2o.LSTM(3, "last"), s2o.FullyConnected(1)],
            lambda rng: s2o.SequenceDataset([rng.normal(size=(5, 1, 4, 4)) for _ in range(9)], list(range(9, 18))),
        ),
        (
            [s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, 5), s2o.LSTM(3, "last"), s2o.FullyConnected(1)],
            lambda rng: s2o.SequenceDataset([rng.integers(0, 5, 6) for _ in range(9)], [0.5 * k for k in range(9)]),
        ),
        (
            [s2o.SequenceInput(2), s2o.Conv1d(1, 2, stride=2, padding="causal")],
            lambda rng: s2o.SequenceDataset(
                [rng.normal(size=(8, 2)) for _ in range(9)], [rng.normal(size=4) for _ in range(9)], per_step=True
            ),
        ),
    ],
    ids=["images", "words", "stride"],
)
def test_some_networks_have_none(layers, data):
    data = data(np.random.default_rng(0))
    if data.targets.dtype.kind == "i":
        data = s2o.SequenceDataset(data.sequences, [float(k) for k in range(len(data))])
    assert trained(layers, data).baseline is None


def test_without_validation_data_or_with_a_loss_of_ones_own_there_is_none():
    data = s2o.SequenceDataset([np.ones((4, 2)) * k for k in range(8)], [float(k) for k in range(8)])
    layers = [s2o.SequenceInput(2), s2o.LSTM(3, "last"), s2o.FullyConnected(1)]
    assert trained(layers, data, validation=None).baseline is None
    assert trained(layers, data, loss=lambda y, target: (y[:, 0] - target).abs()).baseline is None
    assert trained(layers, data, loss="mae").baseline.kind == "ridge"


def test_the_fits_are_those_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) * [1, 10, 0.1, 1, 1] + [0, 5, 0, 0, 100]
    x[:, 3] = 7  # a constant
    labels = (x[:, 0] + 0.2 * x[:, 1] + rng.normal(size=200) > 1).astype(int) + (x[:, 2] > 0.1)
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    weights, bias = logistic(x, labels, 3)
    scores = x @ weights + bias
    other = linear_model.LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit(z, labels)
    probabilities = np.exp(scores - scores.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, other.predict_proba(z), atol=2e-3)
    target = x[:, :2] @ [[1.0, 2], [3, 4]] + rng.normal(size=(200, 2))
    weights, bias = ridge(x, target)
    chosen = linear_model.RidgeCV(alphas=10.0 ** np.arange(-3, 7)).fit(z, target)
    np.testing.assert_allclose(x @ weights + bias, chosen.predict(z), atol=0.05)


def test_a_ridge_with_more_features_than_rows_does_not_fit_the_noise():
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(20, 100)), rng.normal(size=(20, 1))
    weights, bias = ridge(x, target)
    assert np.std(x @ weights + bias) < 0.5 * np.std(target)


def seasonal(count=12, channels=1, noise=0.1, **options):
    """Four seasons of 100 steps, which no 32 lags tell: the values of a season are random."""
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(100, channels))
    made = [10 + np.roll(np.tile(shape, (4, 1)), k, 0) + rng.normal(0, noise, (400, channels)) for k in range(count)]
    return s2o.SequenceDataset.next_step(made, options.pop("lead", 1), **options)


@pytest.mark.parametrize(
    ("channels", "options"),
    [(1, {}), (2, {}), (1, {"horizon": 24}), (2, {"horizon": 120}), (1, {"lead": 3})],
    ids=["next step", "two channels", "a day", "more than a season", "the third step"],
)
def test_where_a_season_repeats_the_seasonal_naive_forecast_is_the_baseline(channels, options, tmp_path):
    data = seasonal(channels=channels, sample_rate=2, **options)
    size = channels * len(data.ahead)
    layers = [s2o.SequenceInput(channels, "zscore"), s2o.GRU(2), s2o.FullyConnected(size)]
    result = trained(layers, data, normalize_targets=True)
    baseline = result.baseline
    assert (baseline.kind, baseline.metric, baseline.wins) == ("seasonal naive", "rmse", True)
    assert "baseline  seasonal naive  rmse" in str(baseline)
    s2o.export(baseline.module, tmp_path / "naive.onnx")
    assert s2o.verify(tmp_path / "naive.onnx", baseline.module, data)
    model = s2o.load(tmp_path / "naive.onnx")
    assert model.contract.sample_rate == 2
    x = data.sequences[0]
    y = model.predict([x])[0].reshape(len(x), len(data.ahead), channels)
    for t in (110, 230):
        for place, step in enumerate(data.ahead):
            source = t + step - 100 * -(-step // 100)
            np.testing.assert_allclose(y[t, place], x[source], rtol=1e-5)
    np.testing.assert_allclose(y[5, 0], data.statistics()["mean"], atol=0.01)  # no season is known yet


def test_the_season_is_that_of_the_training_data_and_short_series_have_one_too():
    arrays = list(seasonal(noise=0.3).parts[""])
    assert find_season([a.astype(float) for a in arrays], range(1, 2)) == 100
    walk = np.cumsum(np.random.default_rng(0).normal(size=(300, 1)), 0)
    assert find_season([walk], range(1, 25)) == 1  # the last value
    assert find_season([walk[:3]], range(1, 2)) == 1
    assert find_season([np.zeros((9, 1))], range(1, 4)) == 1


@pytest.mark.parametrize("options", [{}, {"horizon": 5}])
def test_a_file_of_forecasts_has_it_too(options, tmp_path):
    seasonal(**options).save(tmp_path / "data.npz")
    data = s2o.SequenceDataset.load(tmp_path / "data.npz")
    assert data.ahead is None
    layers = [s2o.SequenceInput(1, "zscore"), s2o.GRU(2), s2o.FullyConnected(options.get("horizon", 1))]
    assert trained(layers, data).baseline.kind == "seasonal naive"
    if not options:  # targets that were shifted by hand
        by_hand = s2o.SequenceDataset(data.sequences, [y[:, 0] for y in data.targets], per_step=True)
        assert trained(layers, by_hand).baseline.kind == "seasonal naive"


def test_a_forecast_that_no_season_helps_keeps_the_ridge():
    data = series()
    assert data.ahead == range(1, 2)
    result = trained([s2o.SequenceInput(1), s2o.LSTM(4), s2o.FullyConnected(1)], data)
    assert result.baseline.kind == "ridge"
