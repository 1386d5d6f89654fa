"""The templates of `seq2onnx new`, at their real size: built, exported and verified."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from tests.command import run

KINDS = {
    "sequence-classifier": "[batch, 9]",
    "step-classifier": "[batch, time, 9]",
    "sequence-regressor": "[batch, 1]",
    "step-regressor": "[batch, time, 1]",
    "deep-classifier": "[batch, 9]",
    "video-classifier": "[batch, 10]",
    "text-classifier": "[batch, 2]",
    "forecaster": "[batch, time, 1]",
    "conv1d-classifier": "[batch, 9]",
    "gru-classifier": "[batch, 9]",
}


def made(tmp_path, name) -> s2o.Network:
    run("new", name, "--out", tmp_path / "network.yaml", "-q")
    return s2o.Network.load(tmp_path / "network.yaml")


def data_for(network, lengths):
    rng = np.random.default_rng(0)
    (entry,) = network.inputs
    return [(5 + 2 * rng.normal(size=(n, *entry.shape))).astype("f") for n in lengths]


def small_data(name, network) -> s2o.SequenceDataset:
    """Sequences with targets of the template's kind."""
    if name == "text-classifier":
        texts = ["a good day", "a bad day and a bad night", "good", "how bad was it?"]
        return s2o.SequenceDataset(texts, ["good", "bad"] * 2)
    x = data_for(network, [20, 31, 7, 12])
    if name == "forecaster":
        return s2o.SequenceDataset.next_step(x)
    classes = network.signals[network.outputs[0]].shape[0]
    numbers = np.arange(4) % classes
    if "regressor" in name:
        return s2o.SequenceDataset(x, [a[:, 0] for a in x] if name.startswith("step") else numbers + 0.5)
    labels = [[f"c{number}"] * len(a) for number, a in zip(numbers, x, strict=True)]
    names = [f"c{number}" for number in range(classes)]
    return s2o.SequenceDataset(x, labels if name.startswith("step") else [row[0] for row in labels], names)


@pytest.mark.parametrize("name", [n for n in KINDS if n != "video-classifier"])
def test_each_template_is_trained_exported_and_verified(tmp_path, name):
    network = made(tmp_path, name)
    assert str(network.signals[network.outputs[0]]) == KINDS[name]
    data = small_data(name, network)
    options = s2o.TrainingOptions(epochs=3, batch_size=2, device="cpu", threads=1, progress=False)
    result = s2o.train(network, data, options=options)
    assert len(result.history) == 3
    s2o.export(result.module, tmp_path / "model.onnx")
    model = s2o.load(tmp_path / "model.onnx")
    assert s2o.verify(tmp_path / "model.onnx", result.module, data).ok
    assert model.classes == data.classes
    model.stream()  # every template can run step by step
    if name == "forecaster":
        s2o.export(result.module, tmp_path / "loop.onnx", closed_loop=24)
        assert s2o.load(tmp_path / "loop.onnx").predict(data).shape == (4, 24, 1)


def test_new_lists_all_templates():
    out, _ = run("new", "--list")
    assert [line.split()[0] for line in out.splitlines()] == sorted(KINDS)
    assert max(map(len, out.splitlines())) <= 80


def test_new_refuses_unknown_templates_and_existing_files(tmp_path):
    assert "is not a template; the templates are conv1d-classifier" in run("new", "nothing", code=2)[1]
    assert "needs the name of a template" in run("new", code=2)[1]
    (tmp_path / "network.yaml").write_text("mine")
    assert (
        "already exists; choose another name"
        in run("new", "step-classifier", "--out", tmp_path / "network.yaml", code=2)[1]
    )
    assert (tmp_path / "network.yaml").read_text() == "mine"


def check_video(tmp_path, network):
    """16 frames, batch 4, of which two are shorter; whole, and in chunks."""
    sequences = data_for(network, [16, 16, 9, 3])
    data = s2o.SequenceDataset(sequences, ["a", "b", "a", "b"], [f"{c}" for c in "abcdefghij"])
    torch.manual_seed(0)
    module = s2o.build(network, data).eval()
    s2o.export(module, tmp_path / "model.onnx", classes=data.classes)
    report = s2o.verify(tmp_path / "model.onnx", module, data)
    assert report.ok, report
    stream = s2o.load(tmp_path / "model.onnx").stream()
    stream.step(sequences[0][0])
    y = stream.step(sequences[0][1:])
    np.testing.assert_allclose(y, s2o.load(tmp_path / "model.onnx").predict(sequences)[0], atol=1e-6)


def test_the_video_network_small(tmp_path):
    network = made(tmp_path, "video-classifier")
    assert network.signals["relu_1"].shape == (20, 60, 60)
    small = {
        "sequence_input_1": s2o.SequenceInput((3, 12, 12), "zerocenter", name="sequence_input_1"),
        "lstm_1": s2o.LSTM(10, "last", name="lstm_1"),
    }
    check_video(tmp_path, network.replace(small))


@pytest.mark.slow
def test_the_video_network_at_its_real_size(tmp_path):
    network = made(tmp_path, "video-classifier")
    assert "57,764,370" in network.summary()
    began = time.perf_counter()
    check_video(tmp_path, network)
    print(f"video network: {time.perf_counter() - began:.0f} s, {(tmp_path / 'model.onnx').stat().st_size:,} bytes")
