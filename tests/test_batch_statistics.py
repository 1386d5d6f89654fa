"""BatchNorm with the mean and variance of the whole training data, and what validation sees of it in each epoch."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.sequences import pad
from seq2onnx.training.batch_dataset import Batches
from seq2onnx.training.batch_statistics import Moments, end_training, restart_statistics, set_exact_statistics
from tests.conftest import random_data


def network():
    layers = [s2o.SequenceInput(4), s2o.BatchNorm(), s2o.Conv1d(5, 3, padding="same"), s2o.ReLU(), s2o.BatchNorm()]
    layers += [s2o.LSTM(6, "last"), s2o.BatchNorm(), s2o.Dropout(0.5), s2o.FullyConnected(3), s2o.Softmax()]
    return s2o.Network(layers)


def causal():
    """A network that can run in chunks, with statistics of steps and of a value for the whole sequence."""
    layers = [s2o.SequenceInput(4), s2o.LSTM(4), s2o.BatchNorm(), s2o.Conv1d(5, 3, padding="causal"), s2o.BatchNorm()]
    layers += [s2o.LSTM(6, "last"), s2o.BatchNorm(), s2o.FullyConnected(3), s2o.Softmax()]
    return s2o.Network(layers)


def train(net=None, run_dir=None, resume=False, **more):
    settings = {"epochs": 3, "batch_size": 5, "learning_rate": 0.01, "progress": False, "device": "cpu", "threads": 1}
    options, data = s2o.TrainingOptions(**(settings | more)), (random_data(33), random_data(20, seed=1))
    return s2o.train(net or network(), *data, options=options, run_dir=run_dir, resume=resume).module


def entering(module, sequence):
    """Return the input of each BatchNorm layer for one sequence, [channels, steps]."""
    found = {}
    for name, layer in module.layers.items():
        if name.startswith("batch_norm"):
            layer.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0][0]}))
    module(torch.from_numpy(sequence)[None], return_state=False)
    return {name: x[0].detach().double().numpy().reshape(-1, x.shape[-1]).T for name, x in found.items()}


@pytest.mark.parametrize("more", [{}, {"sequence_length": ("split", 3)}, {"keep": "best", "epochs": 6}], ids=str)
def test_exact_statistics_equal_those_of_the_training_data(more):
    module = train(causal() if "sequence_length" in more else network(), **more)
    each = [entering(module, sequence) for sequence in random_data(33).sequences]
    for name in each[0]:
        values = np.concatenate([part[name] for part in each], 1)
        layer = module.layers[name]
        np.testing.assert_allclose(layer["mean"], values.mean(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(layer["variance"], values.var(1, ddof=1), rtol=1e-5, atol=1e-6)


def test_exact_statistics_change_nothing_else_and_no_frozen_layer():
    running, exact = (train(batch_norm_statistics=kind).state_dict() for kind in ("running", "exact"))
    changed = {name for name, value in running.items() if not torch.equal(value, exact[name])}
    assert changed == {f"layers.batch_norm_{n}.{what}" for n in (1, 2, 3) for what in ("mean", "variance")}
    frozen = train(learning_rate_factors={"batch_norm_2": 0}).state_dict()
    assert (frozen["layers.batch_norm_2.mean"] == 0).all()
    assert (frozen["layers.batch_norm_1.mean"] != 0).all()


def test_the_metrics_of_the_run_belong_to_the_kept_weights(tmp_path):
    module = train(run_dir=tmp_path)
    validation = random_data(20, seed=1)
    scores = torch.cat([module(torch.from_numpy(x)[None])[0] for x in validation.sequences])
    found = torch.nn.functional.nll_loss(scores.log(), torch.from_numpy(validation.targets)).item()
    assert json.loads((tmp_path / "metrics.json").read_text())["validation_loss"] == pytest.approx(found, rel=1e-5)


def test_moments_are_stable_over_batches_of_any_size():
    rng = np.random.default_rng(0)
    values = 1e6 + rng.normal(size=(3, 5000))
    moments = Moments(3)
    for part in np.split(values, [0, 1, 3, 700, 700, 4990], 1):
        moments.add(torch.from_numpy(part))
    np.testing.assert_allclose(moments.mean, values.mean(1), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, values.var(1, ddof=1), rtol=1e-10)


def tones(count, seed=0):
    """Three tones in noise, far from mean 0."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    sequences = [rng.normal(4, 1, (n, 3)) for n in rng.integers(30, 60, count)]
    for x, label in zip(sequences, labels, strict=True):
        x[:, 0] += 1.5 * np.sin(np.arange(len(x)) * (0.3 + 0.2 * label) + rng.uniform(0, 6))
    return s2o.SequenceDataset(sequences, [str(label) for label in labels])


@pytest.mark.parametrize("batch_size", [100, 20])
def test_the_history_says_what_the_file_gives_on_the_same_data(tmp_path, batch_size):
    """With few, large batches the history said 0.99 and the file gave 0.80: the statistics lagged behind."""
    layers = [s2o.SequenceInput(3)]
    for _ in range(2):
        layers += [s2o.Conv1d(16, 5, padding="causal"), s2o.BatchNorm(), s2o.ReLU()]
    net = s2o.Network([*layers, s2o.GlobalAvgPool1d(), s2o.FullyConnected(3), s2o.Softmax()])
    data = tones(200)
    options = s2o.TrainingOptions(epochs=12, batch_size=batch_size, learning_rate=0.02, progress=False, device="cpu")
    result = s2o.train(net, data, data, options=options)
    s2o.export(result.module, tmp_path / "model.onnx")
    scores = s2o.load(tmp_path / "model.onnx").predict(data.sequences)
    accuracy = (scores.argmax(1) == data.targets).mean()
    loss = -np.log(scores[np.arange(len(data)), data.targets]).mean()
    last = result.history[-1]
    assert accuracy > 0.85
    assert last["validation_accuracy"] == pytest.approx(accuracy, abs=0.01)
    assert last["validation_loss"] == pytest.approx(loss, rel=0.02)
    assert last["accuracy"] == pytest.approx(accuracy, abs=0.08)  # over the epoch, in which the weights changed


def test_the_statistics_of_an_epoch_are_those_of_all_its_values():
    """However they are distributed to batches: a running mean would depend on it."""
    module = s2o.build(s2o.Network([s2o.SequenceInput(4), s2o.BatchNorm()])).train()
    layer, data = module.layers["batch_norm_1"], random_data(33)
    for size in (5, 17):
        restart_statistics(module)
        for start in range(0, 33, size):
            x, lengths = pad(data.sequences[start : start + size])
            module(torch.from_numpy(x), torch.from_numpy(lengths))
        values = np.concatenate(data.sequences).astype(np.float64)
        np.testing.assert_allclose(layer["mean"], values.mean(0), rtol=1e-5)
        np.testing.assert_allclose(layer["variance"], values.var(0, ddof=1), rtol=1e-5)
    end_training(module)
    module(torch.zeros(1, 9, 4))
    np.testing.assert_allclose(layer["mean"], 0.9 * values.mean(0), rtol=1e-5)  # a running mean again


def test_a_pass_ends_at_the_layer_it_is_for(monkeypatch):
    module, ran = s2o.build(network()).eval(), Counter()
    for name, layer in module.layers.items():
        layer.register_forward_pre_hook(lambda *_, name=name: ran.update([name]))
    set_exact_statistics(module, list(map(Batches(random_data(8)).__getitem__, [(0, [0, 1, 2]), (0, [3, 4])])))
    assert ran == {"sequence_input_1": 6, "batch_norm_1": 4, "conv1d_1": 4, "relu_1": 4, "batch_norm_2": 2, "lstm_1": 2}


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_resumed_run_has_the_same_weights(tmp_path, keep):
    settings = {"keep": keep, "learning_rate": 0.05}
    whole = train(epochs=7, **settings)
    train(run_dir=tmp_path, epochs=3, **settings)
    resumed = train(run_dir=tmp_path, epochs=7, resume=True, **settings)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_statistics_that_are_not_finite_are_not_written():
    module = s2o.build(s2o.Network([s2o.SequenceInput(4), s2o.FullyConnected(2), s2o.BatchNorm()]))
    with torch.no_grad():
        module.layers["fully_connected_1"]["weights"].fill_(3e38)
    with pytest.warns(RuntimeWarning, match="batch_norm_1: its input over the training data is not finite"):
        set_exact_statistics(module, [Batches(random_data(8))[0, [0, 1]]])
    assert module.layers["batch_norm_1"]["variance"].tolist() == [1, 1]
