"""Networks with more layers than Python's stack has frames go through every door, and out again."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

import seq2onnx as s2o
from tests.foreign import C, Graph
from tests.keras_files import DENSE, call, functional, layer, start, weights, write

MANY = sys.getrecursionlimit() + 100


def goes_out_and_in(module, tmp_path) -> None:
    """Write a network as a file and as YAML, and open both."""
    assert len(module.network.layers) > MANY
    assert len(module.network.summary()) > MANY
    assert s2o.Network.from_dict(module.network.to_dict()) == module.network
    s2o.export(module, tmp_path / "chain.onnx")
    s2o.export(module, tmp_path / "step.onnx", form="step")
    x = np.random.default_rng(0).normal(size=(4, *module.network.inputs[0].infer().shape)).astype("f")
    with torch.no_grad():
        want = module.eval()(torch.from_numpy(x[None]))[0][0]
        again = s2o.restore(tmp_path / "chain.onnx").eval()(torch.from_numpy(x[None]))[0][0]
    np.testing.assert_array_equal(again, want)
    np.testing.assert_allclose(s2o.load(tmp_path / "chain.onnx").predict([x])[0], want, atol=1e-5)


def test_a_long_chain_of_onnx(tmp_path):
    """It ends in a last step, which is looked for along the whole chain."""
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    for _ in range(MANY):
        y = g.op("LeakyRelu", y)
    g.op("Gather", y, g.const(np.int64(-1)), out=g.output("y"), axis=1)
    path = g.save(tmp_path)
    goes_out_and_in(s2o.from_onnx(path, axes="BTC"), tmp_path)
    s2o.add_states(path, tmp_path / "kept.onnx", axes="BTC")
    assert len(s2o.load(tmp_path / "kept.onnx").predict([np.zeros((4, C), "f")])[0]) == 4


def test_a_long_chain_of_keras(tmp_path):
    entries = [start(None, C), call(layer("Dense", **DENSE), "x")]
    for number in range(MANY):
        entries.append(call(layer("ReLU", f"relu{number}"), entries[-1]["config"]["name"]))
    model = functional(*entries, outputs=(entries[-1]["config"]["name"],))
    goes_out_and_in(s2o.from_keras(write(tmp_path / "m.keras", model, weights("dense", (C, 2), (2,)))), tmp_path)


@pytest.mark.slow
def test_a_long_chain_of_torch(tmp_path):
    module = nn.Sequential(nn.Linear(C, 2), *(nn.ReLU() for _ in range(MANY)))
    goes_out_and_in(s2o.from_torch(module, torch.randn(2, 6, C)), tmp_path)


def test_a_long_chain_that_goes_again():
    network = s2o.Network([s2o.SequenceInput(C), s2o.FullyConnected(2), *(s2o.Dropout() for _ in range(MANY))])
    names = [layer.name for layer in network.layers[2:]]
    assert len(s2o.without(s2o.build(network), names).network.layers) == 2
