"""Networks of all shapes through the whole way: built, exported, predicted, streamed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

import seq2onnx as s2o
from tests.small_networks import (
    WORDS,
    exported,
    lookahead_network,
    pooled,
    sensors,
    strided,
    tcn,
    text_network,
    two_sensors,
)


def in_chunks(x, sizes):
    """x cut into chunks of these sizes, again and again."""
    at = 0
    while at < len(x):
        for size in sizes:
            yield x[at : at + size]
            at += size


@pytest.mark.parametrize("network", [tcn, strided, pooled])
@pytest.mark.parametrize("sizes", [(1,), (3,), (4, 0, 1, 7, 2)])
@pytest.mark.parametrize("signature", ["full", "stream"])
def test_chunks_give_the_numbers_of_the_whole(tmp_path, network, sizes, signature):
    model, module = exported(tmp_path, network(), signature=signature)
    x = np.random.default_rng(0).normal(size=(53, 5)).astype("f")
    (whole,) = model.predict([x])
    np.testing.assert_allclose(whole, module(torch.from_numpy(x)[None])[0][0].detach(), rtol=0, atol=1e-5)
    stream = model.stream()
    found = [stream.step(chunk) for chunk in in_chunks(x, sizes)]
    joined = np.concatenate(found) if model.model.outputs[0].has_time else found[-1]
    np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-5)
    stream.reset()
    found = [stream.step(step) for step in x]
    joined = np.concatenate(found).reshape(whole.shape) if model.model.outputs[0].has_time else found[-1]
    np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-5)


def test_streams_with_strides_return_only_finished_steps(tmp_path):
    model, _ = exported(tmp_path, strided())
    assert model.metadata["time_stride"] == 4
    stream = model.stream()
    assert [stream.step(np.ones(5)).shape for _ in range(6)] == [(1, 2), (0, 2), (0, 2), (0, 2), (1, 2), (0, 2)]
    assert stream.step(np.ones((8, 5))).shape == (2, 2)
    outputs = {
        o.name: [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim]
        for o in onnx.load(model.path).graph.output
    }
    assert outputs["y_lengths"] == ["batch"]
    assert outputs["y"] == ["batch", "time_fully_connected_1", 2]


@pytest.mark.parametrize("signature", ["full", "stream"])
@pytest.mark.parametrize("sizes", [(1,), (3,), (4, 0, 1, 7, 2), (100,)])
def test_lookahead_gives_the_same_results_later(tmp_path, signature, sizes):
    model, module = exported(tmp_path, lookahead_network(), signature=signature, lookahead=True)
    assert model.metadata["delay_steps"] == 2 + 1 + 2 * 2
    assert {s["kind"] for s in model.metadata["states"]} == {"buf", "count", "phase", "skip", "h"}
    stream = model.stream()
    for length in (31, 2, 1):
        x = np.random.default_rng(0).normal(size=(length, 5)).astype("f")
        whole = module(torch.from_numpy(x)[None])[0][0].detach().numpy()
        np.testing.assert_allclose(model.predict([x])[0], whole, rtol=0, atol=1e-5)
        found = [stream.step(chunk) for chunk in in_chunks(x, sizes)]
        found.append(stream.finish())  # and the stream is at its start again
        np.testing.assert_allclose(np.concatenate(found), whole, rtol=0, atol=1e-5)
    assert not any(array.any() for array in stream.state.values())
    report = s2o.verify(model.path, module)
    assert report.ok, report


def test_a_step_comes_out_after_its_delay(tmp_path):
    network = s2o.Network([s2o.SequenceInput(1), s2o.Conv1d(1, 5, padding="same")])
    model, _ = exported(tmp_path, network, lookahead=True)
    stream = model.stream()
    assert model.metadata["delay_steps"] == 2
    assert [len(stream.step(np.ones(1))) for _ in range(4)] == [0, 0, 1, 1]
    assert len(stream.finish()) == 2
    assert len(stream.finish()) == 0  # no steps, no padding either


def test_finish_without_steps_gives_no_result(tmp_path):
    """With more padding than the window skips, an end without steps must still give nothing."""
    network = s2o.Network([s2o.SequenceInput(1), s2o.Conv1d(1, 3, padding=(2, 2))])
    model, _ = exported(tmp_path, network, lookahead=True)
    stream = model.stream()
    assert len(stream.finish()) == 0
    stream.step(np.ones((0, 1)))
    assert len(stream.finish()) == 0
    assert len(stream.step(np.ones(1))) + len(stream.finish()) == 3


@pytest.mark.parametrize("signature", ["full", "stream"])
def test_lookahead_works_with_one_result_for_each_sequence(tmp_path, signature):
    network = s2o.Network(
        [
            s2o.SequenceInput(2, name="x"),
            s2o.Conv1d(3, 3, padding="same"),
            s2o.FeatureInput(2, name="machine"),
            s2o.Concat(inputs=["conv1d_1", "machine"], name="both"),
            s2o.LSTM(4, "last"),
        ]
    )
    model, module = exported(tmp_path, network, signature=signature, lookahead=True, activations=["both"])
    rng = np.random.default_rng(0)
    data = {"x": [rng.normal(size=(n, 2)) for n in (9, 4)], "machine": [np.array([1, 2.0]), np.array([3, -1.0])]}
    report = s2o.verify(model.path, module, data)
    assert report.ok, report
    outputs = [o.name for o in onnx.load(model.path).graph.output]
    assert "act_both_lengths" in outputs
    model, module = exported(
        tmp_path,
        s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(3, 3, padding="same"), s2o.GlobalAvgPool1d()]),
        lookahead=True,
    )
    assert s2o.verify(model.path, module).ok


def test_every_output_with_time_has_lengths_with_lookahead(tmp_path):
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3)]), signature="stream", lookahead=True)
    assert model.model.outputs[0].lengths_tensor == "y_lengths"
    assert s2o.verify(model.path).ok


def branches_of_different_delay() -> list[s2o.Network]:
    """Half a step of waiting at stride 2; joins of joins; what is known only at the end on both sides."""
    return [
        s2o.Network(
            [
                s2o.SequenceInput(2, name="x"),
                s2o.Conv1d(2, 2, padding=(0, 1), inputs=["x"]),
                s2o.AvgPool1d(1, 2),
                s2o.AvgPool1d(1, 2, inputs=["x"]),
                s2o.Add(inputs=["avg_pool1d_1", "avg_pool1d_2"]),
            ]
        ),
        s2o.Network(
            [
                s2o.SequenceInput(2, name="x"),
                s2o.Conv1d(2, 5, padding="same", inputs=["x"]),
                s2o.Add(inputs=["x", "conv1d_1"]),
                s2o.Conv1d(2, 1, inputs=["x"]),
                s2o.Add(inputs=["conv1d_2", "add_1"]),
            ]
        ),
        s2o.Network(
            [
                s2o.SequenceInput(2, name="x"),
                s2o.FeatureInput(2, name="gain"),
                s2o.Conv1d(2, 4, padding=(0, 3), inputs=["x"]),
                s2o.Sigmoid(),
                s2o.Multiply(inputs=["x", "gain", "sigmoid_1"]),
            ]
        ),
    ]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_branches_wait_for_each_other(tmp_path, number):
    network = branches_of_different_delay()[number]
    model, module = exported(tmp_path, network, lookahead=True)
    assert model.metadata["delay_steps"] == [1, 2, 3][number]
    assert s2o.verify(model.path, module).ok


def test_two_running_values_joined_are_a_running_value():
    network = s2o.Network(
        [
            s2o.SequenceInput(2, name="x"),
            s2o.LSTM(2, "last"),
            s2o.GlobalMaxPool1d(inputs=["x"]),
            s2o.Add(inputs=["lstm_1", "global_max_pool1d_1"]),
            s2o.Add(inputs=["add_1", "x"]),
        ]
    )
    with pytest.raises(s2o.NotStreamable, match="add_2: joins steps to a value known only at the end"):
        network.states()


def test_two_vocabularies_of_one_input_must_agree(tmp_path):
    network = s2o.Network(
        [
            s2o.SequenceInput("tokens", name="words"),
            s2o.WordEmbedding(2, ["a", "b"], inputs=["words"]),
            s2o.WordEmbedding(2, ["b", "a"], inputs=["words"]),
            s2o.Add(inputs=["word_embedding_1", "word_embedding_2"]),
        ]
    )
    with pytest.raises(s2o.SpecError, match="word_embedding_2: numbers the words of words differently"):
        exported(tmp_path, network)


def test_errors_say_what_lookahead_cannot_do(tmp_path):
    same = s2o.Network([s2o.SequenceInput(2), s2o.Conv1d(3, 3, padding="same")])
    with pytest.raises(s2o.NotStreamable, match=r"conv1d_1: its windows read 1 steps ahead.*lookahead=True.*sequence"):
        exported(tmp_path, same, signature="stream")
    with pytest.raises(s2o.SpecError, match="lookahead: needs states, which signature"):
        exported(tmp_path, same, signature="sequence", lookahead=True)
    with pytest.raises(s2o.NotStreamable, match="bilstm_1: its backward direction"):
        exported(tmp_path, s2o.Network([s2o.SequenceInput(2), s2o.BiLSTM(3)]), lookahead=True)
    model, _ = exported(tmp_path, same)
    assert model.signature == "sequence"
    model, _ = exported(tmp_path, pooled())
    with pytest.raises(s2o.NotStreamable, match="without lookahead, so no results are pending"):
        model.stream().finish()


@pytest.mark.parametrize("signature", ["full", "sequence", "stream"])
def test_several_inputs_and_outputs_go_by_name(tmp_path, signature):
    model, module = exported(tmp_path, two_sensors(), signature=signature)
    names = [i.name for i in onnx.load(model.path).graph.input]
    assert names[:3] == ["x_sound", "x_motion", "x_machine"]
    outputs = [o.name for o in onnx.load(model.path).graph.output]
    assert outputs[:2] == ["y_now", "y_overall"]
    data = sensors(np.random.default_rng(0), [7, 3, 12])
    found = model.predict(data)
    assert [y.shape for y in found["now"]] == [(7, 2), (3, 2), (12, 2)]
    assert found["overall"].shape == (3, 1)
    for i in range(3):
        x = {name: torch.from_numpy(part[i])[None] for name, part in data.items()}
        y, y_lengths, _ = module(x)
        np.testing.assert_allclose(found["now"][i], y["now"][0].detach(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(found["overall"][i], y["overall"][0].detach(), rtol=0, atol=1e-5)
        assert y_lengths["overall"] is None
    if signature != "sequence":
        stream = model.stream()
        for t in range(7):
            y = stream.step({name: part[0] if name == "machine" else part[0][t] for name, part in data.items()})
            np.testing.assert_allclose(y["now"], found["now"][0][t], rtol=0, atol=1e-5)
        np.testing.assert_allclose(y["overall"], found["overall"][0], rtol=0, atol=1e-5)
        stream.reset()
        y = stream.step({name: part[2] for name, part in data.items()})
        np.testing.assert_allclose(y["now"], found["now"][2], rtol=0, atol=1e-5)
    assert s2o.verify(model.path, module, data).ok


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d["sound"], s2o.DataError, "expected a dict with data for each of sound, motion, machine, got list"),
        (lambda d: {"sound": d["sound"]}, s2o.DataError, "expected a dict with data for sound, motion, machine"),
        (lambda d: d | {"motion": d["motion"][:1]}, s2o.DataError, "the same number for each input"),
        (lambda d: d | {"motion": d["motion"][::-1]}, s2o.DataError, "sequence 0: expected the same number of steps"),
        (lambda d: d | {"machine": [np.ones(3)] * 2}, s2o.ShapeError, r"sequence 0 of machine: expected \[4\], got"),
        (lambda d: d | {"sound": [np.ones((7, 4))] * 2}, s2o.ShapeError, r"sequence 0 of sound: expected \[time, 3\]"),
    ],
)
def test_wrong_data_for_several_inputs_is_named(tmp_path, change, error, message):
    model, _ = exported(tmp_path, two_sensors())
    with pytest.raises(error, match=message):
        model.predict(change(sensors(np.random.default_rng(0), [7, 3])))


def test_a_sequence_that_is_not_finite_in_one_input_gives_nan(tmp_path):
    model, _ = exported(tmp_path, two_sensors())
    data = sensors(np.random.default_rng(0), [7, 3])
    clean = model.predict(data)
    data["machine"][1] = np.array([1, np.nan, 1, 1])
    found = model.predict(data)
    np.testing.assert_array_equal(found["now"][0], clean["now"][0])
    assert np.isnan(found["now"][1]).all()
    assert np.isnan(found["overall"][1]).all()


def test_words_are_looked_up_in_the_file(tmp_path):
    model, module = exported(tmp_path, text_network())
    assert model.metadata["vocabulary"] == {"sequence_input_1": WORDS}
    numbers = model.predict([np.array([1, 3]), np.array([2, 4, 99, -1])])
    words = model.predict([["good", "film"], ["bad", "unknown", "words", "here"]])
    np.testing.assert_array_equal(numbers, words)
    stream = model.stream()
    stream.step("good")
    np.testing.assert_allclose(stream.step("film"), words[0], rtol=0, atol=1e-6)
    stream.reset()
    np.testing.assert_allclose(stream.step(["bad", "unknown", "words", "here"]), words[1], rtol=0, atol=1e-6)
    assert s2o.verify(model.path, module).ok
    for given, message in (
        (["good film"], r"expected a list of words or their numbers, got the text 'good film'"),
        ([[0.5]], r"sequence 0: expected word numbers \(integers\), got float64"),
    ):
        with pytest.raises(s2o.DataError, match=message):
            model.predict(given)


def test_images_stream_frame_by_frame(tmp_path):
    network = s2o.Network(
        [s2o.SequenceInput((2, 6, 5)), s2o.Conv2d(3, 3), s2o.BatchNorm(), s2o.ReLU(), s2o.Flatten(), s2o.GRU(4, "last")]
    )
    model, module = exported(tmp_path, network)
    rng = np.random.default_rng(0)
    videos = [rng.normal(size=(n, 2, 6, 5)).astype("f") for n in (9, 4)]
    stream = model.stream()
    for frame in videos[0]:
        y = stream.step(frame)
    np.testing.assert_allclose(y, model.predict(videos)[0], rtol=0, atol=1e-6)
    with pytest.raises(s2o.DataError, match="NaN or infinity"):
        stream.step(np.full((2, 6, 5), np.nan))
    assert s2o.verify(model.path, module, videos).ok


@pytest.mark.parametrize("opset", [17, 22])
def test_these_networks_are_restored(tmp_path, opset):
    for network in (tcn(), strided(), lookahead_network(), two_sensors(), text_network()):
        model, module = exported(tmp_path, network, opset=opset)
        restored = s2o.restore(model.path).state_dict()
        assert all(torch.equal(value, restored[name]) for name, value in module.state_dict().items())
        onnx.checker.check_model(onnx.load(model.path), full_check=True)


def test_generated_pages_are_up_to_date():
    import sys
    from pathlib import Path

    tools = Path(__file__).parent.parent / "tools"
    sys.path.insert(0, str(tools))
    try:
        import make_docs
    finally:
        sys.path.remove(str(tools))
    for path, text in make_docs.pages().items():
        assert path.read_text(encoding="utf-8") == text, "python tools/make_docs.py makes it anew"


def test_the_page_of_the_commands_has_the_names_that_are_typed():
    import re
    from pathlib import Path

    import typer

    from seq2onnx.cli import app

    page = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text(encoding="utf-8")
    named = {name.split()[0] for name in re.findall(r"^## seq2onnx (.+)$", page, re.MULTILINE)}
    assert named == set(typer.main.get_command(app).commands)
