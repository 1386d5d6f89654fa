"""The layers that networks of other frameworks need compute what torch's own modules compute, in the file too."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import seq2onnx as s2o
from seq2onnx.exporting import ExportOptions, build_model
from tests import laws
from tests.comparison import FLOAT32

IMAGE, FEATURES = (2, 7, 6), 3
LENGTHS = (5, 1, 8)


def exported(tmp_path, module: s2o.SequenceModule, signature: str = "full") -> s2o.Predictor:
    s2o.export(module, tmp_path / "model.onnx", signature=signature)
    return s2o.load(tmp_path / "model.onnx")


def sequences(*shape: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 2, (length, *shape)).astype("f") for length in LENGTHS]


def check_whole_and_in_chunks(model: s2o.Predictor, xs: list[np.ndarray], expected: list[torch.Tensor]) -> None:
    """Compare the predictions, and if the file can stream also the results of chunks."""
    for found, y in zip(model.predict(xs), expected, strict=True):
        np.testing.assert_allclose(found, y.detach().numpy(), rtol=0, atol=FLOAT32)
    if model.metadata["signature"] == "sequence":
        return
    for x, y in zip(xs, expected, strict=True):
        stream = model.stream()
        parts = [stream.step(part) for part in (x[:1], x[1:1], x[1:])]
        found = np.concatenate(parts) if model.model.outputs[0].has_time else parts[-1]
        np.testing.assert_allclose(found, y.detach().numpy(), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize(
    ("layer", "theirs"),
    [
        (s2o.LeakyReLU(), nn.LeakyReLU()),
        (s2o.LeakyReLU(0.3), nn.LeakyReLU(0.3)),
        (s2o.ELU(), nn.ELU()),
        (s2o.ELU(0.4), nn.ELU(0.4)),
        (s2o.GELU(), nn.GELU()),
        (s2o.GELU(approximate=True), nn.GELU("tanh")),
        (s2o.SiLU(), nn.SiLU()),
        (s2o.HardSigmoid(1 / 6), nn.Hardsigmoid()),
        (s2o.HardSigmoid(), lambda x: (0.2 * x + 0.5).clamp(0, 1)),  # Keras 2 and ONNX
    ],
)
def test_activations_are_those_of_torch(tmp_path, layer, theirs):
    model = exported(tmp_path, s2o.build(s2o.Network([s2o.SequenceInput(FEATURES), layer])))
    xs = sequences(FEATURES)
    check_whole_and_in_chunks(model, xs, [theirs(torch.from_numpy(x)) for x in xs])


@pytest.mark.parametrize(
    ("layer", "theirs"),
    [
        (s2o.MaxPool2d(2, 2), nn.MaxPool2d(2)),
        (s2o.MaxPool2d((3, 2), (1, 2), 1), nn.MaxPool2d((3, 2), (1, 2), 1)),
        (s2o.AvgPool2d(3, 2, 1, count_padding=True), nn.AvgPool2d(3, 2, 1)),
        (s2o.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
        (s2o.GlobalAvgPool2d(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    ],
)
def test_pooling_of_images_is_that_of_torch(tmp_path, layer, theirs):
    model = exported(tmp_path, s2o.build(s2o.Network([s2o.SequenceInput(IMAGE), layer])))
    xs = sequences(*IMAGE)
    check_whole_and_in_chunks(model, xs, [theirs(torch.from_numpy(x)) for x in xs])


def test_the_last_step_is_that_of_an_index_and_a_stream_has_the_last_so_far(tmp_path):
    model = exported(tmp_path, s2o.build(s2o.Network([s2o.SequenceInput(IMAGE), s2o.LastStep()])))
    xs = sequences(*IMAGE)
    check_whole_and_in_chunks(model, xs, [torch.from_numpy(x)[-1] for x in xs])
    stream = model.stream()
    assert not np.any(stream.step(xs[0][:0]))  # no step yet
    for step in xs[0]:
        assert np.array_equal(stream.step(step), step)
    assert np.array_equal(stream.step(xs[0][:0]), xs[0][-1])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("output_mode", ["sequence", "last"])
def test_an_rnn_is_that_of_torch_with_its_two_biases_added(tmp_path, activation, output_mode):
    theirs = nn.RNN(FEATURES, 4, nonlinearity=activation, batch_first=True)
    module = s2o.build(s2o.Network([s2o.SequenceInput(FEATURES), s2o.RNN(4, output_mode, activation)]))
    weights = dict(theirs.named_parameters())
    load(module, "rnn_1", weights, "", "_l0")
    xs = sequences(FEATURES)
    answers = [theirs(torch.from_numpy(x)[None]) for x in xs]
    expected = [y[0] if output_mode == "sequence" else h[0, 0] for y, h in answers]
    check_whole_and_in_chunks(exported(tmp_path, module), xs, expected)


def load(module: s2o.SequenceModule, layer: str, weights: dict[str, torch.Tensor], prefix: str, suffix: str) -> None:
    """Copy the weights of one direction of torch's RNN or GRU, which has two biases."""
    input_bias, recurrent_bias = weights[f"bias_ih{suffix}"], weights[f"bias_hh{suffix}"].clone()
    arrays = {
        f"{name}_weights": weights[f"weight_{short}{suffix}"] for name, short in (("input", "ih"), ("recurrent", "hh"))
    }
    size = arrays["recurrent_weights"].shape[1]
    if len(recurrent_bias) > size:  # of a GRU, the recurrent bias of n is inside of the reset
        arrays["recurrent_bias"] = recurrent_bias[2 * size :].clone()
        recurrent_bias[2 * size :] = 0
    arrays["bias"] = input_bias + recurrent_bias
    with torch.no_grad():
        for name, array in arrays.items():
            module.layers[layer][f"{prefix}{name}"].copy_(array)


@pytest.mark.parametrize("answer", ["every step", "final state", "last step"])
def test_a_bigru_is_that_of_torch(tmp_path, answer):
    theirs = nn.GRU(FEATURES, 4, batch_first=True, bidirectional=True)
    options = {"output_mode": "sequence" if answer == "every step" else "last", "last": "final_state"}
    if answer == "last step":
        options["last"] = "last_step"
    layer = s2o.BiGRU(4, reset_gate_mode="recurrent_bias_after_multiplication", **options)
    module = s2o.build(s2o.Network([s2o.SequenceInput(FEATURES), layer]))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    weights = {name: parameter.detach() for name, parameter in theirs.named_parameters()}
    load(module, "bigru_1", weights, "forward_", "_l0")
    load(module, "bigru_1", weights, "backward_", "_l0_reverse")
    xs, expected = sequences(FEATURES), []
    for x in xs:
        y, h = theirs(torch.from_numpy(x)[None])
        expected.append({"every step": y[0], "final state": h[:, 0].flatten(), "last step": y[0, -1]}[answer])
    check_whole_and_in_chunks(exported(tmp_path, module, "sequence"), xs, expected)


GATED = {
    "lstm": s2o.LSTM(4, gate_activation="hard_sigmoid_6"),
    "gru": s2o.GRU(4, gate_activation="hard_sigmoid_6"),
    "bilstm": s2o.BiLSTM(4, gate_activation="hard_sigmoid_6"),
    "bigru": s2o.BiGRU(4, state_activation="softsign", gate_activation="hard_sigmoid_6"),
}


def without_slopes(node: onnx.NodeProto) -> None:
    kept = [entry for entry in node.attribute if not entry.name.startswith("activation_")]
    del node.attribute[:]
    node.attribute.extend(kept)


def with_slopes_of_one_direction(node: onnx.NodeProto) -> None:
    for entry in node.attribute:
        if entry.name.startswith("activation_"):
            del entry.floats[1:]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, without_slopes) for name in GATED),
        *((name, with_slopes_of_one_direction) for name in ("bilstm", "bigru")),
    ],
)
def test_gates_with_the_slope_of_onnx_in_place_of_one_sixth_are_detected(name, change):
    subject = laws.Subject(s2o.Network([s2o.SequenceInput(FEATURES), GATED[name]]))
    laws.three_agree(subject)
    model = build_model(subject.network, subject.weights, ExportOptions("sequence"))
    for node in model.graph.node:
        if node.op_type in ("LSTM", "GRU"):
            change(node)
    subject.sessions["sequence"] = laws.open_session(model)
    with pytest.raises(AssertionError, match="sequence .* y of"):
        laws.three_agree(subject)


@pytest.mark.parametrize("signature", ["full", "sequence", "stream"])
@pytest.mark.parametrize("output_mode", ["sequence", "last"])
def test_no_file_reads_the_final_state_of_an_rnn_operator(signature, output_mode):
    """Where a row has no steps, onnxruntime 1.24 reads it from outside of its memory and crashes."""
    subject = laws.Subject(s2o.Network([s2o.SequenceInput(FEATURES), s2o.RNN(4, output_mode)]))
    (node,) = (node for node in subject.models[signature].graph.node if node.op_type == "RNN")
    assert node.output[0]
    assert not any(node.output[1:])
