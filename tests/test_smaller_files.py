"""Files whose weights are stored as float16 or int8: their size, their numbers, and what users are told about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings, strategies as st
from onnx import numpy_helper

import seq2onnx as s2o
from seq2onnx.exporting import storage
from seq2onnx.exporting.model_proto import to_model
from seq2onnx.layers import KINDS
from seq2onnx.layers.nodes import Graph, Node, TensorType
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network
from tests.networks import network_of

MODELS = Path(__file__).parent.parent / "models"
SMALLER = pytest.mark.parametrize("weights", ["float16", "int8"])


@pytest.fixture(scope="module")
def module():
    """A network of the size that users train: 46,000 numbers."""
    data = random_data(30)
    network = s2o.Network(
        [s2o.SequenceInput(4, "zscore"), s2o.LSTM(100, "last"), s2o.FullyConnected(3), s2o.Softmax()], name="medium"
    )
    module = built(network, data)
    module.classes = CLASSES
    return module


@pytest.fixture
def files(module, tmp_path):
    """The same network stored in each way."""
    paths = {kind: tmp_path / f"{kind}.onnx" for kind in ("float32", "float16", "int8")}
    for kind, path in paths.items():
        s2o.export(module, path, weights=kind)
    return paths


def optimized(path, folder) -> onnx.ModelProto:
    """What onnxruntime runs after it has opened a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimized.onnx"), 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")


def operators(model) -> list[str]:
    return sorted(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(
    "name",
    [
        path.parent.name
        for path in sorted(MODELS.glob("*/figures.json"))
        if json.loads(path.read_text()).get("parameters", 0) > 25_000  # others are mostly graph
    ],
)
def test_the_trained_networks_keep_their_scores_and_figures(name, tmp_path):
    source, smaller = MODELS / name / "model.onnx", tmp_path / "smaller.onnx"
    data = s2o.SequenceDataset.load(next((MODELS / name).glob("test_slice.*")))[:100]
    module, signature = s2o.restore(source), s2o.load(source).signature
    for weights, ratio in (("float16", 0.60), ("int8", 0.40)):
        s2o.export(module, smaller, signature, weights=weights)
        report = s2o.compare_files(source, smaller, data)
        assert report.ok, report
        figures = {row.name: row for row in report.rows}
        assert smaller.stat().st_size == figures["bytes"].after <= ratio * figures["bytes"].before
        for metric in ("accuracy", "macro F1", "R²"):
            if metric in figures:
                assert figures[metric].after >= figures[metric].before - 0.005
        assert {"accuracy", "R²"} & figures.keys()


@SMALLER
def test_every_layer_runs_as_fast_and_restores(weights, tmp_path, monkeypatch):
    """onnxruntime runs the same operators, because it computes the weights when it opens the file."""
    monkeypatch.setattr(storage, "NODE_BYTES", -(10**6))  # small weights, too
    monkeypatch.setattr(storage, "FEW_INPUTS", 0)
    monkeypatch.setattr(storage, "SMALL_NETWORK", 0)
    plain, smaller, again = (tmp_path / f"{name}.onnx" for name in ("plain", "smaller", "again"))
    stored = 0
    for kind, cls in sorted(KINDS.items()):
        layer = next(iter(cls.examples()), None)
        if not cls.__module__.startswith("seq2onnx.") or not layer.layer.weights(*layer.signals):
            continue
        torch.manual_seed(0)
        module = s2o.build(network_of(layer)).eval()
        s2o.export(module, plain)
        s2o.export(module, smaller, weights=weights)
        assert operators(optimized(smaller, tmp_path)) == operators(optimized(plain, tmp_path)), kind
        s2o.export(s2o.restore(smaller), again, weights=weights)
        assert again.read_bytes() == smaller.read_bytes(), kind
        stored += sum(t.data_type in (3, 10) for t in onnx.load(smaller).graph.initializer)
    assert stored > 10


@SMALLER
def test_restore_gives_the_numbers_that_the_file_calculates_with(files, weights, tmp_path):
    restored = s2o.restore(files[weights])
    s2o.export(restored, tmp_path / "restored.onnx")
    sequences = random_data(20, seed=1).sequences
    found = s2o.load(files[weights]).predict(sequences)
    assert np.array_equal(found, s2o.load(tmp_path / "restored.onnx").predict(sequences))
    assert not np.array_equal(found, s2o.load(files["float32"]).predict(sequences))
    s2o.export(restored, tmp_path / "again.onnx", weights=weights)
    assert (tmp_path / "again.onnx").read_bytes() == files[weights].read_bytes()


@SMALLER
def test_verify_accepts_the_module_that_was_exported_and_no_other(module, files, weights):
    report = s2o.verify(files[weights], module, random_data())
    assert report.ok, report
    assert {"whole = steps", "whole = chunks"} <= {row.check.split(",")[0] for row in report.rows}
    assert f"weights as {weights}" in str(report)
    other = built(module.network, random_data(), seed=1)
    assert not s2o.verify(files[weights], other).ok


@SMALLER
@pytest.mark.parametrize("options", [{"closed_loop": 4}, {"signature": "stream", "opset": 20}, {"lookahead": True}])
def test_other_options_work_as_with_float32(weights, options, tmp_path):
    torch.manual_seed(0)
    padding = "same" if "lookahead" in options else "causal"
    layers = [s2o.SequenceInput(3), s2o.Conv1d(40, 3, padding=padding), s2o.GRU(40), s2o.FullyConnected(3)]
    module = s2o.build(s2o.Network(layers)).eval()
    s2o.export(module, tmp_path / "smaller.onnx", weights=weights, **options)
    s2o.export(s2o.restore(tmp_path / "smaller.onnx"), tmp_path / "float32.onnx", **options)
    sequences = [np.random.default_rng(n).normal(size=(n, 3)) for n in (3, 9)]
    found, expected = (s2o.load(tmp_path / f"{name}.onnx").predict(sequences) for name in ("smaller", "float32"))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert s2o.verify(tmp_path / "smaller.onnx").ok


def test_the_file_says_how_its_weights_are_stored(files):
    for kind, path in files.items():
        metadata = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["seq2onnx"])
        assert metadata.get("weights", "float32") == metadata["options"]["weights"] == kind
        arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        assert arrays["lstm_1.B"].dtype == np.float32
        if kind == "int8":
            assert arrays["lstm_1.R.int8"].dtype == np.int8
            assert arrays["lstm_1.R.step"].shape == (1, 400, 1)
            assert arrays["lstm_1.W.float16"].dtype == np.float16  # few numbers, to which the scores are sensitive
    assert "weights      stored as int8" in run("inspect", files["int8"])[0]


@SMALLER
@settings(max_examples=40)
@given(data=st.data())
def test_rounding_is_close_keeps_zeros_and_is_done_once(weights, data):
    exponents = data.draw(st.lists(st.integers(-45, 38), min_size=3, max_size=5))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    with np.errstate(over="ignore", under="ignore"):
        array = (rng.uniform(-3.4, 3.4, (len(exponents), 3000)) * np.power(10.0, exponents)[:, None]).astype("f")
    array[rng.random(array.shape) < 0.2] = 0
    rounded, steps = storage.round_weights({"a": {"w": array}}, weights)
    found, step = rounded["a"]["w"], steps["a"]["w"]
    assert np.isfinite(found).all()
    assert (found[array == 0] == 0).all()
    if weights == "int8":
        assert (np.abs(found - array) <= step * 0.501).all()
        assert (np.abs(array).max(1) <= 127.01 * step[:, 0]).all()
    else:
        assert np.abs(found - array).max() <= 2.0**-11 * np.abs(array).max()
    again, same_steps = storage.round_weights(rounded, weights)
    assert np.array_equal(again["a"]["w"], found)
    assert np.array_equal(same_steps["a"]["w"], step)


def test_weights_that_are_joined_in_one_array_keep_their_own_steps():
    """Some forms of files put input weights, recurrent weights and constants side by side in one matrix."""
    rng = np.random.default_rng(0)
    weights = {"a": {"W": rng.normal(size=(80, 50)).astype("f"), "R": 9 * rng.normal(size=(80, 60)).astype("f")}}
    rounded, steps = storage.round_weights(weights, "int8")
    for transposed in (False, True):

        def joined(arrays, turn=transposed):
            both = np.concatenate([arrays["a"]["W"], arrays["a"]["R"], np.full((80, 1), -1e4, "f")], 1)
            return {"a.WR": both.T if turn else both}

        graph = Graph([Node("Identity", ["a.WR"], ["y"])], [], [TensorType("y", "float32", [None])], joined(rounded))
        stored = to_model(storage._store(graph, joined(steps)), 17, "joined", {}, "")
        arrays = {t.name: numpy_helper.to_array(t) for t in stored.graph.initializer}
        assert sum(array.dtype == np.int8 for array in arrays.values()) == 2
        assert np.array_equal(storage.read_stored(stored.graph, arrays)["a.WR"], graph.initializers["a.WR"])
        session = onnxruntime.InferenceSession(stored.SerializeToString(), providers=["CPUExecutionProvider"])
        assert np.array_equal(session.run(None, {})[0], graph.initializers["a.WR"])


def test_a_network_that_int8_does_not_fit_is_told(tmp_path):
    """One feature is a thousand times as large as the others, so that the weights of its column are small."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    module = s2o.build(s2o.Network([s2o.SequenceInput(64), s2o.FullyConnected(64), s2o.LSTM(32, "last")])).eval()
    with torch.no_grad():
        module.layers["fully_connected_1"]["weights"][:, 0] /= 1000
    sequences = [rng.normal(size=(9, 64)) * np.array([1000, *[0.1] * 63]) for _ in range(8)]
    s2o.SequenceDataset(sequences).save(tmp_path / "data.npz")
    s2o.export(module, tmp_path / "model.onnx")
    arguments = ["export", tmp_path / "model.onnx", "--out", tmp_path / "small.onnx", "--data", tmp_path / "data.npz"]
    out, _ = run(*arguments, "--weights", "int8", code=1)
    assert "FAILED, int8:" in out
    assert "of the scores are within 0.05; promised are 100 %" in " ".join(out.split())
    assert "The data has no targets" in out
    assert "ok, float16:" in run(*arguments, "--weights", "float16")[0]


def test_the_command_makes_a_smaller_file_and_says_what_changed(module, tmp_path):
    source, smaller, data = tmp_path / "model.onnx", tmp_path / "small.onnx", tmp_path / "data.npz"
    s2o.export(module, source, "stream")
    random_data(20, seed=2).save(data)
    out, _ = run("export", source, "--out", smaller, "--weights", "int8", "--data", data)
    lines = {line.split("  ")[0]: line.split()[-2:] for line in out.splitlines()}
    assert lines["bytes"] == [f"{path.stat().st_size:,}" for path in (source, smaller)]
    assert float(lines["largest score error"][1]) >= float(lines["mean score error"][1]) > 0
    assert len(lines["accuracy"]) == len(lines["macro F1"]) == 2
    assert "ok, int8:" in out
    made = s2o.load(smaller)
    assert (made.signature, made.classes) == ("stream", CLASSES)  # as in the file that it was made from
    run("export", smaller, "--out", tmp_path / "opset.onnx", "--opset", "19")
    assert s2o.load(tmp_path / "opset.onnx").contract.weights == "int8"
    _, err = run("export", source, "--weights", "int8", code=2)
    assert "--out: name another file than" in err
    assert "which stays as it is" in run("export", source, "--out", source, "--weights", "int8", code=2)[1]


def test_only_files_of_one_network_are_compared(files, tmp_path):
    other = tmp_path / "other.onnx"
    s2o.export(built(small_network("sequence"), random_data()), other)
    with pytest.raises(s2o.DataError, match="do not give the same number of scores; compare two files of one network"):
        s2o.compare_files(files["float32"], other, random_data().sequences)


def test_a_file_with_itself_has_no_error(files):
    report = s2o.compare_files(files["int8"], files["int8"], random_data())
    assert report.ok
    assert all(row.after == (0 if row.name.endswith("error") else row.before) for row in report.rows)
    assert [row.name for row in report.rows][-2:] == ["accuracy", "macro F1"]


def test_the_forecasts_of_small_networks_stay_as_good(tmp_path):
    source = MODELS / "sunspots" / "model.onnx"
    data = s2o.SequenceDataset.load(MODELS / "sunspots" / "test_slice.npz")
    module = s2o.restore(source)
    s2o.export(module, tmp_path / "loop.onnx", closed_loop=132)
    s2o.export(module, tmp_path / "smaller.onnx", closed_loop=132, weights="int8")
    report = s2o.compare_files(tmp_path / "loop.onnx", tmp_path / "smaller.onnx", data)
    assert report.ok
    figures = {row.name: (row.before, row.after) for row in report.rows}
    before, after = figures["RMSE"]
    assert after <= 1.001 * before
    before, after = figures["bytes"]
    assert after < before


def test_an_unknown_way_to_store_weights_is_refused(module, tmp_path):
    with pytest.raises(s2o.SpecError, match="weights: must be 'float32', 'float16' or 'int8', got 'int4'"):
        s2o.export(module, tmp_path / "model.onnx", weights="int4")
    assert not list(tmp_path.iterdir())


@SMALLER
def test_a_file_whose_stored_weights_were_damaged_is_refused(files, weights, tmp_path):
    model = onnx.load(files[weights])
    (tensor,) = [t for t in model.graph.initializer if t.name.endswith("R.float16") or t.name.endswith("R.step")]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(s2o.ModelFileError, match="contain NaN or infinity"):
        s2o.load(tmp_path / "damaged.onnx")


@pytest.mark.parametrize("name", ["classes", "channels"])
def test_files_with_names_in_another_order_are_not_compared(tmp_path, name):
    module = s2o.build(small_network())
    names = ["a", "b", "c"] if name == "classes" else ["a", "b", "c", "d"]
    for file, order in (("before", names), ("after", [names[1], names[0], *names[2:]])):
        s2o.export(module, tmp_path / f"{file}.onnx", **{name: order})
    with pytest.raises(s2o.DataError, match=rf"have other {name}, \['a', 'b', .* and \['b', 'a'"):
        s2o.compare_files(tmp_path / "before.onnx", tmp_path / "after.onnx", random_data())
