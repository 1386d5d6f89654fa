"""seq2onnx import: layers where it can, else the graph with states, else a message and no file."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

import seq2onnx as s2o
from tests.command import run
from tests.foreign import C, Graph, H, plain_lstm


def in_80_columns(text):
    return max(map(len, text.splitlines())) <= 80


@pytest.fixture(autouse=True)
def short_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def step_model() -> Graph:
    """One step and a state of its own go in, and a second input is always the same."""
    g = Graph()
    x, rate = g.input("x", ["batch", C]), g.input("rate", [], onnx.TensorProto.INT64)
    h = g.input("h", [1, "batch", H])
    x = g.op("Mul", x, g.op("Cast", rate, to=1))
    y, hn = g.lstm(g.op("Unsqueeze", x, g.ints(0)), op="GRU", h=h)
    g.dense(g.squeeze(g.squeeze(y, 1), 0), out=g.output("y"))
    g.op("Identity", hn, out=g.output("hn"))
    return g


def test_a_network_of_known_operations_becomes_layers(tmp_path):
    plain_lstm().save(tmp_path)
    out, _ = run("import", "foreign.onnx", "--out", "out.onnx")
    assert out.startswith("out.onnx:")
    assert "as layers" in out
    assert "all comparisons passed" in out
    assert "whole = chunks" in out
    assert in_80_columns(out)
    assert [layer.kind for layer in s2o.restore("out.onnx").network.layers] == [
        "sequence_input",
        "lstm",
        "fully_connected",
    ]
    out, _ = run("import", "foreign.onnx", "--out", "out.onnx", "--quiet")
    assert out == ""


def test_keep_graph_only_adds_states(tmp_path):
    plain_lstm().save(tmp_path)
    out, _ = run("import", "foreign.onnx", "--out", "out.onnx", "--keep-graph", "--axes", "BTC")
    assert "the graph of foreign.onnx with states. It does not become layers: as --keep-graph says" in " ".join(
        out.split()
    )
    assert "chunks, 29 steps" in out
    assert in_80_columns(out)
    x = [np.random.default_rng(0).normal(size=(7, C)).astype("f")]
    run("import", "foreign.onnx", "--out", "layers.onnx")
    kept, layers = s2o.load("out.onnx").predict(x)[0], s2o.load("layers.onnx").predict(x)[0]
    np.testing.assert_allclose(kept, layers, rtol=0, atol=1e-6)


def test_what_is_no_layer_keeps_its_graph_and_says_why(tmp_path):
    plain_lstm(lambda g, y: g.op("Sin", y)).save(tmp_path)
    out, _ = run("import", "foreign.onnx", "--out", "out.onnx")
    assert "It does not become layers: " in out.replace("\n", " ")
    assert "Sin" in out
    assert in_80_columns(out)
    assert s2o.verify("out.onnx").ok


def test_a_step_model_takes_its_states_and_fixed_inputs_from_options(tmp_path):
    step_model().save(tmp_path)
    options = ["--states", "h=hn", "--fixed", "rate=2"]
    out, _ = run("import", "foreign.onnx", "--out", "out.onnx", *options)
    assert "as --states says" in out.replace("\n", " ")
    assert [state.shape for state in s2o.load("out.onnx").states] == [(1, 1, H)]


def test_outputs_are_chosen_by_name(tmp_path):
    g = plain_lstm()
    g.op("Tanh", "scores", out=g.output("more"))
    g.save(tmp_path)
    for more in ([], ["--keep-graph"]):
        run("import", "foreign.onnx", "--out", "out.onnx", "--outputs", "more", *more)
        assert len(s2o.load("out.onnx").outputs) == 1


def test_what_is_neither_leaves_no_file_and_says_both_reasons(tmp_path):
    plain_lstm(lambda g, y: g.op("Sin", g.op("Sub", y, g.op("ReduceMean", y, axes=[1])))).save(tmp_path)
    _, err = run("import", "foreign.onnx", "--out", "out.onnx", code=2)
    assert "foreign.onnx: cannot become layers: " in err
    assert "It cannot keep its graph either: " in err
    _, err = run("import", "foreign.onnx", "--out", "out.onnx", "--keep-graph", code=2)
    assert "layers" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]


REFUSALS = [kind for kind in vars(s2o.errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
REFUSALS.remove(s2o.errors.WriteFailed)  # the graph cannot be written either
REFUSALS.remove(s2o.errors.Seq2OnnxWarning)  # is never raised


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("step", ["from_onnx", "export"])
def test_whatever_keeps_it_from_becoming_layers_it_keeps_its_graph(tmp_path, monkeypatch, kind, step):
    def refuse(*_, **__):
        raise kind("there is a reason")

    monkeypatch.setattr(s2o, step, refuse)
    plain_lstm().save(tmp_path)
    out, _ = run("import", "foreign.onnx", "--out", "out.onnx", "--axes", "BTC")
    assert "It does not become layers: there is a reason" in " ".join(out.split())
    assert s2o.load("out.onnx").contract.network is None


def test_more_states_than_a_network_may_have_are_a_refusal_of_both(tmp_path):
    g = Graph()
    y = g.input("x", ["batch", "time", H])
    for _ in range(51):
        y = g.sequence_lstm(y, size=H)
    g.dense(y, out=g.output("scores"))
    g.save(tmp_path)
    with pytest.raises(s2o.ImportRefused, match="at most 100 state tensors, this one has 102"):
        s2o.from_onnx("foreign.onnx", axes="BTC")
    _, err = run("import", "foreign.onnx", "--out", "out.onnx", "--axes", "BTC", code=2)
    assert "It cannot keep its graph either: " in err
    assert not (tmp_path / "out.onnx").exists()


def test_a_chain_of_hundreds_of_nodes_becomes_layers(tmp_path):
    def chain(g: Graph, y: str) -> str:
        for _ in range(600):
            y = g.op("Tanh", y)
        return y

    plain_lstm(chain).save(tmp_path)
    run("import", "foreign.onnx", "--out", "out.onnx", "--axes", "BTC")
    assert len(s2o.restore("out.onnx").network.layers) == 603


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["foreign.onnx", "--fixed", "rate"], "--fixed: expected NAME=VALUE, got 'rate'"),
        (["foreign.onnx", "--fixed", "rate=fast"], "--fixed rate: expected a number.*got 'fast'"),
        (["foreign.onnx", "--masks", "lengths"], "--masks: only for files of Keras"),
        (["model.keras", "--axes", "BTC", "--keep-graph"], "--axes, --keep-graph: only for ONNX files"),
        (["missing.onnx"], "missing.onnx: there is no such file"),
    ],
)
def test_wrong_options_and_files_are_named(tmp_path, arguments, message):
    plain_lstm().save(tmp_path)
    _, err = run("import", *arguments, "--out", "out.onnx", code=2)
    assert re.search(message, err), err
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]


def test_files_of_keras_become_layers(tmp_path, monkeypatch):
    plain_lstm().save(tmp_path)
    asked = []

    def from_keras(path, *, masks=None):
        asked.append((str(path), masks))
        return s2o.from_onnx("foreign.onnx")

    monkeypatch.setattr(s2o, "from_keras", from_keras)
    out, _ = run("import", "model.keras", "--out", "out.onnx", "--masks", "lengths")
    assert asked == [("model.keras", "lengths")]
    assert "the network of model.keras as layers" in out.replace("\n", " ")


def test_without_torch_the_graph_is_kept(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise s2o.MissingExtra("torch is not installed. Run: pip install torch")

    plain_lstm().save(tmp_path)
    monkeypatch.setattr(s2o, "from_onnx", missing)
    out, _ = run("import", "foreign.onnx", "--out", "out.onnx")
    assert "torch is not installed" in out.replace("\n", " ")
    assert s2o.verify("out.onnx").ok
