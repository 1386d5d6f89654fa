"""from_onnx: ONNX files of other programs become layers with the same numbers, or are refused with the reason."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import seq2onnx as s2o
from seq2onnx.importing.lifting import assembly, operations as lifting, time_axis
from seq2onnx.importing.onnx import (
    graph_parts,
    layers as onnx_layers,
    networks as onnx_networks,
    node_calls,
    operators as onnx_operators,
)
from seq2onnx.layers.parts import gates
from tests.foreign import C, Graph, H, K, plain_lstm
from tests.test_add_states import source_answer
from tests.test_from_torch import TwoBranches, TwoSequencesAndAVector, weights
from tests.test_package import python
from tests.torch_modules import LIFTED, REFUSED, convolutional
from tests.torch_parity import differences, file_differences

# torch's kernels and onnxruntime's sum in another order.
CLOSE = 1e-6


def lifted(graph: Graph, tmp_path, **options):
    return s2o.from_onnx(graph.save(tmp_path), **options)


def refused(graph: Graph, tmp_path, match: str, **options) -> str:
    with pytest.raises(s2o.ImportRefused, match=match) as caught:
        s2o.from_onnx(graph.save(tmp_path), **options)
    return str(caught.value)


def export(case, path, **more):
    """Write a torch module with torch's older exporter, batch and time free."""
    torch.manual_seed(0)
    module = weights(case.make()).eval()
    axes = case.options.get("axes", "BTC")
    axes = axes if case.example.is_floating_point() else axes.replace("C", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = {axis: letter for axis, letter in enumerate(axes) if letter in "BT"}
        torch.onnx.export(
            module, (case.example,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": free}, **more
        )
    return module


# What is lifted


@pytest.mark.parametrize(
    "name",
    [
        "ConvPoolClassifier", "StridedConvolutions", "SpectrogramConvolution", "SeveralHeads", "CentredOverTime",
        "SqueezeExcite", "Differences", "OneHotTimeFirst", "LstmLastStep", "CellStateRead", "BiLstmEndsOfBoth",
        "GruTimeFirst",
        "RnnStacked", "SingleSequence", "OneNumberAStep", "AttentionOfASum", "AttentionOfAProduct",
        "AttentionOfEinsum", "StructuredSelfAttention", "AttentiveMeanOfChannels", "AttentionByTheLastStep",
        "LengthOne", "LengthOneOfChannelsFirst", "DividedByItsNorm", "DividedByItsNormOfFewerAxes", "ScaledLength",
        "WrittenRmsNorm", "NormOfWeightedFeatures", "RootOfALimitedSum", "WrittenLayerNorm", "StandardScores",
        "NormOfHeads",
        "GroupsOfEachStep", "XVector", "StatisticsOfChannelsFirst", "StatisticsByHand", "StatisticsOfSums",
        "LimitedVariance", "Variances", "MeanAndDeviation", "TimesTheDeviation", "SumOfEvidence",
    ],
)  # fmt: skip
def test_what_torch_exports_is_lifted_exactly_and_the_order_of_axes_is_found(name, tmp_path):
    case = LIFTED[name]
    module = export(case, tmp_path / "source.onnx")
    made = s2o.from_onnx(tmp_path / "source.onnx")
    axes = case.options.get("axes", "BTC")
    axes = axes if case.example.is_floating_point() else axes.replace("C", "")
    found = differences(module, case.example, made, tmp_path / "network.onnx", axes)
    assert max(found.values()) <= CLOSE, found
    assert ("steps" in found) == case.streams


@pytest.mark.parametrize(
    "name",
    [
        "FramesOfASpectrogram", "LastAxisOfOne", "WidthOfEachStep", "ImagesThenLstm", "GroupsOfImages",
        "InstancesOfFrames",
    ],
)  # fmt: skip
def test_inputs_with_more_axes_come_in_by_every_door(name, tmp_path):
    case = LIFTED[name]
    axes, foreign = case.options["axes"], tmp_path / "source.onnx"
    module = export(case, foreign)
    made = s2o.from_onnx(foreign, axes=axes)
    found = differences(module, case.example, made, tmp_path / "network.onnx", axes)
    assert "steps" in found
    s2o.add_states(foreign, tmp_path / "states.onnx", axes=axes)
    found |= {
        f"{k}, states": v for k, v in file_differences(module, case.example, tmp_path / "states.onnx", axes).items()
    }
    assert max(found.values()) <= CLOSE, found
    for bring in (s2o.from_onnx, lambda path: s2o.add_states(path, tmp_path / "x.onnx")):
        with pytest.raises(s2o.ImportRefused, match=rf"input x has {len(axes)} axes, .*give axes=: B is the batch"):
            bring(foreign)


def windowed(module, steps, path, free=None):
    """Write a module that takes a fixed number of steps, with these axes free."""
    torch.manual_seed(0)
    module = weights(module).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.zeros(1, steps, convolutional.C)
        torch.onnx.export(module, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": free or {}})
    return module


@pytest.mark.parametrize(
    ("make", "window", "steps", "stride"),
    [
        (convolutional.WakeWord, 16, 16, 1),
        (convolutional.StridedThenFlattened, 7, 15, 2),
        (convolutional.DownToOneStep, 1, 10, 2),
    ],
)
@pytest.mark.parametrize("free", [{}, {0: "batch"}], ids=["fixed batch", "free batch"])
def test_a_flattened_window_becomes_a_convolution_that_streams(make, window, steps, stride, free, tmp_path):
    path = tmp_path / "source.onnx"
    module = windowed(make(), steps, path, free)
    made = s2o.from_onnx(path, axes="BTC", window=window)
    s2o.export(made, tmp_path / "model.onnx", lookahead=True)
    model, x = s2o.load(tmp_path / "model.onnx"), torch.randn(60, convolutional.C)
    expected = torch.cat([module(x[None, t : t + steps]) for t in range(0, 61 - steps, stride)]).detach()
    np.testing.assert_allclose(model.predict([x.numpy()])[0], expected, atol=CLOSE)
    stream = model.stream()
    answers = [stream.step(step[None]) for step in x.numpy()]
    assert not any(len(y) for y in answers[: steps - 1]), "the first answer comes with the last step of a window"
    np.testing.assert_allclose(np.concatenate(answers), expected, atol=CLOSE)


def down_to_one_step() -> Graph:
    """Windows with a stride leave one of 10 steps, a number that is written in the graph; x [batch, 10, C, 1]."""
    g = Graph()
    x = g.op("Reshape", g.input("x", ["batch", 10, C, 1]), g.ints(-1, 1, 10, C))
    x = g.op("Relu", g.op("Conv", x, g.weight(4, 1, 3, 3), g.weight(4), pads=[0, 1, 0, 1]))
    x = g.op("Conv", g.op("MaxPool", x, kernel_shape=[2, 1], strides=[2, 1]), g.weight(K, 4, 4, C))
    g.op("Reshape", x, g.ints(-1, 1, 1, K), out=g.output("y"))
    return g


def test_a_file_whose_windows_leave_one_step_answers_for_each_window(tmp_path):
    graph = down_to_one_step()
    refused(graph, tmp_path, r"leaves 1 of 4 steps. If the network always reads 10 steps .*window=1", axes="BTWC")
    made = lifted(graph, tmp_path, axes="BTWC", window=1)
    s2o.export(made, tmp_path / "model.onnx", lookahead=True)
    x = np.random.default_rng(1).normal(size=(40, 1, C)).astype("f")
    own = onnxruntime.InferenceSession(tmp_path / "foreign.onnx")
    expected = [own.run(None, {"x": x[None, t : t + 10].swapaxes(2, 3)})[0].ravel() for t in range(0, 31, 2)]
    stream = s2o.load(tmp_path / "model.onnx").stream()
    answers = [stream.step(step[None]) for step in x]
    assert [len(y) for y in answers[:12]] == [0] * 9 + [1, 0, 1]
    np.testing.assert_allclose(np.concatenate(answers), expected, atol=CLOSE)


def test_a_window_of_one_step_is_no_time_for_what_follows(tmp_path):
    graph = down_to_one_step()
    graph.outputs.clear()
    y = graph.squeeze(graph.nodes.pop().input[0], 2)  # [batch, K, 1]
    graph.op("MaxPool", graph.op("Transpose", y, perm=[0, 2, 1]), kernel_shape=[K], out=graph.output("y"))
    made = lifted(graph, tmp_path, axes="BTWC", window=1)
    assert made.network.signals[made.network.outputs[0]].shape == (1,)


def test_windows_longer_than_the_first_run_are_traced_in_a_longer_one(tmp_path):
    graph = Graph()
    x = graph.op("Unsqueeze", graph.input("x", ["batch", "time"]), graph.ints(1))
    graph.op("Conv", x, graph.weight(K, 1, 512), strides=[160], out=graph.output("y"))
    made = lifted(graph, tmp_path, axes="BT")
    assert made.network.signals[made.network.outputs[0]].clock.stride == 160


def test_a_window_that_nothing_or_another_number_flattens_is_refused(tmp_path):
    path = tmp_path / "source.onnx"
    windowed(convolutional.WakeWord(), 16, path)
    with pytest.raises(s2o.ImportRefused, match=r"Flatten\): reshapes.* reads the last 16 steps, give window=16"):
        s2o.from_onnx(path, axes="BTC")
    with pytest.raises(s2o.ImportRefused, match="flattens 16 steps, not the window=12; give window=16"):
        s2o.from_onnx(path, axes="BTC", window=12)
    with pytest.raises(s2o.SpecError, match="window"):
        s2o.from_onnx(path, axes="BTC", window=0)
    refused(down_to_one_step(), tmp_path, "leaves 1 of 4 steps", axes="BTWC", window=4)
    windowed(convolutional.DownToOneStep(), 10, path)
    with pytest.raises(s2o.ImportRefused, match=r"what follows exists for one length only.*over time$"):
        s2o.from_onnx(path, axes="BTC")
    windowed(convolutional.StridedThenFlattened(), 15, path)
    with pytest.raises(s2o.ImportRefused, match="flattens 7 steps, not the window=1; give window=7"):
        s2o.from_onnx(path, axes="BTC", window=1)
    windowed(convolutional.LstmThenFlattened(), 8, path)
    with pytest.raises(s2o.ImportRefused, match="Each window must be .* add_states with window=8 runs the file"):
        s2o.from_onnx(path, axes="BTC", window=8)
    refused(plain_lstm(), tmp_path, "does not come from steps that are flattened", axes="BTC", window=5)


def test_it_is_a_network_of_ours_that_can_be_trained_further(tmp_path):
    export(LIFTED["LstmLastStep"], tmp_path / "source.onnx")
    made = s2o.from_onnx(tmp_path / "source.onnx")
    assert [layer.kind for layer in made.network.layers] == [
        "sequence_input", "lstm", "lstm", "fully_connected", "relu", "fully_connected",
    ]  # fmt: skip
    assert [layer.label for layer in made.network.layers][-1] == "fc2"
    assert made.network.name == "source"
    y, _, _ = made.train()(torch.randn(2, 7, 6))
    y.sum().backward()
    assert all(part.grad is not None for part in made.parameters())


def test_a_matlab_graph_with_time_first_is_lifted(tmp_path):
    """exportONNXNetwork: time first, an LSTM of opset 9 without layout, bias in Gemm, Softmax over the last axis."""
    g = Graph(9)
    x = g.input("sequenceinput", ["SequenceLength", "BatchSize", C])
    mean = g.op("Sub", x, g.const(np.arange(C), np.float32))
    y = g.squeeze(g.lstm(mean)[0], 1)
    flat = g.op("Reshape", g.op("Gather", y, g.const(-1, np.int64), axis=0), g.ints(-1, H))
    scores = g.op("Gemm", flat, g.weight(K, H), g.weight(K), transB=1)
    g.op("Softmax", scores, out=g.output("softmax"), axis=1)
    made = lifted(g, tmp_path)
    kinds = [layer.kind for layer in made.network.layers]
    assert kinds == ["sequence_input", "rescale", "lstm", "fully_connected", "softmax"]
    x = np.random.default_rng(0).normal(size=(6, 2, C)).astype("f")
    want = source_answer(tmp_path / "foreign.onnx", x)
    np.testing.assert_allclose(made(torch.from_numpy(x.swapaxes(0, 1)))[0].detach(), want, atol=CLOSE)


def test_a_keras_graph_with_a_convolution_of_two_axes_is_lifted(tmp_path):
    """tf2onnx writes a Conv1D as a Conv over [batch, channels, 1, time], and the bias apart."""
    g = Graph(13)
    x = g.op("Transpose", g.input("x", [None, None, C]), perm=[0, 2, 1])
    pad = g.op("Pad", g.op("Unsqueeze", x, g.ints(2)), g.ints(0, 0, 0, 2, 0, 0, 0, 0))
    y = g.squeeze(g.op("Conv", pad, g.weight(H, C, 1, 3), kernel_shape=[1, 3]), 2)
    y = g.op("Relu", g.op("Add", g.op("Transpose", y, perm=[0, 2, 1]), g.weight(H)))
    g.dense(g.op("ReduceMean", y, axes=[1], keepdims=0), out=g.output("dense"))
    made = lifted(g, tmp_path)
    kinds = [layer.kind for layer in made.network.layers]
    assert kinds[0:2] == ["sequence_input", "conv1d"]
    assert made.network.layers[1].padding == "causal"


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("after", [0, 1])
def test_recurrent_operators_with_start_states_that_are_numbers(op, after, tmp_path):
    g = Graph()
    x = g.input("x", ["batch", "time", C])
    start = [g.op("Expand", g.weight(1, 1, H), g.op("Concat", g.ints(1), _rows(g, x), g.ints(H), axis=0))]
    start += [start[0]] if op == "LSTM" else []
    more = {"linear_before_reset": after} if op == "GRU" else {}
    y = g.lstm(g.time_first(x), C, *start, op=op, **more)[0]
    g.dense(g.time_first(g.squeeze(y, 1)), out=g.output("y"))
    made = lifted(g, tmp_path)
    layer = made.network.layers[1]
    assert layer.start == "learned"
    if op == "GRU":
        modes = ["before_multiplication", "recurrent_bias_after_multiplication"]
        assert layer.reset_gate_mode == modes[after]


def _rows(g: Graph, x: str) -> str:
    return g.op("Shape", x, start=0, end=1)


@pytest.mark.parametrize(
    ("activations", "alpha", "gate", "state"),
    [
        (["HardSigmoid", "Softsign", "Softsign"], [], "hard_sigmoid", "softsign"),
        (["HardSigmoid", "Tanh", "Tanh"], [1 / 6], "hard_sigmoid_6", "tanh"),
        (["Sigmoid", "Relu", "Relu"], [], "sigmoid", "relu"),
    ],
)
def test_activations_of_other_kinds(activations, alpha, gate, state, tmp_path):
    g = Graph()
    more = {"activation_alpha": alpha, "activation_beta": [0.5]} if alpha else {}
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]), activations=activations, **more)
    g.dense(y, out=g.output("y"))
    layer = lifted(g, tmp_path).network.layers[1]
    assert (layer.gate_activation, layer.state_activation) == (gate, state)


def test_states_carried_by_hand_are_dropped_and_lengths_are_lengths(tmp_path):
    g = Graph()
    x, h, c = (
        g.input(*entry) for entry in (("x", ["time", "batch", C]), ("h0", [1, "batch", H]), ("c0", [1, "batch", H]))
    )
    lengths = g.op("Cast", g.input("lengths", ["batch"], TensorProto.INT64), to=TensorProto.INT32)
    W = [g.weight(1, 4 * H, C), g.weight(1, 4 * H, H), g.weight(1, 8 * H)]
    y, hn, cn = g.op("LSTM", x, *W, lengths, h, c, outs=3, hidden_size=H)
    g.dense(g.squeeze(y, 1), out=g.output("y"))
    g.op("Identity", hn, out=g.output("hn"))
    g.op("Identity", cn, out=g.output("cn"))
    made = lifted(g, tmp_path)
    assert [layer.kind for layer in made.network.layers] == ["sequence_input", "lstm", "fully_connected"]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_cell_states_of_rows_with_lengths_are_read(direction, tmp_path):
    """The comparison with the file, whose rows have lengths, is part of from_onnx."""
    g, n = Graph(), 2 if direction == "bidirectional" else 1
    x, lengths = g.input("x", ["time", "batch", C]), g.input("lengths", ["batch"], TensorProto.INT32)
    W = [g.weight(n, 4 * H, C), g.weight(n, 4 * H, H), g.weight(n, 8 * H)]
    _, _, cell = g.op("LSTM", x, *W, lengths, outs=3, hidden_size=H, direction=direction)
    flat = g.op("Reshape", g.op("Transpose", cell, perm=[1, 0, 2]), g.ints(-1, n * H))
    g.dense(flat, n * H, out=g.output("y"))
    made = lifted(g, tmp_path)
    layer = made.network.layers[1]
    assert (layer.kind, layer.output_mode) == ("lstm" if n == 1 else "bilstm", "cell")
    rows = [np.random.default_rng(0).normal(size=(steps, C)).astype("f") for steps in (7, 3)]
    s2o.export(made, tmp_path / "network.onnx")
    padded = np.zeros((7, 2, C), np.float32)
    padded[:, 0], padded[:3, 1] = rows
    expected = source_answer(tmp_path / "foreign.onnx", padded, lengths=np.array([7, 3], np.int32))
    np.testing.assert_allclose(s2o.load(tmp_path / "network.onnx").predict(rows), expected, rtol=0, atol=CLOSE)


def test_several_outputs_have_the_names_of_the_file_and_can_be_chosen(tmp_path):
    g = plain_lstm()
    y = g.nodes[-2].input[0]
    g.op("Sigmoid", g.op("MatMul", y, g.weight(H, 1)), out=g.output("speech/prob"))
    g.op("ArgMax", "scores", axis=-1, keepdims=0, out=g.output("label", TensorProto.INT64))
    refused(g, tmp_path, "ArgMax.*outputs=")
    made = lifted(g, tmp_path, outputs=["scores", "speech/prob"])
    assert made.network.outputs == ("scores", "speech_prob")
    assert lifted(g, tmp_path, outputs=["scores"]).network.outputs != ("scores", "speech_prob")


def test_an_answer_without_features_gets_one(tmp_path):
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    g.op("Squeeze", g.op("MatMul", y, g.weight(H, 1)), g.ints(2), out=g.output("y"))
    made = lifted(g, tmp_path)
    y, _, _ = made(torch.zeros(2, 5, C))
    assert y.shape == (2, 5, 1)


def test_a_squeeze_without_axes_loses_no_sequence_of_one_step(tmp_path):
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    g.op("Squeeze", g.op("MatMul", y, g.weight(H, 1)), out=g.output("y"))
    y, _, _ = lifted(g, tmp_path)(torch.zeros(2, 1, C))
    assert y.shape == (2, 1, 1)


def test_fixed_inputs_are_constants(tmp_path):
    g = plain_lstm(lambda g, y: g.op("Mul", y, g.input("sr", [])))
    refused(g, tmp_path, r"combines the data with the input 'sr'.*fixed=.*add_states")
    lifted(g, tmp_path, fixed={"sr": 0.5})
    refused(g, tmp_path, "fixed: .*no input 'rate'", fixed={"rate": 1})


def test_functions_that_exporters_write_out_are_one_layer(tmp_path):
    """Before opset 17 a LayerNorm is nine nodes; before opset 20 a GELU is five."""
    g = Graph(13)
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    centered = g.op("Sub", y, g.op("ReduceMean", y, axes=[-1]))
    variance = g.op("ReduceMean", g.op("Pow", centered, g.const(np.float32(2))), axes=[-1])
    root = g.op("Sqrt", g.op("Add", variance, g.const(np.float32(1e-3))))
    y = g.op("Add", g.op("Mul", g.op("Div", centered, root), g.weight(H)), g.weight(H))
    curve = g.op("Add", g.op("Erf", g.op("Div", y, g.const(np.float32(2**0.5)))), g.const(np.float32(1)))
    y = g.op("Mul", g.op("Mul", y, curve), g.const(np.float32(0.5)))
    g.dense(y, out=g.output("y"))
    made = lifted(g, tmp_path)
    kinds = [layer.kind for layer in made.network.layers]
    assert kinds[:4] == ["sequence_input", "lstm", "layer_norm", "gelu"]
    assert made.network.layers[2].epsilon == pytest.approx(1e-3)


def _of_steps(norm, *shape):
    """A norm of all steps as one batch, each of this shape."""
    return lambda g, y: g.op("Reshape", norm(g, g.op("Reshape", y, g.ints(-1, *shape))), g.op("Shape", y))


def _divided(norm):
    return lambda g, y: g.op("Div", y, norm(g, y))


def _number(g, value):
    return g.const(np.float32(value))


def _length(g, y):
    return g.op("ReduceL2", y, axes=[2])


def _ones(g, y):
    return g.op("ConstantOfShape", g.op("Shape", y), value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1]))


def _written(g, y):
    """A norm as a newer exporter writes it: without the axis, which a Reshape adds, and times a factor."""
    mean = g.op("Mul", g.op("ReduceMean", g.op("Mul", y, y), axes=[2], keepdims=0), _number(g, 1.25))
    shape = g.op("Concat", g.op("Shape", mean), g.ints(1), axis=0)
    spread = g.op("Sqrt", g.op("Add", g.op("Expand", g.op("Reshape", mean, shape), shape), _number(g, 0.01)))
    return g.op("Div", y, spread)


def _weighted(op, count, **more):
    return lambda g, y: g.op(op, y, g.weight(count), g.weight(count), **more)


# GroupNormalization subtracts the squared mean from the mean square, which costs digits where both are almost the same.
NORMS = {
    "LpNormalization": (17, lambda g, y: g.op("LpNormalization", y, axis=2)),
    "limited": (17, _divided(lambda g, y: g.op("Max", _length(g, y), _number(g, 1e-12)))),
    "expanded": (17, _divided(lambda g, y: g.op("Expand", _length(g, y), g.op("Shape", y)))),
    "increased": (17, _divided(lambda g, y: g.op("Add", _number(g, 1e-8), _length(g, y)))),
    "3 / norm": (17, lambda g, y: g.op("Mul", g.op("Div", _number(g, 3), _length(g, y)), y)),
    "root": (17, _divided(lambda g, y: g.op("Sqrt", g.op("ReduceSumSquare", y, axes=[2])))),
    "written out": (17, _written),
    "RMSNormalization": (23, lambda g, y: g.op("RMSNormalization", y, g.weight(H), epsilon=0.1)),
    "RMSNormalization of ones": (23, lambda g, y: g.op("RMSNormalization", y, _ones(g, y))),
    "RMSNormalization of heads": (23, _of_steps(lambda g, y: g.op("RMSNormalization", y, g.weight(2)), 2, 2)),
    "GroupNormalization-18": (18, _of_steps(_weighted("GroupNormalization", 2, num_groups=2, epsilon=0.1), H, 1)),
    "GroupNormalization-21": (21, _of_steps(_weighted("GroupNormalization", H, num_groups=2, epsilon=0.1), H, 1)),
    "InstanceNormalization": (17, _of_steps(_weighted("InstanceNormalization", 2, epsilon=0.01), 2, 2)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_of_each_step_are_one_layer(name, tmp_path):
    opset, norm = NORMS[name]
    made = lifted(plain_lstm(norm, opset), tmp_path)
    kind = "layer_norm" if name.startswith(("Group", "Instance")) else "rms_norm"
    assert [layer.kind for layer in made.network.layers] == ["sequence_input", "lstm", kind, "fully_connected"]


def _fused(op, *weights, **more):
    """A norm of y plus a half of y, as ONNX Runtime fuses it; the sum is its last output."""

    def norm(g, y):
        half = g.op("Mul", y, _number(g, 0.5))
        found = g.op(op, y, half, *(g.weight(H) for _ in weights), outs=4, domain="com.microsoft", **more)
        return g.op("Add", found[0], found[3])

    return norm


FUSED = {
    "without a sum": ("rms_norm", lambda g, y: g.op("SimplifiedLayerNormalization", y, g.weight(H), epsilon=0.1)),
    "scale": ("rms_norm", _fused("SkipSimplifiedLayerNormalization", "scale", epsilon=0.1)),
    "scale, bias": ("rms_norm", _fused("SkipSimplifiedLayerNormalization", "scale", "bias", epsilon=0.1)),
    "scale, offset": ("layer_norm", _fused("SkipLayerNormalization", "scale", "offset", epsilon=0.1)),
    "scale, offset, bias": ("layer_norm", _fused("SkipLayerNormalization", "scale", "offset", "bias", epsilon=0.1)),
}


@pytest.mark.parametrize("name", FUSED)
def test_norms_that_onnxruntime_fuses_are_layers(name, tmp_path):
    kind, norm = FUSED[name]
    plain_lstm(norm).save(tmp_path, **{"com.microsoft": 1})
    made = s2o.from_onnx(tmp_path / "foreign.onnx")
    assert [layer.kind for layer in made.network.layers if "norm" in layer.kind] == [kind]


def test_norms_over_time_are_refused_with_what_to_do(tmp_path):
    def over_time(norm):
        return lambda g, y: g.op("Transpose", norm(g, g.op("Transpose", y, perm=[0, 2, 1])), perm=[0, 2, 1])

    for opset, norm in (
        (17, over_time(_weighted("InstanceNormalization", H))),
        (21, over_time(_weighted("GroupNormalization", H, num_groups=2))),
        (17, lambda g, y: g.op("LpNormalization", y, axis=1)),
    ):
        refused(plain_lstm(norm, opset), tmp_path, "statistics over time.* Use BatchNorm, or a norm of each step")
    refused(plain_lstm(lambda g, y: g.op("LpNormalization", y, axis=2, p=1)), tmp_path, "sum of absolute .*use p=2")


def test_a_softmax_of_old_operators_spans_all_later_axes(tmp_path):
    def graph(opset, rank):
        g = Graph(opset)
        y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
        y = g.op("ReduceMean", y, axes=[1], keepdims=0) if rank == 2 else y
        g.op("Softmax", y, out=g.output("y"), **({} if opset < 13 else {"axis": 1}))
        return g

    assert lifted(graph(11, 2), tmp_path).network.layers[-1].kind == "softmax"
    refused(graph(11, 3), tmp_path, "softmax along time")
    refused(graph(13, 3), tmp_path, "softmax over time")


def test_the_number_of_features_is_given_where_the_file_does_not_say_it(tmp_path):
    g = Graph()
    g.dense(g.sequence_lstm(g.input("x", [None, None, None])), out=g.output("y"))
    refused(g, tmp_path, "give features=")
    assert lifted(g, tmp_path, features=C).network.layers[0].size == C


# The order of the axes


def test_an_order_of_axes_that_nothing_confirms_is_asked_for(tmp_path):
    g = Graph()
    g.dense(g.input("x", [None, None, H]), out=g.output("y"))
    refused(g, tmp_path, "nothing in the graph joins steps.*give axes=")
    assert lifted(g, tmp_path, axes="BTC").network.layers[0].size == H
    g = Graph()  # a maximum over 12 features is no layer, over time it would be
    g.op("ReduceMax", g.input("x", [1, 9, 12]), axes=[2], keepdims=0, out=g.output("y"))
    refused(g, tmp_path, "nothing has weights.*give axes=")


def test_a_batch_read_as_time_is_refused(tmp_path):
    refused(plain_lstm(), tmp_path, "runs along the batch, not along time", axes="TBC")


def test_axes_that_are_no_axes(tmp_path):
    path = plain_lstm().save(tmp_path)
    with pytest.raises(s2o.SpecError, match="expected the letters B .batch., T .time. and C .features."):
        s2o.from_onnx(path, axes="NTC")
    with pytest.raises(s2o.ImportRefused, match="names 2 axes, the input sound has 3"):
        s2o.from_onnx(path, axes="BT")
    with pytest.raises(s2o.ImportRefused, match="have no time, T"):
        s2o.from_onnx(path, axes="BC")


# What is refused


HARMFUL = {
    "DividedByTime": "depend on how many steps",
    "PositionAdded": "positions of steps",
    "LearnedPositions": "positions of steps",
    "Flipped": "reverses time",
    "SummedSoFar": "sums over all steps so far",
    "Attention": "as attention does",
    "AttentionWithAMean": "only the sum over time",
    "WeightsOfAttention": "softmax over time",
    "FlattenedOverTime": "does not run the file",
    "ViewInsteadOfTranspose": "cuts the batch into pieces",
    "LoopOverSteps": "a single step that is not the last",
    "EncoderDecoder": "starts from a state that is computed",
    "InstanceNorm": "statistics over time",
    "FirstStepOnly": "a single step that is not the last",
    "FirstTenSteps": "number",
    "CentredOverBatch": "over the batch",
    "DifferencesOverBatch": "some elements of the batch",
    "MaskOfItsOwn": "compares numbers",
    "BidirectionalRnn": "bidirectional RNN",
    "GroupNormOverTime": "statistics over time",
    "LengthOneOverTime": "statistics over time",
    "WrittenLayerNormOverTime": "statistics over time",
    "LargeEpsilonAfterTheRoot": "increased by 0.1.*add_states keeps the operator",
    "StandardScoresWithAnAddend": "increased by 1e-06.*add_states keeps the operator",
    "LeastLength": "limited to at least 0.5",
    "SumsOfAbsoluteValues": "absolute|ReduceL1",
    "NormAsAFeature": "a norm, which only a division",
    "NormOfAnother": "divides by a calculated tensor",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_networks_are_refused_with_the_node_and_the_reason(name, tmp_path):
    export(REFUSED[name], tmp_path / "source.onnx")
    with pytest.raises(s2o.ImportRefused, match=HARMFUL[name]):
        s2o.from_onnx(tmp_path / "source.onnx", axes="BTC")


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"clip": 1.0}, "LSTM_1.*clip=1.0.*add_states"),
        ({"input_forget": 1}, "input_forget=1.*add_states"),
        ({"peepholes": True}, "peepholes.*add_states"),
        ({"direction": "reverse"}, "runs backward"),
        ({"activations": ["Sigmoid", "Tanh", "Relu"]}, "one for all gates and one for the state"),
        ({"activations": ["Sigmoid", "Elu", "Elu"]}, "activations Sigmoid, Elu, Elu.*add_states"),
        (
            {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.2], "activation_beta": [0.4]},
            "activations HardSigmoid, Tanh, Tanh.*add_states",
        ),
    ],
)
def test_options_of_recurrent_operators_without_a_layer(more, match, tmp_path):
    g = Graph()
    g.dense(g.sequence_lstm(g.input("x", ["batch", "time", C]), **more), out=g.output("y"))
    refused(g, tmp_path, match)


def test_files_that_quantize_as_they_run_are_refused_by_both_doors(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(plain_lstm().save(tmp_path), tmp_path / "int8.onnx")
    for bring in (s2o.from_onnx, lambda path: s2o.add_states(path, tmp_path / "x.onnx")):
        with pytest.raises(s2o.ImportRefused, match=r"\(DynamicQuantizeLSTM\): quantizes by.*bring the float file"):
            bring(tmp_path / "int8.onnx")


def test_the_cause_of_an_unknown_type_is_named_in_place_of_the_division_after_it(tmp_path):
    g = plain_lstm(lambda g, y: g.op("Div", *[g.op("Gelu", y, domain="com.microsoft")] * 2))
    g.save(tmp_path, **{"com.microsoft": 1})
    for bring in (s2o.from_onnx, lambda path: s2o.add_states(path, tmp_path / "x.onnx")):
        with pytest.raises(s2o.ImportRefused, match=r"\(Gelu\): is an operator of com.microsoft that gives numbers of"):
            bring(tmp_path / "foreign.onnx")


def test_a_fixed_window_before_a_division_is_named_and_not_the_division(tmp_path):
    g = Graph()
    y = g.op("Gemm", g.op("Flatten", g.input("x", [1, 4, C])), g.weight(4 * C, H))
    squares = g.op("ReduceMean", g.op("Mul", y, y), axes=[1])
    g.op("Div", y, g.op("Sqrt", g.op("Add", squares, g.const(0.1, np.float32))), out=g.output("y"))
    refused(g, tmp_path, "Flatten.*window=4")
    assert lifted(g, tmp_path, window=4).network.layers[-1].kind == "rms_norm"


def test_an_if_on_another_input_says_which_value_to_give(tmp_path):
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    rate = g.op("Equal", g.input("sr", [], onnx.TensorProto.INT64), g.const(16000, np.int64))
    branches = {
        name: onnx.helper.make_graph(
            [onnx.helper.make_node(op, [y], [name])], name, [], [onnx.helper.make_tensor_value_info(name, 1, None)]
        )
        for name, op in (("then", "Tanh"), ("else", "Relu"))
    }
    y = g.op("If", rate, then_branch=branches["then"], else_branch=branches["else"])
    g.dense(y, out=g.output("y"))
    refused(g, tmp_path, r"\(If\): chooses what is computed by the input 'sr'; give it a value, fixed=\{'sr': …\}")
    kinds = [layer.kind for layer in lifted(g, tmp_path, fixed={"sr": 16000}).network.layers]
    assert "tanh" in kinds


def test_layout_1_is_refused(tmp_path):
    g = Graph()
    x = g.input("x", ["batch", "time", C])
    g.dense(g.op("Squeeze", g.lstm(x, layout=1)[0], g.ints(2)), out=g.output("y"))
    with pytest.raises((s2o.ImportRefused, s2o.ModelFileError), match="layout"):
        s2o.from_onnx(g.save(tmp_path))


def test_a_sequence_of_tensors_is_refused_by_the_operator_that_makes_it(tmp_path):
    def unbound(g, y):  # what torch's newer exporter makes of x.unbind(1)
        steps = g.op("SplitToSequence", y, axis=1, keepdims=0)
        return g.op("SequenceAt", steps, g.const(np.array(-1)))

    refused(plain_lstm(unbound), tmp_path, r"\(SplitToSequence\): the operator SplitToSequence has no layer")


def test_one_number_of_steps_is_too_few(tmp_path):
    g = plain_lstm(lambda g, y: g.op("Reshape", y, g.ints(-1, 9, H)))
    g.inputs[0].type.tensor_type.shape.dim[1].dim_value = 9
    refused(g, tmp_path, "run with 9 steps only.*dynamic axis.*add_states")
    s2o.add_states(tmp_path / "foreign.onnx", tmp_path / "stream.onnx")
    assert s2o.load(tmp_path / "stream.onnx").states


def test_a_fixed_batch_is_no_hindrance(tmp_path):
    for rows in (1, 3, 5):
        g = Graph()
        x = g.input("x", [rows, "time", C])
        y = g.lstm(
            g.time_first(x), C, g.const(np.zeros((1, rows, H)), np.float32), g.const(np.zeros((1, rows, H)), np.float32)
        )
        g.dense(g.op("Reshape", g.time_first(g.squeeze(y[0], 1)), g.ints(rows, -1, H)), out=g.output("y"))
        lifted(g, tmp_path)


def test_our_own_files_are_restored_and_not_lifted(model_file):
    with pytest.raises(s2o.ImportRefused, match="was written by seq2onnx; open it with load, or with restore"):
        s2o.from_onnx(model_file)


def test_only_the_result_needs_torch(tmp_path):
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    onnx.save(plain_lstm().model(), good)
    onnx.save(plain_lstm(lambda g, y: g.op("Softplus", y)).model(), bad)
    code = (
        "import sys; sys.modules['torch'] = None\nimport seq2onnx as s2o\n"
        "for path in sys.argv[1:]:\n"
        "    try: s2o.from_onnx(path)\n"
        "    except s2o.Seq2OnnxError as error: print(type(error).__name__)\n"
    )
    assert python(code, str(good), str(bad)).split() == ["MissingExtra", "ImportRefused"]


def test_the_error_names_the_file_the_node_and_what_to_do(tmp_path):
    text = refused(plain_lstm(lambda g, y: g.op("Softplus", y)), tmp_path, "Softplus", axes="BTC")
    assert text.startswith(f"{tmp_path / 'foreign.onnx'}: Softplus_4 (Softplus): ")
    assert "add_states" in text


# Each trap as a mutation that the proof catches


def _one_bias(kind, framework, W, R, biases, apart):
    return TRUE_WEIGHTS(kind, framework, W, R, [biases[0], 0 * biases[1]], apart)


def _bias_outside(*given):
    found = TRUE_WEIGHTS(*given)
    if "recurrent_bias" in found:
        units = len(found["recurrent_bias"])
        found["bias"] = found["bias"] + np.concatenate([np.zeros(2 * units), found["recurrent_bias"]])
        found["recurrent_bias"] = np.zeros(units)
    return found


TRUE_WEIGHTS, TRUE_RECURRENT = onnx_layers.weights_of, onnx_layers.recurrent
TRUE_NORM, TRUE_LAYER_NORM = lifting.batch_norm, lifting.layer_norm
TRAPS = {
    "the gates i o f c read as i f g o": (gates, "permute", lambda stacked, source, target: stacked),
    "one of two biases dropped": (onnx_layers, "weights_of", _one_bias),
    "the bias of the candidate outside of the reset gate": (onnx_layers, "weights_of", _bias_outside),
    "the epsilon of a BatchNorm": (
        lifting, "batch_norm", lambda x, axis, arrays, epsilon, momentum: TRUE_NORM(x, axis, arrays, 1e-2, momentum),
    ),
    "the epsilon of a LayerNorm": (
        lifting, "layer_norm", lambda x, n, scale, offset, epsilon: TRUE_LAYER_NORM(x, n, scale, offset, 1e-5),
    ),
    "the slope of a hard sigmoid": (onnx_layers, "NAMES", onnx_layers.NAMES | {("hardsigmoid", 0.2): "hard_sigmoid_6"}),
    "the last step of a backward direction for its final state": (
        onnx_layers, "recurrent",
        lambda *given: _with_last_step(TRUE_RECURRENT(*given)),
    ),
    "linear_before_reset read as 0": (
        node_calls, "attributes",
        lambda node: graph_parts.attributes(node) | ({"linear_before_reset": 0} if node.op_type == "GRU" else {}),
    ),
    "numbers that depend on the length": (onnx_operators.NodeCall, "settled", lambda *_: None),
}  # fmt: skip


def _with_last_step(found):
    y, h, *cells = found
    last = time_axis.last_step(y, 0)
    return [y, h.with_(parts=last.parts, index=np.arange(last.index.size).reshape(h.index.shape)), *cells]


def _every_trap(traps: Graph) -> Graph:
    """A graph that has something of every trap."""
    g = traps
    x = g.input("x", ["batch", "time", C])
    y = g.sequence_lstm(x, activations=["HardSigmoid", "Tanh", "Tanh"])
    y = g.time_first(g.squeeze(g.lstm(g.time_first(y), H, op="GRU", linear_before_reset=1)[0], 1))
    statistics = [g.weight(H), g.weight(H), g.weight(H), g.const(np.full(H, 0.1), np.float32)]
    y = g.op("Transpose", y, perm=[0, 2, 1])
    y = g.op("Transpose", g.op("BatchNormalization", y, *statistics, epsilon=1e-3), perm=[0, 2, 1])
    y = g.op("LayerNormalization", y, g.weight(H), g.weight(H), epsilon=1e-3)
    final = g.lstm(g.time_first(y), H, op="GRU", direction="bidirectional", linear_before_reset=1)[1]
    flat = g.op("Reshape", g.op("Transpose", final, perm=[1, 0, 2]), g.ints(-1, 2 * H))
    g.dense(flat, 2 * H, out=g.output("y"))
    return g


def test_a_graph_with_every_trap_is_lifted_without_a_trap(tmp_path):
    lifted(_every_trap(Graph()), tmp_path)


@pytest.mark.parametrize("trap", [name for name in TRAPS if name != "numbers that depend on the length"])
def test_the_proof_catches_each_trap(trap, tmp_path, monkeypatch):
    place, name, value = TRAPS[trap]
    monkeypatch.setattr(place, name, value)
    refused(_every_trap(Graph()), tmp_path, "First difference")


def test_the_proof_catches_a_division_by_the_number_of_steps(tmp_path, monkeypatch):
    def divided(g, y):
        return g.op("Div", y, g.op("Cast", g.op("Shape", y, start=1, end=2), to=TensorProto.FLOAT))

    refused(plain_lstm(divided), tmp_path, "depend on how many steps")
    place, name, value = TRAPS["numbers that depend on the length"]
    monkeypatch.setattr(place, name, value)
    refused(plain_lstm(divided), tmp_path, "First difference: whole, 1 steps")


def test_an_output_is_compared_with_itself(tmp_path, monkeypatch):
    g = plain_lstm()
    g.op("Tanh", "scores", out=g.output("other"))
    lifted(g, tmp_path)
    true = onnx_networks._answers
    monkeypatch.setattr(
        onnx_networks, "_answers", lambda *given: dict(zip(["other", "scores"], true(*given).values(), strict=True))
    )
    refused(g, tmp_path, "First difference")


# Files of strangers


def test_broken_files_and_files_with_weights_elsewhere(tmp_path):
    path = plain_lstm().save(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"no", whole[: len(whole) // 2]):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(s2o.ModelFileError):
            s2o.from_onnx(tmp_path / "broken.onnx")
    model = onnx.load(path)
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "external.onnx")
    with pytest.raises(s2o.ModelFileError, match=r"in another file.*onnx\.save"):
        s2o.from_onnx(tmp_path / "external.onnx")
    with pytest.raises(FileNotFoundError):
        s2o.from_onnx(tmp_path / "nothing.onnx")


def test_a_small_file_that_needs_much_memory_for_a_long_sequence_does_not_get_it(tmp_path):
    """With 11 steps it has 11⁴ numbers, with the 1,009 steps of the proof 10¹²: the length is left out of the proof."""

    def grows(g, y):
        steps = g.op("Shape", y, start=1, end=2)
        zeros = g.op("ConstantOfShape", g.op("Concat", steps, steps, steps, steps, axis=0))
        return g.op("Add", y, g.op("ReduceMax", zeros, keepdims=0))

    lifted(plain_lstm(grows), tmp_path)


def doubled(g: Graph, y: str) -> str:
    """2^40 times what it was, scaled down again: as a tree, too much to follow."""
    for _ in range(40):
        y = g.op("Add", y, y)
    return g.op("Mul", y, g.const(np.float32(2.0**-40)))


def some_features(g: Graph, y: str) -> str:
    y = g.op("Slice", doubled(g, y), g.ints(1), g.ints(3), g.ints(2))
    return g.op("Tile", y, g.ints(1, 1, 2))


def without_the_last_steps(g: Graph, y: str) -> str:
    """A causal convolution as it is often written: padding on both sides, of which one is cut off."""
    y = g.op("Conv", g.op("Transpose", y, perm=[0, 2, 1]), g.weight(H, H, 3), pads=[2, 2])
    y = g.op("Slice", doubled(g, y), g.ints(0), g.ints(-2), g.ints(2))
    return g.op("Transpose", y, perm=[0, 2, 1])


@pytest.mark.parametrize("cut", [some_features, without_the_last_steps])
def test_sums_of_a_tensor_with_itself_take_no_more_time_than_they_have_nodes(cut, tmp_path):
    assert len(lifted(plain_lstm(cut), tmp_path, axes="BTC").network.layers) < 60


def test_chains_of_any_length_are_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_networks.equivalence, "prove", lambda *_, **__: 0.0)

    def chain(g: Graph, y: str) -> str:
        for _ in range(600):
            y = g.op("Tanh", y)
        return y

    for cut in (some_features, without_the_last_steps):
        module = lifted(plain_lstm(lambda g, y, cut=cut: cut(g, chain(g, y))), tmp_path, axes="BTC")
        assert len(module.network.layers) > 600
    monkeypatch.setattr(assembly, "LAYERS", 600)
    refused(plain_lstm(chain), tmp_path, r"has 603 layers; a network has at most 600", axes="BTC")


def test_mutated_files_end_in_an_error_of_ours(tmp_path):
    path, rng, refused = plain_lstm().save(tmp_path), np.random.default_rng(0), 0
    whole = path.read_bytes()
    for _ in range(15):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            content[at] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            s2o.from_onnx(path, axes="BTC")
        except s2o.Seq2OnnxError:
            refused += 1
    assert 5 < refused < 15


def test_every_operator_that_is_lifted_is_one_that_onnx_has():
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    fused = {name for name in onnx_operators.OPERATORS if "SimplifiedLayerNorm" in name or "microsoft" in name}
    assert set(onnx_operators.OPERATORS) - fused <= known | {"Swish"}
    assert set(onnx_operators.REASONS) <= known | {"Attention"}
    assert not set(onnx_operators.OPERATORS) & set(onnx_operators.REASONS)


@pytest.mark.parametrize("make", [TwoSequencesAndAVector, TwoBranches])
def test_several_inputs_are_inputs_of_the_network_with_their_names(make, tmp_path):
    module, rng = weights(make()).eval(), torch.Generator().manual_seed(0)
    fast, slow, machine = (torch.randn(shape, generator=rng) for shape in ((2, 9, 3), (2, 9, 2), (2, 2)))
    names, letters, arguments = ("fast", "slow", "machine"), "BT", (fast, slow, machine)
    if make is TwoBranches:
        names, letters, arguments = (
            ("fast", "machine", "slow"),
            "TB",
            (fast.transpose(0, 1), machine, slow.transpose(0, 1)),
        )
    free = {name: {0: "B"} if name == "machine" else dict(enumerate(letters)) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, arguments, tmp_path / "x.onnx", dynamo=False, input_names=[*names], dynamic_axes=free)
    made = s2o.from_onnx(tmp_path / "x.onnx")
    assert {layer.label for layer in made.network.inputs} == {*names}
    with torch.no_grad():
        expected = module(*arguments)
        found = made({"fast": fast, "slow": slow, "machine": machine}, return_state=False)[0]
    assert (found - (expected.transpose(0, 1) if letters == "TB" else expected)).abs().max() <= CLOSE


def test_an_input_that_is_a_start_state_or_has_no_known_features_is_no_further_sequence(tmp_path):
    g = Graph()
    y = g.sequence_lstm(g.input("x", ["batch", "time", C]))
    g.op("Add", y, g.input("h", ["batch", None, None]), out=g.output("y"))
    refused(g, tmp_path, "'h'.*no layer does that|combines.*'h'|calculates with the input 'h'", axes="BTC")
