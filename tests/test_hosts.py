"""`verify --runtime`: the same cases in other runtimes, and what it says where they differ or are not there."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.hosts import HOSTS, check_host, cpp, programs
from seq2onnx.hosts.cases import make_cases
from seq2onnx.hosts.node import INSTALL, find_runtime
from seq2onnx.hosts.openvino import PRECISION
from seq2onnx.modelfile import read_checked
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.session import SessionSettings
from tests.command import run
from tests.conftest import built, random_data, small_network
from tests.small_networks import exported, strided

MODELS = Path(__file__).resolve().parents[1] / "models"


def skip_without(runtime):
    """Skip the test, by the name of what is missing, unless a runtime is there."""
    lacking = {
        "cpp": None if list(Path("/usr/include").glob("onnxruntime/*cxx_api.h")) else "libonnxruntime-dev",
        "c": None if shutil.which("cc") else "gcc",
        "openvino": None if importlib.util.find_spec("openvino") else "openvino",
        "node": None if has_node() else f"onnxruntime-node ({INSTALL})",
    }[runtime]
    if lacking:
        pytest.skip(f"needs {lacking}")


def has_node():
    node = shutil.which("node")
    return node is not None and find_runtime(node) is not None


@pytest.fixture
def file(tmp_path):
    s2o.export(built(small_network(), random_data()), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("runtime", ["cpp", "node"])
def test_onnxruntime_gives_the_same_numbers_in_other_languages(runtime, file, tmp_path):
    skip_without(runtime)
    report = check_host(file, runtime)
    assert report.ok, str(report)
    assert {row.check for row in report.rows} == {
        f"{runtime}, {case}" for case in ("one row", "ragged batch", "steps", "chunks")
    }
    assert {row.tensor for row in report.rows} == {"y", "new_state_00_lstm_1_h", "new_state_01_lstm_1_c"}
    exported(tmp_path, strided())
    assert check_host(tmp_path / "model.onnx", runtime).ok


def test_the_c_code_gives_the_same_numbers(file):
    skip_without("c")
    report = check_host(file, "c")
    assert report.ok, str(report)
    assert [(row.check, row.tensor) for row in report.rows] == [("c, steps", "y")]


def test_openvino_is_wrong_with_ragged_batches_of_the_dynamic_form_and_right_with_the_step_form(file, tmp_path):
    skip_without("openvino")
    report = check_host(file, "openvino")
    assert {row.check for row in report.rows if not row.ok} == {"openvino, ragged batch"}
    _, errors = run("verify", file, "--runtime", "openvino", code=1)
    assert errors == ""
    s2o.export(s2o.restore(file), tmp_path / "step.onnx", form="step")
    report = check_host(tmp_path / "step.onnx", "openvino")
    assert report.ok, str(report)


@pytest.mark.parametrize("padding", ["causal", "none"])
def test_openvino_gives_no_frame_where_none_is_due(padding, tmp_path):
    skip_without("openvino")
    layers = [s2o.SequenceInput(1), s2o.MelSpectrogram(100, 8, 4, 3, padding=padding), s2o.GRU(4)]
    exported(tmp_path, s2o.Network(layers), form="portable")
    report = check_host(tmp_path / "model.onnx", "openvino")
    assert report.ok, str(report)


@pytest.mark.parametrize("form", ["portable", "step"])
def test_openvino_finds_the_same_key_words_in_samples(form, tmp_path):
    skip_without("openvino")
    import openvino

    original, data = MODELS / "keyword" / "model.onnx", s2o.SequenceDataset.load(MODELS / "keyword" / "test_slice.npz")
    file, rng = tmp_path / "keyword.onnx", np.random.default_rng(0)
    s2o.export(s2o.restore(original), file, form=form)
    model = Model(read_checked(file), SessionSettings())
    request = openvino.Core().compile_model(str(file), "CPU", PRECISION).create_infer_request()
    expected = s2o.load(original).predict(data)
    assert sum(events[:, 1].sum() for events in expected) >= 2
    for x, events in zip(data.sequences, expected, strict=True):
        states, parts, at = {state.name: state.zeros(1) for state in model.states}, [], 0
        while at < len(x):
            chunk = x[at : at + (model.contract.time_stride if form == "step" else int(rng.integers(1, 1001)))]
            lengths = {"lengths": np.array([len(chunk)], np.int32)} if model.takes_lengths else {}
            found = request.infer({"x": chunk[None]} | lengths | states)
            parts.append(found["y"][0].copy())
            states, at = {name: found[f"new_{name}"].copy() for name in states}, at + len(chunk)
        np.testing.assert_array_equal(np.concatenate(parts), events)


def test_a_wrong_number_fails_and_a_wrong_shape_and_a_failure_too(file, monkeypatch):
    def results(change):
        def host(model):
            return [(case, change([dict(run.expected) for run in case.runs])) for case in make_cases(model)]

        monkeypatch.setitem(HOSTS, "openvino", host)
        return check_host(file, "openvino")

    def wrong(runs):
        runs[-1]["y"] = runs[-1]["y"] + np.float32(2e-4)
        return runs

    def misshapen(runs):
        runs[0]["y"] = runs[0]["y"][..., :1]
        return runs

    assert results(lambda runs: runs).ok
    assert not any(row.ok for row in results(wrong).rows if row.tensor == "y")
    assert all(row.ok for row in results(wrong).rows if row.tensor != "y")
    assert not any(row.ok for row in results(misshapen).rows if row.tensor == "y")
    failed = results(lambda runs: "no kernel for LSTM")
    assert not any(row.ok for row in failed.rows)
    assert "openvino, steps: no kernel for LSTM" in failed.notes
    output, _ = run("verify", file, "--runtime", "openvino", code=1)
    assert "FAILED" in output
    assert "no kernel for LSTM" in output


@pytest.mark.parametrize(
    ("runtime", "install"),
    [
        ("openvino", "pip install openvino"),
        ("cpp", r"apt-get install g\+\+ libonnxruntime-dev"),
        ("node", "apt-get install nodejs"),
        ("c", "apt-get install gcc"),
    ],
)
def test_a_missing_runtime_is_named_with_the_command_that_installs_it(runtime, install, file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cpp, "_built", cpp._built.__wrapped__)  # forget that it was built before
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(s2o.MissingExtra, match=f"is not installed. Run: {install}"):
        check_host(file, runtime)
    _, errors = run("verify", file, "--runtime", runtime, code=2)
    assert "Run: " in errors


def test_without_onnxruntime_node_the_command_to_install_it_is_shown(file, tmp_path, monkeypatch):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("seq2onnx.hosts.node._global_modules", lambda node: iter(()))
    with pytest.raises(s2o.MissingExtra, match="onnxruntime-node is neither in .* Run: npm install --global"):
        check_host(file, "node")


def fake_runtime(folder, script):
    """A folder node_modules with an onnxruntime-node that runs a script."""
    home = folder / "node_modules" / "onnxruntime-node"
    home.mkdir(parents=True)
    (home / "package.json").write_text('{"name": "onnxruntime-node", "main": "index.js"}')
    (home / "index.js").write_text(script)
    return home.parent


@pytest.mark.parametrize("setting", [None, "", "node_modules", ".:./node_modules"])
def test_node_reads_no_modules_of_the_working_directory(setting, file, tmp_path, monkeypatch):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    marker = tmp_path / "was_run"
    fake_runtime(tmp_path, f"require('fs').writeFileSync({str(marker)!r}, '')")
    monkeypatch.chdir(tmp_path)
    if setting is None:
        monkeypatch.delenv("NODE_PATH", raising=False)
    else:
        monkeypatch.setenv("NODE_PATH", setting)
    if has_node():
        assert check_host(file, "node").ok
    else:
        with pytest.raises(s2o.MissingExtra, match="onnxruntime-node"):
            check_host(file, "node")
    assert not marker.exists()


def test_node_reads_the_modules_that_node_path_names(file, tmp_path, monkeypatch):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    modules = fake_runtime(tmp_path, "throw new Error('from NODE_PATH')")
    monkeypatch.setenv("NODE_PATH", str(modules))
    report = check_host(file, "node")
    assert not report.ok
    assert "from NODE_PATH" in report.notes[0]


HOW_HOSTS_END = {
    "kill -SEGV $$": "host ended with the signal SIGSEGV",
    "echo broken >&2; exit 3": "host failed with exit code 3: broken",
    "printf 1234": "the program gave 4 bytes for 5 calls",
    "sleep 600": "host did not end within 1 s",
    "sleep 600 &": "host did not end within 1 s",
}


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are scripts of a shell")
@pytest.mark.parametrize("program", HOW_HOSTS_END)
def test_a_host_that_fails_is_a_row_of_the_report(program, file, tmp_path, monkeypatch):
    compiler = tmp_path / "cc"  # makes a program that ends as the parameter says
    compiler.write_text(f"#!/bin/sh\nprintf '%s\\n' '#!/bin/sh' {shlex.quote(program)} > host\nchmod +x host\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(programs, "SECONDS", 1 if "sleep" in program else 300)
    output, errors = run("verify", file, "--runtime", "c", code=1)
    assert errors == ""
    assert "FAILED" in output
    assert HOW_HOSTS_END[program] in " ".join(output.split())


def test_a_compiler_that_fails_and_a_program_that_is_none_are_rows(file, tmp_path, monkeypatch):
    compiler = tmp_path / "cc"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for script, message in (("exit 1", "cc failed with exit code 1"), ("echo > host", "host cannot be run")):
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)
        report = check_host(file, "c")
        assert [(row.check, row.ok) for row in report.rows] == [("c, all cases", False)]
        assert message in report.notes[0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [(None, "cannot be read"), ("case\nout y float32 x 1", "cannot be read"), ("case\nrun", "gave the results of 1")],
)
def test_results_that_cannot_be_read_are_rows(lines, message, file, tmp_path, monkeypatch):
    def host(model):
        write = "" if lines is None else f"printf '{lines}\\n' > results.txt; printf '' > results.bin"
        return programs.run_program(model, make_cases(model)[2:3], ["sh", "-c", write or "true"])

    monkeypatch.setitem(HOSTS, "openvino", host)
    report = check_host(file, "openvino")
    assert not any(row.ok for row in report.rows)
    assert message in report.notes[0]


def test_a_crash_of_openvino_is_a_row(file, monkeypatch):
    skip_without("openvino")
    monkeypatch.setattr("seq2onnx.hosts.openvino._PROGRAM", "import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    report = check_host(file, "openvino")
    assert [row.ok for row in report.rows] == [False]
    assert "ended with the signal SIGABRT" in report.notes[0]


def test_the_cases_reach_what_runtimes_get_wrong(file):
    cases = {case.name: case for case in make_cases(Model(read_checked(file), SessionSettings()))}
    ragged = cases["ragged batch"].runs[0]
    assert ragged.inputs["lengths"].tolist() == [9, 1, 0, 7]
    assert np.isnan(ragged.inputs["x"][1, 1:]).all()
    assert not np.isnan(ragged.expected["y"]).any()  # one result for each row, none of them without a meaning
    assert [run.inputs["x"].shape[1] for run in cases["chunks"].runs] == [3, 0, 1, 5]


def test_a_file_that_takes_words_is_refused(tmp_path):
    words = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, ["good", "bad"]), s2o.LSTM(4)])
    exported(tmp_path, words, words=True)
    with pytest.raises(s2o.SpecError, match="takes words"):
        check_host(tmp_path / "model.onnx", "cpp")


def test_a_runtime_takes_the_file_alone(file, tmp_path):
    _, errors = run("verify", file, tmp_path, "--runtime", "c", code=2)
    assert "--runtime: takes the file alone" in errors
