"""Model files of strangers: what is refused before anything runs, and what opens."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import seq2onnx as s2o
from seq2onnx.exporting import build_model
from seq2onnx.modelfile import check_file
from seq2onnx.modelfile.graph_rules import _is_finite
from seq2onnx.modelfile.shapes import FLOAT16, FLOAT32
from tests.command import run
from tests.test_emission import all_plans

ROOT = Path(__file__).parent.parent
FILES = ROOT / "tests" / "old_files"
GIGABYTE = 2**30


def changed(path: Path, change, name: str = "full", metadata=None) -> Path:
    """Write a file of tests/old_files after a change of its model, or of its metadata."""
    model = onnx.load(FILES / f"{name}.onnx")
    if metadata is not None:
        entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
        data = json.loads(entry.value)
        entry.value = json.dumps(data | metadata(data))
    if change is not None:
        change(model)
    path.write_bytes(model.SerializeToString())
    return path


def ints(model, name, *values):
    model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))


def with_input(model, place, op, inputs, **attributes):
    """Put a node before the first that reads x: what it computes from x and constants is added to x."""
    model.graph.node.insert(0, helper.make_node(op, inputs, ["made"], name="made", **attributes))


def external_data(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def external_data_in_an_attribute(model):
    tensor = numpy_helper.from_array(np.ones(3, "f"), "t")
    tensor.external_data.add(key="location", value="../secret")
    model.graph.node.append(helper.make_node("Constant", [], ["made"], value=tensor))


def functions(model):
    model.functions.add(name="f", domain="d")


def sparse(model):
    model.graph.sparse_initializer.add()


def training(model):
    model.training_info.add()


def endless_loop(model):
    body = helper.make_graph([], "body", [], [])
    ints(model, "many", 2**62)
    with_input(model, 0, "Loop", ["many", ""], body=body)


def foreign_operator(model):
    with_input(model, 0, "FusedGemm", ["x"], domain="com.microsoft")


def constant_of_shape(model):
    ints(model, "size", 10**9)
    with_input(model, 0, "ConstantOfShape", ["size"])


def expanded(model):
    ints(model, "size", 10**5, 10**5)
    ints(model, "one", 1)
    with_input(model, 0, "Expand", ["one", "size"])


def counted(model):
    for name, value in (("zero", 0), ("many", 10**12), ("step", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    with_input(model, 0, "Range", ["zero", "many", "step"])


def outer_sum(model):
    for name, shape in (("column", (10**5, 1)), ("row", (1, 10**5))):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, "f"), name))
    with_input(model, 0, "Add", ["column", "row"])


def padded(model):
    ints(model, "pads", 0, 0, 0, 0, 10**9, 0)
    with_input(model, 0, "Pad", ["x", "pads"])


def divided_by_zero(model):
    for name, value in (("seven", 7), ("zero", 0)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    with_input(model, 0, "Div", ["seven", "zero"])


def not_a_number(model):
    tensor = next(t for t in model.graph.initializer if t.name == "lstm_1.W")
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[5] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def declared_too_large(model):
    model.graph.initializer[0].dims[0] = 10**9


def twice(model):
    model.graph.initializer.append(model.graph.initializer[0])


def computed_twice(model):
    model.graph.node.append(model.graph.node[0])


def names_with_control_characters(model):
    with_input(model, 0, "\x1b[31mRed", ["x"])


def graphs_in_graphs(model):
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["a"])], "inner", [], [onnx.ValueInfoProto(name="a")]
    )
    both = {"then_branch": inner, "else_branch": inner}
    outer = helper.make_graph([helper.make_node("If", ["x"], ["a"], **both)], "outer", [], inner.output)
    with_input(model, 0, "If", ["x"], then_branch=outer, else_branch=outer)


def other_attribute(model):
    next(n for n in model.graph.node if n.op_type == "LSTM").attribute.add(name="clip", type=1, f=1)


def other_batches(model):
    ints(model, "first", 0)
    with_input(model, 0, "GatherND", ["x", "first"], batch_dims=2)


def other_places(model):
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 1), np.int64), "places"))
    with_input(model, 0, "GatherElements", ["x", "places"], axis=3)


def large_steps(model):
    next(entry for entry in model.graph.input if entry.name == "x").type.tensor_type.shape.dim[2].dim_value = 2**28


def two_texts(model):
    model.metadata_props.add(key="seq2onnx", value="{}")


BOMBS = [
    (graphs_in_graphs, "has graphs in its graphs"),
    (other_attribute, "has the attribute 'clip'"),
    (other_batches, "has the attribute 'batch_dims' = 2"),
    (other_places, "has the axis 3 of 3 axes"),
    (large_steps, "takes steps of 1,073,741,824 bytes"),
    (two_texts, "has two texts in its metadata for 'seq2onnx'"),
    (external_data, "external data"),
    (external_data_in_an_attribute, "external data"),
    (functions, "contains functions"),
    (sparse, "contains sparse initializers"),
    (training, "information for training"),
    (endless_loop, "has the operator 'Loop'"),
    (foreign_operator, "has the operator 'FusedGemm' of 'com.microsoft'"),
    (constant_of_shape, "has the operator 'ConstantOfShape'"),
    (expanded, r"computes a tensor of the shape \[100000, 100000\]"),
    (counted, r"computes a tensor of the shape \[1000000000000\]"),
    (outer_sum, r"computes a tensor of the shape \[100000, 100000\]"),
    (padded, "computes a tensor of the shape"),
    (divided_by_zero, "divides integers by a number that may be 0"),
    (not_a_number, "the weights 'lstm_1.W' contain NaN or infinity"),
    (declared_too_large, "bytes of values; expected"),
    (twice, "two tensors have the name"),
    (computed_twice, "two tensors have the name"),
    (names_with_control_characters, r"'\\x1b\[31mRed'"),
]


@pytest.mark.parametrize(("change", "message"), BOMBS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_files_of_seq2onnx_do_not_have_is_refused_before_it_runs(tmp_path, change, message, monkeypatch):
    path = changed(tmp_path / "bad.onnx", change)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)  # nothing may run
    for opens in (s2o.load, s2o.restore):
        with pytest.raises(s2o.ModelFileError, match=f"(?s)bad.onnx: .*{message}") as caught:
            opens(path)
        assert len(str(caught.value)) <= 2000
        assert str(caught.value).isprintable()


def test_a_field_that_onnx_may_get_later_is_refused(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes((FILES / "full.onnx").read_bytes() + b"\xa0\x06\x01")  # field 100: the number 1
    for opens in (s2o.load, s2o.restore):
        with pytest.raises(s2o.ModelFileError, match=r"bad.onnx: contains a field 100 in the file"):
            opens(path)


def test_a_file_of_more_than_2_gb_is_not_read(tmp_path):
    path = tmp_path / "bad.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    for opens in (s2o.load, s2o.restore, s2o.verify):
        with pytest.raises(s2o.ModelFileError, match=r"bad.onnx: has 2,147,483,648 bytes"):
            opens(path)


def test_states_that_fill_the_memory_are_refused(tmp_path):
    """In a file that another program may have changed, the graph does not tell."""

    def declare(model):
        for entry in (*model.graph.input, *model.graph.output):
            if entry.name.endswith("state_00_lstm_1_h"):
                entry.type.tensor_type.shape.dim[1].dim_value = 2**26

    huge = states(lambda s: [s[0] | {"shape": [None, 2**26]}, s[1]])
    path = changed(tmp_path / "bad.onnx", declare, "full", huge)
    with pytest.raises(s2o.ModelFileError, match="the states of one stream take 536,870,"):
        s2o.load(path, allow_changed=True)


@pytest.mark.parametrize("change", [external_data, external_data_in_an_attribute, functions, sparse, not_a_number])
def test_external_data_and_weights_that_are_not_finite_are_refused_in_changed_files_too(tmp_path, change):
    path = changed(tmp_path / "bad.onnx", change)
    for opens in (s2o.load, s2o.restore):
        with pytest.raises(s2o.ModelFileError, match=r"bad.onnx: "):
            opens(path, allow_changed=True)


def states(change):
    return lambda data: {"states": change([dict(state) for state in data["states"]])}


def swap(a, b):
    a["out"], b["out"] = b["out"], a["out"]
    return [a, b]


METADATA = [
    ("full", {"classes": ["a", "b"]}, "has 2 classes, but y has 3 scores"),
    ("full", {"classes": ["a", "b", "a"]}, "classes is .*expected a list of different"),
    ("full", {"signature": "stream"}, r"the graph reads \['lengths'\]"),
    ("full", {"signature": "sequence"}, "has states and the signature 'sequence'"),
    ("full", {"signature": "other"}, "signature is 'other'; expected"),
    ("full", {"min_length": "3"}, "min_length is '3'; expected a whole number"),
    ("full", {"channels": ["a"]}, "names 1 channels"),
    ("full", {"closed_loop": 3}, "promises a closed loop of 3 steps"),
    ("closed_loop", {"closed_loop": 3}, "promises a closed loop of 3 steps"),
    ("full", {"data_policy": {"sequence_length": 10**12}}, "sequence_length: must be a whole number from 1"),
    ("full", {"data_policy": {"sequence_length": 10**9, "mask_padding": False}}, "pads every sequence to"),
    ("full", {"data_policy": {"padding_value": "a"}}, "wrong data_policy"),
    ("full", {"data_policy": {"more": 1}}, "wrong data_policy"),
    ("full", {"sample_rate": float("inf")}, "metadata is damaged"),
    ("full", {"vocabulary": {"x": [1]}}, "vocabulary is"),
    ("full", {"network": {"layers": [{"lstm": 3}]}}, "network is"),
    ("full", {"network": {"layers": 7}}, "network is"),
    ("bilstm", {"signature": "full"}, "reads sequences from their end"),
    ("strided_same", {"signature": "full"}, "has no state in it"),
    ("unpadded", {"signature": "full"}, "has no state in it"),
    ("full", states(lambda s: swap(*s)), "state 0 reads"),
    ("full", states(lambda s: [s[0], s[0], s[1]]), "state 1 reads"),
    ("full", states(lambda s: s[:1]), r"the graph reads \['state_01_lstm_1_c'\]"),
    ("full", states(lambda s: [s[0] | {"shape": [None, 10**9]}, s[1]]), "promises the tensor"),
    ("full", states(lambda s: [s[0] | {"dtype": "int32"}, s[1]]), "promises the tensor"),
    ("full", states(lambda s: [s[0] | {"shape": 3}, s[1]]), "metadata is damaged"),
]


METADATA += [
    (name, {"delay_steps": delay}, f"has the delay_steps {delay}, its layers")
    for name in ("full", "strided_same", "lookahead", "lookahead_stream", "branches_lookahead", "closed_loop", "words")
    for delay in (1, 1000)
]
METADATA += [
    ("lookahead", lambda data: {"options": {"lookahead": False}}, "lookahead=False.*has an input 'end'"),
    ("lookahead", {"delay_steps": 0}, "has the delay_steps 0, its layers 3"),
    ("full", lambda data: {"options": {"lookahead": True}}, "lookahead=True.*has no input 'end'"),
    ("lookahead", {"signature": "sequence", "states": []}, ""),
]


@pytest.mark.parametrize(("name", "metadata", "message"), METADATA)
def test_metadata_that_the_graph_does_not_keep_is_refused(tmp_path, name, metadata, message):
    make = metadata if callable(metadata) else lambda data: metadata
    path = changed(tmp_path / "bad.onnx", None, name, make)
    for opens in (s2o.load, s2o.restore):
        with pytest.raises(s2o.ModelFileError, match=f"bad.onnx: .*{message}"):
            opens(path)


def test_new_states_that_are_swapped_between_layers_are_refused(tmp_path):
    path = tmp_path / "swapped.onnx"
    layers = [s2o.SequenceInput(3), s2o.LSTM(4), s2o.LSTM(4, "last")]
    s2o.export(s2o.build(s2o.Network(layers)), path)
    model = onnx.load(path)
    names = {"new_state_01_lstm_1_c": "new_state_03_lstm_2_c", "new_state_03_lstm_2_c": "new_state_01_lstm_1_c"}
    for node in model.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
    onnx.save(model, path)
    with pytest.raises(s2o.ModelFileError, match=r"'new_state_03_lstm_2_c' does not depend on 'state_03_lstm_2_c'"):
        s2o.load(path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format_version": 1' + "0" * 5000 + "}", '{"a": 1e400}', '{"a": NaN}']
)
def test_json_that_is_deep_or_has_no_finite_numbers_is_refused(tmp_path, text):
    def metadata(model):
        next(p for p in model.metadata_props if p.key == "seq2onnx").value = text

    path = changed(tmp_path / "bad.onnx", metadata)
    for opens in (s2o.load, s2o.restore):
        with pytest.raises(s2o.ModelFileError, match=r"bad.onnx: its seq2onnx metadata is damaged"):
            opens(path)


def test_a_file_that_is_also_in_onnxruntime_s_own_format_is_read_as_onnx(tmp_path):
    """onnxruntime takes bytes with ORTM at the fifth place for a file in its own format, whose rules nobody checks."""
    content = (FILES / "full.onnx").read_bytes()
    assert content[:2] == b"\x08\x08"
    path = tmp_path / "both.onnx"
    path.write_bytes(b"\x08\x08\x32\x04ORTM" + content[2:])
    assert path.read_bytes()[4:8] == b"ORTM"
    x = [np.ones((4, 3), "f")]
    np.testing.assert_array_equal(s2o.load(path).predict(x), s2o.load(FILES / "full.onnx").predict(x))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_folders_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe.onnx", "is a pipe"),
        (Path("/dev/zero"), "pipe"),
    ):
        for opens in (s2o.load, s2o.restore):
            with pytest.raises(s2o.ModelFileError, match=message):
                opens(path)


@pytest.mark.parametrize(("kind", "largest", "dtype"), [("<f4", 3e38, FLOAT32), ("<f2", 65504, FLOAT16)])
def test_every_number_that_is_not_finite_is_found(kind, largest, dtype):
    for bad in (np.nan, np.inf, -np.inf, -np.nan):
        for place in (0, 9000, 19_999):
            array = np.full(20_000, largest, kind)
            assert _is_finite(array.tobytes(), 0, array.nbytes, dtype)
            array[place] = bad
            assert not _is_finite(b"\0" + array.tobytes(), 1, 1 + array.nbytes, dtype)


def test_whatever_the_layers_emit_opens():
    """The table of operators, with their sizes, covers every example of every layer in every form and signature."""
    rng = np.random.default_rng(0)
    for plan in all_plans():
        weights = {
            layer.label: {
                name: rng.normal(size=weight.shape).astype("f")
                for name, weight in layer.weights(*plan.network.signals_into(layer.label)).items()
            }
            for layer in plan.network.layers
        }
        check_file(build_model(plan.network, weights, plan.options).SerializeToString(), "file")


def optimized(path: Path, out: Path) -> Path:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return out


def test_a_file_that_another_program_optimized_opens_if_the_user_says_so(tmp_path):
    path = optimized(ROOT / "models" / "digits_conv" / "model.onnx", tmp_path / "optimized.onnx")
    with pytest.raises(
        s2o.ModelFileError, match=r"optimized.onnx: .*allow_changed=True, or --allow-changed, and prove it with verify"
    ):
        s2o.load(path)
    original, model = s2o.load(ROOT / "models" / "digits_conv" / "model.onnx"), s2o.load(path, allow_changed=True)
    x = [np.random.default_rng(0).normal(size=(20, *original.inputs[0].shape)).astype("f")]
    np.testing.assert_allclose(model.predict(x), original.predict(x), rtol=0, atol=1e-5)


def test_every_command_opens_such_a_file_with_allow_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2onnx.reporting.facts.SECONDS", 0.001)
    for name in ("POOL_SIZES", "BATCH_SIZES"):  # seq2onnx.cli.bench is the function
        monkeypatch.setattr(sys.modules["seq2onnx.cli.bench"], name, (1,))
    original = ROOT / "models" / "digits_conv"
    path, data = optimized(original / "model.onnx", tmp_path / "optimized.onnx"), original / "test_slice.npz"
    commands = [("inspect", path), ("predict", path, data), ("evaluate", path, data), ("stream", path)]
    commands += [("verify", path), ("bench", path, "--seconds", "0.001"), ("report", path)]
    for command in commands:
        assert "or --allow-changed" in run(*command, code=2)[1]
        run(*command, "--allow-changed")
    assert run("predict", path, data, "--allow-changed") == run("predict", original / "model.onnx", data)


def tanh_instead_of_softmax(model):
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Tanh"
            del node.attribute[:]


@pytest.fixture
def new_file(model_file, tmp_path):
    """A file that this version wrote, after a change."""

    def write(change, emission=None):
        model = onnx.load(model_file)
        change(model)
        entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
        if emission is not None:
            entry.value = json.dumps(json.loads(entry.value) | {"emission": emission})
        (tmp_path / "new.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "new.onnx"

    return write


@pytest.mark.parametrize("emission", [None, 0])
def test_restore_refuses_a_graph_that_is_not_that_of_its_network(new_file, emission):
    path = new_file(tanh_instead_of_softmax, emission)
    with pytest.raises(s2o.ModelFileError, match=r"new.onnx: .*allow_changed=True"):
        s2o.restore(path)
    assert not s2o.verify(path).ok
    s2o.load(path)
    s2o.restore(path, allow_changed=True)


def test_restore_refuses_the_smallest_change(new_file):
    def other_constant(model):
        tensor = next(t for t in model.graph.initializer if t.name.startswith("constant_") and t.data_type == 1)
        array = numpy_helper.to_array(tensor) * np.float32(1.001)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    def other_word_in_an_attribute(model):
        node = next(n for n in model.graph.node if n.op_type == "Softmax")
        node.attribute[0].i = 0

    for change in (other_constant, other_word_in_an_attribute):
        with pytest.raises(s2o.ModelFileError, match=r"new.onnx: "):
            s2o.restore(new_file(change))


def dead_node(model):
    model.graph.node.insert(0, helper.make_node("Identity", ["x"], ["more"], name="more"))


def dead_copy_of_a_node(model):
    node = onnx.NodeProto()
    node.CopyFrom(next(n for n in model.graph.node if n.op_type == "LSTM"))
    node.name, node.output[:] = "more", [f"{name}_more" if name else "" for name in node.output]
    model.graph.node.append(node)


def dead_initializer(model):
    ints(model, "more", 1, 2)


@pytest.mark.parametrize("change", [dead_node, dead_copy_of_a_node, dead_initializer])
def test_restore_refuses_what_no_output_needs(new_file, change):
    path = new_file(change)
    s2o.load(path)
    with pytest.raises(s2o.ModelFileError, match=r"more' .*is not in its network.*allow_changed=True"):
        s2o.restore(path)
    s2o.restore(path, allow_changed=True)


def test_restore_refuses_what_no_output_needs_in_an_inner_graph(tmp_path):
    path = tmp_path / "new.onnx"
    network = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4), s2o.FullyConnected(3)])
    s2o.export(s2o.build(network), path, closed_loop=4)
    model = onnx.load(path)
    bodies = [entry.g for node in model.graph.node for entry in node.attribute if entry.HasField("g")]
    bodies[0].node.insert(0, helper.make_node("Identity", [bodies[0].node[0].input[0]], ["more"], name="more"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match=r"the node 'more' .Identity. is not in its network"):
        s2o.restore(path)


def test_other_names_and_another_order_restore(new_file, model_file):
    def rename(model):
        names = {name: f"n{i}" for i, name in enumerate(n for node in model.graph.node for n in node.output)}
        kept = {entry.name for entry in model.graph.output}
        for node in model.graph.node:
            node.name = ""
            node.input[:] = [names.get(n, n) if n not in kept else n for n in node.input]
            node.output[:] = [names.get(n, n) if n not in kept else n for n in node.output]
        model.graph.initializer.extend(reversed([model.graph.initializer.pop() for _ in range(3)]))

    import torch

    mine, theirs = s2o.restore(new_file(rename)).state_dict(), s2o.restore(model_file).state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_sizes_that_a_network_only_declares_fill_no_memory(tmp_path):
    """restore and verify build the network of the metadata."""

    def huge(data):
        data["network"]["layers"][1]["lstm"]["hidden_size"] = 10**9
        return data

    path = changed(tmp_path / "bad.onnx", None, "full", huge)
    with pytest.raises(s2o.ModelFileError, match="at most 1,048,576 is allowed"):
        s2o.restore(path)


def test_a_changed_entry_of_the_cache_is_written_again(tmp_path):
    source, x = FILES / "full.onnx", [np.ones((4, 3), "f")]
    expected = s2o.load(source, cache=tmp_path).predict(x)
    (entry,) = tmp_path.iterdir()
    s2o.load(FILES / "gru_after.onnx", cache=tmp_path / "other")
    (another,) = (tmp_path / "other").iterdir()
    for content in (another.read_bytes()[:-32], another.read_bytes()[:-32] + entry.read_bytes()[-32:]):
        entry.write_bytes(content)
        np.testing.assert_array_equal(s2o.load(source, cache=tmp_path).predict(x), expected)
