"""Missing values: gaps in the data that the network fills and marks itself."""

from __future__ import annotations

import asyncio
import json
import random

import numpy as np
import onnx
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.layers import Missing
from seq2onnx.runtime.random_rows import random_sequences
from tests.command import run
from tests.laws import Subject
from tests.networks import compose, network_of
from tests.small_networks import gappy
from tests.test_hosts import skip_without

GAPS = (np.nan, np.inf, -np.inf)


def with_gaps(rng, *shape, share=0.4):
    """Random numbers of which some are missing; so are all of a channel at the start."""
    x = rng.normal(size=shape).astype("f")
    x[rng.random(shape) < share] = rng.choice(GAPS)
    x[: len(x) // 3, 0] = np.nan
    return x


@pytest.fixture
def file(tmp_path):
    """A network for data with gaps, and its file."""
    module = made(gappy())
    s2o.export(module, tmp_path / "model.onnx", channels=["a", "b", "c"])
    return module, tmp_path / "model.onnx"


def made(net):
    torch.manual_seed(0)
    return s2o.build(net).eval()


def by_torch(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x[None]))[0][0].numpy()


def plain_loop(layer, x):
    """y and marks in float32, exactly."""
    y, marks = np.zeros_like(x), np.zeros_like(x)
    for c in range(x.shape[1]):
        last, since = np.float32(0), 0
        for t in range(len(x)):
            if np.isfinite(x[t, c]):
                last, since = x[t, c], 0
            else:
                since = min(since + 1, layer.limit)
            y[t, c] = last if layer.fill == "hold" or not since else 0
            marks[t, c] = np.float32(since) / np.float32(layer.limit) if layer.mark == "since" else since > 0
    return y if layer.mark == "none" else np.concatenate([y, marks], 1)


@pytest.mark.parametrize("example", Missing.examples(), ids=str)
def test_values_and_marks_are_exactly_those_of_a_plain_loop(example):
    subject = Subject(network_of(example))
    for seed, share in enumerate((0, 0.1, 0.5, 0.9, 1)):
        rng = np.random.default_rng(seed)
        lengths = np.array([40, 7, 0, 23], "i4")
        x = np.stack([with_gaps(rng, 40, example.signals[0].size, share=share) for _ in lengths])
        entering = {"in_0": x}
        answers = [
            subject.torch(entering, lengths),
            subject.onnxruntime("sequence", entering, lengths),
            subject.onnxruntime("full", entering, lengths, subject.zeros(4)),
        ]
        for answer in answers:
            (rows,) = answer.y.values()
            for row, given, count in zip(rows, x, lengths, strict=True):
                np.testing.assert_array_equal(row, plain_loop(example.layer, given[:count]))


def test_only_missing_may_read_an_input_with_gaps():
    x = s2o.SequenceInput(3, missing=True, name="x")
    for layers, outputs in (
        ([x, s2o.LSTM(2)], None),
        ([x, s2o.Missing(name="m"), s2o.Add(inputs=["x", "m"])], None),
        ([x, s2o.Dropout(0.1), s2o.Missing()], None),
    ):
        with pytest.raises(s2o.ShapeError, match=r"reads x, whose values may be missing; put Missing\(\) between them"):
            s2o.Network(layers, outputs)
    with pytest.raises(s2o.ShapeError, match=r"x: is an output, and its values may be missing; put Missing\(\) after"):
        s2o.Network([x])
    with pytest.raises(s2o.ShapeError, match=r"expected to read an input whose values may be missing.*missing=True"):
        s2o.Network([s2o.SequenceInput(3), s2o.Missing()])
    two = [x, s2o.Missing("hold", name="a"), s2o.Missing("zero", inputs=["x"], name="b"), s2o.Concat(inputs=["a", "b"])]
    assert s2o.Network(two).signals["concat_1"].shape == (6,)


@pytest.mark.parametrize("size", ["tokens", (3, 2)])
def test_only_vectors_may_have_gaps(size):
    with pytest.raises(s2o.SpecError, match="missing=True needs steps that are vectors"):
        s2o.SequenceInput(size, missing=True)


def test_statistics_are_those_of_the_values_that_are_there():
    x = [np.array([[1, np.nan], [3, 5]], "f"), np.array([[np.inf, 9], [8, np.nan]], "f")]
    data = s2o.SequenceDataset(x, ["a", "b"])
    found = {}
    for name in ("zscore", "rescale_zero_one"):
        net = s2o.Network([s2o.SequenceInput(2, name, missing=True), s2o.Missing(), s2o.LSTM(2, "last"), s2o.Softmax()])
        found |= s2o.build(net, data).network.layers[0].statistics
    np.testing.assert_allclose(found["mean"], [4, 7], rtol=1e-7)
    np.testing.assert_allclose(found["std"], [np.std([1, 3, 8], ddof=1), np.std([5, 9], ddof=1)], rtol=1e-7)
    assert (found["min"], found["max"]) == ((1, 5), (8, 9))


def test_a_network_learns_from_data_with_gaps_and_refuses_them_without_the_flag():
    rng = np.random.default_rng(0)
    x = [with_gaps(rng, 12, 3) for _ in range(40)]
    data = s2o.SequenceDataset(x, ["up" if np.nansum(np.where(np.isfinite(a), a, 0)) > 0 else "down" for a in x])
    tail = [s2o.LSTM(4, "last"), s2o.FullyConnected(2), s2o.Softmax()]
    options = s2o.TrainingOptions(epochs=2, progress=False)
    net = s2o.Network([s2o.SequenceInput(3, "zscore", missing=True), s2o.Missing("zero", "missing"), *tail])
    result = s2o.train(net, data, options=options)
    assert all(torch.isfinite(tensor).all() for tensor in result.module.state_dict().values())
    with pytest.raises(s2o.DataError, match=r"sequence 0, step 0: feature 0 is nan.*SequenceInput\(…, missing=True\)"):
        s2o.train(s2o.Network([s2o.SequenceInput(3), *tail]), data, options=options)


def test_predict_streams_and_pools_take_gaps(file):
    module, path = file
    model, rng = s2o.load(path), np.random.default_rng(1)
    rows = [with_gaps(rng, n, 3) for n in (9, 5, 14)]
    expected = [by_torch(module, x) for x in rows]
    for y, found in zip(expected, model.predict(rows), strict=True):
        np.testing.assert_allclose(found, y, atol=1e-5)
    pool, ids = model.pool(), None
    ids = np.array([pool.open() for _ in rows])
    for t in range(5):  # arrays of float32 take another way than lists
        y = pool.step(ids, np.stack([x[t] for x in rows]) if t % 2 else [x[t].tolist() for x in rows])
        np.testing.assert_allclose(y, [y[t] for y in expected], atol=1e-5)
    stream, other = model.stream(), model.stream()
    for t, step in enumerate(rows[0]):
        np.testing.assert_allclose(stream.step(step), expected[0][t], atol=1e-5)
    chunks = [other.step(rows[0][:4]), other.step(rows[0][4:4]), other.step(rows[0][4:])]
    np.testing.assert_allclose(np.concatenate(chunks), expected[0], atol=1e-5)


def test_a_state_that_would_become_infinite_is_refused_as_before(tmp_path):
    s2o.export(
        made(s2o.Network([s2o.SequenceInput(2, missing=True), s2o.Missing(), s2o.GlobalAvgPool1d()])), tmp_path / "m"
    )
    model = s2o.load(tmp_path / "m")
    stream, pool = model.stream(), model.pool()
    id = pool.open()
    stream.step(np.float32([3e38, np.nan]))
    pool.step([id], np.float32([[3e38, np.nan]]))
    with pytest.raises(s2o.DataError, match="the state would become infinite"):
        stream.step(np.float32([-3e38, np.nan]))
    assert np.isnan(pool.step([id], np.float32([[-3e38, np.nan]]))).all()
    np.testing.assert_array_equal(stream.step(np.float32([np.nan, np.nan])), np.float32([3e38, 0]))


def test_a_push_takes_gaps(file):
    module, path = file
    x = with_gaps(np.random.default_rng(2), 6, 3)

    async def pushed():
        pool = s2o.load(path).pool()
        id = pool.open()
        return [await pool.push(id, step) for step in x]

    np.testing.assert_allclose(asyncio.run(pushed()), by_torch(module, x), atol=1e-5)


def test_without_the_flag_gaps_are_refused_as_before(tmp_path):
    s2o.export(made(s2o.Network([s2o.SequenceInput(3), s2o.GRU(4)])), tmp_path / "model.onnx")
    model = s2o.load(tmp_path / "model.onnx")
    assert not model.contract.missing
    assert "missing" not in json.dumps(model.metadata)
    assert model.contract.format_version == 1
    assert np.isnan(model.predict([np.full((4, 3), np.nan, "f")])[0]).all()
    with pytest.raises(s2o.DataError, match="contains NaN or infinity"):
        model.stream().step(np.array([1, np.nan, 2], "f"))
    _, errors = run("stream", tmp_path / "model.onnx", stdin="1,,2\n[1, null, 2]\n", code=2)
    assert "line 1: expected numbers" in errors
    assert "line 2: step: x contains NaN or infinity" in errors


def test_the_file_says_that_values_may_be_missing(file, tmp_path):
    _, path = file
    contract = s2o.load(path).contract
    assert contract.missing
    assert contract.format_version == 2
    proto = onnx.load(path)
    for entry in proto.metadata_props:
        if entry.key == "seq2onnx":
            data = json.loads(entry.value)
            del data["missing"]
            entry.value = json.dumps(data)
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(s2o.ModelFileError, match="its metadata has missing=False, its input layers True"):
        s2o.load(tmp_path / "other.onnx")
    assert s2o.restore(path).network == gappy()


@pytest.mark.parametrize("loop", [None, 4])
def test_a_history_with_gaps_has_a_forecast(loop, tmp_path):
    net = s2o.Network(
        [s2o.SequenceInput(2, missing=True), s2o.Missing("hold", "since"), s2o.GRU(4), s2o.FullyConnected(2)]
    )
    module = made(net)
    s2o.export(module, tmp_path / "model.onnx", closed_loop=loop)
    x = with_gaps(np.random.default_rng(3), 10, 2)
    found = s2o.load(tmp_path / "model.onnx").forecast(x, 6)
    for number in range(6):
        y = by_torch(module, x)[-1]
        np.testing.assert_allclose(found[number], y, atol=1e-5)
        x = np.concatenate([x, y[None]])


def test_known_values_of_a_forecast_may_be_missing(tmp_path):
    net = s2o.Network(
        [
            s2o.SequenceInput(2, name="x"),
            s2o.SequenceInput(1, name="weather", missing=True),
            s2o.Missing(name="filled"),
            s2o.Concat(inputs=["x", "filled"]),
            s2o.GRU(3),
            s2o.FullyConnected(2),
        ]
    )
    s2o.export(made(net), tmp_path / "model.onnx")
    model, rng = s2o.load(tmp_path / "model.onnx"), np.random.default_rng(4)
    history = {"x": rng.normal(size=(8, 2)), "weather": np.full((8, 1), np.nan)}
    assert np.isfinite(model.forecast(history, 4, {"weather": np.full((3, 1), np.nan)})).all()
    history["x"][3] = np.nan  # its values must be there
    assert np.isnan(model.forecast(history, 4, {"weather": np.zeros((3, 1))})).all()


def test_a_step_file_takes_gaps(file, tmp_path):
    module, _ = file
    s2o.export(module, tmp_path / "step.onnx", form="step")
    model, x = s2o.load(tmp_path / "step.onnx"), with_gaps(np.random.default_rng(5), 9, 3)
    stream = model.stream()
    np.testing.assert_allclose([stream.step(step) for step in x], by_torch(module, x), atol=1e-5)
    np.testing.assert_allclose(model.predict([x])[0], by_torch(module, x), atol=1e-5)


def test_the_command_line_reads_empty_cells_nan_and_null(file, tmp_path):
    module, path = file
    x = np.array([[np.nan, 1, 2], [3, np.nan, np.nan], [np.nan] * 3, [4, 5, 6]], "f")
    expected = by_torch(module, x)
    csv = ",1,2\n3,nan, \n,,\n4,5,6\n"
    for text in (csv, "a,b,c\n" + csv, "[null, 1, 2]\n[3, NaN, null]\n[null, null, null]\n[4, 5, 6]\n"):
        output, errors = run("stream", path, stdin=text)
        assert errors == ""
        lines = output.splitlines()
        rows = [json.loads(line)["y"] if line.startswith("{") else line.split(",") for line in lines]
        np.testing.assert_allclose(np.array(rows, float), expected, atol=1e-5)
    (tmp_path / "data.csv").write_text("id,a,b,c\n" + "".join(f"s,{line}\n" for line in csv.splitlines()))
    run("predict", path, tmp_path / "data.csv", "--id", "id", "--out", tmp_path / "y.npz")


def test_verify_makes_gaps_and_takes_those_of_the_data(file):
    _, path = file
    rows = random_sequences(s2o.load(path).model, np.random.default_rng(0))["sequence_input_1"]
    assert all(np.isnan(x).any() for x in rows)
    assert any(np.isinf(x).any() for x in rows)
    report = s2o.verify(path, data=[with_gaps(np.random.default_rng(6), 9, 3) for _ in range(3)])
    assert report.ok, str(report)
    assert not report.notes


def test_evaluate_and_report_take_gaps(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2onnx.reporting.facts.SECONDS", 0.001)
    rng = np.random.default_rng(7)
    x = [with_gaps(rng, 9, 3) for _ in range(8)]
    s2o.SequenceDataset(x, np.zeros((8, 9, 2)), per_step=True).save(tmp_path / "data.npz")
    s2o.export(made(gappy()), tmp_path / "model.onnx")
    out, _ = run("evaluate", tmp_path / "model.onnx", tmp_path / "data.npz")
    assert "NaN" not in out
    run("report", tmp_path / "model.onnx", tmp_path / "data.npz", "--out", tmp_path / "report.html")
    assert "and the first 8 of the 8 sequences of data.npz" in (tmp_path / "report.html").read_text()


def test_an_estimator_takes_gaps():
    x = [with_gaps(np.random.default_rng(i), 9, 3) for i in range(8)]
    net = s2o.Network(
        [s2o.SequenceInput(3, missing=True), s2o.Missing(), s2o.GRU(3, "last"), s2o.FullyConnected(2), s2o.Softmax()]
    )
    made = s2o.SequenceClassifier(net, options=s2o.TrainingOptions(epochs=1, progress=False)).fit(x, [0, 1] * 4)
    assert np.isfinite(made.predict_proba(x)).all()


@pytest.mark.parametrize("runtime", ["openvino", "c", "cpp", "node"])
def test_other_runtimes_take_gaps(runtime, tmp_path):
    skip_without(runtime)
    for number, (fill, mark) in enumerate((("hold", "since"), ("zero", "missing"))):
        module = made(gappy(fill, mark))
        form = "portable" if runtime == "openvino" and number else "step" if runtime == "openvino" else "dynamic"
        s2o.export(module, tmp_path / f"{number}.onnx", form=form)
        report = s2o.hosts.check_host(tmp_path / f"{number}.onnx", runtime)
        assert report.ok, str(report)


def test_random_networks_have_gaps():
    kinds = {layer.kind for seed in range(60) for layer in compose(random.Random(seed)).layers}
    assert "missing" in kinds
