"""importance: a planted channel comes first, and what the model does not read makes no difference."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, SpecError
from tests.command import run

OPTIONS = s2o.TrainingOptions(epochs=40, learning_rate=0.05, device="cpu", threads=1, progress=False, baseline=False)


def sequences(count: int = 60, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Four channels, of which "b" alone has the mean that tells the label, and "d" is nearly the same as "b"."""
    rng = np.random.default_rng(seed)
    labels = ["low" if k % 2 else "high" for k in range(count)]
    made = []
    for label in labels:
        x = rng.normal(0, 1, (rng.integers(8, 20), 4)).astype(np.float32)
        x[:, 1] += 1.5 if label == "high" else -1.5
        x[:, 3] = x[:, 1] + rng.normal(0, 0.1, len(x))
        made.append(x)
    return made, labels


def data(channels: str = "abcd", **more) -> SequenceDataset:
    x, labels = sequences(**more)
    return SequenceDataset([s[:, ["abcd".index(c) for c in channels]] for s in x], labels, channels=list(channels))


@pytest.fixture(scope="module")
def module():
    network = s2o.Network([s2o.SequenceInput(3), s2o.GlobalAvgPool1d(), s2o.FullyConnected(2), s2o.Softmax()])
    return s2o.train(network, data("abc"), options=OPTIONS).module


def test_the_planted_channel_comes_first(module):
    found = s2o.importance(module, data("abc", seed=1))
    (channel, fall, low, high), *others = found.table
    assert (channel, found.metric) == ("b", "accuracy")
    assert found.value > 0.95
    assert 0.3 < low < fall < high < 0.7  # half of the other sequences have the other label
    assert all(abs(row.fall) < 0.1 and row.low <= row.fall <= row.high for row in others)
    assert str(found).splitlines()[1].startswith("b")


def test_it_repeats_and_takes_files_and_other_orders_of_channels(module, tmp_path):
    s2o.export(module, tmp_path / "model.onnx")
    found = s2o.importance(module, data("abc", seed=1))
    assert s2o.importance(tmp_path / "model.onnx", data("cba", seed=1)) == found
    assert s2o.importance(s2o.load(tmp_path / "model.onnx"), data("abc", seed=1), seed=1) != found


def test_the_interval_holds_what_other_data_shows(module):
    """The fall of many data sets of the same kind lies in the interval of one of them about as often as promised."""
    falls = [s2o.importance(module, data("abc", seed=k), channels=["b"]).table[0] for k in range(2, 22)]
    true = np.mean([row.fall for row in falls])
    assert sum(row.low <= true <= row.high for row in falls) >= 15


def test_channels_that_tell_the_same_are_replaced_together():
    network = s2o.Network([s2o.SequenceInput(4), s2o.GlobalAvgPool1d(), s2o.FullyConnected(2), s2o.Softmax()])
    module = s2o.train(network, data(), options=OPTIONS).module
    alone = {row.channel: row.fall for row in s2o.importance(module, data(seed=1)).table}
    (together,) = s2o.importance(module, data(seed=1), channels=[("b", "d")]).table
    assert together.channel == "b, d"
    assert together.fall > 0.3 > max(alone.values())


def test_numbers_of_each_step_and_several_inputs():
    """R² of numbers; the second input, a vector, is what the model adds to the first channel."""
    rng = np.random.default_rng(0)
    x = [rng.normal(0, 1, (9, 2)).astype(np.float32) for _ in range(20)]
    v = [rng.normal(0, 2, 1).astype(np.float32) for _ in range(20)]
    targets = [a[:, :1] + b for a, b in zip(x, v, strict=True)]
    network = s2o.Network(
        [
            s2o.SequenceInput(2, name="x"),
            s2o.FullyConnected(1, name="first", inputs=["x"]),
            s2o.FeatureInput(1, name="v"),
            s2o.Add(inputs=["first", "v"]),
        ]
    )
    module = s2o.build(network)
    layer = module.layers["first"]
    with torch.no_grad():
        layer.weights.copy_(layer.weights.new_tensor([[1.0, 0.0]]))
        layer.bias.zero_()
    found = s2o.importance(module, SequenceDataset({"x": x, "v": v}, targets, per_step=True))
    assert [row.channel for row in found.table] == ["v: 0", "x: 0", "x: 1"]
    assert found.metric == "R²"
    assert found.value == pytest.approx(1)
    assert found.table[2].fall == pytest.approx(0, abs=1e-9)
    assert found.table[0].fall > found.table[1].fall > 0.1


def test_what_cannot_be_measured_is_an_error(module):
    with pytest.raises(SpecError, match=r"channels: 'z' is not among a, b, c"):
        s2o.importance(module, data("abc"), channels=["z"])
    with pytest.raises(DataError, match="another sequence, but the data has 1 sequence"):
        s2o.importance(module, data("abc").subset([0]))
    with pytest.raises(DataError, match="no targets"):
        s2o.importance(module, SequenceDataset(sequences()[0], channels=list("abcd")))
    with pytest.raises(SpecError, match="model: expected a file that load opened, its path, or a module, got int"):
        s2o.importance(3, data())


def test_the_command_shows_the_table(module, tmp_path):
    s2o.export(module, tmp_path / "model.onnx")
    data("abc", seed=1).save(tmp_path / "data.npz")
    out, _ = run(
        "evaluate", tmp_path / "model.onnx", tmp_path / "data.npz", "--importance", "--json", tmp_path / "f.json"
    )
    assert max(map(len, out.splitlines())) <= 80
    expected = s2o.importance(module, data("abc", seed=1))
    assert str(expected) in out
    rows = json.loads((tmp_path / "f.json").read_text())["importance"]
    assert rows == [row._asdict() for row in expected.table]
