"""Networks: names, connections, YAML and JSON, and what is said of those that cannot be."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.layers import Clock, Layer, Signal, layer
from tests.conftest import small_network


def test_layers_get_names_from_kind_and_place():
    net = s2o.Network(
        [s2o.SequenceInput(3), s2o.LSTM(4), s2o.LSTM(4, name="lstm_1"), s2o.LSTM(5), s2o.FullyConnected(2)]
    )
    assert [layer.name for layer in net.layers] == [
        "sequence_input_1",
        "lstm_2",
        "lstm_1",
        "lstm_3",
        "fully_connected_1",
    ]


def test_signals_are_inferred():
    net = small_network()
    assert [str(net.signals[layer.name]) for layer in net.layers] == [
        "[batch, time, 4]",
        "[batch, 8]",
        "[batch, 8]",
        "[batch, 3]",
        "[batch, 3]",
    ]


def test_layers_may_be_given_in_any_order_and_read_by_name():
    net = s2o.Network(
        [
            s2o.FullyConnected(2, name="end", inputs=["middle"]),
            s2o.SequenceInput(3, name="start"),
            s2o.LSTM(4, name="middle"),
        ],
        outputs=["end"],
    )
    assert [layer.name for layer in net.layers] == ["start", "middle", "end"]


def test_states_are_named_as_the_contract_says():
    net = s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4), s2o.LSTM(5, name="top")])
    assert [(s.input_name, s.output_name, s.state.shape) for s in net.states()] == [
        ("state_00_lstm_1_h", "new_state_00_lstm_1_h", (4,)),
        ("state_01_lstm_1_c", "new_state_01_lstm_1_c", (4,)),
        ("state_02_top_h", "new_state_02_top_h", (5,)),
        ("state_03_top_c", "new_state_03_top_c", (5,)),
    ]


def test_more_than_100_states_are_an_error():
    net = s2o.Network([s2o.SequenceInput(1), *[s2o.LSTM(1)] * 51])
    with pytest.raises(s2o.SpecError, match="100 state tensors, this one has 102"):
        net.states()


def test_summary_is_a_table():
    assert small_network().summary().splitlines() == [
        "small",
        "layer              output            parameters  states",
        "-----------------  ----------------  ----------  -----------",
        "sequence_input_1   [batch, time, 4]",
        "lstm_1             [batch, 8]               416  h [8] c [8]",
        "dropout_1          [batch, 8]",
        "fully_connected_1  [batch, 3]                27",
        "softmax_1          [batch, 3]",
        "total                                       443",
    ]


def test_yaml_is_one_line_a_layer(tmp_path):
    small_network().save(tmp_path / "net.yaml")
    assert (tmp_path / "net.yaml").read_text().splitlines()[:4] == [
        "name: small",
        "layers:",
        "- sequence_input: {size: 4, normalization: zscore}",
        "- lstm: {hidden_size: 8, output_mode: last}",
    ]


def test_the_documented_yaml_loads(tmp_path):
    (tmp_path / "net.yaml").write_text(
        "name: japanese_vowels\nlayers:\n  - sequence_input: {size: 12, normalization: zscore}\n"
        "  - lstm: {hidden_size: 100, output_mode: last}\n  - dropout: {probability: 0.2}\n"
        "  - fully_connected: {size: 9}\n  - softmax: {}\n"
    )
    net = s2o.Network.load(tmp_path / "net.yaml")
    assert net.signals["softmax_1"].shape == (9,)


def test_statistics_given_as_arrays_survive_yaml(tmp_path):
    statistics = {"mean": np.array([0.1, 1e-30, 3]), "std": np.float32([0.1, 2, 3])}
    net = s2o.Network([s2o.SequenceInput(3, "zscore", statistics=statistics)])
    net.save(tmp_path / "net.yaml")
    assert s2o.Network.load(tmp_path / "net.yaml") == net


ENTRY = "- sequence_input: {size: 3}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers:\n- lstm: {hidden_sise: 4}", r"net.yaml: layers\[0\].lstm.hidden_sise: is not a field of LSTM"),
        ("layers:\n- lstm: {}", r"layers\[0\].lstm.hidden_size: is missing; LSTM needs it"),
        ("layers:\n- lstm: {hidden_size: '4'}", r"layers\[0\].lstm.hidden_size: must be a whole number; got '4'"),
        ("layers:\n- lstm: {hidden_size: 0}", r"layers\[0\].lstm.hidden_size: .*greater than 0; got 0"),
        (
            "layers:\n- lstm: {hidden_size: 4, output_mode: all}",
            r"output_mode: .*'sequence', 'last' or 'cell'; got 'all'",
        ),
        ("layers:\n- lstn: {hidden_size: 4}", r"layers\[0\].lstn: is not a kind of layer; the kinds are .*lstm"),
        ("layers:\n- 7", r"layers\[0\]: expected one layer"),
        ("layers:\n- lstm: 7", r"layers\[0\].lstm: expected the layer's fields"),
        ("layers: 7", "layers: must be a list"),
        ("layers: []", "net.yaml: layers: a network needs at least one layer"),
        ("layer: []", "layers: is missing"),
        (f"layers:\n{ENTRY}size: 3", "size: is not a key of a network"),
        ("layers: [", "net.yaml: is not YAML"),
        ("layers:\n- lstm: {hidden_size: 4}", "lstm_1: a network starts with an input layer"),
        (f"layers:\n{ENTRY}- softmax: {{inputs: [a]}}", "softmax_1: reads 'a', which is not a layer"),
        (f"layers:\n{ENTRY}- sequence_input: {{size: 3}}", "sequence_input_1: no layer reads it"),
        (f"layers:\n{ENTRY}outputs: [a]", "outputs: 'a' is not a layer"),
        (f"layers:\n{ENTRY}- softmax: {{name: a b}}", r"layers\[1\].softmax.name: must have only letters"),
        (
            f"layers:\n{ENTRY}- softmax: {{name: a}}\n- dropout: {{name: a}}",
            "a: two layers have this name; names must differ",
        ),
        (
            f"layers:\n{ENTRY}- softmax: {{name: a, inputs: [b]}}\n- softmax: {{name: b, inputs: [a]}}",
            "a, b: cyclic dependency",
        ),
        (f"layers:\n{ENTRY}- softmax: {{inputs: [sequence_input_1, sequence_input_1]}}", "softmax_1: reads one layer"),
        (
            "layers:\n- sequence_input: {size: 3, normalization: zscore, statistics: {mean: [1, 2, 3]}}",
            r"layers\[0\].sequence_input.*takes the statistics \['mean', 'std'\]",
        ),
        (
            "layers:\n- sequence_input: {size: 3, normalization: zerocenter, statistics: {mean: [1, 2]}}",
            "'mean' must be 3 finite numbers",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_path(tmp_path, text, message):
    (tmp_path / "net.yaml").write_text(text)
    with pytest.raises(s2o.SpecError, match=message):
        s2o.Network.load(tmp_path / "net.yaml")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: s2o.LSTM(0), "lstm.hidden_size: must be greater than 0; got 0"),
        (lambda: s2o.LSTM(), "lstm.hidden_size: is missing"),
        (lambda: s2o.LSTM(4, hidden=4), "lstm.hidden: is not a field of LSTM; its fields are hidden_size"),
        (lambda: s2o.Dropout(1.0, name="drop"), "drop.probability: must be less than 1"),
        (lambda: s2o.Network([]), "needs at least one layer"),
        (lambda: s2o.Network([7]), r"layers\[0\]: expected a layer"),
        (lambda: small_network()["lstm_7"], "'lstm_7' is not a layer; the layers are sequence_input_1"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(make, message):
    with pytest.raises(s2o.SpecError, match=re.escape(message) if "[" not in message else message):
        make()


def test_layers_that_do_not_fit_are_named_with_the_remedy():
    with pytest.raises(
        s2o.ShapeError, match=r'lstm_2: expected x \[batch, time, features\], got \[batch, 4\].*"sequence"'
    ):
        s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4, "last"), s2o.LSTM(4)])


def test_networks_are_saved_as_yaml_or_json_only(tmp_path):
    with pytest.raises(s2o.SpecError, match=r"saved as .yaml, .yml or .json, got '.txt'"):
        small_network().save(tmp_path / "net.txt")


def test_two_layers_of_one_kind_are_an_error():
    with pytest.raises(s2o.SpecError, match="lstm: two layer classes have this kind"):

        @layer
        class Again(Layer):
            kind = "lstm"


def test_layers_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        s2o.LSTM(4).hidden_size = 5  # type: ignore[misc]


def test_a_clock_counts_output_steps_and_gives_0_for_0():
    halved = Clock(2, 0, ((0, 1), (-2, 2)))  # a window of 1, then one of 3 with stride 2
    assert [halved.length(n) for n in range(7)] == [0, 0, 0, 1, 1, 2, 2]
    padded = Clock(1, 2, ((2, 1),))
    assert [padded.length(n) for n in range(3)] == [0, 3, 4]
    assert Signal((3, 4, 5)).size == 60


def test_what_a_layer_reads_survives_reordering(tmp_path):
    """D reads C because C stands before it; once the layers are in order, B does."""
    net = s2o.Network(
        [
            s2o.SequenceInput(3, "zscore", name="i"),
            s2o.FullyConnected(4, name="B", inputs=["C"]),
            s2o.LSTM(4, name="C", inputs=["i"]),
            s2o.FullyConnected(4, name="D"),
        ],
        outputs=["B", "D"],
    )
    assert net.reads["D"] == ("C",)
    net.save(tmp_path / "net.yaml")
    for other in (s2o.Network.load(tmp_path / "net.yaml"), net.replace({}), s2o.Network.from_dict(net.to_dict(True))):
        assert other.reads == net.reads
        assert other == net


def test_branches_join_and_what_cannot_join_is_named():
    entry = s2o.SequenceInput(3)
    skip = [entry, s2o.Conv1d(3, 3, padding="causal"), s2o.Add(inputs=["conv1d_1", "sequence_input_1"])]
    assert str(s2o.Network(skip).signals["add_1"]) == "[batch, time, 3]"
    with pytest.raises(
        s2o.ShapeError, match=r"add_1: expected signals of the same shape, got conv1d_1 .*4\], sequence_in"
    ):
        s2o.Network([entry, s2o.Conv1d(4, 3, padding="causal"), skip[2]])
    with pytest.raises(s2o.ShapeError, match="add_1: expected signals with the same steps"):
        s2o.Network([entry, s2o.Conv1d(3, 3, stride=2, padding="causal"), skip[2]])
    with pytest.raises(s2o.SpecError, match="add_1: joins two or more layers, it reads 1"):
        s2o.Network([entry, s2o.Add()])
    net = s2o.Network([entry, s2o.LSTM(2, "last"), s2o.Concat(inputs=["lstm_1", "sequence_input_1"])])
    with pytest.raises(s2o.NotStreamable, match="concat_1: joins steps to a value known only at the end"):
        net.states()
    net = s2o.Network([entry, s2o.LastStep(), s2o.Multiply(inputs=["last_step_1", "sequence_input_1"])])
    with pytest.raises(s2o.NotStreamable, match="multiply_1: joins steps to a value known only at the end"):
        net.states()
    with pytest.raises(s2o.ShapeError, match="multiply_1: expected signals of the same shape"):
        s2o.Network([entry, s2o.Conv1d(4, 1), s2o.Multiply(inputs=["conv1d_1", "sequence_input_1"])])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (s2o.BiLSTM(2), "bilstm_1: its backward direction starts at the end .* use an LSTM"),
        (s2o.BiGRU(2), "bigru_1: its backward direction starts at the end .* use a GRU"),
        (
            s2o.Conv1d(2, 3, padding="same"),
            r'conv1d_1: its windows read 1 steps ahead.*padding="causal", or export with',
        ),
        (s2o.Conv1d(2, 3), "conv1d_1: its windows read 2 steps ahead"),
        (
            s2o.Conv1d(2, 3, stride=2, padding="same"),
            "conv1d_1: with padding.*, the windows depend on the length of the whole",
        ),
        (s2o.MaxPool1d(3, padding=1), "max_pool1d_1: its windows read 1 steps ahead"),
        (s2o.Conv1d(2, 2, padding=(2, 0)), "conv1d_1: its first windows contain only padding"),
    ],
)
def test_layers_that_cannot_stream_say_why_and_what_to_do(layer, message):
    net = s2o.Network([s2o.SequenceInput(3), layer])
    assert "cannot stream" in net.summary()
    with pytest.raises(s2o.NotStreamable, match=message):
        net.states()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [s2o.SequenceInput("tokens"), s2o.LSTM(2)],
            "lstm_1: expected numbers, got tokens; put a WordEmbedding before",
        ),
        ([s2o.SequenceInput(2), s2o.WordEmbedding(2, 5)], "word_embedding_1: expected tokens, got numbers"),
        ([s2o.SequenceInput(2), s2o.Conv2d(2, 3)], "conv2d_1: expected images"),
        ([s2o.SequenceInput((2, 4, 4)), s2o.Conv2d(2, 5)], "conv2d_1: its window does not fit into x"),
        ([s2o.SequenceInput((2, 4)), s2o.Conv1d(2, 5, axis="space")], "a window of 5 does not fit into the width 4"),
        ([s2o.SequenceInput((2, 4)), s2o.Conv1d(2, 3)], 'conv1d_1: with axis="time" expected'),
        (
            [s2o.SequenceInput((2, 4)), s2o.LastStep(), s2o.MaxPool1d(2, axis="space")],
            'max_pool1d_1: with axis="space"',
        ),
        ([s2o.SequenceInput(3), s2o.MaxPool2d(2)], "max_pool2d_1: expected images"),
        ([s2o.SequenceInput((2, 4)), s2o.GlobalAvgPool2d()], "global_avg_pool2d_1: expected images"),
        ([s2o.SequenceInput((2, 4, 1)), s2o.AvgPool2d(2)], "avg_pool2d_1: its window does not fit into x"),
        ([s2o.FeatureInput(3), s2o.LastStep()], "last_step_1: expected x .* has no time axis; remove it"),
        ([s2o.SequenceInput("tokens"), s2o.LastStep()], "last_step_1: expected numbers, got tokens"),
        ([s2o.SequenceInput(3), s2o.Conv1d(2, 3, groups=2)], "groups 2 must divide the channels"),
        ([s2o.SequenceInput(3), s2o.LayerNorm(groups=2)], "layer_norm_1: groups 2 must divide the channels, got x"),
        ([s2o.SequenceInput((3, 4)), s2o.RMSNorm(groups=2)], "rms_norm_1: groups 2 must divide the channels, got x"),
        ([s2o.SequenceInput("tokens"), s2o.RMSNorm()], "rms_norm_1: expected numbers, got tokens"),
        ([s2o.SequenceInput(3), s2o.Rescale([1, 2])], r"rescale_1: scale has 2 numbers, x .* has 3 channels"),
    ],
)
def test_layers_that_do_not_fit_their_signal_say_so(layers, message):
    with pytest.raises(s2o.ShapeError, match=message):
        s2o.Network(layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: s2o.MaxPool1d(2, padding=2), "padding 2 must be less than pool_size 2"),
        (lambda: s2o.MaxPool2d((2, 3), padding=2), "padding 2 must be less than pool_size 2"),
        (lambda: s2o.AvgPool2d(2, padding=(0, 2)), r"padding \(0, 2\) must be less than pool_size 2"),
        (lambda: s2o.ELU(float("nan")), r"elu.alpha: .*finite"),
        (lambda: s2o.Conv1d(3, 3, groups=2), "groups 2 must divide the filters 3"),
        (lambda: s2o.WordEmbedding(2, ["a", "a"]), "vocabulary contains a word more than once"),
        (lambda: s2o.WordEmbedding(2, 3, vectors=np.zeros((3, 3))), r"vectors must be \(3, 2\) or \(5, 2\)"),
        (lambda: s2o.SequenceInput("tokens", "zscore"), "cannot be normalized"),
        (
            lambda: s2o.SequenceInput(1, "zscore", statistics={"mean": [0], "std": [-1]}),
            "a spread must not be negative",
        ),
        (lambda: s2o.LSTM(2, name="a_lengths"), "must not end in _lengths"),
        (lambda: s2o.Network([s2o.SequenceInput(2)], name=2024), "name: must be text, got 2024"),
        (lambda: s2o.Network([s2o.SequenceInput(2)], "foo"), "outputs: expected a list of layer names"),
    ],
)
def test_invalid_options_are_refused(make, message):
    with pytest.raises(s2o.SpecError, match=message):
        make()


def test_layers_may_have_the_names_of_torch_attributes():
    net = s2o.Network([s2o.SequenceInput(2, name="values"), s2o.LSTM(2, name="forward"), s2o.Softmax(name="train")])
    module = s2o.build(net)
    assert module.layers["forward"]["bias"].shape == (8,)
    assert "layers.forward.bias" in module.state_dict()


@pytest.mark.parametrize("text", ["layers:\n- lstm: {1: 2}", "layers: []\nlayers: []"])
def test_errors_name_the_place_of_invalid_yaml(tmp_path, text):
    (tmp_path / "net.yaml").write_text(text)
    with pytest.raises(s2o.SpecError, match=r"net.yaml: "):
        s2o.Network.load(tmp_path / "net.yaml")
