"""predict on several threads and with data beyond memory; session options, top-k, progress, states on a device."""

from __future__ import annotations

import _thread
import gc
import io
import shutil
import signal
import sys
import threading
import weakref

import numpy as np
import onnxruntime
import pytest

import seq2onnx as s2o
from seq2onnx.runtime import progress, scoring, session
from seq2onnx.runtime.inputs import read_rows
from seq2onnx.sequences import MASKED
from tests.clock import HANG
from tests.conftest import CLASSES, built, random_data, small_network
from tests.small_networks import exported as export, lookahead_network, strided, text_network, two_sensors
from tests.twins import Twins

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(scoring, "SEQUENCES_IN_A_PART", 7)
    monkeypatch.setattr(scoring, "NUMBERS_IN_A_BATCH", 500)


def equal(found, expected):
    assert type(found) is type(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("kind", ["list", "generator", "file"])
def test_any_number_of_threads_gives_identical_results_in_order(exported, per_step_file, tmp_path, kind, threads):
    data = random_data(60, seed=3)
    data.save(tmp_path / "data.parquet")

    def given():
        stored = s2o.SequenceDataset.load(tmp_path / "data.parquet")
        assert not stored.in_memory
        return {"list": data.sequences, "generator": iter(data.sequences), "file": stored}[kind]

    for path in (exported, per_step_file):
        expected = s2o.load(path).predict(given())
        equal(s2o.load(path, threads=threads).predict(given()), expected)
        single = s2o.load(path)
        alone = [single.predict([x])[0] for x in data.sequences]
        for one, other in zip(expected, alone, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    model = s2o.load(exported, threads=threads)
    equal(model.classify(given()), s2o.load(exported).classify(data.sequences))


def test_a_session_has_one_thread_for_any_number_of_predict(model_file):
    model = s2o.load(model_file, threads=3)
    options = model.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads, model.threads) == (1, 1, 3)


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises KeyboardInterrupt; a process that was started in the background ignores it otherwise."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("small_parts", "ctrl_c")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("stop", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_in_a_batch_reaches_the_caller_and_ends_all_threads(model_file, monkeypatch, threads, stop):
    model, data = s2o.load(model_file, threads=threads), random_data(200)
    real, began = scoring.run_batch, []

    def run_batch(*arguments):
        began.append(threading.current_thread())
        if len(began) == 3:
            if stop is KeyboardInterrupt:
                _thread.interrupt_main()
            else:
                raise stop
        return real(*arguments)

    monkeypatch.setattr(scoring, "run_batch", run_batch)
    before = threading.enumerate()
    with pytest.raises(stop):
        model.predict(data.sequences)
    # Ctrl-C between the start of a thread and the executor's note of it leaves one that ends by itself.
    for thread in set(threading.enumerate()) - set(before):
        thread.join(HANG)
    assert set(threading.enumerate()) <= set(before)
    count = len(scoring.batches(model.model, read_rows(data, model.inputs, model.contract), None, MASKED))
    assert len(began) < count if stop is ZeroDivisionError else len(began) <= count
    assert len(set(began)) <= threads
    monkeypatch.setattr(scoring, "run_batch", real)
    assert np.isfinite(model.predict(data.sequences)).all()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_generator_reaches_the_caller_and_ends_all_threads(model_file, threads):
    def sequences():
        yield from random_data(20).sequences
        yield np.ones((3, 5))

    before = threading.enumerate()
    with pytest.raises(s2o.ShapeError, match=r"sequence 20: expected \[time, 4\], got \[3, 5\]"):
        s2o.load(model_file, threads=threads).predict(sequences())
    assert threading.enumerate() == before


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"a": np.ones((3, 2))}, "sequence 9: expected a dict with data for a, b, got a"),
        (
            {"a": np.ones((3, 2)), "b": np.ones((3, 1)), "c": 1},
            "sequence 9: expected a dict with data for a, b, got a, b",
        ),
        (np.ones((3, 2)), "sequence 9: expected a dict with data for each of a, b, got ndarray"),
        (None, "sequence 9: expected a dict with data for each of a, b, got NoneType"),
    ],
)
def test_each_dict_of_a_generator_must_have_exactly_the_inputs(tmp_path, odd, message):
    inputs = [s2o.SequenceInput(2, name="a"), s2o.SequenceInput(1, name="b")]
    net = s2o.Network([*inputs, s2o.Concat(inputs=["a", "b"]), s2o.LSTM(2)])
    s2o.export(s2o.build(net), tmp_path / "two.onnx")
    model = s2o.load(tmp_path / "two.onnx")
    good = [{"a": np.ones((3, 2)), "b": np.ones((3, 1))}] * 9
    assert len(model.predict(iter(good))) == 9
    with pytest.raises(s2o.DataError, match=message):
        model.predict(iter([*good, odd]))
    with pytest.raises(s2o.DataError, match="expected at least one sequence, got none"):
        model.predict(iter([]))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_holds_two_parts_of_a_generator(model_file, threads):
    alive, most = weakref.WeakSet(), 0

    class Sequence(np.ndarray):
        """An array that can be counted, as its own class."""

        def __hash__(self):
            return id(self)

    def sequences():
        nonlocal most
        for _ in range(100):
            x = np.ones((3, 4), np.float32).view(Sequence)
            alive.add(x)
            most = max(most, len(alive))
            yield x

    scores = s2o.load(model_file, threads=threads).predict(sequences())
    gc.collect()
    assert isinstance(scores, np.ndarray)
    assert scores.base is None
    assert 7 <= most <= 3 * 7  # what is read, what runs, and what the last of it leaves behind
    assert not alive


def test_parts_are_limited_by_bytes(model_file, monkeypatch):
    monkeypatch.setattr(scoring, "BYTES_IN_A_PART", 4000)
    taken = [len(part) for part in scoring._in_parts(iter([np.zeros((50, 4))] * 6))]
    assert taken == [3, 3]
    assert list(scoring._in_parts(iter([]))) == [[]]
    with pytest.raises(s2o.DataError, match="expected at least one sequence, got none"):
        s2o.load(model_file).predict(iter([]))


def test_batches_are_limited_by_steps_and_the_longest_come_first(model_file, monkeypatch):
    monkeypatch.setattr(scoring, "STEPS_IN_A_BATCH", 200)
    model = s2o.load(model_file)
    lengths = np.random.default_rng(0).integers(1, 60, 300)
    rows = {"sequence_input_1": [np.zeros((n, 4), np.float32) for n in lengths]}
    batches = scoring.batches(model.model, rows, None, MASKED)
    assert sorted(np.concatenate(batches)) == list(range(300))
    longest = [int(lengths[batch].max()) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, steps in zip(batches[:-1], longest, strict=False):
        assert len(batch) == max(8, 200 // steps)
    assert {len(batch) for batch in scoring.batches(model.model, rows, 100, MASKED)} == {100}


def test_wide_steps_make_small_batches(tmp_path):
    network = s2o.Network([s2o.SequenceInput((3, 64, 64)), s2o.Flatten(), s2o.FullyConnected(2)])
    s2o.export(s2o.build(network), tmp_path / "wide.onnx")
    model = s2o.load(tmp_path / "wide.onnx")
    frames = {"sequence_input_1": [np.zeros((n, 3, 64, 64), np.float32) for n in (2,) * 30]}
    assert max(map(len, scoring.batches(model.model, frames, None, MASKED))) == 2**18 // (3 * 64 * 64) // 2


# Session options


def test_replacing_or_damaging_a_file_does_not_affect_a_loaded_model(model_file, per_step_file, tmp_path):
    for cache in (None, tmp_path / "cache"):
        path, data = tmp_path / "model.onnx", random_data(9)
        shutil.copy(model_file, path)
        model = s2o.load(path, threads=2, cache=cache)
        stream, expected = model.stream(), model.predict(data.sequences)
        stream.step(data.sequences[0][0])
        with path.open("r+b") as file:  # in place, as no careful writer does
            file.write(b"\0" * path.stat().st_size)
        np.testing.assert_array_equal(model.predict(data.sequences), expected)
        shutil.copy(per_step_file, tmp_path / "other")
        (tmp_path / "other").replace(path)
        assert isinstance(s2o.load(path, cache=cache).predict(data.sequences), list)
        path.unlink()
        np.testing.assert_array_equal(model.predict(data.sequences), expected)
        np.testing.assert_allclose(stream.step(data.sequences[0][1:]), expected[0], rtol=0, atol=1e-6)
        assert model.pool(2).open() == 0


def test_the_cache_depends_on_content_and_settings_and_is_repaired(model_file, per_step_file, tmp_path, monkeypatch):
    path, cache, data = tmp_path / "model.onnx", tmp_path / "a" / "cache", random_data(9)
    shutil.copy(model_file, path)
    expected = s2o.load(path).predict(data.sequences)

    def kept(**options):
        """The files of the cache after a load, which must give the right numbers."""
        model = s2o.load(path, cache=cache, **options)
        np.testing.assert_allclose(model.predict(data.sequences), expected, rtol=0, atol=1e-6)
        assert model.metadata == s2o.load(path).metadata
        return {file: file.stat().st_mtime_ns for file in cache.iterdir()}

    first = kept()
    assert len(first) == 1
    (file,) = first
    assert file.suffix == ".onnx"
    assert kept() == first
    assert len(kept(optimization="basic")) == 2
    assert len(kept(providers=["CPUExecutionProvider"], provider_options=[{"arena_extend_strategy": "0"}])) == 3
    monkeypatch.setattr(session.onnxruntime, "get_build_info", lambda: "another build")
    assert len(kept()) == 4
    monkeypatch.undo()
    for damage in (file.read_bytes()[:100], b""):
        file.write_bytes(damage)
        assert len(kept()) == 4
        assert file.stat().st_size > 100
    shutil.copy(per_step_file, path)
    assert isinstance(s2o.load(path, cache=cache).predict(data.sequences), list)
    path.write_bytes(model_file.read_bytes()[:1000])
    for _ in range(2):
        with pytest.raises(s2o.ModelFileError, match=r"model.onnx: onnxruntime cannot open it"):
            s2o.load(path, cache=cache)
    assert len(list(cache.iterdir())) == 5


def test_optimization_and_provider_options_reach_onnxruntime(model_file):
    level = onnxruntime.GraphOptimizationLevel
    levels = {"disabled": level.ORT_DISABLE_ALL, "basic": level.ORT_ENABLE_BASIC, "all": level.ORT_ENABLE_ALL}
    for name, expected in levels.items():
        found = s2o.load(model_file, optimization=name).session.get_session_options()
        assert found.graph_optimization_level == expected
    data = random_data(5).sequences
    plain = s2o.load(model_file).predict(data)
    bare = s2o.load(model_file, optimization="disabled", providers=["CPUExecutionProvider"], provider_options=[{}])
    np.testing.assert_allclose(bare.predict(data), plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 1.5}, s2o.SpecError, "threads: must be a whole number, at least 1, got 1.5"),
        ({"optimization": "most"}, s2o.SpecError, "must be one of disabled, basic, extended, all, got 'most'"),
        ({"providers": "CPUExecutionProvider"}, s2o.SpecError, "expected a list of onnxruntime's names"),
        ({"providers": []}, s2o.SpecError, "expected a list of onnxruntime's names"),
        ({"providers": ["NoSuchProvider"]}, s2o.MissingExtra, "providers 'NoSuchProvider': this onnxruntime has no"),
        ({"provider_options": [{}, {}]}, s2o.SpecError, "a dict for each of CPUExecutionProvider, got 2 of them"),
        ({"device": "cuda", "providers": ["CPUExecutionProvider"]}, s2o.SpecError, "needs CUDAExecutionProvider"),
    ],
)
def test_wrong_options_raise_an_error(model_file, options, error, message):
    with pytest.raises(error, match=message):
        s2o.load(model_file, **options)


def test_a_provider_that_does_not_start_raises_an_error(model_file, monkeypatch):
    """onnxruntime itself continues without it and only logs that."""
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: ["Gone", "CPUExecutionProvider"])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        session.onnxruntime,
        "InferenceSession",
        lambda *given, **options: real(*given, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(s2o.MissingExtra, match="Gone: onnxruntime could not start it"):
        s2o.load(model_file, providers=["Gone", "CPUExecutionProvider"])


# Labels


def test_top_k_labels_come_with_their_scores(model_file, per_step_file):
    data = random_data(20)
    model = s2o.load(model_file)
    scores = model.predict(data.sequences)
    labels, best = model.classify(data.sequences, top_k=2)
    assert labels.shape == best.shape == (20, 2)
    assert (labels[:, 0] == model.classify(data.sequences)).all()
    for row, names, numbers in zip(scores, labels, best, strict=True):
        order = np.argsort(row)[::-1][:2]
        assert names.tolist() == [CLASSES[k] for k in order]
        np.testing.assert_array_equal(numbers, row[order])
    labels, best = s2o.load(per_step_file).classify(data.sequences, top_k=3)
    assert [x.shape for x in labels] == [x.shape for x in best] == [(n, 3) for n in data.lengths]
    np.testing.assert_allclose([x.sum(1).max() for x in best], 1, atol=1e-6)


def test_labels_keep_their_type_and_ties_the_order_of_classes():
    scores = np.array([[0.25, 0.5, 0.25], [0.1, np.nan, 0.9]], np.float32)
    labels, best = s2o.scores_to_labels(scores[:1], [10, 20, 30], top_k=3)
    assert labels.dtype.kind == "i"
    assert labels.tolist() == [[20, 10, 30]]
    assert s2o.scores_to_labels(scores[:1], [10, 20, 30]).dtype.kind == "i"
    assert s2o.scores_to_labels(scores[:1], ["a", 2, "c"]).tolist() == [2]
    labels, best = s2o.scores_to_labels(scores, ["a", "b", "c"], top_k=1)
    assert labels.tolist() == [["b"], [None]]
    assert best[0, 0] == 0.5
    assert np.isnan(best[1]).all()
    for wrong in (0, 4, 1.5, True):
        with pytest.raises(s2o.SpecError, match="top_k: must be a whole number from 1 to 3, got"):
            s2o.scores_to_labels(scores, ["a", "b", "c"], top_k=wrong)


# Progress


@pytest.mark.usefixtures("small_parts")
def test_progress_is_lines_without_a_terminal_or_rich(model_file, capsys, monkeypatch):
    model, data = s2o.load(model_file, threads=2), random_data(20)
    model.predict(data.sequences)
    assert capsys.readouterr().err == ""
    model.predict(data.sequences, progress=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("predict: 20 of 20 sequences, ")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    model.classify(iter(data.sequences), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3
    assert lines[-1].startswith("predict: 20 sequences, ")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "rich.console", None)
    model.predict(data.sequences, progress=True)
    assert "20 of 20" in sys.stderr.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal(model_file, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    model, data = s2o.load(model_file), random_data(20)
    for given in (data.sequences, iter(data.sequences)):
        model.predict(given, progress=True)
        assert "20/" in sys.stderr.getvalue()
        assert "predict: " not in sys.stderr.getvalue()


# States on a device; the CPU is one


def on_device(model):
    model.model.keeps_states_on_device = True
    return model


@pytest.mark.parametrize("network", [small_network, lookahead_network, strided, two_sensors, text_network])
def test_states_on_a_device_give_the_same_streams_and_pools(tmp_path, network):
    model, _ = export(tmp_path, network(), lookahead=network is lookahead_network)
    here, there = Twins(model, 0), Twins(on_device(s2o.load(model.path)), 0)
    for _ in range(60):
        here.act()
        there.act()
    there.check_states()
    assert there.answers == here.answers > 20


def test_a_stream_on_a_device_gives_the_numbers_of_one_on_the_host(model_file, tmp_path):
    model, device = s2o.load(model_file), on_device(s2o.load(model_file))
    stream, other = device.stream(), model.stream()
    x = np.random.default_rng(0).normal(size=(9, 4)).astype("f")
    for chunk in (x[0], x[1], x[2:5], x[:0], x[5]):
        np.testing.assert_allclose(stream.step(chunk), other.step(chunk), rtol=0, atol=1e-6)
    branch, saved = stream.clone(), stream.state
    for name, state in other.state.items():
        np.testing.assert_allclose(saved[name], state, rtol=0, atol=1e-6)
    with pytest.raises(s2o.DataError, match="the state has not changed"):
        stream.step(np.full(4, np.nan))
    expected = other.step(x)
    np.testing.assert_allclose(stream.step(x), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(branch.step(x), expected, rtol=0, atol=1e-6)
    stream.state = saved
    np.testing.assert_allclose(stream.step(x), expected, rtol=0, atol=1e-6)
    stream.reset()
    np.testing.assert_allclose(stream.step(x), model.predict([x])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["stream", "pool"])
def test_between_steps_no_state_leaves_the_device(model_file, monkeypatch, kind):
    model, crossed = on_device(s2o.load(model_file)), []
    real = onnxruntime.OrtValue.ortvalue_from_numpy
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", lambda *given: crossed.append(1) or real(*given))
    if kind == "stream":
        stream = model.stream()
        step = lambda: stream.step(np.ones(4))  # noqa: E731
    else:
        pool = model.pool(8)
        ids = [pool.open() for _ in range(3)]
        step = lambda: pool.step(ids, np.ones((3, 4)))  # noqa: E731
    for _ in range(5):
        step()
    assert len(crossed) == len(model.states)  # once, at the start


def test_placement_names_nodes_providers_and_reasons(tmp_path, monkeypatch):
    entering = [s2o.SequenceInput(4), s2o.Conv1d(3, 2, padding="causal")]
    network = s2o.Network(
        [*entering, s2o.LSTM(8, "sequence", "relu"), s2o.GRU(3, reset_gate_mode="before_multiplication")]
    )
    s2o.export(s2o.build(network), tmp_path / "model.onnx")
    model = s2o.load(tmp_path / "model.onnx")
    found = model.placement()
    assert {"LSTM", "GRU", "Conv"} <= {place.op for place in found}
    assert {place.provider for place in found} == {"CPUExecutionProvider"}
    assert {place.reason for place in found} == {""}
    assert any(place.node.startswith("lstm_1/") for place in found)

    class OnGpu:
        """A session as there is none here: what it asked for first is a GPU."""

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        get_provider_graph_assignment_info = model.session.get_provider_graph_assignment_info

    monkeypatch.setattr(model.model, "session", OnGpu())
    reasons = {place.op: place.reason for place in model.placement()}
    assert reasons["LSTM"] == "lstm: its kernel supports only the activations tanh and sigmoid"
    assert reasons["GRU"] == "gru: its kernel supports only the reset after the multiplication"
    assert reasons["Conv"].startswith("no kernel for Conv, or it computes shapes")
    monkeypatch.setattr(model.model, "session", object())
    with pytest.raises(s2o.SpecError, match="install onnxruntime 1.24 or newer"):
        model.placement()


# On a GPU: pytest -m gpu, with seq2onnx[gpu]


@pytest.mark.gpu
@pytest.mark.parametrize("network", [small_network, lookahead_network, strided, two_sensors])
def test_a_gpu_gives_the_numbers_of_the_cpu(tmp_path, network):
    path = tmp_path / "model.onnx"
    model, _ = export(tmp_path, network(), lookahead=network is lookahead_network)
    twins = Twins(s2o.load(model.path, "cuda"), 0)
    for _ in range(60):
        twins.act()
    twins.check_states()
    if network is small_network:
        s2o.export(built(small_network(), random_data()), path)
        data = random_data(50).sequences
        found = s2o.load(path, "cuda", threads=2).predict(data)
        np.testing.assert_allclose(found, s2o.load(path).predict(data), rtol=0, atol=1e-3)
        assert all(
            place.provider.startswith("CUDA") for place in s2o.load(path, "cuda").placement() if place.op == "LSTM"
        )
