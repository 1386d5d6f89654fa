"""seq2onnx bench: what it measures and what it skips, but not how fast that is."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.reporting import benchmark
from tests.command import run
from tests.conftest import random_data


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Small batches and pools, so that each run is short. None is skipped because the machine is busy."""
    monkeypatch.setattr(benchmark, "PATIENCE", math.inf)
    command = sys.modules["seq2onnx.cli.bench"]  # seq2onnx.cli.bench is the function
    monkeypatch.setattr(command, "BATCH_SIZES", (1, 4))
    monkeypatch.setattr(command, "POOL_SIZES", (1, 3))


def measured(path, tmp_path, *options):
    """Run the command; return what it prints and its JSON."""
    out, _ = run("bench", path, "--seconds", "0.01", "--json", tmp_path / "bench.json", *options)
    return out, json.loads((tmp_path / "bench.json").read_text())


EVERYTHING = [("Stream.step", 1), ("predict", 1), ("predict", 4), ("pool.step", 1), ("pool.step", 3)]


def of(found):
    return [(row["of"], row["at_once"]) for row in found["measurements"]]


def test_the_table_and_the_json_have_every_measurement(exported, tmp_path):
    out, found = measured(exported, tmp_path, "--lengths", "3-9")
    streams = s2o.load(exported).signature != "sequence"
    assert of(found) == (EVERYTHING if streams else EVERYTHING[1:3])
    assert ("Stream.step and pool.step" in found["left_out"]) == (not streams)
    assert found["lengths"] == [3, 9]
    for row in found["measurements"]:
        assert row["runs"] > 0
        assert 0 < row["p50"] <= row["p90"] <= row["p99"] <= row["max"]
        assert (row["sequences_per_second"] is None) == (row["of"] != "predict")
        per_run = row["steps_per_second"] / (row["sequences_per_second"] or row["steps_per_second"])
        assert 3 <= per_run <= 9 if row["of"] == "predict" else per_run == 1
    import onnxruntime

    assert (found["onnxruntime"], found["threads"]) == (onnxruntime.__version__, 1)
    assert out.startswith(f"{exported}:")
    lines = out.splitlines()
    first = lines.index(f"onnxruntime {onnxruntime.__version__}, 1 thread, sequences of 3 to 9 steps")
    assert lines[first + 1].startswith(found["processor"])
    assert found["processor"]
    assert max(map(len, lines)) <= 80
    for name, count in of(found):
        assert any(line.split()[:2] == [name, str(count)] for line in lines)


def test_percentiles_and_throughput_of_a_measurement(model_file, monkeypatch):
    """The clock advances one second at each call: runs of one second, with 4 sequences of 5 steps."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(ticks))
    model, given = s2o.load(model_file), []
    monkeypatch.setattr(model, "predict", lambda x, batch_size: given.append((len(x), len(x[0]), batch_size)))
    rows = {model.inputs[0].layer: [np.zeros((5, 4), np.float32)] * 10}
    run_, batches = benchmark._batches(model, rows, 4)
    found = benchmark._timed("predict", 4, run_, batches, 21)
    assert set(given) == {(4, 5, 4)}
    assert (found.runs, found.p50, found.max) == (11, 1, 1)
    assert (found.sequences_per_second, found.steps_per_second) == (4, 20)
    assert len(given) > found.runs  # the warm-up is not counted


def several():
    layers = [
        s2o.SequenceInput(3, name="sound"),
        s2o.FeatureInput(2, name="machine"),
        s2o.Concat(inputs=["sound", "machine"]),
        s2o.LSTM(4, name="memory"),
        s2o.FullyConnected(2, name="now"),
        s2o.LSTM(3, "last", inputs=["memory"], name="overall"),
    ]
    return s2o.Network(layers, outputs=["now", "overall"]), {}


NETWORKS = {
    "several inputs and outputs": several,
    "images": lambda: (
        s2o.Network([s2o.SequenceInput((2, 5, 6)), s2o.Conv2d(2, 3), s2o.Flatten(), s2o.LSTM(3, "last")]),
        {},
    ),
    "tokens": lambda: (
        s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, ["a", "b"]), s2o.LSTM(3, "last")]),
        {},
    ),
    "strides": lambda: (s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(3, 3, stride=2, padding="causal")]), {}),
    "lookahead": lambda: (s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(3, 3, padding="same")]), {"lookahead": True}),
    "closed loop": lambda: (
        s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3), s2o.FullyConnected(2)]),
        {"closed_loop": 5},
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("signature", ["full", "stream"])
def test_every_kind_of_network_is_measured(tmp_path, kind, signature):
    network, options = NETWORKS[kind]()
    s2o.export(s2o.build(network), tmp_path / "model.onnx", signature=signature, **options)
    out, found = measured(tmp_path / "model.onnx", tmp_path, "--steps", "6")
    assert of(found) == EVERYTHING
    assert found["left_out"] == {}
    assert ("closed loop of 5 steps" in out) == (kind == "closed loop")


def test_a_network_that_cannot_stream_is_measured_on_whole_sequences(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2, min_length=150), s2o.BiLSTM(3, "last")])
    s2o.export(s2o.build(network), tmp_path / "model.onnx")
    out, found = measured(tmp_path / "model.onnx", tmp_path)
    assert of(found) == EVERYTHING[1:3]
    assert found["lengths"] == [150, 150]
    assert "skipped: Stream.step and pool.step: the file has no states" in out


def test_measurements_that_need_too_much_memory_or_time_are_skipped(model_file, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "MAX_BYTES", 3 * 1600)  # 100 steps of 4 features are 1,600 bytes
    out, found = measured(model_file, tmp_path)
    assert of(found) == [row for row in EVERYTHING if row != ("predict", 4)]
    assert found["left_out"] == {"predict, 4 or more": "needs more than 0 MiB"}
    monkeypatch.undo()
    monkeypatch.setattr(benchmark, "PATIENCE", 0)
    out, found = measured(model_file, tmp_path)
    assert of(found) == [("Stream.step", 1), ("predict", 1), ("pool.step", 1)]
    assert "skipped: predict, 8 or more: one run would take " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.onnx"], "nowhere.onnx: there is no such file"),
        (["{model}", "--seconds", "0"], "--seconds: must be above 0, got 0"),
        (["{model}", "--threads", "0"], "threads: must be a whole number, at least 1, got 0"),
        (["{model}", "--lengths", "some"], "--lengths: expected a number of steps such as 100, or 20-200, got 'some'"),
        (["{model}", "--lengths", "0"], "--lengths: the network needs at least 1 steps"),
        (["{model}", "--lengths", "9-3"], "--lengths: expected N-M with N at most M, got 9-3"),
        (["{model}", "--seconds", "0.01", "--json", "no/such/folder.json"], "no/such/folder.json"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(model_file, arguments, message):
    _, err = run("bench", *(a.format(model=model_file) for a in arguments), code=2)
    assert message in " ".join(err.split())


def test_the_random_input_is_scaled_like_the_training_data(tmp_path, monkeypatch):
    data, seen = random_data(), []
    network = s2o.Network([s2o.SequenceInput(4, "zscore"), s2o.LSTM(2, "last")])
    s2o.export(s2o.build(network, data), tmp_path / "model.onnx")
    timed = benchmark._timed
    monkeypatch.setattr(
        benchmark,
        "_timed",
        lambda of, count, run, given, seconds: (seen.append(given), timed(of, count, run, given, seconds))[1],
    )
    benchmark.measure(s2o.load(tmp_path / "model.onnx"), (50, 50), 0.01)
    x = np.stack([step for _, step in seen[0]])  # of Stream.step
    np.testing.assert_allclose(x.mean(0), data.statistics()["mean"], atol=1)
    np.testing.assert_allclose(x.std(0), data.statistics()["std"], rtol=0.2)
