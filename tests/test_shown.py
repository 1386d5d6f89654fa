"""What objects look like: one plain line as repr, tables in notebooks, which hold nothing that a browser would run."""

from __future__ import annotations

import numpy as np
import pytest

import seq2onnx as s2o
from tests.conftest import random_data, small_network

LABEL = "<b onclick='x'>left</b>"


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """One of each object that users see, made from data with a label that is HTML."""
    folder = tmp_path_factory.mktemp("shown")
    given = random_data(30)
    data = s2o.SequenceDataset(given.sequences, [LABEL if label == "left" else label for label in given.labels])
    options = s2o.TrainingOptions(epochs=2, device="cpu", threads=1, progress=False)
    result = s2o.train(small_network(), data, 0.3, options=options)
    s2o.export(result.module, folder / "model.onnx")
    model = s2o.load(folder / "model.onnx")
    return {
        "network": result.module.network,
        "data": data,
        "result": result,
        "baseline": result.baseline,
        "evaluation": s2o.evaluate(model, data),
        "importance": s2o.importance(model, data, repeats=1),
        "report": s2o.verify(folder / "model.onnx", result.module, data),
        "model": model,
        "stream": model.stream(),
        "pool": model.pool(2),
    }


@pytest.mark.parametrize("name", ["network", "data", "result", "baseline", "evaluation", "report", "model", "stream"])
def test_each_has_a_line_as_repr(objects, name):
    line = repr(objects[name])
    assert line.startswith(f"{type(objects[name]).__name__}(")
    assert " at 0x" not in line
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("network", "fully_connected_1"),
        ("data", "sequences  30, "),
        ("result", "validation accuracy"),
        ("evaluation", "macro F1"),
        ("importance", "channel replaced"),
        ("report", "all comparisons passed"),
    ],
)
def test_notebooks_show_tables(objects, name, text):
    found = objects[name]._repr_html_()
    assert text in found
    assert "<b onclick" not in found
    assert ("&lt;b onclick" in found) == (name in ("data", "evaluation"))


def test_a_notebook_shows_the_curve_of_a_training(objects):
    assert '<img alt="Training curve" src="data:image/png;base64,' in objects["result"]._repr_html_()
    assert f"baseline  {objects['result'].baseline.kind}" in str(objects["result"])


def test_large_files_are_not_read_to_show_them(tmp_path, monkeypatch):
    s2o.SequenceDataset([np.zeros((3, 2), np.float32)]).save(tmp_path / "data.parquet")
    data = s2o.SequenceDataset.load(tmp_path / "data.parquet")
    monkeypatch.setattr(type(data.parts[""]), "take", None)  # reading would fail
    assert "SequenceDataset(1 sequences, 3 to 3 steps" in data._repr_html_()
