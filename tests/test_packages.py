"""`package`: folders for other programs. Each target is tested as its program would use it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import seq2onnx as s2o
from seq2onnx.packaging import TARGETS, Source
from tests.command import run
from tests.conftest import CLASSES, built, random_data, small_network
from tests.small_networks import exported, gappy, strided

MODELS = Path(__file__).resolve().parents[1] / "models"


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
    with pytest.raises(OSError, match="package: no space left"):
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
    types = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}
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


# C++


def need(*programs):
    """Skip the test, by the name of the program, unless all are there."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}; tools/ci_setup.sh installs it")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example of a C++ package, built as its README says but without optimization; it runs any model."""
    need("g++", "cmake")
    if not list(Path("/usr/lib").glob("*/cmake/onnxruntime")):
        pytest.skip("needs libonnxruntime-dev; tools/ci_setup.sh installs it")
    folder = tmp_path_factory.mktemp("cpp")
    s2o.export(built(small_network(), random_data()), folder / "model.onnx", classes=CLASSES)
    s2o.package(folder / "model.onnx", "cpp", folder / "package")
    flags = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"]
    subprocess.run(["cmake", "-B", "build", *flags], cwd=folder / "package", check=True, capture_output=True)
    subprocess.run(["cmake", "--build", "build"], cwd=folder / "package", check=True, capture_output=True)
    return folder / "package"


def rows_of(text):
    """Label and numbers of each line of the example or of a file."""
    rows = [line.split(",") for line in text.splitlines()]
    return [[float(cell) if re.fullmatch(r"-?[\d.e+-]+|nan", cell) else cell for cell in row if cell] for row in rows]


def same(found, expected):
    """Whether the lines have equal labels and numbers equal to 1e-5."""
    assert [len(row) for row in found] == [len(row) for row in expected]
    for row, other in zip(found, expected, strict=True):
        for cell, value in zip(row, other, strict=True):
            assert cell == value if isinstance(value, str) else cell == pytest.approx(value, abs=1e-5)


def test_the_cpp_example_prints_the_expected_output(example):
    with (example / "sample_input.csv").open() as sample:
        result = subprocess.run(["build/example"], cwd=example, stdin=sample, capture_output=True, text=True)
    assert result.returncode == 0
    same(rows_of(result.stdout), rows_of((example / "expected_output.csv").read_text()))


@pytest.mark.parametrize("name", ["vowels_lstm", "vowels_bilstm", "digits_conv", "digits_gru", "turbofan", "co2"])
def test_the_cpp_header_runs_the_zoo(name, example, tmp_path):
    s2o.package(MODELS / name / "model.onnx", "cpp", tmp_path / "package")
    sample = (tmp_path / "package" / "sample_input.csv").read_text()
    program = [example / "build" / "example", tmp_path / "package" / "model.onnx"]
    result = subprocess.run(program, input=sample, capture_output=True, text=True)
    assert result.returncode == 0
    same(rows_of(result.stdout), rows_of((tmp_path / "package" / "expected_output.csv").read_text()))


def test_the_cpp_example_takes_gaps(example, tmp_path):
    exported(tmp_path, gappy())
    s2o.package(tmp_path / "model.onnx", "cpp", tmp_path / "package")
    sample = (tmp_path / "package" / "sample_input.csv").read_text()
    for text in (sample, sample.replace("nan", "")):
        program = [example / "build" / "example", tmp_path / "model.onnx"]
        result = subprocess.run(program, input=text, capture_output=True, text=True)
        assert result.returncode == 0
        same(rows_of(result.stdout), rows_of((tmp_path / "package" / "expected_output.csv").read_text()))


def test_triton_has_a_sample_in_plain_json(tmp_path):
    exported(tmp_path, gappy())
    s2o.package(tmp_path / "model.onnx", "triton", tmp_path / "repository")
    assert "NaN" not in (tmp_path / "repository" / "request.json").read_text()


def test_the_cpp_example_answers_nan_to_a_line_that_is_no_step(example):
    lines = "a,b,c,d\n1,2,3,4\n1,2\n\n1,2,inf,4\n1,2,3,4\n"
    result = subprocess.run([example / "build" / "example"], input=lines, capture_output=True, text=True)
    assert result.returncode == 2
    assert "line 3: expected 4 numbers, got 2" in result.stderr
    assert "line 5: x: contains NaN or infinity" in result.stderr
    first, wrong, infinite, second = rows_of(result.stdout)
    assert np.isnan([wrong, infinite]).all()
    stream = s2o.load(example / "model.onnx").stream()
    x = np.float32([1, 2, 3, 4])
    assert first[1:] == pytest.approx(stream.step(x), abs=1e-5)
    assert second[1:] == pytest.approx(stream.step(x), abs=1e-5)  # the refused lines left the state as it was


def test_the_cpp_header_runs_chunks_resets_and_reads_any_label(example, tmp_path):
    classes = ["straße, links", 'say "no"', "\U0001f600"]
    s2o.export(built(small_network("sequence"), random_data(per_step=True)), tmp_path / "model.onnx", classes=classes)
    (tmp_path / "main.cpp").write_text("""
#include <cstdio>
#include "seq2onnx.hpp"
int main() {
  auto model = seq2onnx::load("model.onnx");
  for (const auto& label : model.labels()) std::printf("%s\\n", label.c_str());
  const seq2onnx::Rows x = {{1, 2, 3, 4}, {5, 6, 7, 8}, {2, 0, 1, 3}};
  auto print = [](const seq2onnx::Values& y) { for (float v : y) std::printf("%.7g,", v); std::puts(""); };
  for (const auto& row : model.predict(x)) print(row);
  auto stream = model.stream();
  stream.step({9, 9, 9, 9});
  stream.reset();
  print(stream.step({1, 2, 3, 4, 5, 6, 7, 8}));
  print(stream.step(x[2]));
  try { stream.step({1, 2}); } catch (const std::invalid_argument& error) { std::puts(error.what()); }
}
""")
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", example, "-I/usr/include/onnxruntime"]
    subprocess.run([*command, "main.cpp", "-lonnxruntime", "-o", "main"], cwd=tmp_path, check=True)
    found = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert found[:3] == classes
    x = np.float32([[1, 2, 3, 4], [5, 6, 7, 8], [2, 0, 1, 3]])
    y = s2o.load(tmp_path / "model.onnx").predict([x])[0]
    numbers = [[float(cell) for cell in line.split(",") if cell] for line in found[3:8]]
    assert np.abs(np.array(numbers[:3]) - y).max() < 1e-5
    assert np.abs(np.concatenate(numbers[3:]).reshape(3, 3) - y).max() < 1e-5
    assert found[8] == "x: expected 4 numbers for each step, got 2"


def test_cpp_reads_columns_by_the_names_of_the_channels(example, tmp_path):
    module = built(small_network(), random_data())
    s2o.export(module, tmp_path / "model.onnx", classes=CLASSES, channels=["a", "b", "c", "d"])
    s2o.package(tmp_path / "model.onnx", "cpp", tmp_path / "package")
    main = (tmp_path / "package" / "main.cpp").read_text()
    assert 'channels = {"a", "b", "c", "d"};' in main
    options = ["-I/usr/include/onnxruntime", '-DMODEL="model.onnx"', "-lonnxruntime"]
    subprocess.run(["g++", "-std=c++17", "main.cpp", "-o", "main", *options], cwd=tmp_path / "package", check=True)

    def run_lines(lines):
        return subprocess.run(["./main"], cwd=tmp_path / "package", input=lines, capture_output=True, text=True)

    named = run_lines("time,d,b,a,c\n0,4,2,1,3\n")
    assert (named.returncode, named.stdout) == (0, run_lines("1,2,3,4\n").stdout)
    lacking = run_lines("a,b,c\n1,2,3\n")
    assert (lacking.returncode, lacking.stdout) == (2, "")
    assert "line 1: has no column d" in lacking.stderr


def test_cpp_refuses_what_the_header_does_not_run(tmp_path):
    two = s2o.Network(
        [s2o.SequenceInput(2), s2o.LSTM(3, name="a"), s2o.FullyConnected(2, name="b")], outputs=["a", "b"]
    )
    exported(tmp_path, two)
    with pytest.raises(s2o.SpecError, match="has the inputs and outputs .* one input and one output"):
        s2o.package(tmp_path / "model.onnx", "cpp", tmp_path / "package")
