"""The ONNX contract: names, shapes, signatures, metadata, weights; restore; and files that are not ours."""

from __future__ import annotations

import itertools
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import seq2onnx as s2o
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.exporting.emission import EMISSION
from seq2onnx.layers.graph import GraphBuilder
from tests import laws
from tests.conftest import CLASSES, built, described, small_network

X = {"x": ("FLOAT", ["batch", "time", 4])}
LENGTHS = {"lengths": ("INT32", ["batch"])}
STATES = {"state_00_lstm_1_h": ("FLOAT", ["batch", 8]), "state_01_lstm_1_c": ("FLOAT", ["batch", 8])}
Y = {"y": ("FLOAT", ["batch", 3])}
NEW_STATES = {f"new_{name}": value for name, value in STATES.items()}


def test_signatures_have_the_names_and_shapes_of_the_contract(data):
    module = built(small_network(), data)
    weights = laws.Subject(small_network()).weights
    expected = {
        "full": (X | LENGTHS | STATES, Y | NEW_STATES),
        "sequence": (X | LENGTHS, Y),
        "stream": (X | STATES, Y | NEW_STATES),
    }
    for signature, (inputs, outputs) in expected.items():
        graph = build_model(module.network, weights, ExportOptions(signature)).graph
        assert list(described(graph.input).items()) == list(inputs.items())
        assert list(described(graph.output).items()) == list(outputs.items())


def test_the_default_is_full_opset_17_ir_8(model_file):
    model = onnx.load(model_file)
    assert ([(o.domain, o.version) for o in model.opset_import], model.ir_version) == ([("", 17)], 8)
    assert json.loads({p.key: p.value for p in model.metadata_props}["seq2onnx"])["signature"] == "full"
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(("opset", "ir"), [(17, 8), (18, 8), (20, 9), (22, 10), (25, 13)])
def test_every_opset_gives_the_same_numbers(opset, ir):
    subject = laws.Subject(small_network())
    model = build_model(subject.network, subject.weights, ExportOptions(opset=opset))
    assert model.ir_version == ir
    onnx.checker.check_model(model, full_check=True)
    subject.sessions["full"] = laws.open_session(model)
    laws.three_agree(subject)


def test_metadata_says_all_that_running_needs(model_file):
    properties = {p.key: p.value for p in onnx.load(model_file).metadata_props}
    assert json.loads(properties["classes"]) == CLASSES
    metadata = json.loads(properties["seq2onnx"])
    network, training = metadata.pop("network"), metadata.pop("training")
    assert s2o.Network.from_dict(network).layers[0].statistics is not None
    assert list(training["inputs"]) == ["sequence_input_1"]
    assert metadata == {
        "format_version": 1,
        "classes": CLASSES,
        "signature": "full",
        "states": [
            {
                "in": f"state_{i:02d}_lstm_1_{kind}",
                "out": f"new_state_{i:02d}_lstm_1_{kind}",
                "shape": [None, 8],
                "dtype": "float32",
                "kind": kind,
                "layer": "lstm_1",
            }
            for i, kind in enumerate("hc")
        ],
        "time_stride": 1,
        "min_length": 1,
        "delay_steps": 0,
        "data_policy": {
            "sequence_length": "longest",
            "padding_value": 0.0,
            "padding_direction": "right",
            "mask_padding": True,
        },
        "vocabulary": None,
        "writer": f"seq2onnx {s2o.__version__}",
        "options": {
            "signature": "full",
            "opset": 17,
            "lookahead": False,
            "activations": ["sequence_input_1", "lstm_1", "dropout_1", "fully_connected_1", "softmax_1"],
            "closed_loop": None,
            "words": False,
            "form": "dynamic",
            "weights": "float32",
        },
        "emission": EMISSION,
    }


def test_weights_are_constants_in_the_order_of_the_operator():
    subject = laws.Subject(s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4)]))
    found = {t.name: numpy_helper.to_array(t) for t in subject.models["full"].graph.initializer}
    for name, array in (("W", "input_weights"), ("R", "recurrent_weights")):
        i, f, g, o = np.split(subject.weights["lstm_1"][array], 4)
        np.testing.assert_array_equal(found[f"lstm_1.{name}"], np.concatenate([i, o, f, g])[None])
    i, f, g, o = np.split(subject.weights["lstm_1"]["bias"], 4)
    np.testing.assert_array_equal(found["lstm_1.B"], np.concatenate([i, o, f, g, np.zeros(16)])[None])
    (node,) = [node for node in subject.models["full"].graph.node if node.op_type == "LSTM"]
    assert {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} == {"hidden_size": 4}


def test_lstm_alone_in_onnx_s_own_evaluator_agrees():
    """A second oracle for the gate order; it ignores sequence_lens, and that of onnx 1.21 gives no cell state."""
    from onnx.reference import ReferenceEvaluator
    from onnx.utils import Extractor

    subject = laws.Subject(s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4)]))
    x, states, lengths = subject.x(2, 5), subject.state(2), np.array([5, 5], "i4")
    feeds = {"x": x["sequence_input_1"]} | {s.input_name: a for s, a in zip(subject.states, states, strict=True)}
    part = Extractor(subject.models["stream"]).extract_model(list(feeds), ["y"])
    (y,) = ReferenceEvaluator(part).run(None, feeds)
    laws.close(list(y), subject.torch(x, lengths, states).y["lstm_1"], 1e-5, "y")


def test_normalization_is_in_the_graph_and_not_in_the_weights():
    network = s2o.Network(
        [s2o.SequenceInput(3, "zscore", statistics={"mean": [1, 2, 3], "std": [4, 5, 6]}), s2o.LSTM(4)]
    )
    subject = laws.Subject(network)
    ops = [node.op_type for node in subject.models["stream"].graph.node]
    assert ops[:2] == ["Sub", "Div"]


def test_few_nodes_are_emitted(model_file):
    """Every node costs a step 0.4 µs; 14 are what this network needs."""
    network = small_network().replace(
        {"sequence_input_1": s2o.SequenceInput(4, "zerocenter", statistics={"mean": [1, 2, 3, 4]})}
    )
    subject = laws.Subject(network)
    assert [node.op_type for node in subject.models["stream"].graph.node] == [
        "Sub",
        "Unsqueeze",
        "Unsqueeze",
        "Transpose",
        "LSTM",
        "Shape",
        "Cast",
        "If",
        "Gemm",
        "Softmax",
    ]


def test_each_output_is_a_separate_tensor():
    """y is the state h here, twice; a host that binds outputs to its own memory needs three tensors."""
    network = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4, "last"), s2o.Dropout()])
    for signature in ("full", "stream"):
        options = ExportOptions(signature, activations=["lstm_1", "dropout_1"])
        model = build_model(network, laws.Subject(network).weights, options)
        produced = [name for node in model.graph.node for name in node.output]
        outputs = [o.name for o in model.graph.output]
        assert outputs == ["y", "act_lstm_1", "act_dropout_1", "new_state_00_lstm_1_h", "new_state_01_lstm_1_c"]
        assert all(produced.count(name) == 1 for name in outputs)
        session = laws.open_session(model)
        binding = session.io_binding()
        feeds = {"x": np.ones((2, 3, 3), "f"), "state_00_lstm_1_h": np.zeros((2, 4), "f")}
        feeds["state_01_lstm_1_c"] = np.zeros((2, 4), "f")
        if signature == "full":
            feeds["lengths"] = np.array([3, 1], "i4")
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        results = {name: np.full((2, 4), np.nan, "f") for name in outputs}
        for name, array in results.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        session.run_with_iobinding(binding)
        assert all(np.isfinite(array).all() for array in results.values())
        np.testing.assert_array_equal(results["y"], results["new_state_00_lstm_1_h"])


def test_the_output_may_be_the_input_itself():
    laws.three_agree(laws.Subject(s2o.Network([s2o.SequenceInput(3), s2o.Dropout()])))


def test_activations_are_outputs(model_file):
    outputs = described(onnx.load(model_file).graph.output)
    names = ["sequence_input_1", "lstm_1", "dropout_1", "fully_connected_1", "softmax_1"]
    assert [name for name in outputs if name.startswith("act_")] == [f"act_{name}" for name in names]
    assert outputs["act_sequence_input_1"] == ("FLOAT", ["batch", "time", 4])


def test_restored_modules_train_on(model_file, data):
    module = s2o.restore(model_file)
    assert not module.training
    before = {name: value.clone() for name, value in module.state_dict().items()}
    options = s2o.TrainingOptions(epochs=1, progress=False, device="cpu")
    after = s2o.train(module, data, options=options).module.state_dict()
    assert not torch.equal(before["layers.lstm_1.bias"], after["layers.lstm_1.bias"])


def test_exporting_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, seq2onnx as s2o\n"
        "from seq2onnx.exporting import build_model\n"
        "net = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4)])\n"
        "lstm = net.layers[1].weights(net.signals['sequence_input_1'])\n"
        "weights = {'lstm_1': {n: w.initialize(np.random.default_rng(0), w.shape) for n, w in lstm.items()}}\n"
        "assert len(build_model(net, weights).graph.node)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"signature": "whole"}, s2o.SpecError, "signature: must be 'full', 'sequence' or 'stream', got 'whole'"),
        ({"opset": 14}, s2o.SpecError, "opset: must be a whole number from 17 to"),
        ({"opset": 26}, s2o.SpecError, "opset: must be at most 25, got 26; onnxruntime 1.24.1 does not open"),
        ({"opset": 999}, s2o.SpecError, "opset: must be a whole number from 17 to"),
        ({"classes": ["a", "b"]}, s2o.SpecError, "softmax_1 gives 3 scores, got 2 classes"),
        ({"classes": ["a", "b", "a"]}, s2o.SpecError, "classes: must differ"),
        ({"classes": [0.5, 1.5, 2.5]}, s2o.SpecError, "classes: must be strings or integers, got 0.5"),
        ({"activations": ["lstm_9"]}, s2o.SpecError, "'lstm_9' is not a layer"),
        ({"activations": "lstm_1"}, s2o.SpecError, "expected a list of layer names, got the string 'lstm_1'"),
    ],
)
def test_a_failed_export_says_why_and_writes_nothing(tmp_path, data, arguments, error, message):
    with pytest.raises(error, match=message):
        s2o.export(built(small_network(), data), tmp_path / "model.onnx", **arguments)
    assert not list(tmp_path.iterdir())


def test_classes_may_be_numpy_values(tmp_path, data):
    s2o.export(built(small_network(), data), tmp_path / "model.onnx", classes=np.array([3, 1, 2]))
    model = s2o.load(tmp_path / "model.onnx")
    assert model.classes == [3, 1, 2]
    assert set(model.classify(data.sequences)) <= {1, 2, 3}


def trained(data):
    module = s2o.build(small_network(), data)
    module.classes = data.classes
    return module


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))][1:])
def test_labels_in_another_order_than_the_scores_are_refused(tmp_path, data, order):
    module = trained(data)
    classes = [module.classes[place] for place in order]
    with pytest.raises(s2o.SpecError, match="classes: expected .* in the order of its scores, got .* give a dict"):
        s2o.export(module, tmp_path / "model.onnx", classes=classes)
    assert not list(tmp_path.iterdir())


def test_labels_are_renamed_by_a_dict_alone(tmp_path, data):
    module, path = trained(data), tmp_path / "model.onnx"
    first, second, third = module.classes
    for given in (["x", "y", "z"], {first: "x"}, dict.fromkeys([*module.classes, "x"], 0)):
        with pytest.raises(s2o.SpecError, match="classes: (expected|a dict must name each label)"):
            s2o.export(module, path, classes=given)
    with pytest.raises(s2o.SpecError, match="classes: must differ"):
        s2o.export(module, path, classes=dict.fromkeys(module.classes, "x"))
    with pytest.raises(s2o.SpecError, match="classes: a dict renames the labels of a module, and this one has none"):
        s2o.export(built(small_network(), data), path, classes={first: "x"})
    assert not list(tmp_path.iterdir())
    s2o.export(module, path, classes=np.array(module.classes))
    assert s2o.load(path).classes == module.classes
    s2o.export(module, path, classes={third: 3, first: second, second: first})
    assert s2o.load(path).classes == [second, first, 3]
    with pytest.raises(s2o.SpecError, match="classes: expected"):
        s2o.export(s2o.restore(path), path, classes=module.classes)


def test_names_of_features_in_another_order_are_refused(tmp_path, data):
    module = s2o.build(small_network(), data)
    module.channels = ["a", "b", "c", "d"]
    with pytest.raises(s2o.SpecError, match="channels: 'b' is feature 1 of sequence_input_1 in the module, and 0 in"):
        s2o.export(module, tmp_path / "model.onnx", channels=["b", "a", "c", "d"])
    s2o.export(module, tmp_path / "model.onnx", channels=["a", "b", "c", "new"])
    assert s2o.load(tmp_path / "model.onnx").channels == ["a", "b", "c", "new"]


def test_files_that_cannot_be_restored_are_named(tmp_path, model_file):
    whole = model_file.read_bytes()
    path = tmp_path / "broken.onnx"
    for content in (whole[: len(whole) // 2], b"hello"):
        path.write_bytes(content)
        with pytest.raises(s2o.ModelFileError, match="broken.onnx: "):
            s2o.restore(path)
    model = onnx.load(model_file)
    model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == "lstm_1.W"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match="its initializer lstm_1.W is missing"):
        s2o.restore(path)
    model = onnx.load(model_file)
    entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
    entry.value = json.dumps(json.loads(entry.value) | {"format_version": 99})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match="format version 99, this seq2onnx reads up to 2: update"):
        s2o.restore(path)
    entry.value = "{"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match="metadata is damaged"):
        s2o.restore(path)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match="without seq2onnx metadata"):
        s2o.restore(path)


def test_the_body_of_a_loop_shares_weights_and_keeps_states_unsqueezed_where_it_can():
    graph = GraphBuilder()
    with graph.scope("layer"):
        graph.weight("W", np.ones(3, "f"))
    body = graph.inner("step/")
    with body.scope("layer"):
        assert body.weight("W", np.ones(3, "f")) == "layer.W"
        with pytest.raises(ValueError, match="two weights are called layer.W"):
            body.weight("W", np.zeros(3, "f"))
        assert body.ints(0) == graph.ints(0)
        first, second = body.ints(0), body.ints(1)
        for state, more in (("a", False), ("b", True)):
            out = body.op("Relu", body.op("Unsqueeze", state, first))
            if more:
                body.op("Relu", state)
            new = body.op("Squeeze", out, first)
            assert body.unsqueezed(state, new) == ((new, None) if more else (out, first))
        new = body.op("Squeeze", body.op("Unsqueeze", "c", first), second)
        assert body.unsqueezed("c", new) == (new, None)
        assert body.unsqueezed("d", "e") == ("e", None)


def test_equal_nodes_and_constants_are_made_once():
    graph = GraphBuilder()
    x = graph.input("x", "float32", ["batch", 3])
    with graph.scope("layer"):
        one, again = graph.constant(np.ones(3, "f")), graph.constant(np.ones(3, "f"))
        assert one == again != graph.constant(np.ones(3))
        assert graph.op("Add", x, one) == graph.op("Add", x, again) != graph.op("Mul", x, one)
        graph.weight("bias", np.ones(3, "f"))
        with pytest.raises(ValueError, match="two weights are called layer.bias"):
            graph.weight("bias", np.ones(3, "f"))
    graph.output("y", graph.op("Add", x, one), "float32", ["batch", 3])
    finished = graph.finish()
    assert [node.op for node in finished.nodes] == ["Add"]
    assert list(finished.initializers) == [one]
