"""Mutants of all files that a user can be handed; tools/attack.py opens many more. What they have found is pinned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import seq2onnx as s2o
from seq2onnx.runtime import random_rows, session
from seq2onnx.runtime.random_rows import random_sequences
from tests.foreign import Graph, plain_lstm
from tests.mutants import NAMES
from tests.test_add_states import causal_conv
from tests.test_modelfile import FILES, changed
from tests.test_predict import on_device
from tools.attack import BAD, attack


def test_mutants_of_every_kind_of_file_end_in_the_right_answer_or_in_an_error_of_ours():
    result = attack("all", seed=1, count=2 * len(NAMES), seconds=10)
    assert not result.wrong
    assert result.outcomes.total() == result.mutants
    assert result.outcomes["refused"] > len(NAMES)
    assert result.outcomes["opened"] > 3


MANY = {
    "packages": 300,
    "sources of from_keras": 700,
    "sources of imports, bytes": 500,
    "sources of imports, graph": 800,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MANY)
def test_many_mutants_of_what_is_imported_and_packaged(kind):
    result = attack(kind, seed=2, count=MANY[kind], seconds=10)
    assert not result.wrong
    assert result.outcomes.total() == result.mutants
    assert result.outcomes["refused"] > result.mutants / 4


def test_the_table_counts_a_mutant_that_ends_as_it_must_not(tmp_path, monkeypatch):
    """A kind that crashes, hangs, or raises an error of another library is seen."""
    program = "import sys, time, os\nfrom tests import mutants\nfrom tests.data_mutants import Kind\n"
    program += "def opens(path):\n    n = int(path.read_text())\n    if n == 1: raise KeyError(1)\n"
    program += "    if n == 2: os._exit(7)\n    if n == 3:\n        while True: pass\n    return None\n"
    program += "mutants.kind_of = lambda name: Kind('f', lambda p: p.write_text('0'), opens, mutate=changed)\n"
    program += "count = iter(range(int(sys.argv[3]), 9))\n"
    program += "def changed(content, rng): return str(next(count)).encode()\n"
    program += "mutants.main(sys.argv[1], *map(int, sys.argv[2:5]), mutants.Path(sys.argv[5]))\n"
    monkeypatch.setattr("tools.attack.PROGRAM", ["-c", program])
    result = attack("made up", seed=0, count=5, seconds=1)
    assert result.outcomes == {"opened": 2}
    assert result.bad == {BAD[0]: 1, BAD[1]: 1, BAD[2]: 1}


# What mutants have found ---------------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(s2o.ModelFileError, match=match):
        s2o.load(path)


def test_restore_refuses_a_file_of_0_1_whose_stream_alone_was_changed(tmp_path):
    """Whole sequences begin with zeros as states: a state that is never read back makes no difference to them."""

    def forgetful(model):
        graph = model.graph
        name = next(entry.name for entry in graph.output if entry.name.endswith("_h"))
        state = name.removeprefix("new_")
        for node in graph.node:
            node.input[:] = ["computed" if read == name else read for read in node.input]
            node.output[:] = ["computed" if made == name else made for made in node.output]
        zero = numpy_helper.from_array(np.zeros((), "f"), "none_of_it")
        graph.initializer.append(zero)
        graph.node.append(onnx.helper.make_node("Mul", ["computed", "none_of_it"], ["nothing"]))
        graph.node.append(onnx.helper.make_node("Add", ["nothing", state], [name]))

    path = changed(tmp_path / "bad.onnx", forgetful)
    assert not s2o.verify(path).ok
    with pytest.raises(s2o.ModelFileError, match=r"bad.onnx: .* differs by"):
        s2o.restore(path)


def test_metadata_with_another_least_number_of_steps_is_refused(tmp_path):
    """verify would make sequences of so many steps."""
    path = changed(tmp_path / "bad.onnx", None, "full", lambda data: {"min_length": 10**9})
    refused(path, "has the min_length 1000000000, its layers have")

    def both(data):
        data["network"]["layers"][0]["sequence_input"]["min_length"] = 10**9
        return data | {"min_length": 10**9}

    refused(changed(tmp_path / "bad.onnx", None, "full", both), "takes sequences from 1,000,000,000 steps")


def test_verify_draws_less_where_steps_are_large(monkeypatch):
    """Twelve sequences of forty large steps would fill the memory."""
    model = s2o.load(FILES / "full.onnx").model
    usual = random_sequences(model, np.random.default_rng(0))["sequence_input_1"]
    assert (len(usual), max(map(len, usual)) > 20) == (12, True)
    monkeypatch.setattr(random_rows, "_MOST_NUMBERS", 3 * 10)
    few = random_sequences(model, np.random.default_rng(0))["sequence_input_1"]
    assert sum(map(len, few)) <= 20


def test_words_whose_numbers_are_swapped_in_the_metadata_are_refused(tmp_path):
    def swapped(data):
        ((layer, words),) = data["vocabulary"].items()
        return {"vocabulary": {layer: [words[1], words[0], *words[2:]]}}

    path = changed(tmp_path / "bad.onnx", None, "words", swapped)
    refused(path, "numbers the words of 'sequence_input_1' differently from 'word_embedding_1'")


@pytest.fixture
def added(tmp_path):
    """A function that changes a file of add_states."""
    s2o.add_states(causal_conv("pad", 3).save(tmp_path), tmp_path / "added.onnx")

    def change(how) -> Path:
        model = onnx.load(tmp_path / "added.onnx")
        how(model)
        onnx.save(model, tmp_path / "bad.onnx")
        return tmp_path / "bad.onnx"

    return change


def branches(model):
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    return {attribute.name: attribute.g for attribute in node.attribute}


@pytest.mark.parametrize("size", [None, -1, 2**40])
def test_an_output_of_add_states_with_a_wrong_size_is_refused(added, size):
    def declare(model):
        dim = next(entry for entry in model.graph.output if entry.name == "y").type.tensor_type.shape.dim
        del dim[2:]
        dim[1].Clear()
        if size is not None:
            dim[1].dim_value = size

    refused(added(declare), "the output 'y' declares the shape")


def test_an_output_whose_time_axis_has_no_name_is_refused(tmp_path):
    def unnamed(model):
        for entry in (entry for entry in model.graph.output if not entry.name.startswith("new_")):
            for dim in entry.type.tensor_type.shape.dim[1:2]:
                dim.dim_param = ""

    path = changed(tmp_path / "bad.onnx", unnamed, "activations")
    refused(path, r"the output '.*' declares the shape \('batch', None")


def test_an_output_of_add_states_that_is_declared_with_too_few_axes_is_refused(added):
    """onnxruntime merges the shape that it finds with the declared one, and reports no sizes."""

    def declare(model):
        del next(entry for entry in model.graph.output if entry.name == "y").type.tensor_type.shape.dim[2:]

    refused(added(declare), r"bad.onnx: y is computed with another shape than the file declares")


def test_a_result_that_a_branch_gives_twice_is_refused(added):
    def repeat(model):
        outputs = branches(model)["then_branch"].output
        outputs[0].name = outputs[1].name

    refused(added(repeat), "has a graph with two outputs of one name")


def test_a_chunk_without_steps_does_not_end_the_process_in_a_gru_that_nothing_guards(tmp_path):
    graph = Graph()
    graph.dense(graph.sequence_lstm(graph.input("x", ["batch", "time", 3]), op="GRU"), out=graph.output("y"))
    s2o.add_states(graph.save(tmp_path), tmp_path / "bad.onnx")
    model = onnx.load(tmp_path / "bad.onnx")
    (guard,) = (node for node in model.graph.node if node.op_type == "If")
    branch, place = branches(model)["then_branch"], list(model.graph.node).index(guard)
    results = zip(branch.output, guard.output, strict=True)
    inner = [*branch.node, *(onnx.helper.make_node("Identity", [a.name], [b]) for a, b in results)]
    nodes = [*model.graph.node[:place], *inner, *model.graph.node[place + 1 :]]
    model.graph.initializer.extend(branch.initializer)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "bad.onnx")
    stream = s2o.load(tmp_path / "bad.onnx").stream()
    stream.step(np.ones((2, 3), "f"))
    with pytest.raises(s2o.ModelFileError, match=r"bad.onnx: its GRU cannot run a chunk without steps"):
        stream.step(np.ones((0, 3), "f"))


def test_a_division_without_a_divisor_is_refused(added):
    def divide(model):
        branch = branches(model)["then_branch"]
        branch.node.insert(0, onnx.helper.make_node("Shape", ["x"], ["sizes"]))
        branch.node.insert(1, onnx.helper.make_node("Div", ["sizes"], ["half"]))

    refused(added(divide), "onnxruntime cannot open it")


def test_a_state_of_add_states_with_another_shape_than_declared_changes_nothing(added):
    def cut(model):
        node = next(n for n in branches(model)["then_branch"].node if "s2o_new_state_00_Conv_2_buf" in n.output)
        node.output[0] = "whole"
        branch = branches(model)["then_branch"]
        branch.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
        branch.initializer.append(numpy_helper.from_array(np.array([2]), "two"))
        reads = ["whole", "one", "two", "one"]
        branch.node.append(onnx.helper.make_node("Slice", reads, ["s2o_new_state_00_Conv_2_buf"]))

    stream = s2o.load(added(cut)).stream()
    with pytest.raises(s2o.ModelFileError, match=r"bad.onnx: .*new_state_00_Conv_2_buf.*"):
        stream.step(np.ones((2, 3), "f"))
    assert not any(array.any() for array in stream.state.values())


def test_a_file_of_add_states_may_not_fill_the_memory_when_it_runs(added, capfd):
    def huge(model):
        branch = branches(model)["else_branch"]
        tensor = next(t for t in branch.initializer if list(numpy_helper.to_array(t)) == [3])
        tensor.CopyFrom(numpy_helper.from_array(np.array([2**31, 2]), tensor.name))
        concat = next(n for n in branch.node if n.op_type == "Concat")
        del concat.input[1]  # there are no steps
        next(n for n in branch.node if n.op_type == "ConstantOfShape").name = "\x1b[31mred"

    path = added(huge)
    with pytest.raises(s2o.ModelFileError, match=r"may use 512 MiB at a time.*--allow-changed") as raised:
        s2o.load(path).stream().step(np.ones((0, 3), "f"))
    assert str(raised.value).replace("\n", "").isprintable()
    assert capfd.readouterr().err == ""  # onnxruntime's own log would have the name as it is


def test_a_file_of_add_states_that_is_trusted_has_no_limit(added, monkeypatch):
    settings = []
    monkeypatch.setattr(session, "_limit_memory", lambda: settings.append(1))
    monkeypatch.setattr(session.onnxruntime.SessionOptions, "add_session_config_entry", lambda *_: None)
    s2o.load(added(lambda _: None))
    assert settings == [1]
    s2o.load(added(lambda _: None), allow_changed=True)
    assert settings == [1]


def test_a_source_of_add_states_with_names_that_are_not_utf_8_is_refused(tmp_path):
    path = plain_lstm().save(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"sound", b"so\xffnd"))
    with pytest.raises(s2o.ModelFileError, match=r"foreign.onnx: is damaged: it has names that are not UTF-8"):
        s2o.add_states(path, tmp_path / "out.onnx")


def test_a_run_that_fails_with_states_on_a_device_is_an_error_of_ours(tmp_path):
    """The file promises a state of another size than it computes."""
    model = on_device(s2o.load(FILES / "full.onnx"))
    stream = model.stream()
    before = stream.step(np.ones(3, "f"))

    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("the device is gone")

    stream._on_device._session = Broken()
    with pytest.raises(s2o.ModelFileError, match=r"full.onnx: onnxruntime cannot run it .*the device is gone"):
        stream.step(np.ones(3, "f"))
    stream._on_device._session = model.session
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.ones(3, "f")), before)
