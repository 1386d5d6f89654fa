"""seq2onnx import --explain: what a file is, and by which door it comes in; the printed commands bring it in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import seq2onnx as s2o
from seq2onnx.importing.explaining import explain_keras, explain_onnx
from seq2onnx.importing.onnx import carried_states, description
from tests.command import run
from tests.foreign import C, Graph, H, K, plain_lstm
from tests.keras_files import DENSE, LSTM, archive, call, functional, layer, lstm, sequential, start, weights, write

ROOT = Path(__file__).parents[1]
LAYERS, STATES, KERAS = "As layers (from_onnx)", "With states (add_states)", "As layers (from_keras)"


@pytest.fixture(autouse=True)
def short_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def explained(graph, **given):
    """Explain a graph; return also what came of each door."""
    graph.save(Path())
    found = explain_onnx("foreign.onnx", "out.onnx", given)
    return found, {door.name: door for door in found.doors}


def image(*sizes) -> Graph:
    """Images [batch, 1, time, features] with windows over the features alone."""
    g = Graph()
    x = g.op("Conv", g.input("x", [*sizes]), g.weight(1, 1, 2, 3), pads=[1, 1, 0, 1])
    g.op("Relu", x, out=g.output("y"))
    return g


def by_rate(compared: int | None = 16000) -> Graph:
    """One step and a state in, and one of two networks by the sample rate, as Silero VAD has it. None: 0 or not."""
    g = Graph()
    x, state, rate = g.input("x", ["batch", C]), g.input("state", [1, "batch", H]), g.input("sr", [], TensorProto.INT64)
    x = g.op("Unsqueeze", x, g.ints(0))
    branches = {}
    for name in ("then_branch", "else_branch"):
        y, new = g.lstm(x, op="GRU", h=state)
        node = helper.make_node("Identity", [y], [f"{name}_y"]), helper.make_node("Identity", [new], [f"{name}_n"])
        outputs = [helper.make_tensor_value_info(f"{name}_{part}", TensorProto.FLOAT, None) for part in "yn"]
        branches[name] = helper.make_graph(node, name, [], outputs)
    if compared is None:
        chosen = g.op("Cast", rate, to=TensorProto.BOOL)
    else:
        chosen = g.op("Equal", g.op("Cast", rate, to=TensorProto.INT32), g.const(compared, np.int32))
    y, new = g.op("If", chosen, outs=2, **branches)
    g.dense(g.squeeze(g.squeeze(y, 1), 0), out=g.output("y"))
    g.op("Identity", new, out=g.output("new_state"))
    g.outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])]
    g.outputs.append(helper.make_tensor_value_info("new_state", TensorProto.FLOAT, [1, "n", None]))
    return g


def flat(rows="batch") -> Graph:
    """Four steps that are flattened."""
    g = Graph()
    x = g.op("Flatten", g.input("x", [rows, 4, C]))
    g.op("Sigmoid", g.dense(x, 4 * C), out=g.output("y"))
    return g


def two_outputs() -> Graph:
    """One output that a stream knows, and one that needs the whole sequence."""
    g = plain_lstm()
    g.op("Softmax", "scores", out=g.output("over time"), axis=1)
    return g


def stateless() -> Graph:
    """A Dense layer on each step."""
    g = Graph()
    g.dense(g.input("a name; with $signs", ["batch", "time", C]), C, out=g.output("y"))
    return g


CASES = {
    "lstm": (plain_lstm, {LAYERS: {"axes": "BTC"}, STATES: {"axes": "BTC", "keep_graph": True}}),
    "images": (lambda: image("batch", 1, "frames", 4), {LAYERS: {"axes": "BCTW"}, STATES: {"axes": "BCTW"}}),
    "rate": (by_rate, {STATES: {"fixed": {"sr": 16000}, "states": {"state": "new_state"}, "axes": "BC"}}),
    "window": (flat, {LAYERS: {"axes": "BTC", "window": 4}, STATES: {"window": 4, "keep_graph": True}}),
    "outputs": (two_outputs, {LAYERS: {"outputs": ["scores"]}, STATES: {"outputs": ["scores"]}}),
    "stateless": (stateless, {LAYERS: {"axes": "BTC"}, STATES: {"axes": "BTC"}}),
    "no layers": (lambda: plain_lstm(lambda g, y: g.op("Sin", y)), {STATES: {"axes": "BTC"}}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_door_that_works_has_a_command_that_brings_the_file_in(case, tmp_path):
    make, expected = CASES[case]
    found, doors = explained(make())
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]
    assert {name for name, door in doors.items() if door.works} == {*expected}
    text = str(found)
    for name, options in expected.items():
        assert options.items() <= doors[name].options.items()
        command = found.command(doors[name])
        assert command in text
        assert max(map(len, command.splitlines())) <= 80
        run(*shlex.split(command.replace("\\\n", ""))[1:])
        assert (s2o.load("out.onnx").contract.network is None) == (name == STATES)
        assert s2o.verify("out.onnx").ok
    run("import", "foreign.onnx", "--explain")


def test_what_stands_in_the_way_and_how_much_lies_behind_it(tmp_path):
    mean = plain_lstm(lambda g, y: g.op("Sin", g.op("Sub", y, g.op("ReduceMean", y, axes=[1]))))
    found, doors = explained(mean)
    assert not found.works
    nodes = len(mean.nodes)
    assert doors[LAYERS].behind == (2, nodes)  # MatMul and Add read what Sin gives
    assert doors[STATES].behind == (4, nodes)  # and Sub and Sin what ReduceMean gives
    assert re.match(r"Sin_\d+ \(Sin\): the operator Sin has no layer", doors[LAYERS].text)
    assert re.match(r"ReduceMean_\d+ \(ReduceMean\): mean over time", doors[STATES].text)
    out, _ = run("import", "foreign.onnx", "--explain", code=1)
    assert f"Behind it are 2 of {nodes} nodes" in out.replace("\n", " ")
    assert max(map(len, out.splitlines())) <= 80
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]


def test_two_ways_that_stop_at_different_nodes_are_no_way():
    """The logarithm of the power of frames: layers have strides and no logarithm, add_states the reverse."""
    g = Graph()
    spectrum = g.op("Conv", g.input("sound", ["batch", 1, "samples"]), g.weight(6, 1, 8), strides=[4])
    power = g.op("Clip", g.op("Mul", spectrum, spectrum), g.const(1e-10, np.float32))
    g.op("Log", power, out=g.output("y"))
    found, doors = explained(g, axes="BCT")
    assert (
        "the operator Log has no layer; add_states keeps the operator, and gives the file states if"
        in doors[LAYERS].text
    )
    assert "has a stride along time" in doors[STATES].text
    assert "from_onnx has strides, if it takes the rest of the file" in doors[STATES].text
    assert "No way takes the file: each way needs the whole file" in " ".join(str(found).split())
    found, _ = explained(plain_lstm())
    assert "No way" not in str(found)


def test_a_node_of_if_says_what_lies_behind_it():
    g = by_rate(None)
    _, doors = explained(g)
    assert "fixed={'sr': …}" in doors[LAYERS].text
    assert doors[LAYERS].behind == (5, len(g.nodes))


def test_options_of_the_command_are_used():
    by_rate(8000).save(Path())
    options = ["--fixed", "sr=16000", "--states", "state=new_state", "--axes", "BC"]
    out, _ = run("import", "foreign.onnx", "--explain", *options, "--keep-graph", "--out", "other.onnx")
    assert LAYERS not in out
    assert "compared with 8000" in out
    assert "Check" not in out  # the user has given all
    assert "--fixed sr=16000 --states state=new_state" in " ".join(out.replace("\\", "").split())
    assert "--out other.onnx" in out
    out, _ = run("import", "foreign.onnx", "--explain")
    assert "Check --fixed sr=8000 --states state=new_state: the comparison cannot" in out.replace("\n", " ")


def test_axes_that_the_file_does_not_name_are_left_to_the_user():
    found, doors = explained(image("batch", 1, "frames", 4))
    assert "Check --axes BCTW" in str(found)
    assert "may also be" not in str(found)
    found, doors = explained(image(None, 1, None, 4))
    assert doors[LAYERS].proposed == {"axes": ["BCTW", "BTWC"]}
    assert "The axes may also be BTWC" in " ".join(str(found).split())
    found, _ = explained(plain_lstm())
    assert "Check" not in str(found)  # the graph shows them
    found, doors = explained(stateless(), axes="TBC")
    assert doors[LAYERS].options["axes"] == "TBC"
    assert "Check" not in str(found)


def test_outputs_that_are_refused_are_left_out_with_the_reason():
    _, doors = explained(two_outputs())
    assert "All outputs together are refused: Softmax" in doors[STATES].text
    _, doors = explained(two_outputs(), outputs=["over time"])
    assert not doors[STATES].works


@pytest.mark.parametrize(
    ("inputs", "outputs", "pairs"),
    [
        ({"x": ["b", "t", 3]}, {"y": ["b", "t", 3]}, {}),
        ({"x": ["b", 3], "h": [1, "b", 4]}, {"y": ["b", 2], "hn": [1, "b", 4]}, {"h": "hn"}),
        ({"h": [1, "b", 4], "x": ["b", 3]}, {"hn": [1, "b", 4], "y": ["b", 2]}, {"h": "hn"}),
        (
            {"x": ["b", 3], "c_in": ["b", 4], "h_in": ["b", 4]},
            {"y": ["b", 4], "h_out": ["b", 4], "c_out": ["b", 4]},
            {"c_in": "c_out", "h_in": "h_out"},
        ),
        ({"x": ["b", "n"], "state": [2, "b", 8]}, {"y": ["b", 1], "stateN": ["i", "b", "j"]}, {"state": "stateN"}),
        ({"x": ["b", 3], "h": [1, "b", 4]}, {"y": ["b", 2], "hn": [1, "b", 5]}, {}),
        ({"x": ["b", "t", 3], "lengths": ["b"]}, {"y": ["b", "t", 3]}, {}),
        ({"x": ["b", "t", 3], "machine": ["b", 2]}, {"y": ["b", 2]}, {}),
        ({"x": ["b", 1, 3], "old": ["b", 2]}, {"y": ["b", 1, 4], "1": ["b", 2]}, {"old": "1"}),
    ],
)
def test_states_are_inputs_that_outputs_continue(inputs, outputs, pairs):
    entries = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in part.items()]
        for part in (inputs, outputs)
    ]
    assert carried_states.state_pairs(helper.make_model(helper.make_graph([], "g", *entries))) == pairs


def test_tables_count_operators_and_stored_numbers():
    g = plain_lstm(lambda g, y: g.op("Tanh", g.op("Tanh", y)))
    q = g.op("DequantizeLinear", g.const(np.full((5, 7), 3), np.int8), g.const(0.5, np.float32))
    g.op("Identity", q, out=g.output("q"))
    g.save(Path())
    model = onnx.load("foreign.onnx")
    counts = description.operators(model)
    assert counts[:2] == [("Tanh", 2), ("Transpose", 2)]
    assert sum(count for _, count in counts) == len(g.nodes)
    stored = {kind: numbers for kind, *numbers in description.weights(model)}
    assert stored["int8"] == [1, 35, 35]
    count = sum(int(np.prod(tensor.dims)) for tensor in g.weights if tensor.data_type == TensorProto.FLOAT)
    assert stored["float32"][1:] == [count, 4 * count]
    out, _ = run("import", "foreign.onnx", "--explain", "--outputs", "scores")
    assert re.search(r"sound +float32 +\[batch, time, 3\] +B T C", out)
    assert "int8           1       35     35" in out


def test_what_wrote_the_file_is_said():
    model = plain_lstm().model()
    model.producer_name, model.producer_version = "other\x1b[31m program", "1.2"
    onnx.save(model, "foreign.onnx")
    size = Path("foreign.onnx").stat().st_size
    out, _ = run("import", "foreign.onnx", "--explain")
    assert out.startswith(f"foreign.onnx: {size:,} bytes, written by other\\x1b[31m program 1.2; opset 17")


def test_a_file_of_this_package_is_refused_by_its_name():
    plain_lstm().save(Path())
    run("import", "foreign.onnx", "--out", "own.onnx")
    out, err = run("import", "own.onnx", "--explain", code=2)
    assert not out
    assert "was written by seq2onnx; open it with load" in err
    assert "`seq2onnx inspect` shows what it is" in err


def test_long_tables_are_cut():
    g = plain_lstm()
    for i in range(40):
        g.op("Identity", "scores", out=g.output(f"copy_{i}"))
    found, _ = explained(g)
    assert "copy_20" in str(found)
    assert "copy_35" not in str(found)
    assert "and 11 more" in str(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["foreign.onnx", "--explain", "--axes", "XYZ"], "axes: expected the letters B"),
        (["foreign.onnx"], "--out: expected the ONNX file to write; only --explain writes none"),
        (["damaged.onnx", "--explain"], "damaged.onnx: is not an ONNX file"),
        (["damaged.keras", "--explain"], "damaged.keras: is not a model saved by Keras"),
        (["missing.onnx", "--explain"], "missing.onnx: there is no such file"),
        (["damaged.keras", "--explain", "--axes", "BTC"], "--axes: only for ONNX files"),
    ],
)
def test_what_cannot_be_read_is_bad_input(arguments, message):
    plain_lstm().save(Path())
    for name in ("damaged.onnx", "damaged.keras"):
        Path(name).write_bytes(b"no model")
    _, err = run("import", *arguments, code=2)
    assert message in err


def test_a_file_without_inputs_is_refused_with_the_reason():
    g = Graph()
    g.op("Identity", g.weight(2, 3), out=g.output("y"))
    _, doors = explained(g)
    assert not doors[LAYERS].works
    assert "has no input beside its states" in doors[LAYERS].text


def test_files_of_keras_are_explained(tmp_path):
    archive("keras3").extract("masked.keras")
    out, _ = run("import", "masked.keras", "--explain")
    text = " ".join(out.split())
    assert re.search(r"model of the class Functional; Keras 3\.", text)
    assert "Masking 1" in text
    assert "Check --masks lengths: the comparison cannot show that this is right" in text
    assert "seq2onnx import masked.keras --masks lengths" in text
    out, _ = run("import", "masked.keras", "--explain", "--masks", "lengths")
    assert "Check" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["masked.keras"]


def test_layers_behind_one_that_is_refused_are_counted():
    dense = [layer("Dense", f"d{i}", **DENSE) for i in range(3)]
    entries = [
        start(None, 3),
        call(layer("LSTM", **LSTM), "x"),
        call(layer("Lambda"), "lstm"),
        call(dense[0], "lambda"),
    ]
    entries += [call(dense[1], "d0"), call(dense[2], "lstm")]
    arrays = lstm(3, 2) | weights("dense", (2, 2), (2,)) | weights("dense_1", (2, 2), (2,))
    write("model.keras", functional(*entries, outputs=["d1", "d2"]), arrays | weights("dense_2", (2, 2), (2,)))
    found = explain_keras("model.keras", "out.onnx")
    (door,) = found.doors
    assert door.name == KERAS
    assert door.text.startswith("lambda (Lambda): runs code")
    assert door.behind == (2, 5)
    assert found.tables[1][1:] == [("Dense", 3), ("InputLayer", 1), ("LSTM", 1), ("Lambda", 1)]
    run("import", "model.keras", "--explain", code=1)


def test_a_model_of_a_class_of_its_own_says_so():
    write("own.keras", {"class_name": "Mine", "config": {"name": "mine"}})
    out, _ = run("import", "own.keras", "--explain", code=1)
    assert "model of the class Mine" in out
    assert "is a class of its own" in out
    write("odd.keras", sequential() | {"class_name": "Mine", "config": 3})
    _, err = run("import", "odd.keras", "--explain", code=2)
    assert "is not as Keras writes it" in err


def test_the_guide_quotes_messages_as_they_are():
    guide = (ROOT / "docs/bring-your-network.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\|[^|]+\|([^|]*)\|[^|]+\|$", guide[guide.index("| you have") : guide.index("### How far")], re.M
    )
    quoted = [text for row in rows for text in re.findall("`([^`]+ [^`]+)`", row)]
    assert len(quoted) > 12
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "seq2onnx/importing").rglob("*.py"))
    joined = re.sub(r'"\n\s*f?"', "", sources)
    for text in quoted:
        pattern = re.sub(r"(…|\b\d+\b|'\w+')", "@", text)
        assert re.search(re.escape(pattern).replace("@", r"(\{[^{}]*\})"), joined), text


def test_further_inputs_are_named_as_what_they_become():
    g = Graph()
    both = g.op("Concat", g.input("x", ["b", "t", C]), g.input("z", ["b", "t", 2]), axis=2)
    g.dense(g.sequence_lstm(both, size=C + 2), out=g.output("y"))
    g.op("Add", "y", g.op("Unsqueeze", g.input("machine", ["b", K]), g.ints(1)), out=g.output("moved"))
    found, doors = explained(g)
    assert doors[LAYERS].works
    text = str(found)
    for line in (
        "x        float32  [b, t, 3]  B T C",
        "z        float32  [b, t, 2]  a sequence",
        "machine  float32  [b, 2]     a vector of the sequence",
    ):
        assert line in text
