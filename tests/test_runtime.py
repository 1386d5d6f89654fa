"""load, predict, classify and streams on files of every signature, and their errors."""

from __future__ import annotations

import io
import threading

import numpy as np
import onnx
import pytest

import seq2onnx as s2o
from seq2onnx import runtime
from tests.clock import HANG
from tests.conftest import CLASSES, built, random_data, small_network
from tests.small_networks import (
    exported as export,
    gappy,
    lookahead_network,
    mel,
    overflowing,
    pooled,
    sensors,
    strided,
    tcn,
    two_sensors,
)


def test_predict_keeps_the_order_and_equals_one_at_a_time(exported):
    model, data = s2o.load(exported), random_data(50, seed=3)
    scores = model.predict(data.sequences)
    assert scores.shape == (50, 3)
    alone = np.concatenate([model.predict([x]) for x in data.sequences])
    np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-6)
    for batch_size in (1, 7, 1000):
        again = model.predict(data.sequences, batch_size=batch_size)
        np.testing.assert_allclose(again, scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)


def test_per_step_answers_are_a_ragged_list(per_step_file):
    model, data = s2o.load(per_step_file), random_data(20)
    scores = model.predict(data.sequences)
    assert [y.shape for y in scores] == [(n, 3) for n in data.lengths]
    for x, y in zip(data.sequences, scores, strict=True):
        np.testing.assert_allclose(model.predict([x])[0], y, rtol=0, atol=1e-6)
    assert [len(labels) for labels in model.classify(data.sequences)] == data.lengths.tolist()


def test_predict_takes_any_list_of_sequences(model_file):
    model = s2o.load(model_file)
    cube = np.random.default_rng(0).normal(size=(5, 6, 4))
    expected = model.predict(list(cube.astype("f")))
    for given in (cube, cube.tolist(), tuple(cube), (x for x in cube), cube.astype(">f8"), np.asfortranarray(cube)):
        np.testing.assert_array_equal(model.predict(given), expected)


def test_classify_gives_labels(exported):
    model, data = s2o.load(exported), random_data(30)
    labels = model.classify(data.sequences)
    assert labels.dtype.kind == "U"
    scores = model.predict(data.sequences)
    assert labels.tolist() == [CLASSES[k] for k in scores.argmax(1)]
    assert s2o.scores_to_labels(scores, model.classes).tolist() == labels.tolist()


def test_activations_are_returned_by_layer(model_file):
    model, data = s2o.load(model_file), random_data(9)
    found = model.predict(data.sequences, outputs=["lstm_1", "sequence_input_1"])
    assert list(found) == ["lstm_1", "sequence_input_1"]
    assert found["lstm_1"].shape == (9, 8)
    assert [a.shape for a in found["sequence_input_1"]] == [x.shape for x in data.sequences]
    alone = model.predict(data.sequences[:1], outputs=["sequence_input_1"])["sequence_input_1"][0]
    np.testing.assert_allclose(found["sequence_input_1"][0], alone, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_sequence_that_is_not_finite_is_answered_with_nan_and_no_other_is(exported, per_step_file, value):
    data = random_data(20)
    spoiled = [x.astype(float) for x in data.sequences]
    spoiled[4][1, 2] = value
    others = [i for i in range(20) if i != 4]
    for path in (exported, per_step_file):
        model = s2o.load(path)
        clean, found = model.predict(data.sequences), model.predict(spoiled)
        assert np.isnan(found[4]).all()
        assert found[4].shape == clean[4].shape
        for i in others:
            np.testing.assert_array_equal(found[i], clean[i])
    labels = s2o.load(exported).classify(spoiled)
    assert labels[4] is None
    assert set(labels[others]) <= set(CLASSES)


def test_a_stream_gives_the_numbers_of_predict(exported):
    if s2o.load(exported).signature == "sequence":
        with pytest.raises(s2o.NotStreamable, match="signature 'sequence', which has no states; export it with"):
            s2o.load(exported).stream()
        return
    model = s2o.load(exported)
    stream = model.stream()
    for x in random_data(10).sequences:
        stream.reset()
        for step in x:
            y = stream.step(step)
        np.testing.assert_allclose(y, model.predict([x])[0], rtol=0, atol=1e-6)
        stream.reset()
        for chunk in np.split(x, [1, 1, 3]):
            y = stream.step(chunk)
        np.testing.assert_allclose(y, model.predict([x])[0], rtol=0, atol=1e-6)
        assert y.shape == (3,)


def test_a_per_step_stream_answers_every_step(per_step_file):
    model = s2o.load(per_step_file)
    (x,) = random_data(1, seed=4).sequences
    (whole,) = model.predict([x])
    stream = model.stream()
    found = [stream.step(x[0])[None], stream.step(x[1:1]), stream.step(x[1:])]
    assert [y.shape for y in found] == [(1, 3), (0, 3), (len(x) - 1, 3)]
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=0, atol=1e-6)


def test_the_state_can_be_read_and_set(model_file):
    stream = s2o.load(model_file).stream()
    (x,) = random_data(1, seed=5).sequences
    assert {name: s.shape for name, s in stream.state.items()} == {
        "state_00_lstm_1_h": (1, 8),
        "state_01_lstm_1_c": (1, 8),
    }
    assert all((s == 0).all() for s in stream.state.values())
    stream.step(x[0])
    saved = stream.state
    expected = [stream.step(row) for row in x[1:]]
    assert all((saved[name] != now).any() for name, now in stream.state.items())
    stream.state = saved
    for row, y in zip(x[1:], expected, strict=True):
        np.testing.assert_array_equal(stream.step(row), y)
    stream.reset()
    assert all((s == 0).all() for s in stream.state.values())


def test_chunks_and_steps_can_alternate(model_file):
    model = s2o.load(model_file)
    x = np.random.default_rng(0).normal(size=(12, 4)).astype("f")
    stream, other = model.stream(), model.stream()
    for row in x:
        expected = other.step(row)
    stream.step(x[:3])
    stream.step(x[3])
    stream.step(x[4:4])
    stream.step(x[4:5])
    stream.step(x[5])
    stream.step(x[6])
    np.testing.assert_allclose(stream.step(x[7:]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("sizes", [(4,) * 6, (5,) * 6, (1, 1, 1, 3, 3, 3, 1, 3), (4, 4, 4, 0, 4, 4)])
@pytest.mark.parametrize("network", [tcn, strided, pooled, lookahead_network, gappy, mel])
def test_chunks_of_one_shape_give_what_each_gives_in_a_stream_of_its_own(tmp_path, capfd, network, sizes, order):
    """The buffers of such chunks are bound, and no longer so where the shape of the answers varies."""
    model, _ = export(tmp_path, network(), lookahead=network is lookahead_network)
    x = np.random.default_rng(0).uniform(-1, 1, (sum(sizes), *model.inputs[0].shape)).astype("f")
    stream, found, expected, at = model.stream(), [], [], 0
    for size in sizes:
        chunk, at = np.array(x[at : at + size], order=order), at + size
        alone = model.stream()
        alone.state = stream.state
        expected.append(alone.step(chunk))
        found.append(stream.step(chunk))
        for name, array in stream.state.items():
            np.testing.assert_array_equal(array, alone.state[name])
    for y, of_own in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, of_own)
    assert capfd.readouterr() == ("", "")


def test_copy_false_returns_the_buffer(model_file):
    stream = s2o.load(model_file).stream()
    kept, shared = stream.step(np.ones(4)), stream.step(np.ones(4), copy=False)
    before = shared.copy()
    stream.step(np.zeros(4))
    assert (shared != before).any()
    assert (kept != before).any()


def test_two_streams_of_a_model_are_independent(model_file):
    model, x = s2o.load(model_file), np.random.default_rng(0).normal(size=(6, 4)).astype("f")
    one, two = model.stream(), model.stream()
    for row in x:
        one.step(row)
        two.step(-row)
    np.testing.assert_allclose(one.step(x), model.predict([np.concatenate([x, x])])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["f4", "f8"])  # the first is the fast way, where no value is converted
@pytest.mark.parametrize("bad", [np.full(4, np.nan), np.array([1, 2, np.inf, 4]), np.full((3, 4), np.nan)])
def test_a_stream_refuses_nan_and_infinity_and_keeps_its_state(model_file, bad, dtype):
    model = s2o.load(model_file)
    stream, clean = model.stream(), model.stream()
    stream.step(np.ones(4)), clean.step(np.ones(4))
    with pytest.raises(
        s2o.DataError, match="x contains NaN or infinity; the step was refused and the state has not changed"
    ):
        stream.step(bad.astype(dtype))
    np.testing.assert_array_equal(stream.step(np.ones(4)), clean.step(np.ones(4)))


def test_a_stream_accepts_large_finite_values(model_file):
    """The quick look at a step squares its numbers, which overflows here; the step is finite all the same."""
    assert np.isfinite(s2o.load(model_file).stream().step(np.full(4, 3e38, "f"))).all()


@pytest.mark.parametrize("signature", ["full", "stream"])
@pytest.mark.parametrize("network", [overflowing, lambda: overflowing(two_inputs=True)])
def test_a_stream_refuses_a_step_that_makes_its_state_infinite(tmp_path, network, signature):
    model, _ = export(tmp_path, network(), signature=signature)
    names = [entry.layer for entry in model.model.inputs]

    def give(value, *shape):
        x = np.full((*shape, 2), value, "f")
        return x if len(names) == 1 else dict.fromkeys(names, x)

    stream, clean = model.stream(), model.stream()
    for value in (1, 3e38):
        stream.step(give(value)), clean.step(give(value))
    stream.step(give(3e38, 3)), clean.step(give(3e38, 3))
    stream.step(give(3e38, 3)), clean.step(give(3e38, 3))  # from now on, the buffers of such chunks are bound
    kept = stream.state
    for shape in ((), (1,), (3,)):
        with pytest.raises(
            s2o.DataError, match="x is finite, but the state would become infinite or NaN; the step was"
        ):
            stream.step(give(-3e38, *shape))
        for name, array in stream.state.items():
            np.testing.assert_array_equal(array, kept[name])
    for _ in range(3):
        np.testing.assert_array_equal(stream.step(give(1)), clean.step(give(1)))


def test_a_stream_works_after_its_model_is_deleted(model_file):
    import gc

    stream = s2o.load(model_file).stream()
    expected = s2o.load(model_file).predict([np.ones((2, 4))])[0]
    gc.collect()
    stream.step(np.ones(4))
    np.testing.assert_allclose(stream.step(np.ones(4)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.predict([]), s2o.DataError, "expected at least one sequence, got none"),
        (lambda m: m.predict([np.ones((3, 4)), np.ones((0, 4))]), s2o.DataError, "sequence 1: has 0 steps"),
        (lambda m: m.predict([np.ones((3, 5))]), s2o.ShapeError, r"sequence 0: expected \[time, 4\], got \[3, 5\]"),
        (lambda m: m.predict([np.ones((4, 7))]), s2o.ShapeError, "is it features by time. transpose it"),
        (lambda m: m.predict([np.ones(4)]), s2o.ShapeError, r"expected \[time, 4\], got \[4\]"),
        (lambda m: m.predict(np.ones((3, 4))), s2o.ShapeError, r"put a single sequence into a list: \[x\]"),
        (lambda m: m.predict([[["a"] * 4]]), s2o.DataError, "expected real numbers, got <U1"),
        (
            lambda m: m.predict([np.ones((3, 4))], outputs=["gru_1"]),
            s2o.SpecError,
            r"export with activations=\['gru_1'",
        ),
        (lambda m: m.predict([np.ones((3, 4))], outputs="lstm_1"), s2o.SpecError, "got the string 'lstm_1'"),
        (lambda m: m.predict([np.ones((3, 4))], outputs=[]), s2o.SpecError, "expected at least one layer name"),
        (
            lambda m: m.predict([np.ones((3, 4))], batch_size=0),
            s2o.SpecError,
            "batch_size: must be a whole number, at least 1",
        ),
        (lambda m: m.stream().step(np.ones(5)), s2o.ShapeError, r"expected \[4\] or \[time, 4\], got \[5\]"),
        (lambda m: m.stream().step(np.ones((2, 5))), s2o.ShapeError, r"got \[2, 5\]; the network's input size is 4"),
        (lambda m: m.stream().step(np.ones((1, 2, 4))), s2o.ShapeError, r"got \[1, 2, 4\]"),
        (lambda m: m.stream().step(["a"] * 4), s2o.DataError, "expected real numbers"),
    ],
)
def test_wrong_calls_raise_an_error(model_file, call, error, message):
    with pytest.raises(error, match=message):
        call(s2o.load(model_file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {}, "expected a dict with the states .*, got \\[\\]"),
        (lambda state: list(state.values()), "expected a dict .* got list"),
        (
            lambda state: state | {"state_00_lstm_1_h": np.zeros((1, 9))},
            r"expected float32 \[1, 8\], got float32 \[1, 9\]",
        ),
        (lambda state: state | {"state_00_lstm_1_h": np.zeros((1, 8), int)}, "expected float32 .* got int64"),
        (lambda state: state | {"state_01_lstm_1_c": np.full((1, 8), np.nan)}, "state_01_lstm_1_c: contains NaN"),
        (lambda state: state | {"state_01_lstm_1_c": np.full((1, 8), 1e300)}, "state_01_lstm_1_c: contains NaN"),
    ],
)
def test_a_wrong_state_changes_nothing(model_file, change, message):
    stream = s2o.load(model_file).stream()
    stream.step(np.ones(4))
    before = stream.state
    with pytest.raises(s2o.StateError, match=message):
        stream.state = change(stream.state)
    assert all((stream.state[name] == value).all() for name, value in before.items())


def test_a_clone_starts_from_the_same_state_and_is_independent(model_file):
    model, x = s2o.load(model_file), np.random.default_rng(0).normal(size=(9, 4)).astype("f")
    stream = model.stream()
    for row in x[:3]:
        stream.step(row)
    branch = stream.clone()
    for row in x[3:6]:
        one, two = stream.step(row), branch.step(-row)
    np.testing.assert_allclose(one, model.predict([x[:6]])[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(two, model.predict([np.concatenate([x[:3], -x[3:6]])])[0], rtol=0, atol=1e-6)


def test_a_saved_state_can_be_loaded_into_another_stream(model_file, tmp_path):
    model, x = s2o.load(model_file), np.random.default_rng(0).normal(size=(6, 4)).astype("f")
    stream, path = model.stream(), tmp_path / "stream.state"
    for row in x[:3]:
        stream.step(row)
    stream.save(path)
    expected = stream.step(x[3:])
    other = model.stream()
    other.step(x[5])
    other.load(path)
    np.testing.assert_array_equal(other.step(x[3:]), expected)
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive.files) == sorted(stream.state)
    assert [file.name for file in tmp_path.iterdir()] == ["stream.state"]


def test_files_without_a_saved_state_are_refused_and_change_nothing(model_file, per_step_file, tmp_path):
    import pickle

    stream, path = s2o.load(model_file).stream(), tmp_path / "state.npz"
    stream.step(np.ones(4))
    before = stream.state
    stream.save(path)
    whole = path.read_bytes()
    array = tmp_path / "array.npy"
    np.save(array, np.ones(3))
    objects = io.BytesIO()
    np.savez(objects, **(before | {"state_00_lstm_1_h": np.array([{"a": 1}], object)}))
    damaged = bytearray(whole)
    damaged[200] ^= 255
    for content in (b"", b"hello", whole[:100], array.read_bytes(), pickle.dumps(before), objects.getvalue(), damaged):
        path.write_bytes(content)
        with pytest.raises(s2o.StateError, match=r"state.npz: is not a state that Stream.save wrote"):
            stream.load(path)
    for change, message in (
        ({"state_01_lstm_1_c": np.ones((1, 9))}, r"state.npz: state state_01_lstm_1_c: expected float32 \[1, 8\], got"),
        ({"more": np.ones(1)}, r"state.npz: state: expected a dict with the states \['state_00_lstm_1_h'"),
        (
            {"state_01_lstm_1_c": np.full((1, 8), np.inf)},
            r"state.npz: state state_01_lstm_1_c: contains NaN or infinity",
        ),
    ):
        np.savez(path, **(before | change))
        with pytest.raises(s2o.StateError, match=message):
            stream.load(path)
    with pytest.raises(FileNotFoundError):
        stream.load(tmp_path / "nothing.npz")
    assert all((stream.state[name] == value).all() for name, value in before.items())


def test_a_second_thread_in_a_stream_gets_an_error_and_changes_nothing(model_file):
    model, x = s2o.load(model_file), np.random.default_rng(0).normal(size=(3, 4)).astype("f")
    expected = model.predict([np.concatenate([x, x])])[0]
    stream, session, inside, go_on = model.stream(), model.session, threading.Event(), threading.Event()

    class Slow:
        def run(self, *arguments):
            inside.set()
            assert go_on.wait(HANG)
            return session.run(*arguments)

    stream.step(x[0])
    kept = stream.state
    model.model.session = Slow()
    thread = threading.Thread(target=stream.step, args=(x[1:],), daemon=True)  # else a failure would hang
    thread.start()
    assert inside.wait(HANG)
    model.model.session = session
    for call in (
        lambda: stream.step(x[0]),
        lambda: stream.step(x),
        stream.reset,
        stream.clone,
        lambda: stream.state,
        lambda: setattr(stream, "state", kept),
    ):
        with pytest.raises(s2o.StreamError, match="stream: another thread is using it; give each thread a stream of"):
            call()
    go_on.set()
    thread.join()
    np.testing.assert_allclose(stream.step(x), expected, rtol=0, atol=1e-6)


def test_a_stream_is_unlocked_after_an_error(model_file):
    stream = s2o.load(model_file).stream()
    for bad in (np.ones(5), np.full(4, np.nan, "f"), np.full((2, 4), np.nan), ["a"]):
        with pytest.raises(s2o.Seq2OnnxError):
            stream.step(bad)
    assert np.isfinite(stream.step(np.ones(4))).all()


def test_files_that_are_not_exported_are_refused_by_name(tmp_path, model_file):
    with pytest.raises(FileNotFoundError, match=r"nothing.onnx: there is no such file"):
        s2o.load(tmp_path / "nothing.onnx")
    path, whole = tmp_path / "broken.onnx", model_file.read_bytes()
    for content in (whole[: len(whole) // 2], b"hello", b""):
        path.write_bytes(content)
        with pytest.raises(s2o.ModelFileError, match=r"broken.onnx: onnxruntime cannot open it"):
            s2o.load(path)
    model = onnx.load(model_file)
    entry = next(p for p in model.metadata_props if p.key == "seq2onnx")
    for text, message in (
        ("{", "metadata is damaged"),
        ("[]", "metadata is damaged"),
        ('{"format_version": 1}', "metadata is damaged"),
        ('{"format_version": 3, "states": []}', "has format version 3, this seq2onnx reads up to 2"),
        ('{"format_version": 1, "states": []}', "it lacks classes, min_length, network, signature"),
        (entry.value.replace('"state_00', '"state_77'), "tensors that the graph does not have: state_77_lstm_1_h"),
    ):
        entry.value = text
        path.write_bytes(model.SerializeToString())
        with pytest.raises(s2o.ModelFileError, match=message):
            s2o.load(path)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(s2o.ModelFileError, match="without seq2onnx metadata"):
        s2o.load(path)


def test_missing_devices_raise_an_error(model_file, monkeypatch):
    with pytest.raises(s2o.SpecError, match="device: must be 'cpu' or 'cuda', got 'tpu'"):
        s2o.load(model_file, device="tpu")
    with pytest.raises(s2o.SpecError, match="threads: must be a whole number, at least 1, got 0"):
        s2o.load(model_file, threads=0)
    monkeypatch.setattr(runtime.session.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(s2o.MissingExtra, match=r'no CUDAExecutionProvider, only CPU.* pip install "onnxruntime-gpu>='):
        s2o.load(model_file, device="cuda")


def test_two_installed_onnxruntimes_give_a_warning(model_file, monkeypatch):
    monkeypatch.setattr(runtime.session, "_installed", lambda name: True)
    with pytest.warns(RuntimeWarning, match="are both installed .* uninstall both, then install one"):
        s2o.load(model_file)


def test_classify_needs_classes(tmp_path, data):
    s2o.export(built(small_network(), data), tmp_path / "model.onnx")
    with pytest.raises(s2o.SpecError, match=r"model.onnx: has no classes; export with classes="):
        s2o.load(tmp_path / "model.onnx").classify(data.sequences)
    with pytest.raises(s2o.ShapeError, match=r"expected 2 in each row, one for each class, got \[1, 3\]"):
        s2o.scores_to_labels(np.ones((1, 3)), ["a", "b"])


def test_an_installed_distribution_is_found_beside_onnxruntime(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime.session.onnxruntime, "__file__", str(tmp_path / "onnxruntime" / "__init__.py"))
    (tmp_path / "onnxruntime_gpu-1.20.0.dist-info").mkdir()
    assert not runtime.session._installed("onnxruntime")
    assert runtime.session._installed("onnxruntime-gpu")


def test_a_model_has_its_tensors_as_objects_and_runs_a_batch(tmp_path):
    predictor, _ = export(tmp_path, two_sensors(), activations=["memory"])
    model = predictor.model
    assert [(entry.tensor, entry.layer, entry.shape, entry.has_time) for entry in model.inputs] == [
        ("x_sound", "sound", (3,), True),
        ("x_motion", "motion", (2,), True),
        ("x_machine", "machine", (4,), False),
    ]
    outputs = [*model.outputs, *model.activations.values()]
    assert [(output.tensor, output.shape, output.has_time, output.lengths_tensor) for output in outputs] == [
        ("y_now", (2,), True, None),
        ("y_overall", (1,), False, None),
        ("act_memory", (6,), True, None),
    ]
    data = sensors(np.random.default_rng(0), [5, 5])
    x, lengths = {layer: np.stack(rows) for layer, rows in data.items()}, np.array([5, 3], np.int32)
    answers, states = model.run(x, lengths)
    assert [answer.values.shape for answer in answers.values()] == [(2, 5, 2), (2, 1)]
    assert [row.shape for row in answers["now"].rows()] == [(5, 2), (3, 2)]
    assert not states
    _, states = model.run(x, lengths, model.zeros(2))
    again, _ = model.run(x, lengths, states, outputs=outputs)
    assert [state.shape[1:] for state in states] == [info.shape[1:] for info in model.states]
    assert list(again) == ["now", "overall", "memory"]
    assert (again["now"].values[0] != answers["now"].values[0]).all()


def test_steps_that_a_layer_drops_have_lengths_of_their_own(tmp_path):
    predictor, _ = export(tmp_path, lookahead_network(), lookahead=True)
    (output,) = predictor.model.outputs
    assert (output.tensor, output.lengths_tensor, predictor.lookahead) == ("y", "y_lengths", True)
