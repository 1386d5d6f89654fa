"""Step files: what users notice of form="step", besides the numbers, which tests/step_laws.py checks."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.contract import Contract
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.exporting.options import ExportPlan
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network
from tests.small_networks import exported, sensors, strided, two_sensors


@pytest.fixture(scope="module")
def module():
    return built(small_network(), random_data())


@pytest.fixture(scope="module")
def files(module, tmp_path_factory):
    """A step file and the dynamic file of the same network."""
    folder = tmp_path_factory.mktemp("files")
    s2o.export(module, folder / "step.onnx", classes=CLASSES, form="step")
    s2o.export(module, folder / "dynamic.onnx", classes=CLASSES)
    return folder / "step.onnx", folder / "dynamic.onnx"


def strided_file(tmp_path):
    """A step file that runs four steps at a time."""
    return exported(tmp_path, strided(), form="step")


def test_it_predicts_classifies_and_verifies_as_the_dynamic_file(files, module):
    data = random_data(seed=3)
    step, dynamic = map(s2o.load, files)
    assert np.abs(step.predict(data) - dynamic.predict(data)).max() < 1e-6
    assert np.array_equal(step.classify(data), dynamic.classify(data))
    report = s2o.verify(files[0], module, data)
    assert report.ok
    checks = {row.check.split(",")[0] for row in report.rows}
    assert checks == {"torch = onnxruntime", "batch = one at a time", "whole = steps", "whole = chunks"}


def test_verify_finds_a_wrong_weight(files, module):
    other = built(small_network(), random_data(), seed=1)
    assert not s2o.verify(files[0], other).ok


def test_its_contract_says_what_each_run_takes(files):
    contract = s2o.load(files[0]).contract
    assert (contract.format_version, contract.form, contract.signature) == (2, "step", "stream")
    assert (contract.time_stride, contract.steps) == (1, {"x": 1})
    model = onnx.load(files[0])
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    assert onnx.load(files[1]).metadata_props
    assert s2o.load(files[1]).contract.format_version == 1


def test_a_restored_module_and_a_second_export_are_the_same(files, module, tmp_path):
    restored = s2o.restore(files[0])
    s2o.export(restored, tmp_path / "again.onnx", form="step")
    assert (tmp_path / "again.onnx").read_bytes() == files[0].read_bytes()


def test_restore_refuses_a_changed_graph(files, tmp_path):
    model = onnx.load(files[0])
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Sigmoid"
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(s2o.ModelFileError, match="is not computed as in its network"):
        s2o.restore(tmp_path / "changed.onnx")


def test_a_stream_of_several_steps_in_each_run(tmp_path):
    model, _ = strided_file(tmp_path)
    s2o.export(s2o.restore(model.path), tmp_path / "dynamic.onnx", signature="stream")
    x = np.random.default_rng(0).normal(size=(12, 5)).astype("f")
    (expected,) = s2o.load(tmp_path / "dynamic.onnx").predict([x])
    stream = model.stream()
    found = np.concatenate([stream.step(x[:4]), stream.step(x[4:4]), stream.step(x[4:].tolist())])
    assert found.shape == (3, 2)
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(model.predict([x, x[:4]])[1] - expected[:1]).max() < 1e-6
    assert not [name for name in stream.state if name.endswith("phase")]


def test_other_lengths_are_refused_with_what_to_do(tmp_path):
    model, _ = strided_file(tmp_path)
    x = np.zeros((7, 5), "f")
    with pytest.raises(s2o.DataError, match=r'sequence 1: has 7 steps.* a multiple of 4.*form="dynamic"'):
        model.predict([x[:4], x])
    stream = model.stream()
    stream.step(np.ones((4, 5)))
    before = stream.state
    for wrong in (x, x[0], x[:2]):
        with pytest.raises(s2o.DataError, match="step: has . steps.*a multiple of 4"):
            stream.step(wrong)
    assert all(np.array_equal(before[name], array) for name, array in stream.state.items())


def test_a_chunk_without_steps_has_no_answer_per_sequence(files):
    with pytest.raises(s2o.DataError, match="no steps, for which a step file has no answer"):
        s2o.load(files[0]).stream().step(np.zeros((0, 4)))


def test_nan_and_overflow_are_refused_and_the_state_is_kept(tmp_path):
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(2), s2o.GlobalAvgPool1d()]), form="step")
    stream = model.stream()
    stream.step([1, 2])
    before = stream.state
    for wrong, message in (([np.nan, 1], "x contains NaN"), ([np.inf, 1], "x contains NaN or infinity")):
        with pytest.raises(s2o.DataError, match=message):
            stream.step(wrong)
    stream.state = before | {"state_00_global_avg_pool1d_1_mean": np.full((1, 2), -3e38, "f")}
    before = stream.state
    with pytest.raises(s2o.DataError, match="x is finite, but the state would become infinite"):
        stream.step([3e38, 3e38])
    assert all(np.array_equal(before[name], array) for name, array in stream.state.items())
    x = np.ones((3, 2))
    assert np.isnan(model.predict([x, x * np.nan])).tolist() == [[False] * 2, [True] * 2]


def test_several_inputs_and_outputs(tmp_path):
    model, module = exported(tmp_path, two_sensors(), form="step")
    data = sensors(np.random.default_rng(0), [3, 1, 5])
    s2o.export(module, tmp_path / "dynamic.onnx")
    expected, found = s2o.load(tmp_path / "dynamic.onnx").predict(data), model.predict(data)
    assert np.abs(found["overall"] - expected["overall"]).max() < 1e-6
    assert [y.shape for y in found["now"]] == [(3, 2), (1, 2), (5, 2)]


def test_it_forecasts_in_a_loop_outside(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.GRU(4), s2o.FullyConnected(2)])
    model, module = exported(tmp_path, network, form="step")
    s2o.export(module, tmp_path / "dynamic.onnx")
    history = [np.random.default_rng(0).normal(size=(n, 2)).astype("f") for n in (3, 6)]
    expected = s2o.load(tmp_path / "dynamic.onnx").forecast(history, 4)
    assert np.abs(model.forecast(history, 4) - expected).max() < 1e-6


def test_a_forecast_needs_an_answer_for_each_step(tmp_path):
    model, _ = strided_file(tmp_path)
    with pytest.raises(s2o.SpecError, match="forecast needs an output for each step"):
        model.forecast(np.zeros((4, 5)), 2)


def test_a_pool_says_what_to_do(files):
    with pytest.raises(s2o.NotStreamable, match=r'one stream at a time; export it with form="dynamic" for a pool'):
        s2o.load(files[0]).pool()


def test_a_saved_state_belongs_to_its_form(files, tmp_path):
    stream = s2o.load(files[0]).stream()
    stream.step(np.ones(4))
    stream.save(tmp_path / "state.npz")
    other = s2o.load(files[0]).stream()
    other.load(tmp_path / "state.npz")
    assert np.array_equal(other.step(np.zeros(4)), stream.step(np.zeros(4)))
    with pytest.raises(s2o.StateError, match="another model"):
        s2o.load(files[1]).stream().load(tmp_path / "state.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signature": "full"}, 'form: "step" takes x and states.*Leave signature out'),
        ({"signature": "sequence"}, 'form: "step" takes x and states'),
        ({"lookahead": True}, 'lookahead: a file with form="step" cannot have it; export with form="dynamic"'),
        ({"closed_loop": 3}, 'closed_loop: a file with form="step" cannot have it; feed each y back'),
        ({"words": True}, 'words: a file with form="step" cannot have it; export without words'),
        ({"opset": 12}, "opset: must be a whole number from 13"),
    ],
)
def test_options_that_it_cannot_have_are_refused_with_the_remedy(module, tmp_path, options, message):
    with pytest.raises(s2o.SpecError, match=message):
        s2o.export(module, tmp_path / "model.onnx", form="step", **options)
    assert not list(tmp_path.iterdir())


def test_other_forms_need_opset_17(module, tmp_path):
    with pytest.raises(s2o.SpecError, match="opset: must be a whole number from 17"):
        s2o.export(module, tmp_path / "model.onnx", opset=13)


def test_a_network_that_reads_ahead_is_refused(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(3, 3, padding="same")])
    with pytest.raises(s2o.NotStreamable, match='padding="causal".*A file with form="step" runs step by step'):
        exported(tmp_path, network, form="step")


def test_a_layer_that_gives_nothing_in_its_first_calls_is_refused():
    network = s2o.Network([s2o.SequenceInput(1), s2o.Spectrogram(8, 4, padding="none")])
    with pytest.raises(s2o.NotStreamable, match='spectrogram_1: gives no result before step 8.*padding="causal"'):
        ExportPlan.of(network, ExportOptions(form="step"))


def test_a_layer_that_adds_no_plain_arithmetic_is_named(tmp_path, monkeypatch):
    """As a layer of your own that calculates with the number of steps."""

    def emit(self, graph, call):
        steps = graph.cast(graph.steps(call.x.name), "float32")
        return graph.op("Add", call.x.name, steps), call.lengths, {}

    monkeypatch.setattr(s2o.ReLU, "emit", emit)
    with pytest.raises(s2o.SpecError, match="relu_1: adds the operator Shape.*where graph.is_fixed holds"):
        exported(tmp_path, s2o.Network([s2o.SequenceInput(2), s2o.ReLU()]), form="step")


def test_the_command_writes_and_describes_it(module, tmp_path, monkeypatch):
    monkeypatch.setattr("seq2onnx.training.load_run", lambda folder: module)
    run("export", tmp_path, "--form", "step", "--opset", "13", "--out", tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 13
    out, _ = run("inspect", tmp_path / "model.onnx")
    assert ["form", "step"] in [line.split() for line in out.splitlines()]
    run("verify", tmp_path / "model.onnx")
    run("bench", tmp_path / "model.onnx", "--seconds", "0.01", "--json", tmp_path / "bench.json")
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["form"] == "step"
    assert found["left_out"]["pool.step"] == "a step file runs one stream at a time"
    assert {row["of"] for row in found["measurements"]} == {"Stream.step", "predict"}
    run("report", tmp_path / "model.onnx", "--out", tmp_path / "page.html")
    assert "step" in (tmp_path / "page.html").read_text(encoding="utf-8")
    x = "\n".join(["1,2,3,4"] * 3)
    out, _ = run("stream", tmp_path / "model.onnx", stdin=x)
    assert len(out.splitlines()) == 3


def test_the_command_streams_and_answers_after_each_run(tmp_path):
    model, _ = strided_file(tmp_path)
    x = np.random.default_rng(0).normal(size=(10, 5)).round(3)
    lines = "\n".join(f"a,{','.join(map(str, row))}" for row in x)
    out, said = run("stream", model.path, "--id-column", stdin=lines)
    rows = [line.split(",") for line in out.splitlines()]
    assert [len(row) for row in rows] == [1, 1, 1, 3, 1, 1, 1, 3, 1, 1]
    found = np.array([row[1:] for row in rows if len(row) > 1], float)
    assert np.abs(found - model.predict([x[:8]])[0]).max() < 1e-6
    assert "2 steps at the end have no result: this step file runs 4 at a time" in said
    overflowing, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(1), s2o.GlobalAvgPool1d()]), form="step")
    out, _ = run("stream", overflowing.path, stdin="-3e38\n3e38\nnan\n-3e38\n", code=2)
    assert out.splitlines() == ["-3e+38", "nan", "nan", "-3e+38"]


def test_a_run_of_several_steps_is_measured(tmp_path):
    model, _ = strided_file(tmp_path)
    run("bench", model.path, "--seconds", "0.01", "--lengths", "6", "--json", tmp_path / "bench.json")
    step, *_ = json.loads((tmp_path / "bench.json").read_text())["measurements"]
    assert step["of"] == "Stream.step"
    assert step["steps_per_second"] / step["runs"] > 0


# What a stranger could have changed in the file.
def rewritten(path, tmp_path, **fields):
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == "seq2onnx":
            entry.value = json.dumps(json.loads(entry.value) | fields)
    onnx.save(model, tmp_path / "changed.onnx")
    return tmp_path / "changed.onnx"


@pytest.mark.parametrize(
    "fields",
    [
        {"form": "dynamic"},
        {"steps": None},
        {"steps": {}},
        {"steps": {"x": 2}},
        {"steps": {"x": 1, "y": 1}},
        {"steps": {"x": 1, "z": 1}},
        {"steps": {"x": 0}},
        {"time_stride": 3},
        {"signature": "full"},
    ],
)
def test_a_contract_that_does_not_fit_the_graph_is_refused(files, tmp_path, fields):
    with pytest.raises(s2o.ModelFileError, match="changed.onnx"):
        s2o.load(rewritten(files[0], tmp_path, **fields))


def test_a_dynamic_graph_is_no_step_file(files, tmp_path):
    with pytest.raises(s2o.ModelFileError, match="changed.onnx"):
        s2o.load(rewritten(files[1], tmp_path, form="step", steps={"x": 1}, signature="stream"))


def test_states_must_be_there_in_order(module):
    """The numbers of states may have gaps, where phases are left out, but they do not go back."""
    weights = {name: {k: v.numpy() for k, v in layer.state_dict().items()} for name, layer in module.layers.items()}
    model = build_model(module.network, weights, ExportOptions(form="step"))
    contract = Contract.from_json(model.metadata_props[0].value, "model.onnx")
    swapped = dataclasses.replace(contract, states=contract.states[::-1])
    model.metadata_props[0].value = swapped.to_json()
    from seq2onnx.modelfile import check_file

    with pytest.raises(s2o.ModelFileError, match="the names must be"):
        check_file(model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize("steps", [2, 63, 64, 65, 128, 200, 4097])
def test_a_recurrent_layer_takes_any_number_of_steps_in_each_run(tmp_path, steps):
    """Whatever export writes, load opens; 4,097 is above the square of what one Split has."""
    layers = {2: s2o.LSTM(2), 63: s2o.GRU(1), 64: s2o.RNN(2), 65: s2o.LSTM(1), 128: s2o.GRU(2), 200: s2o.LSTM(1)}
    net = s2o.Network([s2o.SequenceInput(1), layers.get(steps, s2o.RNN(1)), s2o.WindowStatistics(steps)])
    torch.manual_seed(steps)
    module = s2o.build(net).eval()
    s2o.export(module, tmp_path / "step.onnx", form="step")
    x = np.random.default_rng(0).normal(size=(3 * steps, 1)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)[None])[0][0].numpy()
    assert np.abs(s2o.load(tmp_path / "step.onnx").predict([x])[0] - expected).max() < 1e-5


def test_export_writes_no_file_that_load_refuses(tmp_path, monkeypatch):
    """As if the rules had no LSTM."""
    from seq2onnx.modelfile import graph_rules

    monkeypatch.delitem(graph_rules.OPERATORS, b"LSTM")
    module = s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.LSTM(1)]))
    with pytest.raises(
        s2o.SpecError, match=r"export: this network is beyond what `load` opens.*operator 'LSTM'.*smaller"
    ):
        s2o.export(module, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
