"""Foreign files and files of add_states are untrusted: damage, bombs and tricks end in an error of ours."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import seq2onnx as s2o
from seq2onnx.importing.onnx import graph_parts, size_limits, tracing
from seq2onnx.importing.states import step_rules, walk as surgery
from seq2onnx.modelfile import foreign_rules
from tests.foreign import C, Graph, H, plain_lstm
from tests.test_add_states import refused


def test_broken_files_and_files_with_weights_elsewhere(tmp_path):
    path, out = plain_lstm().save(tmp_path), tmp_path / "out.onnx"
    whole = path.read_bytes()
    for content in (b"", b"no", whole[: len(whole) // 2], whole[:-3] + b"\xff\xff\xff"):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises((s2o.ModelFileError, s2o.ImportRefused)):
            s2o.add_states(tmp_path / "broken.onnx", out)
    model = onnx.load(path)
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "external.onnx")
    with pytest.raises(s2o.ModelFileError, match="in another file, which is not read"):
        s2o.add_states(tmp_path / "external.onnx", out)
    with pytest.raises(s2o.ModelFileError, match="is a folder"):
        s2o.add_states(tmp_path, out)
    with pytest.raises(FileNotFoundError):
        s2o.add_states(tmp_path / "nothing.onnx", out)
    assert not out.exists()


def _doubled(g: Graph, y: str, axis: int) -> str:
    for _ in range(50):
        y = g.op("Concat", y, y, axis=axis)
    return y


BOMBS = {
    "a constant": lambda g, y: g.op("Add", y, g.op("ReduceMax", g.op("ConstantOfShape", g.ints(2**20, 2**20)))),
    "a computed constant": lambda g, y: g.op(
        "Add",
        y,
        g.op(
            "ReduceMax",
            g.op(
                "ConstantOfShape",
                g.op("Cast", g.op("Mul", g.op("Exp", g.const([20.0, 20.0], "float32")), g.const(np.float32(9))), to=7),
            ),
        ),
    ),
    "a range": lambda g, y: g.op(
        "Add", y, g.op("ReduceMax", g.op("Range", *(g.const(np.float32(v)) for v in (0, 1e12, 1))))
    ),
    "doublings of the data": lambda g, y: g.op("Mul", g.weight(H), g.op("ReduceMax", _doubled(g, y, 2), axes=[2])),
    "doublings of a weight": lambda g, y: g.op("Add", y, g.op("ReduceMax", _doubled(g, g.weight(2), 0))),
    "a tile": lambda g, y: g.op("Mul", g.weight(H), g.op("ReduceMax", g.op("Tile", y, g.ints(1, 1, 2**40)), axes=[2])),
    "an expansion": lambda g, y: g.op("ReduceMax", g.op("Expand", y, g.ints(2**40, 1, 1, 1)), axes=[0], keepdims=0),
    "a loop": lambda g, y: _loop(g, y),
}


def _loop(g: Graph, y: str) -> str:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("a", TensorProto.FLOAT, [1])],
        [info("on", TensorProto.BOOL, []), info("b", TensorProto.FLOAT, [1])],
    )
    return g.op("Add", y, g.op("Loop", g.const(2**60, np.int64), g.const(True), g.weight(1), body=body))


def test_a_division_of_integers_by_zero_does_not_end_the_process(tmp_path):
    def divided(g: Graph, y: str) -> str:
        steps = g.op("Shape", y, start=1, end=2)
        return g.op("Add", y, g.op("Cast", g.op("Div", steps, g.op("Sub", steps, steps)), to=TensorProto.FLOAT))

    refused(plain_lstm(divided), tmp_path, "Div.*divides integers by a number that may be 0", axes="BTC")


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_asks_for_much_memory_or_time_is_refused_at_once(tmp_path, name):
    refused(plain_lstm(BOMBS[name]), tmp_path, r"(computes a tensor|not known before it runs)", axes="BTC")


def test_many_tensors_that_are_large_together_are_refused(tmp_path):
    def large(g: Graph, y: str) -> str:
        for _ in range(40):
            y = g.op("Add", y, g.op("ReduceMax", g.op("Tile", y, g.ints(1, 1, 2**16)), axes=[2]))
        return y

    refused(plain_lstm(large), tmp_path, "Tile.*computes, with the nodes before it, more than", axes="BTC")


def test_sizes_that_are_computed_one_after_another_take_no_endless_time(tmp_path, monkeypatch):
    def computed(g: Graph, y: str) -> str:
        for _ in range(10):
            y = g.op(
                "Slice", g.op("Tile", y, g.op("Mul", g.ints(1, 1, 1), g.ints(1, 1, 2))), g.ints(0), g.ints(H), g.ints(2)
            )
        return y

    s2o.add_states(plain_lstm(computed).save(tmp_path), tmp_path / "out.onnx", axes="BTC")
    assert s2o.verify(tmp_path / "out.onnx").ok
    (tmp_path / "out.onnx").unlink()
    monkeypatch.setattr(size_limits, "MOST_WORK", 2**7)
    refused(plain_lstm(computed), tmp_path, "Tile.*has a size that is computed, as too many others", axes="BTC")


def test_long_lists_of_an_attribute_are_refused(tmp_path):
    graph = plain_lstm(lambda g, y: g.op("ReduceMax", y, axes=[2] * 1001))
    refused_by_all(graph.model(), tmp_path, r"ReduceMax.*has 1,001 numbers as its axes; at most 1,000 can be")


def test_mutated_files_end_in_an_error_of_ours(tmp_path):
    path, rng, refused = plain_lstm().save(tmp_path), np.random.default_rng(0), 0
    whole = path.read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            content[at] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            s2o.add_states(path, tmp_path / "out.onnx", axes="BTC")
        except s2o.Seq2OnnxError:
            refused += 1
            continue
        assert s2o.verify(tmp_path / "out.onnx").ok
    assert 20 < refused < 60


def with_functions(*functions: list[helper.NodeProto], call: str = "f0"):
    """An LSTM whose output goes through functions a → b of a file; nodes of domain "own" call f0, f1, …"""
    model = plain_lstm(lambda g, y: g.op(call, y, domain="own")).model(own=1)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for i, nodes in enumerate(functions):
        model.functions.append(helper.make_function("own", f"f{i}", ["a"], ["b"], nodes, imports))
    return model


def refused_by_all(model, folder, says):
    path = folder / "foreign.onnx"
    path.write_bytes(model.SerializeToString())
    for run in (lambda: s2o.from_onnx(path), lambda: s2o.add_states(path, folder / "out.onnx")):
        with pytest.raises(s2o.ModelFileError, match=says):
            run()


def elsewhere() -> TensorProto:
    """Weights in a pipe: who reads them never ends."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[H], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="pipe")
    return tensor


def sparse(values: TensorProto | None = None, dims: tuple[int, ...] = (H,)) -> onnx.SparseTensorProto:
    found = onnx.SparseTensorProto(dims=dims)
    found.values.CopyFrom(values or numpy_helper.from_array(np.ones(1, "f"), "w"))
    found.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64)))
    return found


def adding(constant: helper.NodeProto) -> list[helper.NodeProto]:
    """The nodes of a function that adds a constant w."""
    return [constant, helper.make_node("Add", ["a", "w"], ["b"])]


def branches(nodes: list[helper.NodeProto], result: str) -> helper.NodeProto:
    info = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
    branch = helper.make_graph(nodes, "branch", [], [info])
    return helper.make_node("If", ["yes"], ["b"], then_branch=branch, else_branch=branch)


def in_a_branch(nodes: list[helper.NodeProto]) -> list[helper.NodeProto]:
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    return [yes, branches(nodes, nodes[-1].output[0])]


def default_of_an_attribute(model):
    attribute = helper.make_attribute("weights", elsewhere())
    model.functions[0].attribute_proto.append(attribute)


def hidden_behind_another_value(model):
    entry = helper.make_attribute("value", numpy_helper.from_array(np.ones(H, "f")))
    entry.tensors.append(elsewhere())
    model.graph.node[0].attribute.append(entry)


def of_a_sparse_initializer(model):
    model.graph.sparse_initializer.append(sparse(elsewhere()))


def of_a_training_graph(model):
    model.training_info.add().initialization.initializer.append(elsewhere())


def constant(**value) -> helper.NodeProto:
    return helper.make_node("Constant", [], ["w"], **value)


PLAIN = [helper.make_node("Tanh", ["a"], ["b"])]
FILES = {
    "of a constant of a function": (lambda: with_functions(adding(constant(value=elsewhere()))), "in another file"),
    "of a branch of a function": (
        lambda: with_functions(in_a_branch([constant(value=elsewhere()), helper.make_node("Add", ["a", "w"], ["c"])])),
        "in another file",
    ),
    "of a function that is not called": (
        lambda: with_functions(PLAIN, adding(constant(value=elsewhere()))),
        "in another file",
    ),
    "of a sparse constant": (
        lambda: with_functions(adding(constant(sparse_value=sparse(elsewhere())))),
        "in another file|sparse",
    ),
    "a sparse constant that is large": (
        lambda: with_functions(adding(constant(sparse_value=sparse(dims=(2**40,))))),
        "sparse",
    ),
    "a list of sparse constants": (
        lambda: with_functions([helper.make_node("Tanh", ["a"], ["b"], values=[sparse()])]),
        "sparse",
    ),
    "a large constant of a function": (
        lambda: with_functions(adding(constant(value=TensorProto(data_type=1, dims=[2**40])))),
        "declares weights",
    ),
}
CHANGES = (default_of_an_attribute, hidden_behind_another_value, of_a_sparse_initializer, of_a_training_graph)
FILES |= {change.__name__: (change, "in another file|sparse|training") for change in CHANGES}


@pytest.mark.parametrize("name", FILES)
def test_weights_in_other_files_are_refused_wherever_they_stand(tmp_path, monkeypatch, name):
    make, says = FILES[name]
    monkeypatch.chdir(tmp_path)  # onnxruntime reads relative to it
    (tmp_path / "pipe").write_bytes(bytes(1024))
    if make in CHANGES:
        make(model := with_functions(PLAIN))
    else:
        model = make()
    refused_by_all(model, tmp_path, says)


def test_functions_whose_nodes_double_are_counted_and_not_written_out(tmp_path):
    def calls(*names: str) -> list[helper.NodeProto]:
        tensors = ["a", *(f"t{i}" for i in range(len(names) - 1)), "b"]
        return [
            helper.make_node(f, [x], [y], domain="own") for f, x, y in zip(names, tensors, tensors[1:], strict=False)
        ]

    small = with_functions(PLAIN, calls("f0", "f0"), calls("f1", "f1"), call="f2")
    (tmp_path / "small.onnx").write_bytes(small.SerializeToString())
    s2o.add_states(tmp_path / "small.onnx", tmp_path / "out.onnx")
    assert not onnx.load(tmp_path / "out.onnx").functions
    doubled = with_functions(PLAIN, *(calls(f"f{i}", f"f{i}") for i in range(23)), call="f23")
    refused_by_all(doubled, tmp_path, r"its function 'f13' has more than 20,000 nodes")
    in_branches = with_functions(PLAIN, *(in_a_branch(calls(f"f{i}")) for i in range(23)), call="f23")
    refused_by_all(in_branches, tmp_path, r"its function 'f1\d' has more than (20,000 nodes|32 levels)")
    circle = with_functions(calls("f1"), calls("f2"), calls("f0"))
    refused_by_all(circle, tmp_path, r"its function 'f\d' calls itself")
    deep = with_functions(PLAIN, *(calls(f"f{i}") for i in range(10_000)), call="f10000")
    refused_by_all(deep, tmp_path, r"its function 'f32' has more than 32 levels")
    large = adding(constant(value=numpy_helper.from_array(np.ones((2**16, H), "f"))))
    repeated = with_functions(large, calls(*["f0"] * 40), calls(*["f1"] * 40), call="f2")
    refused_by_all(repeated, tmp_path, r"its function 'f2' has more than [\d,]+ bytes of nodes")


def test_a_file_that_looks_like_onnxruntime_s_own_format_is_read_as_onnx(tmp_path):
    """onnxruntime takes bytes with ORTM at the fifth place for a file in its own format, whose rules nobody checks."""
    model = plain_lstm().model()
    model.producer_name = "ORTM"
    path = tmp_path / "foreign.onnx"
    path.write_bytes(model.SerializeToString())
    assert path.read_bytes()[4:8] == b"ORTM"
    s2o.add_states(path, tmp_path / "out.onnx")
    assert s2o.verify(tmp_path / "out.onnx").ok


def test_a_graph_of_very_many_nodes_is_refused_at_once(tmp_path):
    model = plain_lstm().model()
    model.graph.node.extend(helper.make_node("Tanh", ["scores"], [f"n{i}"]) for i in range(20_000))
    refused_by_all(model, tmp_path, r"its graph has more than 20,000 nodes")


# What `load` checks in a file of add_states


def test_the_tables_agree():
    allowed = {name.decode() for name in foreign_rules.OPERATORS}
    assert {*step_rules.RULES, *surgery.HANDLERS, *tracing.RECURRENT} <= allowed
    assert {name.decode() for name in foreign_rules.STAYS} == graph_parts.STAYS


def _branch(model):
    (node,) = [node for node in model.graph.node if node.op_type == "If"]
    return next(a.g for a in node.attribute if a.name == "then_branch")


def _loops(model):
    path = [node for node in plain_lstm(BOMBS["a loop"]).nodes if node.op_type == "Loop"]
    _branch(model).node.append(path[0])


def _large_constant(model):
    branch = _branch(model)
    branch.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20]), "large"))
    branch.node.append(helper.make_node("ConstantOfShape", ["large"], ["zeros"], name="bomb"))


def _own_operator(model):
    _branch(model).node.append(helper.make_node("Gelu", ["x"], ["z"], domain="com.microsoft", name="other"))


def _not_a_number(model):
    tensor = next(t for t in model.graph.initializer if t.data_type == 1)
    array = numpy_helper.to_array(tensor).copy()
    array.ravel()[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _elsewhere(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _cut(model):
    tensor = next(t for t in model.graph.initializer if len(t.raw_data) > 8)
    tensor.raw_data = tensor.raw_data[:-4]


def _division(model):
    branch = _branch(model)
    nodes = [("Shape", ["x"], "n"), ("Sub", ["n", "n"], "zero"), ("Div", ["n", "zero"], "never")]
    branch.node.extend(helper.make_node(op, read, [out], name=out) for op, read, out in nodes)


def _other_states(model):
    (entry,) = [entry for entry in model.metadata_props if entry.key == "seq2onnx"]
    contract = json.loads(entry.value)
    contract["states"].reverse()
    entry.value = json.dumps(contract)


def _no_outputs(model):
    (entry,) = [entry for entry in model.metadata_props if entry.key == "seq2onnx"]
    contract = json.loads(entry.value)
    del contract["outputs"]
    entry.value = json.dumps(contract)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_loops, "operator 'Loop'|has a graph in it"),
        (_large_constant, "bomb.*does not depend on data"),
        (_own_operator, "com.microsoft"),
        (_not_a_number, "contain NaN"),
        (_elsewhere, "in another file|other files"),
        (_cut, "bytes of values"),
        (_division, "never.*divides integers"),
        (_other_states, "state 0 reads"),
        (_no_outputs, "names no inputs, or outputs"),
    ],
)
def test_a_file_of_add_states_that_someone_changed_is_not_opened(tmp_path, change, match):
    path = tmp_path / "stream.onnx"
    s2o.add_states(plain_lstm().save(tmp_path), path)
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match=match):
        s2o.load(path)


def test_a_size_of_minus_1_means_any(tmp_path):
    s2o.add_states(plain_lstm(batch=-1, time=-1).save(tmp_path), tmp_path / "out.onnx")
    assert s2o.load(tmp_path / "out.onnx").predict([np.zeros((n, 3), np.float32) for n in (4, 7)])[1].shape[0] == 7


def test_more_steps_than_can_be_compared_are_refused(tmp_path):
    path = plain_lstm(time=2**40).save(tmp_path)
    with pytest.raises(s2o.ImportRefused, match=r"'sound' takes 1,099,511,627,776 steps and no other number"):
        s2o.add_states(path, tmp_path / "out.onnx", axes="BTC")
    assert not (tmp_path / "out.onnx").exists()


def test_a_negative_number_of_features_is_an_error_of_ours(tmp_path):
    model = plain_lstm().model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -5
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises((s2o.ImportRefused, s2o.ModelFileError)):
        s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "out.onnx")


def test_results_with_other_steps_than_x_are_refused(tmp_path):
    s2o.add_states(plain_lstm().save(tmp_path), tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    for node in model.graph.node:
        node.output[:] = ["once" if name == "y" else name for name in node.output]
    model.graph.node.append(helper.make_node("Concat", ["once", "once"], ["y"], axis=1))
    onnx.save(model, tmp_path / "twice.onnx")
    twice = s2o.load(tmp_path / "twice.onnx")
    x = np.zeros((5, 3), np.float32)
    for run in (lambda: twice.predict([x]), lambda: twice.stream().step(x)):
        with pytest.raises(s2o.ModelFileError, match=r"y has the shape \[1, 10, .*its graph was changed"):
            run()


def test_an_initial_state_without_numbers_is_refused(tmp_path):
    g = Graph()
    h = g.op("Slice", g.const(np.ones((1, 1, H), np.float32)), g.ints(0), g.ints(0), g.ints(2))
    g.dense(g.sequence_lstm(g.input("x", ["batch", "time", C]), h=h, c=h), out=g.output("y"))
    refused(g, tmp_path, "LSTM_.* cannot be followed")


def test_a_constant_with_two_attributes_is_refused(tmp_path):
    def two(g, y):
        return g.op("Add", y, g.op("Constant", value_float=1.0, value_int=1))

    refused(plain_lstm(two), tmp_path, "a Constant with 2 attributes; expected one")
