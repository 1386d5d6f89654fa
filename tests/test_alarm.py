"""Alarm: decisions in the file are those of a plain loop, and the tuned threshold keeps its promise."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from tests import reference
from tests.command import run
from tests.networks import network_of

SLOWEST = 1e-6  # seconds of the processor for a step of a whole sequence of one score


def by_hand(scores, threshold, release=None, patience=1, hold=0, output="event", warm_up=0):
    """The alarms of one stream [time] by a plain loop, without the layer."""
    release = threshold if release is None else release
    run = low = on = 0
    found = []
    for step, score in enumerate(np.asarray(scores, np.float32)):
        before, is_early = on, step < warm_up
        run = run + 1 if score >= np.float32(threshold) and not is_early else 0
        low = low + 1 if score < np.float32(release) or is_early else 0
        if run >= patience:
            on = 1
        elif low > hold:
            on = 0
        found.append(on if output == "level" else int(on and not before))
    return found


def drawn(rng):
    """Any parameters, and scores that are often exactly the threshold."""
    grid = np.array([-0.5, 0.0, 0.1, 0.3, 1 / 3, 0.7])
    threshold = rng.choice(grid)
    release = rng.choice([None, *grid[grid <= threshold]])
    arguments = {
        "threshold": float(threshold),
        "release": None if release is None else float(release),
        "patience": int(rng.integers(1, 5)),
        "hold": int(rng.integers(0, 5)),
        "output": rng.choice(["event", "level"]).item(),
        "warm_up": int(rng.choice([0, 1, 7])),
    }
    return arguments, lambda *shape: rng.choice([*grid, 0.2, -1.0], shape).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_alarms_on_random_patterns_are_exactly_those_of_a_plain_loop(seed, tmp_path):
    """In torch, in a file, in single steps, in chunks of any length, and with a threshold for each class."""
    rng = np.random.default_rng(seed)
    arguments, draw = drawn(rng)
    each = [arguments["threshold"], None, arguments["threshold"] + 0.1]
    layer = s2o.Alarm(**arguments | {"threshold": each})
    module = s2o.build(s2o.Network([s2o.SequenceInput(3), layer]))
    s2o.export(module, tmp_path / "alarm.onnx")
    s2o.export(module, tmp_path / "step.onnx", form="step")
    model, step_file = s2o.load(tmp_path / "alarm.onnx"), s2o.load(tmp_path / "step.onnx")
    sequences = [draw(int(length), 3) for length in rng.integers(1, 80, 6)]
    expected = [
        np.stack(
            [
                np.zeros(len(x)) if limit is None else by_hand(x[:, k], **arguments | {"threshold": limit})
                for k, limit in enumerate(each)
            ],
            axis=1,
        )
        for x in sequences
    ]
    for found, want, x in zip(model.predict(sequences), expected, sequences, strict=True):
        np.testing.assert_array_equal(found, want)
        np.testing.assert_array_equal(module(torch.from_numpy(x)[None])[0][0].numpy(), want)
        stream, at, parts = model.stream(), 0, []
        while at < len(x):
            size = int(rng.integers(0, 9))
            parts.append(stream.step(x[at : at + size]))
            at += size
        np.testing.assert_array_equal(np.concatenate(parts), want)
        np.testing.assert_array_equal(step_file.predict([x])[0], want)


def test_a_score_that_is_not_a_number_begins_no_alarm_and_ends_none():
    layer = s2o.Alarm(0.5, patience=2, output="level")
    x = np.array([0.9, np.nan, 0.9, 0.9, np.nan, np.nan, 0.1], "f")[None, :, None]
    y = s2o.build(
        network_of(layer.examples()[0]).replace({"alarm_1": s2o.Alarm(0.5, None, 2, 0, "level", name="alarm_1")})
    )(torch.from_numpy(x))[0]
    assert y.flatten().tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert reference.alarm(layer, {}, (x[0],), None)[0].flatten().tolist() == [0, 0, 0, 1, 1, 1, 0]


def trained(classes=("none", "cough"), **options):
    torch.manual_seed(0)
    layers = [s2o.SequenceInput(2), s2o.GRU(4), s2o.FullyConnected(len(classes)), s2o.Softmax()]
    module = s2o.build(s2o.Network(layers, name="coughs")).eval()
    module.classes, module.channels = list(classes), ["a", "b"]
    return module


def test_append_makes_a_new_module_whose_file_answers_events(tmp_path):
    module = trained()
    before = torch.random.get_rng_state()
    made = s2o.append(module, [s2o.Alarm([None, 0.5], patience=2)])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [layer.label for layer in module.network.layers][-1] == "softmax_1"  # as it was
    assert made.network.outputs == ("alarm_1",)
    assert (made.classes, made.channels, made.training) == (["none", "cough"], ["a", "b"], False)
    s2o.export(made, tmp_path / "alarm.onnx", activations=["softmax_1"])
    model = s2o.load(tmp_path / "alarm.onnx")
    assert model.contract.answer == "events"
    assert model.metadata["format_version"] == 2
    x = np.random.default_rng(0).normal(size=(60, 2))
    (y,), scores = model.predict([x]), model.predict([x], outputs=["softmax_1"])["softmax_1"][0]
    np.testing.assert_array_equal(y[:, 1], by_hand(scores[:, 1], 0.5, patience=2))
    assert y[:, 1].any()
    assert not y[:, 0].any()
    with pytest.raises(s2o.SpecError, match="answers events, 0 or 1 for each step and alarm, and no scores"):
        model.classify([x])
    with torch.no_grad():
        next(module.parameters()).zero_()  # the new module has weights of its own
    np.testing.assert_array_equal(s2o.restore(tmp_path / "alarm.onnx")(torch.tensor(x[None]).float())[0][0].numpy(), y)


def test_a_file_of_scores_is_what_it_was(tmp_path):
    s2o.export(trained(), tmp_path / "scores.onnx")
    metadata = s2o.load(tmp_path / "scores.onnx").metadata
    assert metadata["format_version"] == 1
    assert "answer" not in metadata


def test_without_undoes_append_so_that_the_module_can_be_trained():
    module = trained()
    made = s2o.append(module, [s2o.Rescale(2), s2o.Alarm(0.5)])
    back = s2o.without(made, ["rescale_1", "alarm_1"])
    assert back.network == module.network
    for name, tensor in module.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)
    assert back.classes == module.classes
    data = s2o.SequenceDataset([np.zeros((4, 2))] * 4, [["none", "cough"] * 2] * 4, per_step=True)
    with pytest.raises(s2o.SpecError, match=r"alarm_1 gives decisions.*train without\(module, \['alarm_1'\]\)"):
        s2o.train(made, data)
    with pytest.raises(s2o.SpecError, match="leave them out of the network, and append them to the trained module"):
        s2o.train(made.network, data)


def test_append_to_one_of_several_outputs_leaves_the_other_one(tmp_path):
    layers = [s2o.SequenceInput(2), s2o.FullyConnected(3, name="a"), s2o.FullyConnected(1, name="b", inputs=["a"])]
    module = s2o.build(s2o.Network(layers, outputs=["a", "b"]))
    with pytest.raises(
        s2o.SpecError, match=r"has the outputs a, b; write which one alarm reads, such as inputs=\['a'\]"
    ):
        s2o.append(module, s2o.Alarm(0.5))
    assert s2o.append(module, s2o.Alarm(0.5, inputs=["b"])).network.outputs == ("a", "alarm_1")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: s2o.append(m, [s2o.LSTM(3)]), "append: lstm_1 has weights; only layers without weights"),
        (lambda m: s2o.append(m, [s2o.SequenceInput(3)]), "sequence_input_2.* is an input layer"),
        (lambda m: s2o.append(m, []), r"append: expected a list of layers such as \[Alarm\(0.8\)\], got \[\]"),
        (
            lambda m: s2o.append(m.network, [s2o.ReLU()]),
            "append: expected a module, such as result.module, got Network",
        ),
        (lambda m: s2o.append(m, [s2o.Alarm([0.5])]), r"threshold has 1 numbers, x \[batch, time, 2\] has 2 scores"),
        (lambda m: s2o.without(m, "gru_1"), "without: gru_1 has weights"),
        (
            lambda m: s2o.without(m, "sequence_input_1"),
            "without: sequence_input_1 has weights, or does not read exactly",
        ),
        (lambda m: s2o.without(m, ["alarm_1"]), "'alarm_1' is not a layer; the layers are"),
        (lambda m: s2o.Alarm(0.5, 0.6), "alarm: release 0.6 must not be above the threshold 0.5"),
        (lambda m: s2o.Alarm([0.9, None, 0.5], 0.6), "release 0.6 must not be above the threshold 0.5"),
        (lambda m: s2o.Alarm(float("nan")), "threshold: must be a finite number, also in float32, or a list"),
        (lambda m: s2o.Alarm(1e39), "threshold: must be a finite number, also in float32"),
        (lambda m: s2o.Alarm("high"), "threshold: must be a number, or a list with a number or None for each class"),
        (lambda m: s2o.Alarm(0.5, patience=0), "patience: must be greater than 0; got 0"),
        (lambda m: s2o.Alarm(0.5, hold=-1), "hold: must be at least 0; got -1"),
    ],
)
def test_errors_say_what_to_do(wrong, message):
    with pytest.raises((s2o.SpecError, s2o.ShapeError), match=message):
        wrong(trained())


def test_a_whole_sequence_takes_less_than_a_microsecond_a_step(tmp_path):
    layers = [s2o.SequenceInput(1), s2o.Alarm(0.8, release=0.3, patience=3, hold=20)]
    s2o.export(s2o.build(s2o.Network(layers)), tmp_path / "alarm.onnx")
    model, x = s2o.load(tmp_path / "alarm.onnx"), [np.random.default_rng(0).random((50_000, 1))]
    model.predict(x)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        model.predict(x)
        seconds.append(time.process_time() - start)
    assert min(seconds) / 50_000 < SLOWEST


def test_predict_and_stream_print_events(tmp_path):
    """With step and class, and the score if the file has it; in a stream, with the number of the step."""
    path = tmp_path / "alarm.onnx"
    net = s2o.Network([s2o.SequenceInput(2), s2o.Rescale(1, name="scores")])
    module = s2o.append(s2o.build(net), [s2o.Alarm([0.5, 0.8], output="level")])
    s2o.export(module, path, classes=["bark", "cough"], activations=["scores"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("0,0\n0.6,0\n0.7,0.9\n0,0\n0.5,0\n")
    (tmp_path / "data" / "b.csv").write_text("0,0\n0,0\n")
    out, _ = run("predict", path, tmp_path / "data")
    assert out == "index,id,step,label,score\n0,a.csv,1,bark,0.6\n0,a.csv,2,cough,0.9\n0,a.csv,4,bark,0.5\n"
    run("predict", path, tmp_path / "data", "--out", tmp_path / "found.npz")
    found = np.load(tmp_path / "found.npz")
    assert (found["steps"].tolist(), found["lengths"].tolist()) == ([1, 2, 4], [3, 0])
    out, _ = run("stream", path, stdin="0,0\n0.6,0\n0.7,0.9\n0,0\n0.5,0.9\n")
    assert out == "\n1,bark\n2,cough\n\n4,bark,cough\n"
    out, _ = run("stream", path, stdin="[0,0]\n[0.6,0]\n")
    assert out == '{"step": 0, "events": []}\n{"step": 1, "events": ["bark"]}\n'
