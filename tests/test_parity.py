"""verify passes for an exported file and fails for a changed one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import seq2onnx as s2o
from seq2onnx import parity
from seq2onnx.runtime.random_rows import random_sequences
from tests.conftest import CLASSES, built, random_data, small_network


def test_every_signature_passes(exported, data):
    module = s2o.restore(exported)
    report = s2o.verify(exported, module, data)
    assert report.ok
    signature = s2o.load(exported).signature
    tensors = {row.tensor for row in report.rows}
    assert tensors == {"y"} | (set() if signature == "sequence" else {"new_state_00_lstm_1_h", "new_state_01_lstm_1_c"})
    checks = {row.check for row in report.rows}
    assert ("whole = chunks, data" in checks) == (signature != "sequence")
    assert all(row.max_abs <= 1e-5 for row in report.rows)
    assert str(report).splitlines()[0].split() == ["check", "tensor", "max", "abs", "max", "rel"]
    assert str(report).endswith("all comparisons passed; tolerance: 1e-05 × max(1, largest value)")


def test_per_step_files_and_files_without_a_module_pass(per_step_file):
    assert s2o.verify(per_step_file).ok
    assert s2o.verify(per_step_file, data=random_data().sequences, seed=3).ok


def test_another_module_fails(model_file, data):
    report = s2o.verify(model_file, built(small_network(), data, seed=7))
    assert not report.ok
    assert "FAILED" in str(report)


@pytest.mark.parametrize("blocks", [(0, 1), (1, 2), (2, 3)])
def test_a_swapped_gate_in_the_file_fails(tmp_path, model_file, blocks):
    module, model = s2o.restore(model_file), onnx.load(model_file)
    tensor = next(t for t in model.graph.initializer if t.name == "lstm_1.R")
    array = numpy_helper.to_array(tensor).reshape(4, 8, 8).copy()
    array[list(blocks)] = array[list(blocks[::-1])]
    tensor.CopyFrom(numpy_helper.from_array(array.reshape(1, 32, 8), tensor.name))
    onnx.save(model, tmp_path / "swapped.onnx")
    report = s2o.verify(tmp_path / "swapped.onnx", module)
    assert {row.check for row in report.rows if not row.ok} == {"torch = onnxruntime, random"}


def test_a_small_error_fails(tmp_path, model_file):
    """A thousandth of a recurrent weight is more than rounding."""
    module, model = s2o.restore(model_file), onnx.load(model_file)
    tensor = next(t for t in model.graph.initializer if t.name == "lstm_1.R")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.001), tensor.name))
    onnx.save(model, tmp_path / "rough.onnx")
    assert not s2o.verify(tmp_path / "rough.onnx", module).ok


def test_a_row_without_steps_that_loses_its_state_fails(tmp_path, model_file):
    """The new states as onnxruntime's operator gives them, without the old ones where a row has no steps."""
    model = onnx.load(model_file)
    for node in model.graph.node:
        if node.op_type == "Where" and node.output[0].startswith("new_state"):
            node.input[2] = node.input[1]
    onnx.save(model, tmp_path / "forgets.onnx")
    failed = [row for row in s2o.verify(tmp_path / "forgets.onnx").rows if not row.ok]
    assert {row.check for row in failed} == {"torch = onnxruntime, random", "whole = chunks, random"}
    assert {row.tensor for row in failed} >= {"y", "new_state_01_lstm_1_c"}


def test_a_module_of_another_network_is_refused(model_file, data):
    other = small_network().replace({"lstm_1": s2o.LSTM(9, "last", name="lstm_1")})
    with pytest.raises(
        s2o.ShapeError, match=r"small.onnx: contains another network than the module: .*8.* in the file, .*9.* in"
    ):
        s2o.verify(model_file, built(other, data))


def test_data_with_nan_is_left_out(model_file, data):
    sequences = [x.copy() for x in data.sequences]
    sequences[2][1, 1] = np.nan
    report = s2o.verify(model_file, data=sequences)
    assert report.ok
    assert report.notes == ("1 of 12 sequences of data have NaN or infinity and were left out",)
    assert f"passed; tolerance: 1e-05 × max(1, largest value)\nnote: {report.notes[0]}" in str(report)
    assert s2o.verify(model_file, data=data.sequences).notes == ()
    with pytest.raises(s2o.DataError, match="NaN or infinity in every sequence"):
        s2o.verify(model_file, data=[np.full((3, 4), np.nan)])


@pytest.mark.parametrize(("length", "cut"), [(2, "to 2 steps"), ("shortest", "to the shortest of its batch")])
def test_the_report_says_that_predict_cuts_and_the_checks_do_not(tmp_path, data, length, cut):
    module = built(small_network(), data)
    module.policy = s2o.PaddingPolicy(sequence_length=length)
    s2o.export(module, tmp_path / "m.onnx")
    report = s2o.verify(tmp_path / "m.onnx", module, data)
    model, x = s2o.load(tmp_path / "m.onnx"), data.sequences[0]
    streamed = model.stream().step(x)
    assert report.ok
    if length == 2:
        assert not np.allclose(model.predict([x])[0], streamed)
        np.testing.assert_allclose(model.predict([x[:2]])[0], model.predict([x])[0])
    note = f"predict cuts each sequence {cut}, as in training; streams and these checks do not"
    assert report.notes == (note,)
    assert note in " ".join(str(report).split())


def test_swapped_arguments_are_named(model_file, data):
    with pytest.raises(s2o.SpecError, match=r"expected the path .* first, got SequenceModule; verify\(path, module\)"):
        s2o.verify(built(small_network(), data), model_file)


def test_a_lost_state_fails(tmp_path, model_file):
    """A file whose new cell state is the old one: right for whole sequences, wrong in chunks."""
    model = onnx.load(model_file)
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == "new_state_01_lstm_1_c":
                node.output[i] = "lost"
    model.graph.node.append(onnx.helper.make_node("Identity", ["state_01_lstm_1_c"], ["new_state_01_lstm_1_c"]))
    onnx.save(model, tmp_path / "lost.onnx")
    failed = {row.check for row in s2o.verify(tmp_path / "lost.onnx").rows if not row.ok}
    assert {"whole = steps, random", "whole = chunks, random"} <= failed


def test_a_file_that_ignores_lengths_fails(tmp_path, model_file):
    model = onnx.load(model_file)
    (node,) = [n for n in model.graph.node if n.op_type == "LSTM"]
    node.input[4] = ""
    onnx.save(model, tmp_path / "ignores.onnx")
    failed = {row.check for row in s2o.verify(tmp_path / "ignores.onnx").rows if not row.ok}
    assert {"torch = onnxruntime, random", "batch = one at a time, random"} <= failed


def test_nan_fails():
    nan, good = {"y": np.array([np.nan])}, {"y": np.array([1.0])}
    for found, reference in ((nan, good), (good, nan), (nan, nan), ({"y": np.ones((1, 1))}, good)):
        (row,) = parity.compare("check", found, reference)
        assert not row.ok
    (row,) = parity.compare("check", {"y": np.array([100.0005])}, {"y": np.array([100.0])})
    assert row.max_abs == pytest.approx(5e-4)
    assert row.max_rel == pytest.approx(5e-6)
    assert row.ok


def test_verify_does_not_change_the_module(model_file):
    module = s2o.restore(model_file).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert s2o.verify(model_file, module).ok
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_random_sequences_are_scaled_like_the_training_data(tmp_path):
    data = s2o.SequenceDataset([1000 + 50 * x for x in random_data().sequences], random_data().labels, CLASSES)
    for normalization in ("zscore", "rescale_symmetric"):
        s2o.export(built(small_network(normalization=normalization), data), tmp_path / "m.onnx")
        rows = random_sequences(s2o.load(tmp_path / "m.onnx").model, np.random.default_rng(0))
        every = np.concatenate(rows["sequence_input_1"])
        assert np.abs(every.mean(0) - data.statistics()["mean"]).max() < 200
        assert 50 < every.std() < 1000


@pytest.fixture
def reads(monkeypatch):
    """The ONNX files that are read, once for each time."""
    paths: list[Path] = []
    read_bytes = Path.read_bytes

    def counted(path):
        if path.suffix == ".onnx":
            paths.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    return paths


def test_restore_and_verify_read_a_file_once(model_file, reads):
    module = s2o.restore(model_file)
    assert reads == [model_file]
    s2o.verify(model_file)
    assert reads == [model_file] * 2
    s2o.verify(model_file, module)
    assert reads == [model_file] * 3


def test_restore_reads_a_file_once_that_it_must_run(reads):
    path = Path(__file__).parent / "old_files" / "bilstm.onnx"
    s2o.restore(path)
    assert reads == [path]


def test_the_old_names_of_reports_still_work(model_file):
    with pytest.warns(DeprecationWarning, match="ParityReport"):
        assert parity.Report is parity.ParityReport
    with pytest.warns(DeprecationWarning, match="ParityRow"):
        from seq2onnx.parity import Row
    report = s2o.verify(model_file)
    assert type(report) is parity.ParityReport
    assert {type(row) for row in report.rows} == {Row}
    with pytest.raises(AttributeError, match="Rows"):
        parity.Rows  # noqa: B018
