"""A form of file is one function and its row in two tables: the writer's and the runtime's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import seq2onnx as s2o
from seq2onnx import contract
from seq2onnx.exporting import ExportOptions, build_model, forms
from tests.conftest import built, random_data, small_network


def emit_counted(plan, weights):
    """A toy form: the dynamic graph with one more output, the number of rows."""
    graph = forms.emit_dynamic(plan, weights)
    graph.output("rows", graph.rows("x"), "int64", [1])
    return graph


@pytest.fixture
def module():
    return built(small_network(), random_data())


def counted_file(module, path):
    weights = {name: {k: v.numpy() for k, v in layer.state_dict().items()} for name, layer in module.layers.items()}
    model = build_model(module.network, weights, ExportOptions(form="counted"))
    path.write_bytes(model.SerializeToString())
    return path


def test_a_toy_form_is_one_function_and_its_rows(module, tmp_path, monkeypatch):
    monkeypatch.setitem(forms.FORMS, "counted", emit_counted)
    monkeypatch.setattr(contract, "FORMS", [*contract.FORMS, "counted"])
    path = counted_file(module, tmp_path / "counted.onnx")
    assert "rows" in [output.name for output in onnx.load(path).graph.output]
    s2o.export(module, tmp_path / "dynamic.onnx")
    sequences = random_data(5, seed=1).sequences
    expected = s2o.load(tmp_path / "dynamic.onnx").predict(sequences)
    assert np.array_equal(s2o.load(path).predict(sequences), expected)
    stream = s2o.load(path).stream()
    assert np.abs([stream.step(x) for x in sequences[0]][-1] - expected[0]).max() < 1e-6
    s2o.export(s2o.restore(path), tmp_path / "again.onnx")
    assert np.array_equal(s2o.load(tmp_path / "again.onnx").predict(sequences), expected)


def test_an_unknown_form_is_refused_by_the_writer_and_by_the_runtime(module, tmp_path, monkeypatch):
    with pytest.raises(s2o.SpecError, match="form: must be one of dynamic, .*, got 'counted'"):
        counted_file(module, tmp_path / "counted.onnx")
    assert not (tmp_path / "counted.onnx").exists()
    with monkeypatch.context() as patch:
        patch.setitem(forms.FORMS, "counted", emit_counted)
        path = counted_file(module, tmp_path / "counted.onnx")
    for opens in (s2o.load, s2o.restore):
        with pytest.raises(s2o.ModelFileError, match=r"counted.onnx: has the form 'counted'.*update seq2onnx"):
            opens(path)
