"""Forecasting: the closed loop in a file = one outside = torch = the equations; known futures; what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.exporting.options import closed_loop_states
from seq2onnx.layers import KINDS
from tests import laws, reference
from tests.command import run as command

K = 5
STATISTICS = {"mean": [3.0, -1.0, 0.5], "std": [2.0, 0.5, 4.0]}
SCALE, OFFSET = STATISTICS["std"], STATISTICS["mean"]


def network(*layers: s2o.layers.Layer) -> s2o.Network:
    """Layers between a normalization and its inverse: 3 numbers a step, in a unit of their own."""
    return s2o.Network(
        [
            s2o.SequenceInput(3, "zscore", statistics=STATISTICS, name="series"),
            *layers,
            s2o.FullyConnected(3),
            s2o.Rescale(SCALE, OFFSET),
        ]
    )


NETWORKS = {
    "lstm": network(s2o.LSTM(6)),
    "gru": network(s2o.GRU(6)),
    "gru before": network(s2o.GRU(6, reset_gate_mode="before_multiplication")),
    "conv": network(s2o.Conv1d(4, 3, dilation=2, padding="causal"), s2o.ReLU()),
    "stacked": network(
        s2o.LSTM(5), s2o.Dropout(), s2o.GRU(4), s2o.Conv1d(4, 2, padding="causal"), s2o.MaxPool1d(3, padding="causal")
    ),
    "residual": s2o.Network(
        [
            s2o.SequenceInput(3, "rescale_symmetric", statistics={"min": [0, -2, 1], "max": [1, 2, 3]}, name="series"),
            s2o.LSTM(4),
            s2o.FullyConnected(3, name="change"),
            s2o.Add(inputs=["series", "change"]),
        ]
    ),
    "rnn": network(s2o.RNN(5), s2o.GELU(), s2o.RNN(4, activation="relu")),
    "gated": s2o.Network(
        [
            s2o.SequenceInput(3, name="series"),
            s2o.LSTM(3, gate_activation="hard_sigmoid_6"),
            s2o.HardSigmoid(name="gate"),
            s2o.Multiply(inputs=["series", "gate"]),
        ]
    ),
    "image": s2o.Network([s2o.SequenceInput((2, 3)), s2o.Rescale(0.5, 1.0), s2o.Tanh()]),
    "no memory": s2o.Network([s2o.SequenceInput(3), s2o.FullyConnected(3), s2o.Tanh()]),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def torch_loop(subject, x, counts, states, steps):
    """(y [batch, steps, …], states after the last step that was fed back) of the module, its answers fed back."""
    with torch.no_grad():
        y, _, state = subject.module(
            torch.from_numpy(x), torch.from_numpy(counts), tuple(map(torch.from_numpy, states))
        )
        y = y[range(len(x)), np.maximum(counts - 1, 0)]
        answers = [y]
        for _ in range(steps - 1):
            y, _, state = subject.module(y[:, None], torch.from_numpy((counts > 0).astype("i4")), state)
            y = y[:, 0]
            answers.append(y)
    return torch.stack(answers, 1).numpy(), [s.numpy() for s in state]


def reference_loop(subject, x, counts, states, steps):
    """The same by the equations in float64, a row at a time; None for a row of no steps."""
    (source,), (output,), answers, ends = subject.network.inputs, subject.network.outputs, [], []
    for i, n in enumerate(counts):
        own, chunk, found = [s[i] for s in states], x[i, :n], []
        for _ in range(steps if n else 0):
            y, own = reference.run(subject.network, subject.weights, {source.name: chunk}, own)
            chunk = y[output][-1:]
            found.append(chunk[0])
        answers.append(np.array(found) if n else None)
        ends.append(own)
    return answers, [np.stack(parts) for parts in zip(*ends, strict=True)]


def loops_agree(subject, opset=17, steps=K):
    """In the file = torch = reference, of each signature, from the start and from random states; padding is NaN."""
    counts = np.array([4, 0, 1, 7, 2], "i4")
    for signature in ("full", "sequence", "stream"):
        model = build_model(subject.network, subject.weights, ExportOptions(signature, opset, closed_loop=steps))
        onnx.checker.check_model(model, full_check=True)
        session = laws.open_session(model)
        for lengths, time in ((counts, 9), (np.array([3, 3], "i4"), 3), (np.array([0, 0], "i4"), 0)):
            if signature == "stream" and lengths is counts:
                continue
            (x,) = subject.x(len(lengths), time).values()
            for states in (subject.zeros(len(lengths)), subject.state(len(lengths))):
                if signature == "sequence" and any(s.any() for s in states):
                    continue
                padded = x.copy()
                for row, n in zip(padded, lengths, strict=True):
                    row[n:] = np.nan
                feeds = {"x": padded, "lengths": lengths}
                feeds |= {s.input_name: a for s, a in zip(subject.states, states, strict=True)}
                wanted = {entry.name for entry in session.get_inputs()}
                y, *ends = session.run(None, {name: a for name, a in feeds.items() if name in wanted})
                assert y.shape == (len(x), steps, *x.shape[2:])
                assert np.isfinite(y).all()
                expected, expected_ends = reference_loop(subject, x, lengths, states, steps)
                by_torch, torch_ends = (
                    torch_loop(subject, x, lengths, states, steps) if time else ([None] * len(x), expected_ends)
                )
                for i in np.flatnonzero(lengths):
                    laws.close(y[i], expected[i], laws.FLOAT32, f"{signature} y of row {i}")
                    laws.close(by_torch[i], expected[i], laws.FLOAT32, f"torch y of row {i}")
                if signature != "sequence":
                    laws.close(ends, expected_ends, laws.FLOAT32, f"{signature} new states")
                    laws.close(torch_ends, expected_ends, laws.FLOAT32, "torch new states")
                    for end, start in zip(ends, states, strict=True):
                        np.testing.assert_array_equal(end[lengths == 0], start[lengths == 0])


@each_network
def test_the_loop_in_the_file_agrees_with_torch_and_the_equations(name):
    loops_agree(laws.Subject(NETWORKS[name]))


@each_network
@pytest.mark.parametrize("opset", [18, 21, 23])
def test_later_opsets_give_the_same_numbers(name, opset):
    loops_agree(laws.Subject(NETWORKS[name]), opset)


@pytest.mark.parametrize("steps", [1, 2, 40])
def test_a_loop_can_have_any_number_of_steps(steps):
    loops_agree(laws.Subject(NETWORKS["stacked"], scale=0.3), steps=steps)


def looped(example) -> s2o.Network | None:
    """The example of a layer in a closed loop, where it can be in one."""
    (signal, *others), layer = example.signals or (None,), dataclasses.replace(example.layer, name="layer")
    if signal is None or others or not signal.has_time or signal.dtype == "int64":
        return None
    if layer.takes_samples:  # a loop through logarithms near their floor amplifies the last bits without limit
        return None
    front = s2o.SequenceInput(signal.shape if len(signal.shape) > 1 else signal.size, missing=signal.missing)
    back = [s2o.FullyConnected(signal.size)] if len(signal.shape) == 1 else []
    try:
        made = s2o.Network([front, layer, *back])
        closed_loop_states(made, ExportOptions(closed_loop=K))
    except (s2o.SpecError, s2o.NotStreamable):
        return None
    return made


LOOPED = {f"{kind}-{i}": looped(e) for kind, cls in KINDS.items() for i, e in enumerate(cls.examples())}


@pytest.mark.parametrize("example", [name for name, made in LOOPED.items() if made])
def test_every_layer_that_can_be_in_a_loop_agrees(example):
    loops_agree(laws.Subject(LOOPED[example]))


def test_most_layers_can_be_in_a_loop():
    kinds = {name.split("-")[0] for name, made in LOOPED.items() if made}
    assert kinds >= {"lstm", "gru", "conv1d", "avg_pool1d", "max_pool1d", "batch_norm", "layer_norm", "softmax"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """name -> its Subject, and the path of a file by signature, "" for the open one."""
    folder, made = tmp_path_factory.mktemp("forecast"), {}

    def get(name: str, signature: str = "full", closed_loop: int | None = None):
        key = (name, signature, closed_loop)
        if key not in made:
            path = folder / f"{len(made)}.onnx"
            subject = laws.Subject(NETWORKS[name])
            s2o.export(subject.module, path, signature, closed_loop=closed_loop)
            made[key] = subject, path
        return made[key]

    return get


def histories(subject, lengths=(4, 1, 9, 4, 2)):
    return [next(iter(subject.x(1, n).values()))[0] for n in lengths]


@each_network
def test_a_forecast_equals_a_stream_that_reads_its_answers(files, name):
    """However it is made: inside or outside, of each signature, fewer steps than K, as many and more, in batches."""
    subject, path = files(name)
    series = histories(subject)
    expected = []
    for history in series:
        stream = s2o.load(path).stream()
        answers = [stream.step(history)[-1]]
        for _ in range(2 * K + 1):
            answers.append(stream.step(answers[-1]))
        expected.append(answers)
    expected = np.array(expected)
    for closed_loop in (None, 1, K):
        for signature in ("full", "stream", "sequence"):
            model = s2o.load(files(name, signature, closed_loop)[1])
            assert model.closed_loop == closed_loop
            for steps in (1, K - 1, K, K + 1, 2 * K + 2):
                if signature == "sequence" and steps > (closed_loop or 0):
                    with pytest.raises(s2o.NotStreamable, match="which has no states to continue from"):
                        model.forecast(series, steps)
                    continue
                for batch_size in (1, 2, 128):
                    found = model.forecast(series, steps, batch_size=batch_size)
                    laws.close(found, expected[:, :steps], laws.FLOAT32, f"{signature} {closed_loop}, {steps} steps")
                one = model.forecast(series[2], steps)
                laws.close(one, expected[2, :steps], laws.FLOAT32, "one series")
            if closed_loop == K:
                laws.close(model.predict(series), expected[:, :K], laws.FLOAT32, "predict")


def test_a_stream_continues_from_its_last_answer_or_from_the_true_value(files):
    subject, path = files("stacked", "full", K)
    (history, truth) = histories(subject, (6, 3))
    zeros = subject.zeros(1)
    ten, ends = torch_loop(subject, history[None], np.array([6], "i4"), zeros, 2 * K)
    stream = s2o.load(path).stream()
    y = stream.step(history)
    laws.close(y, ten[0, :K], laws.FLOAT32, "first K")
    between = stream.state
    laws.close(stream.step(y[-1]), ten[0, K:], laws.FLOAT32, "next K")
    laws.close(list(stream.state.values()), ends, laws.FLOAT32, "state after 2 K")
    # True values from the step of the last answer on: as if the whole had been given, the answers between them.
    stream.state = between
    whole = np.concatenate([history, y[:-1], truth])
    expected, _ = torch_loop(subject, whole[None], np.array([len(whole)], "i4"), zeros, K)
    laws.close(stream.step(truth), expected[0], laws.FLOAT32, "after true values")
    before = stream.state
    assert np.isfinite(stream.step(truth[:0])).all()
    for name, state in stream.state.items():
        np.testing.assert_array_equal(state, before[name])


def test_known_values_make_an_open_loop(files):
    subject, path = files("lstm")
    model, series = s2o.load(path), histories(subject, (8, 7, 9))
    answers = model.predict(series)
    past, future = [x[:4] for x in series], [x[4:] for x in series]
    found = model.forecast(past, 4, known={"series": future})
    np.testing.assert_allclose(found, np.stack([y[3:7] for y in answers]), rtol=0, atol=1e-5)
    found = model.forecast(past[0], 4, known={"series": future[0]})
    np.testing.assert_allclose(found, answers[0][3:7], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def with_calendar(tmp_path_factory):
    """A network of a target, which it answers with, and of a calendar and a place, which are known."""
    net = s2o.Network(
        [
            s2o.SequenceInput(2, "zscore", statistics={"mean": [1, 2], "std": [2, 3]}, name="target"),
            s2o.SequenceInput(3, name="calendar"),
            s2o.FeatureInput(1, name="place"),
            s2o.Concat(inputs=["target", "calendar", "place"]),
            s2o.LSTM(6),
            s2o.FullyConnected(2),
        ]
    )
    path = tmp_path_factory.mktemp("calendar") / "model.onnx"
    subject = laws.Subject(net)
    s2o.export(subject.module, path)
    return subject, path


def test_other_inputs_take_known_values(with_calendar):
    subject, path = with_calendar
    model, rng = s2o.load(path), np.random.default_rng(0)
    lengths, steps = (4, 1, 6), 4
    history = {
        "target": [rng.normal(size=(n, 2)).astype("f") for n in lengths],
        "calendar": [rng.normal(size=(n, 3)).astype("f") for n in lengths],
        "place": [rng.normal(size=1).astype("f") for _ in lengths],
    }
    calendar = [rng.normal(size=(steps + i, 3)).astype("f") for i in range(3)]  # more than is needed is not read
    found = model.forecast(history, steps, {"calendar": calendar})
    true = [rng.normal(size=(steps - 1, 2)).astype("f") for _ in lengths]
    open_loop = model.forecast(history, steps, {"calendar": calendar, "target": true})
    assert found.shape == open_loop.shape == (3, steps, 2)
    for i in range(3):
        own = {name: torch.from_numpy(values[i][None]) for name, values in history.items()}
        with torch.no_grad():
            y, _, state = subject.module(own)
            expected = [y[0, -1]]
            for k in range(steps - 1):
                own |= {"target": expected[-1][None, None], "calendar": torch.from_numpy(calendar[i][None, k : k + 1])}
                y, _, state = subject.module(own, None, state)
                expected.append(y[0, -1])
            whole = {
                "target": torch.from_numpy(np.concatenate([history["target"][i], true[i]]))[None],
                "calendar": torch.from_numpy(np.concatenate([history["calendar"][i], calendar[i][: steps - 1]]))[None],
                "place": own["place"],
            }
            y, *_ = subject.module(whole)
        laws.close(found[i], torch.stack(expected).numpy(), laws.FLOAT32, f"series {i}")
        laws.close(open_loop[i], y[0, -steps:].numpy(), laws.FLOAT32, f"series {i} in an open loop")
        alone = model.forecast({name: values[i] for name, values in history.items()}, steps, {"calendar": calendar[i]})
        laws.close(alone, found[i], laws.FLOAT32, f"series {i} alone")


def test_a_series_with_nan_is_answered_with_nan_and_no_other_is(files, with_calendar):
    for closed_loop in (None, K):
        subject, path = files("lstm", "full", closed_loop)
        model, series = s2o.load(path), histories(subject)
        clean = model.forecast(series, 3)
        series[1] = np.full_like(series[1], np.nan)
        found = model.forecast(series, 3)
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(np.delete(found, 1, 0), np.delete(clean, 1, 0))
    model = s2o.load(with_calendar[1])
    history = {"target": np.zeros((2, 2, 2)), "calendar": np.zeros((2, 2, 3)), "place": np.zeros((2, 1))}
    calendar = np.zeros((2, 5, 3))
    calendar[0, 1] = np.inf
    found = model.forecast(history, 4, {"calendar": calendar})
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("closed_loop", [None, 9])
def test_a_forecast_after_infinity_is_nan(tmp_path, closed_loop):
    """onnxruntime's LSTM makes finite numbers of NaN: the first answer here is infinite, the second is not."""
    net = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2), s2o.Rescale(-4, 2.5), s2o.Rescale(3e38, 0)])
    module = s2o.build(net)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.fill_(0.1 if "bias" in name else 0.0)
    s2o.export(module, tmp_path / "model.onnx", closed_loop=closed_loop)
    model = s2o.load(tmp_path / "model.onnx")
    if closed_loop:
        (raw,) = model.predict([np.ones((1, 2))])
        assert np.isinf(raw[0]).all()
        assert np.isfinite(raw[1]).all()
    assert np.isnan(model.forecast(np.ones((1, 2)), 9)).all()


def test_the_contract_has_closed_loop_and_the_file_has_each_weight_once(files):
    subject, path = files("lstm", "full", K)
    model = onnx.load(path)
    assert json.loads({p.key: p.value for p in model.metadata_props}["seq2onnx"])["closed_loop"] == K
    _, open_path = files("lstm")
    assert "closed_loop" not in json.loads({p.key: p.value for p in onnx.load(open_path).metadata_props}["seq2onnx"])
    y = model.graph.output[0]
    assert [d.dim_param or d.dim_value for d in y.type.tensor_type.shape.dim] == ["batch", K, 3]
    names = [t.name for t in model.graph.initializer]
    assert len(set(names)) == len(names)
    assert set(names) >= {t.name for t in onnx.load(open_path).graph.initializer if "." in t.name}
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    (body,) = [attribute.g for attribute in scan.attribute if attribute.name == "body"]
    assert not body.initializer
    # Every node costs a step 0.4 µs: the states stay as the operator has them, and nothing guards against no steps.
    expected = ["Sub", "Div", "Reshape", "LSTM", "Reshape", "MatMul", "Add", "Mul", "Add", "Squeeze"]
    assert [node.op_type for node in body.node] == expected
    restored = s2o.restore(path)
    assert restored.network == subject.network
    for name, tensor in subject.module.state_dict().items():
        assert torch.equal(restored.state_dict()[name], tensor)


@each_network
@pytest.mark.parametrize("signature", ["full", "sequence", "stream"])
def test_verify_passes(files, name, signature):
    subject, path = files(name, signature, K)
    report = s2o.verify(path, subject.module, histories(subject))
    assert report.ok, report
    assert {row.check for row in report.rows} == {
        f"{check}, {source}"
        for check in ("torch = onnxruntime", "batch = one at a time")
        for source in ("random", "data")
    }


def test_verify_passes_for_a_loop_that_magnifies_rounding(tmp_path):
    subject = laws.Subject(s2o.Network([s2o.SequenceInput(40), s2o.FullyConnected(40), s2o.Tanh()]))
    s2o.export(subject.module, tmp_path / "chaos.onnx", closed_loop=200)
    model = s2o.load(tmp_path / "chaos.onnx")
    (x,) = subject.x(1, 5).values()
    apart = np.diff(model.predict([x[0], x[0] + np.float32(1e-6)]), axis=0)
    assert abs(apart[0, -1]).max() > 1
    assert s2o.verify(tmp_path / "chaos.onnx", subject.module).ok


def test_verify_detects_a_wrong_loop(files, tmp_path):
    """As if the body read other weights than the history, fed back another number, or left another state."""
    subject, path = files("lstm", "full", K)

    def spoiled(change):
        model = onnx.load(path)
        (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
        change(model, next(a.g for a in scan.attribute if a.name == "body"), scan)
        onnx.save(model, tmp_path / "spoiled.onnx")
        return {row.tensor for row in s2o.verify(tmp_path / "spoiled.onnx", subject.module).rows if not row.ok}

    def other_bias(model, body, scan):
        (add,) = [n for n in body.node if n.input[1].endswith("fully_connected_1.bias")]
        array = np.array([0.01, 0, 0], "f")
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, "other"))
        add.input[1] = "other"

    def swapped_states(model, body, scan):
        scan.input[1], scan.input[2] = scan.input[2], scan.input[1]

    def the_history_s_states(model, body, scan):
        for node in model.graph.node:
            if node.op_type == "Where" and node.output[0].startswith("new_state"):
                node.input[1] = node.input[2]

    assert "y" in spoiled(other_bias)
    assert "y" in spoiled(swapped_states)
    assert spoiled(the_history_s_states) == {"new_state_00_lstm_1_h", "new_state_01_lstm_1_c"}


LOOPLESS = {
    "two inputs": (
        s2o.Network(
            [s2o.SequenceInput(2, name="a"), s2o.SequenceInput(2, name="b"), s2o.Add(inputs=["a", "b"]), s2o.LSTM(2)]
        ),
        s2o.SpecError,
        r"needs one input and one output.*got \['a', 'b'\] and \['lstm_1'\]",
    ),
    "two outputs": (
        s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2, name="m"), s2o.Tanh(name="n")], outputs=["m", "n"]),
        s2o.SpecError,
        r"one input and one output.*\['m', 'n'\]",
    ),
    "one answer": (
        s2o.Network([s2o.SequenceInput(2), s2o.LSTM(2, "last")]),
        s2o.SpecError,
        "gives one output per sequence",
    ),
    "fewer numbers": (
        s2o.Network([s2o.SequenceInput(3), s2o.LSTM(1)]),
        s2o.SpecError,
        r"the output of lstm_1, float32 \[batch, time, 1\], is fed back into sequence_input_1, which takes float32 "
        r"\[batch, time, 3\]; in a closed loop the output must have the shape and type of the input",
    ),
    "tokens": (s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, 9)]), s2o.SpecError, "which takes int64"),
    "stride": (
        s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(2, 2, stride=2, padding="causal")]),
        s2o.SpecError,
        "conv1d_1 gives an output every 2 steps",
    ),
    "lookahead": (
        s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(2, 3, padding="same")]),
        s2o.NotStreamable,
        "closed_loop: runs step by step, without lookahead. conv1d_1: its windows read 1 steps ahead",
    ),
    "bilstm": (
        s2o.Network([s2o.SequenceInput(2), s2o.BiLSTM(1)]),
        s2o.NotStreamable,
        "closed_loop: runs step by step, without lookahead. bilstm_1",
    ),
}


@pytest.mark.parametrize("why", LOOPLESS)
def test_networks_that_cannot_loop_raise_an_error(tmp_path, why):
    net, error, message = LOOPLESS[why]
    for signature in (None, "sequence"):
        with pytest.raises(error, match=message):
            s2o.export(s2o.build(net), tmp_path / "model.onnx", signature, closed_loop=K)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"closed_loop": 0}, "closed_loop: must be a whole number, at least 1, got 0"),
        ({"closed_loop": 2.0}, "at least 1, got 2.0"),
        ({"closed_loop": True}, "at least 1, got True"),
        ({"closed_loop": 2, "lookahead": True}, "closed_loop: cannot have lookahead; export a second file"),
        ({"closed_loop": 2, "activations": True}, "closed_loop: cannot have activations; export a second file"),
    ],
)
def test_wrong_options_of_a_loop_raise_an_error(tmp_path, arguments, message):
    with pytest.raises(s2o.SpecError, match=message):
        s2o.export(s2o.build(NETWORKS["lstm"]), tmp_path / "model.onnx", **arguments)


def test_files_that_cannot_forecast_raise_an_error(tmp_path):
    path = tmp_path / "model.onnx"

    def refused(net, error, message, known=None, **options):
        s2o.export(s2o.build(net), path, **options)
        model = s2o.load(path)
        history = {entry.layer: [np.zeros((4, *entry.shape), entry.dtype)] for entry in model.inputs}
        with pytest.raises(error, match=message):
            model.forecast(history, 2, known)

    refused(LOOPLESS["two outputs"][0], s2o.SpecError, "forecast needs one output, this file has y_m, y_n")
    refused(LOOPLESS["one answer"][0], s2o.SpecError, "forecast needs an output for each step")
    refused(LOOPLESS["stride"][0], s2o.SpecError, "forecast needs an output for each step")
    refused(
        LOOPLESS["bilstm"][0], s2o.NotStreamable, "'sequence', which has no states to continue from; export it with"
    )
    refused(LOOPLESS["lookahead"][0], s2o.NotStreamable, "exported with lookahead", lookahead=True)
    refused(
        LOOPLESS["fewer numbers"][0],
        s2o.SpecError,
        r"its output for a step is \[1\], but sequence_input_1 takes \[3\]; a network can forecast from its own output",
    )
    refused(LOOPLESS["tokens"][0], s2o.SpecError, r"its output for a step is \[3\], but sequence_input_1 takes tokens")
    refused(LOOPLESS["two inputs"][0], s2o.DataError, "into only one input, but these have no known values: a, b")
    known = {"series": [np.zeros((2, 3))]}
    refused(NETWORKS["lstm"], s2o.SpecError, r"feeds its own output back \(closed_loop=5\)", known, closed_loop=K)
    # What it cannot answer with, it can be told.
    s2o.export(s2o.build(LOOPLESS["fewer numbers"][0]), path)
    assert s2o.load(path).forecast(np.zeros((4, 3)), 2, {"sequence_input_1": np.zeros((1, 3))}).shape == (2, 1)


@pytest.mark.parametrize(
    ("history", "steps", "known", "error", "message"),
    [
        ([np.zeros((4, 3))], 0, None, s2o.SpecError, "steps: must be a whole number, at least 1, got 0"),
        ([np.zeros((4, 3))], 2.5, None, s2o.SpecError, "at least 1, got 2.5"),
        ([np.zeros((4, 2))], 2, None, s2o.ShapeError, r"sequence 0: expected \[time, 3\], got \[4, 2\]"),
        ([np.zeros((4, 3)), np.zeros((0, 3))], 2, None, s2o.DataError, "sequence 1: has 0 steps, the network needs"),
        ([], 2, None, s2o.DataError, "expected at least one sequence"),
        (
            [np.zeros((4, 3))],
            3,
            [np.zeros((2, 3))],
            s2o.DataError,
            "known: expected a dict .* some of series, got list",
        ),
        ([np.zeros((4, 3))], 3, {"x": [np.zeros((2, 3))]}, s2o.DataError, "some of series, got x"),
        ([np.zeros((4, 3))], 3, {"series": []}, s2o.DataError, "expected at least one sequence, got none"),
        ([np.zeros((4, 3))] * 2, 3, {"series": [np.zeros((2, 3))]}, s2o.DataError, "series for 2 series, got 1"),
        (
            [np.zeros((4, 3))],
            4,
            {"series": [np.zeros((2, 3))]},
            s2o.DataError,
            "known series of sequence 0: has 2 steps; a forecast of 4 needs 3",
        ),
        ([np.zeros((4, 3))], 3, {"series": [np.zeros((2, 1))]}, s2o.ShapeError, "known series of sequence 0: expected"),
    ],
)
def test_wrong_data_for_a_forecast_raise_an_error(files, history, steps, known, error, message):
    with pytest.raises(error, match=message):
        s2o.load(files("lstm")[1]).forecast(history, steps, known)


def test_next_step_data_have_the_following_steps_as_targets():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 2)).astype("f") for n in (6, 3, 9)]
    for lead in (1, 2):
        data = s2o.SequenceDataset.next_step(series, lead)
        assert (data.per_step, data.classes, data.lengths.tolist()) == (True, None, [n - lead for n in (6, 3, 9)])
        assert data.ahead == range(lead, lead + 1)
        for x, y, whole in zip(data.sequences, data.targets, series, strict=True):
            np.testing.assert_array_equal(x, whole[:-lead])
            np.testing.assert_array_equal(y, whole[lead:])
    # Series of one length are no less per step.
    assert s2o.SequenceDataset.next_step(np.zeros((4, 6, 2))).per_step
    with pytest.raises(s2o.DataError, match="sequence 1: expected more than 3 steps, got 3; leave it out"):
        s2o.SequenceDataset.next_step(series, 3)
    for wrong in (0, 1.0):
        with pytest.raises(s2o.SpecError, match=f"lead: must be a whole number, at least 1, got {wrong}"):
            s2o.SequenceDataset.next_step(series, wrong)
        with pytest.raises(s2o.SpecError, match=f"horizon: must be a whole number, at least 1, got {wrong}"):
            s2o.SequenceDataset.next_step(series, horizon=wrong)
    with pytest.raises(s2o.SpecError, match="got lead=2 and horizon=3"):
        s2o.SequenceDataset.next_step(series, 2, horizon=3)


def test_next_step_takes_a_single_series_words_and_a_data_set_that_knows_its_rate():
    values = np.arange(6.0)
    for given in (values, values.astype(int), values[:, None], [values], {"load": values}):
        data = s2o.SequenceDataset.next_step(given, sample_rate=4)
        np.testing.assert_array_equal(data.targets[0][:, 0], values[1:])
        assert data.sample_rate == 4
    words = s2o.SequenceDataset.next_step([np.array([3, 1, 2])])  # the next word is a label
    assert words.labels[0].tolist() == [1, 2]
    recorded = s2o.SequenceDataset([values[:, None]], ["old"], channels=["load"], ids=["plant"], sample_rate=2)
    data = s2o.SequenceDataset.next_step(recorded)
    assert (data.channels, data.ids, data.sample_rate, data.classes) == (["load"], ["plant"], 2, None)
    with pytest.raises(s2o.DataError, match="sample_rate"):
        s2o.SequenceDataset.next_step(values, sample_rate=-1)


def test_what_is_known_of_tomorrow_joins_today():
    """A load that follows the calendar of the same step exactly: with the calendar one step off, nothing fits."""
    rng = np.random.default_rng(0)
    calendar = [rng.normal(size=n + 7) for n in (30, 20)]  # which is known for longer than the load
    load = [3 * c[:n] + 1 for c, n in zip(calendar, (30, 20), strict=True)]
    data = s2o.SequenceDataset.next_step({"load": load}, known={"calendar": calendar}, sample_rate=24)
    assert (list(data.parts), data.sample_rate) == (["load", "calendar"], 24)
    for known, target in zip(data.sequences["calendar"], data.targets, strict=True):
        np.testing.assert_allclose(target, 3 * known + 1, rtol=1e-5)
    part = data.subset([1])
    assert part.ahead == range(1, 2)
    np.testing.assert_array_equal(part.sequences["load"][0][:, 0], load[1][:-1].astype("f"))


def test_a_horizon_has_all_steps_and_all_that_is_known_of_them():
    load, calendar = np.arange(20.0).reshape(10, 2), np.arange(100.0, 110)
    data = s2o.SequenceDataset.next_step({"load": load}, known={"calendar": calendar}, horizon=3)
    assert data.lengths.tolist() == [7]
    for t in range(7):
        np.testing.assert_array_equal(data.targets[0][t], load[t + 1 : t + 4].ravel())
        np.testing.assert_array_equal(data.sequences["calendar"][0][t], calendar[t + 1 : t + 4])
    frames = pytest.importorskip("pandas").DataFrame({"hour": calendar, "holiday": calendar % 2})
    named = s2o.SequenceDataset.next_step({"load": load}, known={"calendar": frames}, horizon=2)
    assert named.channels == {"load": None, "calendar": ["hour+1", "holiday+1", "hour+2", "holiday+2"]}
    np.testing.assert_array_equal(named.sequences["calendar"][0][4], [105, 1, 106, 0])


@pytest.mark.parametrize(
    ("series", "known", "message"),
    [
        (np.zeros(9), {"plan": np.zeros(9)}, "got no name. Write .* known={.plan.: values}"),
        ({"load": np.zeros(9), "plan": np.zeros(9)}, None, "expected one input to forecast, .* got load, plan"),
        ({"load": np.zeros(9)}, {"load": np.zeros(9)}, "with a name of its own, got load"),
        ({"load": np.zeros(9)}, {"plan": np.zeros(8)}, "plan of sequence 0 has 8 steps, the series 9. Both begin at"),
        ({"load": [np.zeros(9)] * 2}, {"plan": np.zeros(9)}, "known: expected plan of 2 series, got 1"),
    ],
)
def test_what_is_known_must_belong_to_the_series(series, known, message):
    with pytest.raises(s2o.DataError, match=message):
        s2o.SequenceDataset.next_step(series, known=known)


def test_a_file_forecasts_with_what_is_known_as_its_docs_say(tmp_path):
    """A network that answers 3 times the calendar, whatever the load was."""
    layers = [
        s2o.SequenceInput(1, name="load"),
        s2o.SequenceInput(1, name="calendar"),
        s2o.Concat(inputs=["load", "calendar"]),
        s2o.FullyConnected(1),
    ]
    module = s2o.build(s2o.Network(layers))
    with torch.no_grad():
        module.layers["fully_connected_1"].weights.copy_(torch.tensor([[0.0, 3.0]]))
        module.layers["fully_connected_1"].bias.zero_()
    s2o.export(module, tmp_path / "load.onnx")
    calendar, n = np.random.default_rng(0).normal(size=(40, 1)), 30
    history = {"load": 3 * calendar[:n], "calendar": calendar[1 : n + 1]}
    found = s2o.load(tmp_path / "load.onnx").forecast(history, 10, {"calendar": calendar[n + 1 :]})
    np.testing.assert_allclose(found, 3 * calendar[n:], rtol=1e-5)


def test_a_trained_network_forecasts_in_the_unit_of_the_data(tmp_path):
    """Sines around 1,000 of several phases."""
    torch.manual_seed(0)
    waves = [1000 + 50 * np.sin(0.4 * np.arange(40)[:, None] + phase) for phase in range(12)]
    net = s2o.Network([s2o.SequenceInput(1, "zscore"), s2o.LSTM(16), s2o.FullyConnected(1)])
    options = s2o.TrainingOptions(epochs=30, batch_size=12, learning_rate=3e-2, progress=False, device="cpu")
    data = s2o.SequenceDataset.next_step(waves)
    result = s2o.train(net, data, loss="mse", normalize_targets=True, options=options)
    s2o.export(result.module, tmp_path / "model.onnx", closed_loop=5)
    found = s2o.load(tmp_path / "model.onnx").forecast([w[:35] for w in waves], 5)
    error = np.sqrt(np.mean((found - np.stack([w[35:] for w in waves])) ** 2))
    assert error < 18  # half of their spread


def test_the_command_exports_a_closed_loop(tmp_path):
    net = NETWORKS["lstm"]
    net.save(tmp_path / "network.yaml")
    series = [np.random.default_rng(i).normal(size=(8 + i, 3)) for i in range(3)]
    s2o.SequenceDataset.next_step(series).save(tmp_path / "data.npz")
    options = ["--set", "epochs=1", "--set", "device=cpu", "--quiet"]
    command("train", tmp_path / "network.yaml", tmp_path / "data.npz", "--out", tmp_path / "run", *options)
    command("export", tmp_path / "run", "--closed-loop", "4", "--quiet")
    path = tmp_path / "run/model.onnx"
    out, _ = command("inspect", path)
    assert "closed loop  4 steps" in out
    out, _ = command("verify", path, tmp_path / "run")
    assert "all comparisons passed" in out
    out, _ = command("predict", path, tmp_path / "data.npz")
    lines = out.splitlines()
    assert lines[0] == "index,step,y0,y1,y2"
    assert [line.split(",")[:2] for line in lines[1:6]] == [["0", "0"], ["0", "1"], ["0", "2"], ["0", "3"], ["1", "0"]]
    expected = s2o.load(path).predict([x[:-1] for x in series])
    np.testing.assert_allclose([float(v) for v in lines[6].split(",")[2:]], expected[1, 1], rtol=1e-5)
    _, err = command("stream", path, stdin="1,2,3\n", code=2)
    assert "forecasts 4 steps for each line (closed loop); export it without one" in err
