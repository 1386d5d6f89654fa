"""BatchNorm with the mean and variance of the whole training data."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.training.batch_statistics import Moments
from tests.conftest import random_data


def network():
    layers = [s2o.SequenceInput(4), s2o.BatchNorm(), s2o.Conv1d(5, 3, padding="same"), s2o.ReLU(), s2o.BatchNorm()]
    layers += [s2o.LSTM(6, "last"), s2o.BatchNorm(), s2o.Dropout(0.5), s2o.FullyConnected(3), s2o.Softmax()]
    return s2o.Network(layers)


def train(**more):
    settings = {"epochs": 3, "batch_size": 5, "learning_rate": 0.01, "progress": False, "device": "cpu", "threads": 1}
    run_dir = more.pop("run_dir", None)
    options = s2o.TrainingOptions(**settings, **more)
    return s2o.train(network(), random_data(33), random_data(20, seed=1), options=options, run_dir=run_dir).module


def entering(module, sequence):
    """Return the input of each BatchNorm layer for one sequence, [channels, steps]."""
    found = {}
    for name, layer in module.layers.items():
        if name.startswith("batch_norm"):
            layer.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0][0]}))
    module(torch.from_numpy(sequence)[None], return_state=False)
    return {name: x[0].detach().double().numpy().reshape(-1, x.shape[-1]).T for name, x in found.items()}


def test_exact_statistics_equal_those_of_the_training_data():
    module = train(batch_norm_statistics="exact")
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
    frozen = train(batch_norm_statistics="exact", learning_rate_factors={"batch_norm_2": 0}).state_dict()
    assert (frozen["layers.batch_norm_2.mean"] == 0).all()
    assert (frozen["layers.batch_norm_1.mean"] != 0).all()


def test_the_metrics_of_the_run_belong_to_the_kept_weights(tmp_path):
    module = train(batch_norm_statistics="exact", run_dir=tmp_path)
    validation = random_data(20, seed=1)
    scores = torch.cat([module(torch.from_numpy(x)[None])[0] for x in validation.sequences])
    found = torch.nn.functional.nll_loss(scores.log(), torch.from_numpy(validation.targets)).item()
    assert json.loads((tmp_path / "metrics.json").read_text())["validation_loss"] == pytest.approx(found, rel=1e-5)


def test_moments_are_stable_over_batches_of_any_size():
    rng = np.random.default_rng(0)
    values = 1e6 + rng.normal(size=(3, 5000))
    moments = Moments()
    for part in np.split(values, [0, 1, 3, 700, 700, 4990], 1):
        moments.add(torch.from_numpy(part))
    np.testing.assert_allclose(moments.mean, values.mean(1), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, values.var(1, ddof=1), rtol=1e-10)
