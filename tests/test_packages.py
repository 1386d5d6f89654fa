"""`package`: folders for other programs. Each target is tested as its program would use it."""

from __future__ import annotations

import json
import re

import numpy as np
import onnxruntime
import pytest

import seq2onnx as s2o
from seq2onnx.packaging import TARGETS, Source
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network
from tests.small_networks import exported, strided


@pytest.fixture
def file(tmp_path):
    s2o.export(built(small_network(), random_data()), tmp_path / "model.onnx", classes=CLASSES)
    return tmp_path / "model.onnx"


def test_a_folder_with_content_is_refused_and_left_as_it_was(file, tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="package: exists and is not overwritten"):
        s2o.package(file, "triton", folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(file, tmp_path):
    (tmp_path / "package").mkdir()
    s2o.package(file, "triton", tmp_path / "package")
    assert (tmp_path / "package" / "README.md").exists()


def test_nothing_is_left_of_a_package_that_fails(file, tmp_path, monkeypatch):
    def fail(source, folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(TARGETS, "triton", fail)
    (tmp_path / "package").mkdir()
    with pytest.raises(OSError, match="No space left"):
        s2o.package(file, "triton", tmp_path / "package")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "package"]
    assert not list((tmp_path / "package").iterdir())


def test_an_unknown_target_is_refused_with_those_that_there_are(file, tmp_path):
    with pytest.raises(s2o.SpecError, match="target: must be one of .*triton.*, got 'fpga'"):
        s2o.package(file, "fpga", tmp_path / "package")


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("engine", "engine"), ("2 pumps, new", "net_2_pumps__new"), ("double", "net_double"), ("Motor-7", "Motor_7")],
)
def test_the_name_of_a_package_is_an_identifier_of_c(name, identifier, tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2)], name=name)
    exported(tmp_path, network)
    assert Source.open(tmp_path / "model.onnx").name == identifier


def serve(repository, chunks):
    """What Triton does with the chunks of one stream: zeros at its start, and states by the pairs in config.pbtxt."""
    (home,) = [path for path in repository.iterdir() if path.is_dir()]
    config = (home / "config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(home / "1" / "model.onnx")
    pairs = re.findall(
        r'state \{ input_name: "(\w+)" output_name: "(\w+)" data_type: TYPE_(\w+) dims: \[([\d, ]+)\]', config
    )
    types = {"FP32": np.float32, "INT32": np.int32}
    states = {name: np.zeros((1, *map(int, dims.split(","))), types[kind]) for name, _, kind, dims in pairs}
    inputs = re.findall(r'^input \{ name: "(\w+)"', config, re.M)
    outputs = re.findall(r'^output \{ name: "(\w+)"', config, re.M)
    answers = []
    for chunk in chunks:
        feeds = {"x": chunk[None], "lengths": np.array([len(chunk)], np.int32)}
        names = [*outputs, *(new for _, new, *_ in pairs)]
        values = session.run(names, {name: feeds[name] for name in inputs} | states)
        found = dict(zip(names, values, strict=True))
        answers.append(found["y"][0][: found["y_lengths"][0]] if "y_lengths" in found else found["y"][0])
        states = dict(zip([name for name, *_ in pairs], values[len(outputs) :], strict=True))
    return answers


def test_triton_keeps_the_states_of_a_stream(file, tmp_path):
    s2o.package(file, "triton", tmp_path / "repository")
    x = random_data(1).sequences[0].astype(np.float32)
    answers = serve(tmp_path / "repository", [x[:2], x[2:3], x[3:]])
    expected = s2o.load(file).predict([x])[0]
    assert np.abs(answers[-1] - expected).max() < 1e-6
    assert (tmp_path / "repository" / "small" / "labels.txt").read_text() == "left\nright\nup\n"


def test_triton_gets_each_input_and_output_of_a_strided_network(tmp_path):
    model, _ = exported(tmp_path, strided())
    s2o.package(tmp_path / "model.onnx", "triton", tmp_path / "repository")
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    answers = serve(tmp_path / "repository", [x[:3], x[3:8], x[8:]])
    assert np.abs(np.concatenate(answers) - model.predict([x])[0]).max() < 1e-6
    config = (tmp_path / "repository" / "model" / "config.pbtxt").read_text()
    assert 'input { name: "lengths" data_type: TYPE_INT32 dims: [ 1 ] reshape: { shape: [ ] } }' in config
    assert 'output { name: "y_lengths" data_type: TYPE_INT32 dims: [ 1 ] reshape: { shape: [ ] } }' in config


def test_the_sample_request_of_triton_gets_the_sample_response(file, tmp_path):
    s2o.package(file, "triton", tmp_path / "repository")
    request = json.loads((tmp_path / "repository" / "request.json").read_text())
    response = json.loads((tmp_path / "repository" / "response.json").read_text())
    x, lengths = request["inputs"]
    assert request["parameters"] == {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    assert (lengths["name"], lengths["shape"], lengths["data"]) == ("lengths", [1, 1], [20])
    values = np.array(x["data"], np.float32).reshape(x["shape"])
    assert np.abs(s2o.load(file).predict(list(values)) - response["outputs"][0]["data"]).max() < 1e-6


def test_triton_refuses_what_it_cannot_run(tmp_path):
    network = s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(2, 3, padding="same")])
    exported(tmp_path, network, lookahead=True)
    with pytest.raises(s2o.SpecError, match=r"model.onnx: has lookahead.*export it without"):
        s2o.package(tmp_path / "model.onnx", "triton", tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_the_command_writes_a_package(file, tmp_path):
    output, _ = run("package", file, "--for", "triton", "--out", tmp_path / "repository")
    assert "README.md says how to run it" in output
    assert (tmp_path / "repository" / "small" / "1" / "model.onnx").read_bytes() == file.read_bytes()
