"""add_states: files of other programs get states, run step by step with the same numbers, or are refused."""

from __future__ import annotations

import ast
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import seq2onnx as s2o
from seq2onnx.importing import equivalence
from seq2onnx.importing.onnx import node_calls
from seq2onnx.importing.states import (
    recurrence as recurrence_with_states,
    stateful_file,
    step_rules,
    windows as windows_with_states,
)
from tests.command import run
from tests.foreign import C, Graph, H, K, plain_lstm

STEPS = 11
# Both run the same operators of onnxruntime, with sums of a few products in another order at most.
TOLERANCE = 1e-6


def kinds_of_states(path) -> list[str]:
    return [state.kind for state in s2o.load(path).model.contract.states]


def add(graph: Graph, tmp_path, saved=None, **options) -> s2o.Predictor:
    """Give a graph states and check what every such file must do; return it open."""
    path = graph.save(tmp_path, **saved or {})
    out = tmp_path / "stream.onnx"
    report = s2o.add_states(path, out, **options)
    assert report.rows
    assert max(row.max_rel for row in report.rows) < TOLERANCE
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert s2o.verify(out).ok
    model = s2o.load(out)
    names = [state.name for state in model.states]
    assert names == sorted(names)
    for number, state in enumerate(model.contract.states):
        assert state.input == f"state_{number:02d}_{state.layer}_{state.kind}"
        assert state.output == f"new_{state.input}"
        assert len(state.shape) >= 1
    check_the_runtime(model)
    return model


def sequences(model, lengths=(5, 1, 9, 5)) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    entry = model.inputs[0]
    if entry.is_tokens:
        return [rng.integers(0, model.contract.tokens, n) for n in lengths]
    return [rng.normal(size=(n, *entry.shape)).astype("f") for n in lengths]


def check_the_runtime(model) -> None:
    """Ragged lists, streams with empty chunks, pools and saved states give the same numbers."""
    xs = sequences(model)
    many = as_dict(model, model.predict(xs))
    stream, pool = model.stream(), model.pool(4)
    for i, x in enumerate(xs):
        stream.reset()
        stream.step(x[:0])
        assert all(not array.any() for array in stream.state.values())
        stream.step(x[:1])
        stream.step(x[:0])
        saved = stream.state
        other = model.stream()
        other.state = saved
        got = as_dict(model, other.step(x[1:]))
        ids = [pool.open(), pool.open()]
        pooled = [as_dict(model, pool.step(ids, np.stack([step, step]))) for step in x]
        for output in model.model.outputs:
            want = many[output.layer][i]
            last = got[output.layer][-1:] if output.has_time else got[output.layer]
            want_last = want[-1:] if output.has_time else want
            if output.has_time and len(x) == 1:
                last = want_last
            np.testing.assert_allclose(last, want_last, rtol=0, atol=1e-5)
            np.testing.assert_allclose(
                pooled[-1][output.layer][1], want[-1] if output.has_time else want, rtol=0, atol=1e-5
            )
        for stream_id in ids:
            pool.close(stream_id)


def as_dict(model, values):
    return values if isinstance(values, dict) else {model.model.outputs[0].layer: values}


def source_answer(path, x, output=0, **more):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x, **more})[output]


def refused(graph: Graph, tmp_path, match: str, **options) -> None:
    path, out = graph.save(tmp_path), tmp_path / "stream.onnx"
    with pytest.raises(s2o.ImportRefused, match=match):
        s2o.add_states(path, out, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["foreign.onnx"]


# What is given states


def test_a_file_with_states_answers_as_its_source(tmp_path):
    model = add(plain_lstm(), tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 6, C)).astype("f")
    want = source_answer(tmp_path / "foreign.onnx", x)
    np.testing.assert_allclose(np.stack(model.predict(list(x))), want, rtol=0, atol=1e-6)
    stream = model.stream()
    np.testing.assert_allclose([stream.step(step) for step in x[1]], want[1], rtol=0, atol=1e-6)
    assert [state.shape for state in model.states] == [(1, H), (1, H)]
    assert model.signature == "stream"
    assert model.outputs == ["y"]


def test_the_operators_and_weights_stay_as_they_are(tmp_path):
    add(plain_lstm(), tmp_path)

    def content(path):
        graph = onnx.load(path).graph
        graphs = [graph, *(a.g for node in graph.node for a in node.attribute if a.HasField("g"))]
        return (
            sorted(node.op_type for each in graphs for node in each.node if not node.name.startswith(("s2o_", "new_"))),
            {onnx.numpy_helper.to_array(t).tobytes() for each in graphs for t in each.initializer},
        )

    before, weights = content(tmp_path / "foreign.onnx")
    after, kept = content(tmp_path / "stream.onnx")
    assert set(before) <= set(after)
    assert after.count("LSTM") == 1
    assert weights <= kept


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LSTM", {}),
        ("LSTM", {"clip": 0.3}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"activations": ["HardSigmoid", "Relu", "Softsign"]}),
        ("GRU", {"linear_before_reset": 0}),
        ("GRU", {"linear_before_reset": 1}),
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"]}),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_recurrent_operators_with_every_option(tmp_path, op, attributes, last):
    g = Graph()
    x = g.time_first(g.input("x", ["batch", "time", C]))
    y, h, *_ = g.lstm(x, op=op, **attributes)
    g.dense(g.squeeze(h, 0) if last else g.time_first(g.squeeze(y, 1)), out=g.output("y"))
    model = add(g, tmp_path)
    kinds = [state.kind for state in model.contract.states]
    assert kinds == ["h", "c"][: 2 if op == "LSTM" else 1]  # no state for the answer, which the state gives


def matlab(opset=9, ir_version=3, time="SequenceLength") -> Graph:
    """As MATLAB's exportONNXNetwork writes it: time first, a batch of 1, weights among the inputs, old operators."""
    g = Graph(opset)
    x = g.input("sequenceinput", [time, 1, C])
    x = g.op("Div", g.op("Sub", x, g.weight(1, 1, C)), g.const(np.abs(g.rng.normal(size=(1, 1, C))).astype("f") + 1))
    zeros = [g.const(np.zeros((1, 1, H), "f")) for _ in range(2)]
    y = g.squeeze(g.lstm(x, h=zeros[0], c=zeros[1])[0], 1)
    g.op("Softmax", g.dense(y), out=g.output("softmax"), axis=2)
    for tensor in g.weights:
        g.inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return g


@pytest.mark.parametrize("time", ["SequenceLength", 20])
@pytest.mark.parametrize("axes", ["TBC", None])
def test_a_file_of_matlab_with_a_fixed_batch(tmp_path, time, axes):
    model = add(matlab(time=time), tmp_path, saved={"ir_version": 3}, axes=axes)
    x = np.random.default_rng(0).normal(size=(20, C)).astype("f")
    want = source_answer(tmp_path / "foreign.onnx", x[:, None])[:, 0]
    np.testing.assert_allclose(model.predict([x])[0], want, rtol=0, atol=1e-6)
    # Only the initial states fix its batch.
    assert "Scan" not in {node.op_type for node in onnx.load(tmp_path / "stream.onnx").graph.node}


@pytest.mark.parametrize("order", ["BTC", "TBC", "BCT"])
def test_the_order_of_the_axes_is_found_or_given(tmp_path, order):
    g, sizes = Graph(), {"B": "batch", "T": "time", "C": C}
    x = g.input("x", [sizes[letter] for letter in order])
    x = g.op("Transpose", x, perm=[order.index(letter) for letter in "TBC"])
    y = g.op("Transpose", g.squeeze(g.lstm(x)[0], 1), perm=["TBC".index(letter) for letter in order])
    g.op("Tanh", y, out=g.output("y"))
    for axes in (None, order):
        assert add(g, tmp_path, axes=axes, features=C).inputs[0].shape == (C,)


def test_a_network_without_a_batch_gets_one(tmp_path):
    g = Graph()
    x = g.op("Unsqueeze", g.input("x", ["time", C]), g.ints(1))
    g.dense(g.squeeze(g.squeeze(g.lstm(x)[0], 1), 1), out=g.output("y"))
    model = add(g, tmp_path, axes="TC")
    x = np.random.default_rng(0).normal(size=(6, C)).astype("f")
    np.testing.assert_allclose(model.predict([x])[0], source_answer(tmp_path / "foreign.onnx", x), rtol=0, atol=1e-6)


def test_start_states_that_are_not_zero_are_added_to_the_state(tmp_path):
    g = Graph()
    x = g.input("x", ["batch", "time", C])
    rows = g.op("Shape", x, start=0, end=1)
    shape = g.op("Concat", g.ints(1), rows, g.ints(H), axis=0)
    h, c = (g.op("Expand", g.weight(1, 1, H, scale=1), shape) for _ in range(2))
    g.dense(g.sequence_lstm(x, h=h, c=c), out=g.output("y"))
    add(g, tmp_path)


def test_states_that_the_caller_carried_by_hand_become_states_of_the_contract(tmp_path):
    g = Graph()
    x = g.input("x", ["batch", "time", C])
    h, c = g.input("h0", [2, "batch", H]), g.input("c0", [2, "batch", H])
    parts = [g.op("Split", state, g.ints(1, 1), outs=2, axis=0) for state in (h, c)]
    y, *first = g.lstm(g.time_first(x), h=parts[0][0], c=parts[1][0])
    y, *second = g.lstm(g.squeeze(y, 1), size=H, h=parts[0][1], c=parts[1][1])
    g.dense(g.time_first(g.squeeze(y, 1)), out=g.output("y"))
    for name, pair in zip(("hn", "cn"), zip(first, second, strict=True), strict=True):
        g.op("Concat", *pair, out=g.output(name), axis=0)
    model = add(g, tmp_path)
    assert model.outputs == ["y"]
    assert [state.kind for state in model.contract.states] == ["h", "c", "h", "c"]


def causal_conv(how: str, dilation: int, kernel: int = 3, channels: int = C) -> Graph:
    """A causal convolution, its padding written in one of the ways of exporters."""
    g, reach = Graph(), dilation * (kernel - 1)
    x = g.op("Transpose", g.input("x", ["batch", "time", C]), perm=[0, 2, 1])
    weights = [g.weight(channels, C, kernel), g.weight(channels)]
    common = {"dilations": [dilation], "kernel_shape": [kernel]}
    if how == "pad":
        y = g.op("Conv", g.op("Pad", x, g.ints(0, 0, reach, 0, 0, 0)), *weights, **common)
    elif how == "operator":
        y = g.op("Conv", x, *weights, pads=[reach, 0], **common)
    elif how == "cut":
        y = g.op("Conv", x, *weights, pads=[reach, reach], **common)
        y = g.op("Relu", y)
        y = g.op("Slice", y, g.ints(0), g.ints(-reach), g.ints(2))
    elif how == "both":
        x = g.op("Pad", x, g.ints(0, 0, 1, 0, 0, 0))
        y = g.op("Conv", x, *weights, pads=[reach - 1, 0], **common)
    g.op("Transpose", g.op("Tanh", y), out=g.output("y"), perm=[0, 2, 1])
    return g


@pytest.mark.parametrize("how", ["pad", "operator", "cut", "both"])
@pytest.mark.parametrize("dilation", [1, 3])
def test_causal_convolutions_however_their_padding_is_written(tmp_path, how, dilation):
    model = add(causal_conv(how, dilation), tmp_path)
    assert [(state.kind, state.shape) for state in model.contract.states] == [("buf", (C, 2 * dilation))]


def test_a_convolution_over_time_and_features_keeps_its_padding_of_features(tmp_path):
    g = Graph()
    x = g.op("Unsqueeze", g.input("x", ["batch", "time", C]), g.ints(1))
    x = g.op("Pad", x, g.ints(0, 0, 2, 1, 0, 0, 0, 1))
    y = g.op("Conv", x, g.weight(2, 1, 3, 3), g.weight(2), kernel_shape=[3, 3])
    y = g.op("Transpose", y, perm=[0, 2, 1, 3])
    g.op("Reshape", y, g.ints(0, 0, -1), out=g.output("y"))
    assert add(g, tmp_path).model.outputs[0].shape == (2 * C,)


POOLS = {
    "max, operator": ("MaxPool", {"pads": [2, 0]}, None),
    "max, zeros": ("MaxPool", {}, 0.0),
    "max, lowest": ("MaxPool", {}, -np.inf),
    "average, operator": ("AveragePool", {"pads": [2, 0]}, None),
    "average, counted": ("AveragePool", {"pads": [2, 0], "count_include_pad": 1}, None),
    "average, zeros": ("AveragePool", {}, 0.0),
    "norm": ("LpPool", {"pads": [2, 0]}, None),
}


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("opset", [11, 17])
def test_causal_poolings_know_how_much_of_their_window_is_real(tmp_path, kind, opset):
    op, attributes, fill = POOLS[kind]
    g = Graph(opset)
    x = g.op("Transpose", g.input("x", ["batch", "time", C]), perm=[0, 2, 1])
    x = g.op("Sub", x, g.const(np.float32(3)))  # all below zero, so that a zero of padding would win
    if fill is not None:
        x = g.op("Pad", x, g.ints(0, 0, 2, 0, 0, 0), g.const(np.float32(fill)))
    y = g.op(op, x, kernel_shape=[3], **attributes)
    g.op("Transpose", y, out=g.output("y"), perm=[0, 2, 1])
    model = add(g, tmp_path)
    kinds = [state.kind for state in model.contract.states]
    assert kinds == (["buf", "count"] if kind in ("max, operator", "max, lowest", "average, operator") else ["buf"])


def test_tokens(tmp_path):
    for dtype in (TensorProto.INT64, TensorProto.INT32):
        g = Graph()
        x = g.op("Gather", g.weight(6, C), g.input("ids", ["batch", "time"], dtype))
        g.dense(g.sequence_lstm(x), out=g.output("y"))
        model = add(g, tmp_path)
        assert model.inputs[0].is_tokens
        assert model.contract.tokens == 6
        for call in (lambda x: model.predict([x]), model.stream().step):  # noqa: B023
            with pytest.raises(s2o.DataError, match="expected tokens from 0 to 5, got 2 to 6"):
                call(np.array([2, 6]))


def test_one_number_a_step_without_an_axis_of_features(tmp_path):
    g = Graph()
    x = g.op("Unsqueeze", g.input("x", ["batch", "time"]), g.ints(2))
    y = g.dense(g.sequence_lstm(x))
    g.op("ReduceMax", y, out=g.output("y"), axes=[2], keepdims=0)
    g.nodes[2].input[1] = g.weight(1, 4 * H, 1)  # the LSTM reads one feature
    model = add(g, tmp_path, axes="BT")
    assert model.inputs[0].shape == (1,)
    assert model.model.outputs[0].shape == (1,)


def test_several_outputs_and_a_choice_of_them(tmp_path):
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    g.dense(y, out=g.output("gaze/point"))
    g.op("ArgMax", g.dense(y), out=g.output("best", TensorProto.INT64), axis=2, keepdims=0)
    g.dense(g.op("Gather", y, g.const(-1, np.int64), axis=1), out=g.output("end"))
    model = add(g, tmp_path)
    assert model.outputs == ["y_gaze_point", "y_best", "y_end"]
    assert [(o.shape, o.has_time, o.dtype) for o in model.model.outputs] == [
        ((K,), True, np.float32),
        ((1,), True, np.int64),
        ((K,), False, np.float32),
    ]
    assert add(g, tmp_path, outputs=["end"]).outputs == ["y"]
    with pytest.raises(s2o.ImportRefused, match=r"no output 'nothing', only gaze/point, best, end"):
        s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "x.onnx", outputs=["nothing"])


def test_batch_and_time_in_one_axis(tmp_path):
    g = Graph()
    y = g.lstm(g.time_first(g.input("x", ["batch", "time", C])))[0]
    g.dense(g.op("Reshape", y, g.ints(-1, H)), out=g.output("y"))
    assert add(g, tmp_path).model.outputs[0].shape == (K,)


@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_sizes_inside_become_free(tmp_path, batch):
    g = Graph()
    y = g.sequence_lstm(g.input("x", [batch, 10, C]), h=g.const(np.zeros((1, batch, H), "f")))
    y = g.dense(g.op("Reshape", y, g.ints(10 * batch, H)))
    g.op("Reshape", y, g.ints(batch, 10, K), out=g.output("y"))
    add(g, tmp_path)


def test_names_of_the_contract_in_the_source_do_no_harm(tmp_path):
    g = Graph()
    state = g.op("Identity", g.input("y", ["batch", "time", C]), out="state_00_LSTM_2_h")
    h = g.op("Tanh", g.sequence_lstm(state), out="new_state_00_LSTM_2_h")
    g.dense(g.op("Relu", h, out="s2o_constant_0"), out=g.output("x"))
    model = add(g, tmp_path)
    assert model.inputs[0].layer == "y"
    assert model.model.outputs[0].layer == "x"


def test_an_if_on_a_shape_and_a_function_are_written_out(tmp_path):
    g = plain_lstm(lambda g, y: _squeezed_if_one(g, g.op("Twice", y, domain="own")))
    model = g.model(own=1)
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    function = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    model.functions.append(function)
    onnx.save(model, tmp_path / "foreign.onnx")
    s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "out.onnx")
    assert not onnx.load(tmp_path / "out.onnx").functions
    assert kinds_of_states(tmp_path / "out.onnx") == ["h", "c"]


def _squeezed_if_one(g: Graph, y: str) -> str:
    """As torch's exporter writes squeeze(-1) of an axis whose size it does not know."""
    one = g.op("Equal", g.op("Shape", y, start=2, end=3), g.ints(1))
    out = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    squeezed = helper.make_graph([helper.make_node("Squeeze", [y], ["inner"])], "then", [], out)
    same = helper.make_graph([helper.make_node("Identity", [y], ["inner"])], "else", [], out)
    return g.op("If", one, then_branch=squeezed, else_branch=same)


def test_quantized_weights(tmp_path):
    def quantized(g: Graph, y: str) -> str:
        scale, zero = g.const(np.float32(0.1)), g.const(np.uint8(128))
        return g.op("DequantizeLinear", g.op("QuantizeLinear", y, scale, zero), scale, zero)

    add(plain_lstm(quantized), tmp_path)


def step_model(batch="batch", layout=(0, 1, 2)) -> Graph:
    """One step with its states as inputs and outputs, and an If over the sample rate, as voice models have."""
    g = Graph()
    x = g.input("chunk", [batch, C])
    g.input("sr", [], TensorProto.INT64)
    h, c = (g.input(name, [1, batch, H]) for name in ("h", "c"))
    gain = [
        helper.make_graph(
            [helper.make_node("Mul", [x, g.const(np.float32(factor))], ["scaled"])],
            f"by_{factor}",
            [],
            [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, None)],
        )
        for factor in (1.0, 0.5)
    ]
    x = g.op("If", g.op("Equal", "sr", g.const(16000, np.int64)), then_branch=gain[0], else_branch=gain[1])
    y, hn, cn = g.lstm(g.op("Unsqueeze", x, g.ints(0)), h=h, c=c)
    g.op("Identity", hn, out=g.output("hn"))
    g.op("Identity", cn, out=g.output("cn"))
    g.op("Sigmoid", g.dense(g.squeeze(g.squeeze(y, 0), 0)), out=g.output("speech"))
    return g


@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_step_model_whose_states_go_in_and_out(tmp_path, batch, rate):
    model = add(step_model(batch), tmp_path, states={"h": "hn", "c": "cn"}, fixed={"sr": rate})
    assert [(state.input, state.shape) for state in model.contract.states] == [
        ("state_00_h_own", (1, H)),
        ("state_01_c_own", (1, H)),
    ]
    x = np.random.default_rng(0).normal(size=(STEPS, C)).astype("f")
    h = c = np.zeros((1, 1, H), "f")
    want = []
    session = onnxruntime.InferenceSession(tmp_path / "foreign.onnx", providers=["CPUExecutionProvider"])
    for step in x:
        h, c, y = session.run(None, {"chunk": step[None], "sr": np.array(rate), "h": h, "c": c})
        want.append(y[0])
    np.testing.assert_allclose(model.predict([x])[0], want, rtol=0, atol=1e-6)


def test_a_sequence_whose_states_go_in_and_out(tmp_path):
    g = Graph()
    x, cache = g.input("x", ["batch", C, "time"]), g.input("cache", ["batch", C, 2])
    both = g.op("Concat", cache, x, axis=2)
    g.op("Conv", both, g.weight(K, C, 3), kernel_shape=[3], out=g.output("y"))
    g.op("Slice", both, g.ints(-2), g.ints(2**62), g.ints(2), out=g.output("new_cache"))
    model = add(g, tmp_path, axes="BCT", states={"cache": "new_cache"})
    assert model.states[0].shape == (1, C, 2)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32])
@pytest.mark.parametrize("by_step", [True, False])
def test_a_state_of_whole_numbers_starts_at_0(tmp_path, by_step, kind):
    """It counts the steps, and each step is answered with its own gain."""
    g, number = Graph(), helper.tensor_dtype_to_np_dtype(kind).type
    x = g.input("x", ["batch", C] if by_step else ["batch", "time", C])
    count = g.input("count", ["batch", 1], kind)
    if by_step:
        steps, places = g.const(np.array([1], number)), count
    else:
        steps = g.op("Cast", g.op("Shape", x, start=1, end=2), to=kind)
        last = g.op("Squeeze", steps, g.ints(0))
        places = g.op("Add", count, g.op("Range", g.const(number(0)), last, g.const(number(1))))
    gain = g.op("Exp", g.op("Neg", g.op("Cast", places, to=TensorProto.FLOAT)))
    g.op("Mul", x, gain if by_step else g.op("Unsqueeze", gain, g.ints(2)), out=g.output("y"))
    g.op("Add", count, steps, out=g.output("new_count", kind))
    model = add(g, tmp_path, axes="BC" if by_step else "BTC", states={"count": "new_count"})
    x = np.random.default_rng(0).normal(size=(STEPS, C)).astype("f")
    expected = x * np.exp(-np.arange(STEPS, dtype="f"))[:, None]
    np.testing.assert_allclose(model.predict([x])[0], expected, rtol=0, atol=1e-6)
    stream = model.stream()
    np.testing.assert_allclose([stream.step(step) for step in x], expected, rtol=0, atol=1e-6)


def test_a_file_with_states_has_no_layers(tmp_path):
    add(plain_lstm(), tmp_path)
    with pytest.raises(s2o.ModelFileError, match="from_onnx.*from_torch"):
        s2o.restore(tmp_path / "stream.onnx")
    with pytest.raises(s2o.ModelFileError, match="from_onnx.*add_states"):
        s2o.restore(tmp_path / "foreign.onnx")
    with pytest.raises(s2o.ModelFileError, match="from_onnx.*add_states"):
        s2o.load(tmp_path / "foreign.onnx")
    with pytest.raises(s2o.ImportRefused, match="was written by seq2onnx"):
        s2o.add_states(tmp_path / "stream.onnx", tmp_path / "again.onnx")


def test_a_module_is_no_source_of_a_file_with_states(tmp_path):
    add(plain_lstm(), tmp_path)
    module = s2o.build(s2o.Network([s2o.SequenceInput(C), s2o.LSTM(H)]))
    with pytest.raises(s2o.ShapeError, match="has no layers"):
        s2o.verify(tmp_path / "stream.onnx", module)


def test_the_command_line_shows_and_runs_a_file_with_states(tmp_path):
    add(plain_lstm(), tmp_path)
    shown, _ = run("inspect", tmp_path / "stream.onnx")
    assert "state_00" in shown
    assert "add_states" in shown
    run("verify", tmp_path / "stream.onnx")
    np.savetxt(tmp_path / "x.csv", np.zeros((4, C)), delimiter=",", fmt="%g")
    answers, _ = run("stream", tmp_path / "stream.onnx", stdin=(tmp_path / "x.csv").read_text())
    assert len(answers.splitlines()) == 4


# What is refused

HARMFUL = {
    "divides by the number of steps": (
        lambda g, y: g.op("Div", y, g.op("Cast", g.op("Shape", y, start=1, end=2), to=1)),
        "Div.*how many steps",
    ),
    "adds positions": (lambda g, y: g.op("Add", y, _positions(g, y)), "Add.*positions"),
    "looks positions up": (
        lambda g, y: g.op("Add", y, g.op("Gather", g.weight(2000, H), _range(g, y))),
        "Add.*positions",
    ),
    "reverses time": (
        lambda g, y: g.op("Slice", y, g.ints(-1), g.ints(-(2**62)), g.ints(1), g.ints(-1)),
        "Slice.*reverses",
    ),
    "reverses by lengths": (
        lambda g, y: g.op(
            "ReverseSequence",
            y,
            g.op("Expand", g.op("Shape", y, start=1, end=2), g.op("Shape", y, start=0, end=1)),
            batch_axis=0,
            time_axis=1,
        ),
        "ReverseSequence.*not known to act on each step",
    ),
    "sums over time": (lambda g, y: g.op("ReduceSum", y, g.ints(1)), "ReduceSum.*sum over time"),
    "means over time": (lambda g, y: g.op("ReduceMean", y, axes=[1], keepdims=0), "ReduceMean.*over time"),
    "subtracts the mean": (lambda g, y: g.op("Sub", y, g.op("ReduceMean", y, axes=[1])), "ReduceMean.*over time"),
    "takes the maximum": (lambda g, y: g.op("ReduceMax", y, axes=[-2]), "ReduceMax.*over time"),
    "counts up": (lambda g, y: g.op("CumSum", y, g.const(1, np.int64)), "CumSum.*over time"),
    "softmax over time": (lambda g, y: g.op("Softmax", y, axis=1), "Softmax.*over time"),
    "attention": (lambda g, y: g.op("MatMul", _weights(g, y), y), "MatMul.*attention"),
    "differences": (lambda g, y: _difference(g, y), "Slice.*cuts steps off"),
    "rolls": (lambda g, y: _rolled(g, y), "Slice.*cuts steps off"),
    "the first step": (lambda g, y: g.op("Gather", y, g.const(0, np.int64), axis=1), "Gather.*step 0 alone"),
    "every step minus the last": (
        lambda g, y: g.op("Sub", y, g.op("Slice", y, g.ints(-1), g.ints(2**62), g.ints(1))),
        "Sub.*the last one",
    ),
    "normalizes over time": (lambda g, y: g.op("LayerNormalization", y, _ones(g, y), axis=1), "LayerNorm"),
    "instance statistics": (
        lambda g, y: g.op(
            "Transpose",
            g.op("InstanceNormalization", g.op("Transpose", y, perm=[0, 2, 1]), g.weight(H), g.weight(H)),
            perm=[0, 2, 1],
        ),
        "InstanceNormalization.*over time",
    ),
    "subtracts the mean of the batch": (
        lambda g, y: g.op("Sub", y, g.op("ReduceMean", y, axes=[0])),
        "ReduceMean.*over the batch",
    ),
    "statistics of the batch": (
        lambda g, y: g.op("Transpose", _batch_norm(g, y), perm=[0, 2, 1]),
        "BatchNormalization.*(eval|statistics)",
    ),
    "at most 1000 steps": (lambda g, y: g.op("Slice", y, g.ints(0), g.ints(1000), g.ints(1)), "at most 1000 steps"),
    "every second step": (
        lambda g, y: g.op("Slice", y, g.ints(0), g.ints(2**62), g.ints(1), g.ints(2)),
        "every 2th step",
    ),
    "looks ahead": (lambda g, y: _convolved(g, y, pads=[1, 1]), "Conv.*1 steps ahead"),
    "strides": (lambda g, y: _convolved(g, y, pads=[2, 0], strides=[2]), "Conv.*stride"),
    "pads with another number": (lambda g, y: _convolved_after_pad(g, y, 1.0), "Conv.*padding of 1"),
    "pads with the first step": (lambda g, y: _convolved_after_pad(g, y, 0.0, mode="edge"), "Pad.*edge"),
    "padding becomes another number": (
        lambda g, y: _convolved_after_pad(g, y, 0.0, then="Sigmoid"),
        "Sigmoid.*padding",
    ),
    "noise": (lambda g, y: g.op("RandomNormalLike", y), "RandomNormalLike.*random"),
    "noise of a fixed size": (lambda g, y: g.op("Add", y, g.op("RandomNormal", shape=[H])), "RandomNormal.*random"),
    "scale of all numbers": (
        lambda g, y: g.op("Cast", g.op("DynamicQuantizeLinear", y, outs=3)[0], to=1),
        "DynamicQ.*float file",
    ),
    "largest over time": (lambda g, y: g.op("TopK", y, g.ints(1), outs=2, axis=1)[0], "TopK.*over time"),
    "bidirectional": (lambda g, y: _one_more_lstm(g, y, direction="bidirectional"), "LSTM.*both directions"),
    "backward": (lambda g, y: _one_more_lstm(g, y, direction="reverse"), "LSTM.*backward"),
    "starts from the data": (
        lambda g, y: _one_more_lstm(g, y, h=lambda y: g.op("Slice", y, g.ints(-1), g.ints(2**62), g.ints(0))),
        "LSTM.*computed from the data",
    ),
    "an operator of its own": (lambda g, y: g.op("Gelu", y, domain="com.microsoft"), "com.microsoft"),
    "time and features in one axis": (
        lambda g, y: g.op("Expand", g.op("ReduceMax", g.op("Reshape", y, g.ints(0, -1)), axes=[1]), g.ints(1, 1, H)),
        "Reshape.*one axis of time and features",
    ),
}


def _range(g: Graph, y: str) -> str:
    steps = g.op("Squeeze", g.op("Shape", y, start=1, end=2), g.ints(0))
    return g.op("Range", g.const(0, np.int64), steps, g.const(1, np.int64))


def _positions(g: Graph, y: str) -> str:
    return g.op("Slice", g.weight(1, 2000, H), g.ints(0), g.op("Shape", y, start=1, end=2), g.ints(1))


def _weights(g: Graph, y: str) -> str:
    scores = g.op("MatMul", y, g.op("Transpose", y, perm=[0, 2, 1]))
    return g.op("Softmax", scores, axis=-1)


def _difference(g: Graph, y: str) -> str:
    later = g.op("Slice", y, g.ints(1), g.ints(2**62), g.ints(1))
    earlier = g.op("Slice", y, g.ints(0), g.ints(-1), g.ints(1))
    return g.op("Sub", later, earlier)


def _rolled(g: Graph, y: str) -> str:
    end = g.op("Slice", y, g.ints(-1), g.ints(2**62), g.ints(1))
    return g.op("Concat", end, g.op("Slice", y, g.ints(0), g.ints(-1), g.ints(1)), axis=1)


def _ones(g: Graph, y: str) -> str:
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1])
    return g.op("ConstantOfShape", g.op("Shape", y, start=1), value=one)


def _batch_norm(g: Graph, y: str) -> str:
    moved = g.op("Transpose", y, perm=[0, 2, 1])
    ones = [g.const(np.ones(H, "f")) for _ in range(4)]
    return g.op("BatchNormalization", moved, *ones, outs=3, training_mode=1)[0]


def _convolved(g: Graph, y: str, **attributes) -> str:
    moved = g.op("Transpose", y, perm=[0, 2, 1])
    return g.op("Transpose", g.op("Conv", moved, g.weight(H, H, 3), kernel_shape=[3], **attributes), perm=[0, 2, 1])


def _convolved_after_pad(g: Graph, y: str, value: float, then: str = "Identity", **attributes) -> str:
    moved = g.op("Transpose", y, perm=[0, 2, 1])
    padded = g.op("Pad", moved, g.ints(0, 0, 2, 0, 0, 0), g.const(np.float32(value)), **attributes)
    y = g.op("Conv", g.op(then, padded), g.weight(H, H, 3), kernel_shape=[3])
    return g.op("Transpose", y, perm=[0, 2, 1])


def _one_more_lstm(g: Graph, y: str, h=None, **attributes) -> str:
    y = g.time_first(y)
    y = g.lstm(y, size=H, h=h(y) if h else "", **attributes)[0]
    return g.time_first(g.op("ReduceSum", y, g.ints(1), keepdims=0))


@pytest.mark.parametrize("name", HARMFUL)
def test_networks_that_cannot_run_step_by_step_are_refused_by_the_node(tmp_path, name):
    between, match = HARMFUL[name]
    graph = plain_lstm(between)
    path, out = tmp_path / "foreign.onnx", tmp_path / "stream.onnx"
    domains = {"com.microsoft": 1} if name == "an operator of its own" else {}
    onnx.save(graph.model(**domains), path)
    with pytest.raises(s2o.ImportRefused, match=match):
        s2o.add_states(path, out, axes="BTC")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(s2o.ImportRefused):
        s2o.add_states(path, out)
    assert list(tmp_path.iterdir()) == [path]


def test_a_batch_read_as_time_is_refused(tmp_path):
    refused(plain_lstm(), tmp_path, "LSTM.*runs along the batch", axes="TBC")


def test_time_as_channels_is_refused(tmp_path):
    g = Graph()
    x = g.input("x", ["batch", 8, C])
    g.op("Conv", x, g.weight(2, 8, 2), kernel_shape=[2], out=g.output("y"), pads=[1, 0])
    refused(g, tmp_path, "time as its channels", axes="BTC")


def test_an_order_of_axes_that_nothing_confirms_is_refused(tmp_path):
    g = Graph()
    g.dense(g.input("x", ["batch", "time", C]), size=C, out=g.output("y"))
    refused(g, tmp_path, "nothing in the graph joins steps.*axes=")
    s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "out.onnx", axes="BTC")
    assert s2o.load(tmp_path / "out.onnx").states == ()


def test_start_states_that_differ_between_rows_are_refused(tmp_path):
    g = Graph()
    g.dense(g.sequence_lstm(g.input("x", [3, "time", C]), h=g.weight(1, 3, H)), out=g.output("y"))
    refused(g, tmp_path, "differ between rows")


def test_inputs_that_nobody_explained_are_refused(tmp_path):
    g = Graph()
    x = g.op("Mul", g.input("x", ["batch", "time", C]), g.input("gain", [1]))
    g.dense(g.sequence_lstm(x), out=g.output("y"))
    refused(g, tmp_path, "gain.*fixed=")
    model = add(g, tmp_path, fixed={"gain": [2.0]})
    x = np.random.default_rng(0).normal(size=(1, 5, C)).astype("f")
    want = source_answer(tmp_path / "foreign.onnx", x, gain=np.array([2], "f"))
    np.testing.assert_allclose(model.predict(list(x))[0], want[0], rtol=0, atol=1e-6)
    refused_options = [
        ({"fixed": {"other": 1}}, "no input 'other', only x, gain"),
        ({"fixed": {"gain": "loud"}}, "'gain' must be float32, got 'loud'"),
        ({"states": {"gain": "nothing"}}, "inputs x, gain and the outputs y"),
    ]
    for options, match in refused_options:
        with pytest.raises(s2o.ImportRefused, match=match):
            s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "no.onnx", **options)
    with pytest.raises(s2o.SpecError, match="axes"):
        s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "no.onnx", axes="NTC")


def test_wrong_pairs_of_states_are_found_by_the_proof(tmp_path):
    path = step_model().save(tmp_path)
    with pytest.raises(s2o.ImportRefused, match="'c' is neither the data nor a state.*states=.*cn"):
        s2o.add_states(path, tmp_path / "x.onnx", states={"h": "hn"}, fixed={"sr": 16000})
    with pytest.raises(s2o.ImportRefused, match="'sr' is neither the data nor a state.*fixed="):
        s2o.add_states(path, tmp_path / "x.onnx", states={"h": "hn", "c": "cn"})
    # Crossed states are what the caller says, and the source is run in the same way.
    s2o.add_states(path, tmp_path / "x.onnx", states={"h": "cn", "c": "hn"}, fixed={"sr": 16000})
    assert len(kinds_of_states(tmp_path / "x.onnx")) == 2


def voice_model(old: str, new: str, batch="batch", features=C) -> Graph:
    """One step of a network whose GRU starts from half of a state and returns it doubled, as no recurrent operator."""
    g = Graph()
    x = g.input("chunk", [batch, features])
    h = g.op("Mul", g.input(old, [1, batch, H]), g.const(np.float32(0.5)))
    y, hn = g.lstm(g.op("Unsqueeze", x, g.ints(0)), op="GRU", h=h)
    g.dense(g.squeeze(g.squeeze(y, 0), 0), out=g.output("speech"))
    g.op("Mul", hn, g.const(np.float32(2)), out=new)
    g.outputs.append(helper.make_tensor_value_info(new, TensorProto.FLOAT, [1, batch, H]))
    return g


NAMES_OF_STATES = [
    ("state", "stateN"),
    ("h", "hn"),
    ("h0", "h_n"),
    ("state_in", "state_out"),
    ("cache", "new_cache"),
    ("prevState", "nextState"),
    ("past.0.key", "present.0.key"),
]


@pytest.mark.parametrize(("old", "new"), NAMES_OF_STATES)
def test_the_states_of_a_file_are_proposed_by_their_names(tmp_path, old, new):
    """The refusal has the argument that brings the file in."""
    path = voice_model(old, new).save(tmp_path)
    for door in (lambda: s2o.add_states(path, tmp_path / "x.onnx"), lambda: s2o.from_onnx(path)):
        with pytest.raises(s2o.ImportRefused) as refusal:
            door()
        proposal = re.search(r"carry its states itself; try (?:add_states with )?states=(\{.*?\})$", str(refusal.value))
        assert ast.literal_eval(proposal[1]) == {old: new}
    s2o.add_states(path, tmp_path / "x.onnx", states=ast.literal_eval(proposal[1]))


def test_a_proposal_has_every_argument_that_is_missing(tmp_path):
    path = step_model().save(tmp_path)
    whole = r"states=\{'h': 'hn', 'c': 'cn'\}, fixed=\{'sr': 16000\}$"
    for given in ({}, {"states": {"h": "hn"}}):
        with pytest.raises(s2o.ImportRefused, match=whole):
            s2o.add_states(path, tmp_path / "x.onnx", **given)
    path = voice_model("a", "b", features="samples").save(tmp_path)  # names say nothing, shapes do
    with pytest.raises(s2o.ImportRefused, match=r"states=\{'a': 'b'\}, features=…"):
        s2o.add_states(path, tmp_path / "x.onnx")
    with pytest.raises(s2o.ImportRefused, match=r"states=\{'a': 'b'\}$"):
        s2o.add_states(path, tmp_path / "x.onnx", features=C)


def test_no_states_are_proposed_where_none_are_carried(tmp_path):
    g = Graph()
    x = g.input("input", ["batch", "time", C])
    g.op("CumSum", x, g.const(np.int64(1)), out=g.output("output"))
    refused(g, tmp_path, r"for which the whole sequence is needed$", axes="BTC")
    with pytest.raises(s2o.ImportRefused) as refusal:
        s2o.from_onnx(tmp_path / "foreign.onnx", axes="BTC")
    assert "states=" not in str(refusal.value)


def test_a_second_sequence_or_a_vector_is_for_from_onnx(tmp_path):
    for sizes in (["batch", "time", C], ["batch", C]):
        g = Graph()
        x, more = g.input("x", ["batch", "time", C]), g.input("more", sizes)
        more = more if len(sizes) == 3 else g.op("Unsqueeze", more, g.const([1]))
        g.op("Identity", g.sequence_lstm(g.op("Add", x, more)), out=g.output("y"))
        refused(g, tmp_path, "add_states takes one sequence; if more is data, too, from_onnx takes it", axes="BTC")
        (tmp_path / "foreign.onnx").unlink()


# The proof


def _no_start(*_):
    return None


MUTATIONS = {
    "the start state is forgotten": (recurrence_with_states, "initial_state", _no_start),
    "means over time pass": (step_rules, "check_features", lambda *_: None),
    "numbers that depend on the length pass": (node_calls.NodeCall, "settled", lambda *_: None),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_proof_finds_what_the_rules_miss(tmp_path, monkeypatch, name):
    if name == "the start state is forgotten":
        g = Graph()
        h = g.op(
            "Expand",
            g.weight(1, 1, H, scale=1),
            g.op("Concat", g.ints(1), g.op("Shape", g.input("x", ["b", "t", C]), start=0, end=1), g.ints(1), axis=0),
        )
        g.dense(g.sequence_lstm("x", h=h), out=g.output("y"))
    else:
        key = "subtracts the mean" if "means" in name else "divides by the number of steps"
        g = plain_lstm(HARMFUL[key][0])
    monkeypatch.setattr(*MUTATIONS[name])
    refused(
        g, tmp_path, r"differs from the source\. First difference: .*, sequence \d+, step \d+, number \d+: ", axes="BTC"
    )


def branch(g, tmp_path):
    """The operators that run only if a chunk has steps."""
    add(g, tmp_path)
    (node,) = [node for node in onnx.load(tmp_path / "stream.onnx").graph.node if node.op_type == "If"]
    return sorted(each.op_type for each in next(a.g for a in node.attribute if a.name == "then_branch").node)


def test_only_what_a_chunk_of_no_steps_needs_is_in_a_branch(tmp_path):
    assert branch(plain_lstm(), tmp_path) == ["Squeeze", "Squeeze"]  # of its two final states
    g = Graph()
    g.dense(g.time_first(g.squeeze(g.lstm(g.time_first(g.input("x", ["b", "t", C])), op="GRU")[0], 1)), out="y")
    g.output("y")
    assert {"GRU", "MatMul"} <= {*branch(g, tmp_path)}


def _last(g, y):
    return g.op("Gather", y, g.const(-1, np.int64), axis=1)


LAST_STEPS = {  # of y [batch, time, H]
    "Gather": _last,
    "Gather of a list": lambda g, y: g.squeeze(g.op("Gather", y, g.ints(-1), axis=1), 1),
    "Slice": lambda g, y: g.op("Slice", y, g.ints(-1), g.ints(2**31), g.ints(1)),
    "time first": lambda g, y: g.op("Gather", g.time_first(y), g.const(-1, np.int64), axis=0),
    "features first": lambda g, y: g.op(
        "Transpose", g.op("Gather", g.op("Transpose", y, perm=[2, 0, 1]), g.const(-1, np.int64), axis=2), perm=[1, 0]
    ),
    "a function of it": lambda g, y: g.op("Tanh", _last(g, y)),
    "added to itself": lambda g, y: g.op("Add", _last(g, y), g.op("Relu", _last(g, y))),
    "a new axis": lambda g, y: g.squeeze(_last(g, g.op("Unsqueeze", y, g.ints(3))), 2),
}


@pytest.mark.parametrize("name", LAST_STEPS)
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_the_last_step_of_a_recurrent_operator_is_its_state(tmp_path, name, op):
    g = Graph()
    y = g.time_first(g.squeeze(g.lstm(g.time_first(g.input("x", ["batch", "time", C])), op=op)[0], 1))
    g.dense(LAST_STEPS[name](g, y), out=g.output("y"))
    inside = branch(g, tmp_path)
    kinds = [state.kind for state in s2o.load(tmp_path / "stream.onnx").contract.states]
    if name == "features first":
        assert kinds[-1] == "last"
    else:
        assert "last" not in kinds
        assert "MatMul" not in inside


NOT_STATES = {  # of y [batch, time, H]
    "a function of each step": lambda g, y: _last(g, g.op("Tanh", y)),
    "some features": lambda g, y: _last(g, g.op("Gather", y, g.ints(2, 0, 1, 3), axis=2)),
    "two joined": lambda g, y: g.op(
        "Slice", _last(g, g.op("Concat", y, y, axis=2)), g.ints(2), g.ints(2 + H), g.ints(1)
    ),
    "with x": lambda g, y: g.op("Add", _last(g, y), g.op("MatMul", _last(g, "x"), g.weight(C, H))),
    "features in another order": lambda g, y: _last(
        g,
        g.op(
            "Reshape",
            g.op("Transpose", g.op("Reshape", y, g.ints(0, 0, 2, H // 2)), perm=[0, 1, 3, 2]),
            g.ints(0, 0, H),
        ),
    ),
    "features in pieces": lambda g, y: g.op(
        "Reshape", _last(g, g.op("Reshape", y, g.ints(0, 0, 2, H // 2))), g.ints(0, H)
    ),
}


@pytest.mark.parametrize("name", NOT_STATES)
def test_another_last_step_is_kept_for_chunks_of_no_steps(tmp_path, name):
    g = Graph()
    g.dense(NOT_STATES[name](g, g.sequence_lstm(g.input("x", ["batch", "time", C]))), out=g.output("y"))
    kinds = [state.kind for state in add(g, tmp_path).contract.states]
    assert kinds == ["h", "c", "last"]


def test_two_answers_from_states(tmp_path):
    g = Graph()
    y, h, c = g.lstm(g.time_first(g.input("x", ["batch", "time", C])))
    last = _last(g, g.time_first(g.squeeze(y, 1)))
    g.dense(last, out=g.output("scores"))
    g.dense(g.op("Concat", g.squeeze(h, 0), g.squeeze(c, 0), last, axis=1), 3 * H, out=g.output("other"))
    g.op("Identity", last, out=g.output("plain"))
    g.op("Transpose", g.dense(g.squeeze(y, 1)), perm=[1, 0, 2], out=g.output("steps"))
    model = add(g, tmp_path)
    assert [state.kind for state in model.contract.states] == ["h", "c"]
    x = sequences(model)[0]
    stream = model.stream()
    before = stream.step(x)
    after = stream.step(x[:0])
    for layer in ("scores", "other", "plain"):
        np.testing.assert_array_equal(before[layer], after[layer])
    assert after["steps"].shape == (0, K)


def test_an_answer_from_a_state_and_from_x_needs_no_state_for_itself_twice(tmp_path):
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    half = g.op("Tanh", _last(g, y))  # of both answers, of which one also reads x
    g.dense(half, out=g.output("scores"))
    g.op("Add", g.dense(half), g.dense(_last(g, "x"), C), out=g.output("mixed"))
    model = add(g, tmp_path)
    assert [state.kind for state in model.contract.states] == ["h", "c", "last", "last"]


def test_the_proof_finds_a_chunk_of_no_steps_that_changes_the_state(tmp_path, monkeypatch):
    def without_guard(body, source, one_row):
        model = finish(body, source, one_row)
        node = next(node for node in model.graph.node if node.op_type == "If")
        branches = {a.name: a.g for a in node.attribute}
        for each in branches["else_branch"].node:
            if each.op_type == "Identity":  # onnxruntime's LSTM answers zeros where there are no steps
                each.op_type = "Mul"
                each.input.append("nothing")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, "f"), "nothing"))
        return model

    finish = stateful_file.finish
    monkeypatch.setattr("seq2onnx.importing.states.adding_states.finish", without_guard)
    refused(plain_lstm(), tmp_path, "differs from the source.*chunks")


def test_a_file_that_declares_one_step_is_proven_with_states_that_carry_something(tmp_path):
    g = Graph()
    x = g.input("x", [1, 1, C])
    h = g.input("h", [1, 1, H])
    y, hn = g.lstm(g.time_first(x), op="GRU", h=h)
    g.dense(g.time_first(g.squeeze(y, 1)), out=g.output("y"))
    g.op("Identity", hn, out=g.output("hn"))
    add(g, tmp_path, states={"h": "hn"})
    rows = s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "out.onnx", states={"h": "hn"}).rows
    assert {row.check for row in rows} >= {"whole, 29 steps", "steps, 29 steps", "chunks, 29 steps"}


def test_the_proof_finds_phantoms_in_a_pooling(tmp_path, monkeypatch):
    monkeypatch.setattr(windows_with_states, "LOWEST", 0.0)
    g = Graph()
    x = g.op("Transpose", g.input("x", ["batch", "time", C]), perm=[0, 2, 1])
    x = g.op("Sub", x, g.const(np.float32(3)))
    g.op("Transpose", g.op("MaxPool", x, kernel_shape=[3], pads=[2, 0]), out=g.output("y"), perm=[0, 2, 1])
    refused(g, tmp_path, "differs from the source")


def test_the_proof_covers_four_lengths_batches_steps_and_chunks(tmp_path):
    path = plain_lstm().save(tmp_path)
    rows = s2o.add_states(path, tmp_path / "out.onnx").rows
    assert [row.check for row in rows] == [
        *(f"{check}, {steps} steps" for steps in equivalence.LENGTHS for check in ("whole", "steps", "chunks")),
        "whole, 1009 steps",
    ]
    assert 1 in equivalence.LENGTHS
    assert len(equivalence.LENGTHS) == 4


def test_a_squeeze_without_axes_keeps_a_time_of_one_step(tmp_path):
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    g.op("Squeeze", g.op("MatMul", y, g.weight(H, 1)), out=g.output("y"))
    assert add(g, tmp_path).model.outputs[0].has_time


def test_errors_name_tensors_as_the_file_does(tmp_path):
    g = Graph()
    g.op("MatMul", g.input("x", ["batch", "time", C]), g.weight(C + 1, K), out=g.output("y"))
    g.inputs[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    refused(g, tmp_path, "input x read as BTC", axes="BTC", features=C)


def test_the_proof_finds_a_branch_that_only_some_lengths_take(tmp_path):
    def other_for_one_step(g: Graph, y: str) -> str:
        one = g.op("Equal", g.op("Shape", y, start=1, end=2), g.ints(1))
        info = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
        changed = helper.make_graph([helper.make_node("Neg", [y], ["inner"])], "then", [], info)
        same = helper.make_graph([helper.make_node("Identity", [y], ["inner"])], "else", [], info)
        return g.op("If", one, then_branch=changed, else_branch=same)

    refused(plain_lstm(other_for_one_step), tmp_path, "differs from the source.*whole, 1 steps")
