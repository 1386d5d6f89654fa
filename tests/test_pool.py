"""StreamPool gives the numbers of separate streams, whatever other streams do; and its errors."""

from __future__ import annotations

import asyncio
import random
import threading

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.runtime import slots
from tests.networks import compose
from tests.small_networks import exported as export, lookahead_network, overflowing, strided, text_network, two_sensors
from tests.twins import Twins


def streamable(seed: int, lookahead: bool) -> s2o.Network:
    """A random network that can stream."""
    rng = random.Random(seed)
    while True:
        network = compose(rng)
        try:
            network.states(lookahead)
            return network
        except s2o.NotStreamable:
            continue


@pytest.mark.parametrize("seed", range(30))
def test_a_pool_of_a_random_network_gives_the_numbers_of_its_streams_alone(tmp_path, seed):
    lookahead, signature = seed % 3 == 0, ["full", "stream"][seed % 2]
    network = streamable(seed, lookahead)
    model, _ = export(tmp_path, network, signature=signature, lookahead=lookahead)
    twins = Twins(model, seed)
    for _ in range(40):
        twins.act()
    twins.check_states()
    assert twins.answers > 20


@pytest.mark.parametrize("signature", ["full", "stream"])
@pytest.mark.parametrize("network", [lookahead_network, strided, two_sensors, text_network])
def test_a_pool_gives_the_numbers_of_its_streams_alone(tmp_path, network, signature):
    model, _ = export(tmp_path, network(), signature=signature, lookahead=network is lookahead_network)
    twins = Twins(model, 0)
    for _ in range(100):
        twins.act()
    twins.check_states()


def opened(model, count, **options):
    """A pool with so many streams, and their ids."""
    pool = model.pool(**options)
    return pool, np.array([pool.open() for _ in range(count)])


def test_answers_have_the_form_of_the_input(model_file, per_step_file):
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    for path, timed in ((model_file, False), (per_step_file, True)):
        model = s2o.load(path)
        pool, ids = opened(model, 3, capacity=2)
        assert (len(pool), pool.capacity, pool.ids.tolist()) == (3, 4, ids.tolist())
        assert pool.step(ids, x[:, 0]).shape == (3, 3)
        assert pool.step(ids, x).shape == ((3, 5, 3) if timed else (3, 3))
        assert pool.step(ids, x[:, :0]).shape == ((3, 0, 3) if timed else (3, 3))
        found = pool.step(ids.tolist(), [x[0, :2], x[1, :0], x[2].tolist()])
        if timed:
            assert [y.shape for y in found] == [(2, 3), (0, 3), (5, 3)]
        else:
            assert found.shape == (3, 3)
        pool.reset(ids)
        expected = pool.step(ids, x[:, 0].astype("f"))
        for given in (x[:, 0], x[:, 0].tolist(), list(x[:, 0]), np.asfortranarray(x[:, 0].astype("f"))):
            pool.reset(ids)
            np.testing.assert_allclose(pool.step(ids.astype("u4"), given), expected, rtol=0, atol=1e-6)


def test_answers_are_copies(model_file):
    pool, ids = opened(s2o.load(model_file), 3)
    x = np.ones((3, 4), "f")
    first = pool.step(ids, x)
    before = first.copy()
    second = pool.step(ids, x)
    np.testing.assert_array_equal(first, before)
    assert (second != first).any()


def everything(pool):
    return {id: pool.state(id) for id in pool.ids.tolist()}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for id, state in expected.items():
        for name, array in state.items():
            np.testing.assert_array_equal(found[id][name], array)


def test_other_streams_do_not_change(model_file):
    pool, ids = opened(s2o.load(model_file), 6)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("f")
    pool.step(ids, x)
    before = everything(pool)
    pool.step(ids[[4, 1]], x[:2])
    pool.step(ids[[4, 1]], [x[:2], x[:3]])
    pool.reset(ids[4])
    after = everything(pool)
    assert not any(array.any() for array in after.pop(int(ids[4])).values())
    assert any((array != before[int(ids[1])][name]).any() for name, array in after.pop(int(ids[1])).items())
    assert_same(after, {id: before[id] for id in after})


BAD_IDS = [
    ([0, 1, 7], "stream 7: this pool has not opened it; take an id that open"),
    ([0, 10**6], "stream 1000000: this pool has not opened it"),
    ([0, -1], "stream -1: this pool has not opened it"),
    ([0, -4], "stream -4: this pool has not opened it"),
    ([0, ~(slots.MAX_SLOTS + 3)], "stream -16777220: this pool has not opened it"),  # the value in a free slot
    ([0, 3], "stream 3: is closed; open"),
    ([0, 2], "stream 2: is closed; open"),
    ([0, 2 * slots.MAX_SLOTS + 2], "stream 33554434: this pool has not opened it"),
    ([0, 1, 0], "ids: 0 is given twice"),
    ([0, 1] * 3, "ids: 0 is given twice"),
    ([], "expected a list of at least one id .* got float64 "),
    ([0.0], "got float64"),
    ([True], "got bool"),
    ([[0, 1]], r"got int64 \[1, 2\]"),
    (0, r"got int64 \[\]"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_IDS, ids=[str(bad) for bad, _ in BAD_IDS])
def test_ids_that_are_not_open_raise_an_error_and_change_nothing(model_file, bad, message):
    pool, ids = opened(s2o.load(model_file), 4, capacity=4)
    pool.step(ids, np.ones((4, 4)))
    pool.close(ids[2:])
    assert pool.open() == slots.MAX_SLOTS + 2  # the slot of a stream that was closed, under another id
    before = everything(pool)
    count = np.size(bad)
    for x in (np.ones((count, 4), "f"), [np.ones((2, 4))] * count):
        with pytest.raises(s2o.StreamError, match=message):
            pool.step(bad, x)
    if np.ndim(bad) == 1:
        for call in (pool.close, pool.reset):
            with pytest.raises(s2o.StreamError, match=message):
                call(bad)
    assert_same(everything(pool), before)


def test_an_id_is_never_given_twice(model_file):
    pool, seen = s2o.load(model_file).pool(2), set()
    for _ in range(50):
        id = pool.open()
        assert id not in seen
        assert not any(array.any() for array in pool.state(id).values())
        pool.step([id], np.ones((1, 4), "f"))
        for old in seen:
            with pytest.raises(s2o.StreamError, match=f"stream {old}: is closed"):
                pool.step([old], np.ones((1, 4), "f"))
        pool.close(id)
        seen.add(id)
    assert pool.capacity == 2


def test_a_pool_grows_and_keeps_its_states(model_file):
    model = s2o.load(model_file)
    twins = Twins(model, 0, most=40, capacity=1, spoil=0)
    for _ in range(40):
        twins.open()
        twins.step(twins.some())
    assert twins.pool.capacity == 64
    twins.check_states()


def test_a_full_pool_raises_an_error(model_file):
    pool, ids = opened(s2o.load(model_file), 6, capacity=4, maximum=6)
    assert pool.capacity == 6
    pool.step(ids, np.ones((6, 4)))
    before = everything(pool)
    with pytest.raises(s2o.StreamError, match="pool: is full, 6 streams are open; close some, or make the pool with"):
        pool.open()
    assert_same(everything(pool), before)
    pool.close(ids[3])
    assert not any(array.any() for array in pool.state(pool.open()).values())


def test_idle_streams_are_closed_when_room_is_needed(model_file, monkeypatch):
    now = 0.0
    monkeypatch.setattr(slots.time, "monotonic", lambda: now)
    evicted = []
    model = s2o.load(model_file)
    pool, ids = opened(model, 4, capacity=4, maximum=4, idle_seconds=10, on_evict=evicted.extend)
    now = 8.0
    pool.step(ids[[0, 2]], np.ones((2, 4)))
    with pytest.raises(s2o.StreamError, match="is full, 4 streams are open, none of them idle for 10 s; close some"):
        pool.open()
    now = 11.0
    new = pool.open()
    assert evicted == [ids[1], ids[3]]
    assert pool.ids.tolist() == [ids[0], new, ids[2]]
    with pytest.raises(s2o.StreamError, match=f"stream {ids[3]}: is closed"):
        pool.step(ids[3:], np.ones((1, 4)))
    pool.open()
    now = 18.5
    pool.open()
    assert evicted == [ids[1], ids[3], ids[0], ids[2]]


def test_idle_streams_are_closed_before_the_pool_grows(model_file, monkeypatch):
    now = 0.0
    monkeypatch.setattr(slots.time, "monotonic", lambda: now)
    pool, _ = opened(s2o.load(model_file), 2, capacity=2, idle_seconds=10)
    pool.open()
    assert pool.capacity == 4
    pool.open()
    now = 11.0
    pool.open()
    assert (len(pool), pool.capacity) == (1, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_row_that_is_not_finite_is_answered_with_nan_and_keeps_its_state(model_file, per_step_file, value):
    for path in (model_file, per_step_file):
        model = s2o.load(path)
        pool, ids = opened(model, 5)
        clean, _ = opened(model, 5)
        x = np.random.default_rng(0).normal(size=(5, 3, 4))
        for given in (x[:, 0], x, list(x)):
            spoiled = [row.copy() for row in given]
            spoiled[3].reshape(-1)[1] = value
            spoiled = spoiled if given is not x and isinstance(given, list) else np.array(spoiled)
            kept = pool.state(ids[3])
            found, expected = pool.step(ids, spoiled), clean.step(ids, given)
            assert np.isnan(found[3]).all()
            assert np.shape(found[3]) == np.shape(expected[3])
            for i in (0, 1, 2, 4):
                np.testing.assert_allclose(found[i], expected[i], rtol=0, atol=1e-6)
            for name, array in pool.state(ids[3]).items():
                np.testing.assert_array_equal(array, kept[name])
            clean.set_state(ids[3], kept)
        assert np.isnan(pool.step(ids, np.full((5, 4), value))).all()


@pytest.mark.parametrize("most_missing", [3, 50])
def test_streams_that_have_no_data_in_some_steps_keep_their_states(model_file, most_missing):
    """Few or many streams are missing in each step; some open, close, are read or reset between steps."""
    model, rng = s2o.load(model_file), np.random.default_rng(0)
    pool, ids = opened(model, 60, capacity=64)
    alone = {int(id): model.stream() for id in ids}
    for number in range(40):
        missing = rng.integers(0, most_missing)
        given = rng.permutation(list(alone))[: len(alone) - missing]
        if number % 3:
            given = np.sort(given)
        x = rng.normal(size=(len(given), 4)).astype("f")
        expected = [alone[id].step(row) for id, row in zip(given.tolist(), x, strict=True)]
        np.testing.assert_allclose(pool.step(given, x), expected, rtol=0, atol=1e-6)
        if number % 4 == 0:
            pool.close(given[:2])
            for id in given[:2].tolist():
                del alone[id]
                alone[pool.open()] = model.stream()
            pool.reset(given[5])
            alone[int(given[5])].reset()
        if number % 5 == 0:
            for id, stream in list(alone.items())[::7]:
                for name, array in pool.state(id).items():
                    np.testing.assert_allclose(array, stream.state[name], rtol=0, atol=1e-6)


def test_a_failed_run_changes_no_stream(model_file, monkeypatch):
    pool, ids = opened(s2o.load(model_file), 6)
    clean, _ = opened(s2o.load(model_file), 6)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("f")
    for each in (pool, clean):
        each.step(ids, x)
        each.step(ids[[4, 1, 2]], x[:3])
    for some in (ids[[4, 1, 2]], ids[[1, 2, 4, 0]], ids):
        with monkeypatch.context() as patch:
            patch.setattr(pool._states.buffers, "_run", lambda binding: 1 / 0)
            with pytest.raises(s2o.ModelFileError, match="cannot run it"):
                pool.step(some, x[: len(some)])
    assert_same(everything(pool), everything(clean))


def test_the_caller_may_change_its_array_of_ids(model_file):
    pool, ids = opened(s2o.load(model_file), 3)
    x = np.ones((2, 4), "f")
    some = ids[:2].copy()
    pool.step(some, x)
    some[1] = ids[2]
    assert not any(array.any() for array in pool.state(ids[2]).values())
    pool.step(some, x)
    assert any(array.any() for array in pool.state(ids[2]).values())


@pytest.mark.parametrize("signature", ["full", "stream"])
def test_a_row_whose_state_becomes_infinite_is_answered_with_nan_and_keeps_its_state(tmp_path, signature):
    model, _ = export(tmp_path, overflowing(), signature=signature)
    pool, ids = opened(model, 3)
    clean, _ = opened(model, 3)
    large = np.array([[1, 1], [3e38, 1], [1, 1]], "f")
    for each in (pool, clean):
        each.step(ids, large)
    kept = pool.state(ids[1])
    for shape in ((3, 2), (3, 4, 2)):
        x = np.ones(shape, "f")
        x[1] = -3e38
        for given in (x, list(x)):
            found, expected = pool.step(ids, given), clean.step(ids, np.ones(shape, "f"))
            assert np.isnan(found[1]).all()
            np.testing.assert_array_equal(np.delete(found, 1, 0), np.delete(expected, 1, 0))
            for name, array in pool.state(ids[1]).items():
                np.testing.assert_array_equal(array, kept[name])
            clean.set_state(ids[1], kept)
    np.testing.assert_array_equal(pool.step(ids, large), clean.step(ids, large))
    pool.step(ids, np.ones((3, 2), "f"))
    kept = pool.state(ids[1])
    found = pool.step(ids[[2, 0, 1]], np.array([[1, 1], [1, 1], [-3e38, 1]], "f"))  # in another order
    assert np.isnan(found).any(1).tolist() == [False, False, True]
    for name, array in pool.state(ids[1]).items():
        np.testing.assert_array_equal(array, kept[name])


def test_large_states_do_not_pass_for_infinite(tmp_path):
    model, _ = export(tmp_path, overflowing())
    pool, ids = opened(model, 3)
    for _ in range(3):
        np.testing.assert_allclose(pool.step(ids, np.full((3, 2), 2e38, "f")), 2e38, rtol=1e-6)


def test_nan_and_infinity_do_not_enter_the_run(model_file, monkeypatch):
    """A quantized file has one scale for a batch, so that a NaN in a row would spoil the others."""
    pool, ids = opened(s2o.load(model_file), 2)
    session, seen, buffers = pool._model.session, [], pool._states.buffers
    run = buffers._run

    class Watched:
        def run(self, names, feeds):
            seen.append(feeds["x"])
            return session.run(names, feeds)

        def io_binding(self):
            return session.io_binding()

    def watched(binding):
        seen.append(buffers._step.x[:2].copy())
        return run(binding)

    monkeypatch.setattr(pool._model, "session", Watched())
    monkeypatch.setattr(buffers, "_run", watched)
    for x in (np.ones((2, 4), "f"), np.ones((2, 3, 4)), [np.ones((1, 4)), np.ones((2, 4))]):
        x[0][..., 2] = np.nan
        pool.step(ids, x)
    assert len(seen) == 3
    assert all(np.isfinite(array).all() for array in seen)


def test_the_arrays_of_the_caller_do_not_change(model_file):
    pool, ids = opened(s2o.load(model_file), 2)
    for x in (np.ones((2, 4), "f"), np.ones((2, 3, 4), "f")):
        x[0] = np.nan
        pool.step(ids, x)
        assert np.isnan(x[0]).all()
        assert (x[1] == 1).all()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((2, 4)), s2o.ShapeError, r"expected \[3, 4\] or \[3, time, 4\] for 3 streams, got \[2, 4\]"),
        (np.ones((3, 5)), s2o.ShapeError, r"got \[3, 5\]; give chunks of different lengths as a list"),
        (np.ones((3, 2, 5)), s2o.ShapeError, r"got \[3, 2, 5\]"),
        (np.ones((3, 1, 1, 4)), s2o.ShapeError, r"got \[3, 1, 1, 4\]"),
        (np.ones(4), s2o.ShapeError, r"got \[4\]"),
        (np.float32(1), s2o.ShapeError, "got float32"),
        ([np.ones((2, 4))] * 2, s2o.ShapeError, "a list with a step or chunk of 3 streams, got list of 2"),
        ([np.ones(4), np.ones((2, 4)), np.ones(4)], s2o.ShapeError, "step of stream 1: .* give each stream one step"),
        ([np.ones((2, 4)), np.ones((2, 4)), np.ones(4)], s2o.ShapeError, r"step of stream 2: expected .*, got \[4\]"),
        ([np.ones((2, 4)), np.ones((2, 4)), np.ones((2, 3))], s2o.ShapeError, r"step of stream 2: expected \[4\] or"),
        ([["a"] * 4] * 3, s2o.DataError, "step of stream 0: expected real numbers, got <U1"),
        (np.full((3, 4), "a"), s2o.DataError, "step: expected real numbers, got <U1"),
        ("abc", s2o.ShapeError, "got str of 3"),
        (None, s2o.ShapeError, "got NoneType"),
    ],
)
def test_wrong_steps_raise_an_error_and_change_nothing(model_file, x, error, message):
    pool, ids = opened(s2o.load(model_file), 3)
    pool.step(ids, np.ones((3, 4)))
    before = everything(pool)
    with pytest.raises(error, match=message):
        pool.step(ids, x)
    assert_same(everything(pool), before)


def test_several_inputs_must_have_the_same_steps(tmp_path):
    pool, ids = opened(export(tmp_path, two_sensors())[0], 2)
    sound, motion, machine = np.ones((2, 3)), np.ones((2, 2)), np.ones((2, 4))
    good = {"sound": sound, "motion": motion, "machine": machine}
    assert pool.step(ids, good)["now"].shape == (2, 2)
    for change, error, message in (
        ({"motion": np.ones((2, 1, 2))}, s2o.ShapeError, "the same number of steps of a stream for each input, got"),
        (
            {"motion": [np.ones((1, 2))] * 2, "sound": [np.ones((n, 3)) for n in (1, 2)]},
            s2o.ShapeError,
            "the same number of steps",
        ),
        ({"machine": np.ones((2, 5, 4))}, s2o.ShapeError, r"step of machine: expected \[2, 4\] for 2 streams"),
        ({"machine": [np.ones(4), np.ones(3)]}, s2o.ShapeError, r"step of machine of stream 1: expected \[4\], got"),
        ({"other": sound}, s2o.DataError, "expected a dict with data for sound, motion, machine"),
    ):
        with pytest.raises(error, match=message):
            pool.step(ids, good | change)


def test_a_pool_takes_words(tmp_path):
    pool, ids = opened(export(tmp_path, text_network())[0], 2)
    numbers = pool.step(ids, np.array([1, 2]))
    pool.reset(ids)
    np.testing.assert_array_equal(pool.step(ids, ["good", "bad"]), numbers)
    pool.reset(ids)
    np.testing.assert_array_equal(pool.step(ids, [["good"], ["bad"]]), numbers)


def with_features() -> s2o.Network:
    """Windows that read ahead, beside a vector of the whole sequence."""
    return s2o.Network(
        [
            s2o.SequenceInput(2, name="wave"),
            s2o.Conv1d(3, 5, padding="same"),
            s2o.FeatureInput(2, name="machine"),
            s2o.Concat(inputs=["conv1d_1", "machine"]),
            s2o.GRU(3),
        ]
    )


def test_inputs_without_time_are_kept_until_finish(tmp_path):
    model, _ = export(tmp_path, with_features(), lookahead=True)
    rng = np.random.default_rng(0)
    waves, machines = rng.normal(size=(3, 7, 2)), rng.normal(size=(3, 2))
    whole = model.predict({"wave": list(waves), "machine": list(machines)})
    pool, ids = opened(model, 3, capacity=1)
    early = pool.step(ids, {"wave": waves, "machine": machines})
    stream, moved = model.stream(), pool.open()
    stream.state = pool.state(ids[1])
    pool.set_state(moved, stream.clone().state)
    late = pool.finish(ids)
    for i in range(3):
        np.testing.assert_allclose(np.concatenate([early[i], late[i]]), whole[i], rtol=0, atol=1e-5)
    np.testing.assert_allclose(pool.finish([moved])[0], late[1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(stream.finish(), late[1], rtol=0, atol=1e-6)
    assert not any(array.any() for state in everything(pool).values() for array in state.values())
    assert not any(array.any() for array in stream.state.values())


def test_wrong_pools_raise_an_error(tmp_path, model_file):
    s2o.export(s2o.build(strided()), tmp_path / "sequence.onnx", signature="sequence")
    with pytest.raises(s2o.NotStreamable, match="signature 'sequence', which has no states; export it with"):
        s2o.load(tmp_path / "sequence.onnx").pool()
    model = s2o.load(model_file)
    pool, ids = opened(model, 1)
    with pytest.raises(s2o.NotStreamable, match="without lookahead, so no results are pending"):
        pool.finish(ids)
    for options, message in (
        ({"capacity": 0}, "capacity: must be a whole number from 1 to 16777216, got 0"),
        ({"capacity": 2.5}, "capacity: must be a whole number"),
        ({"maximum": slots.MAX_SLOTS + 1}, "maximum: must be a whole number from 1 to 16777216, got 16777217"),
        ({"maximum": 0}, "maximum: must be a whole number"),
        ({"capacity": 5, "maximum": 4}, "maximum: must be at least the capacity, 5, got 4"),
        ({"idle_seconds": -1}, "idle_seconds: must be at least 0"),
        ({"gather_ms": float("nan")}, "gather_ms: must be at least 0, got nan"),
    ):
        with pytest.raises(s2o.SpecError, match=message):
            model.pool(**options)


def test_a_wrong_state_is_refused(model_file):
    pool, ids = opened(s2o.load(model_file), 2)
    pool.step(ids, np.ones((2, 4)))
    before = everything(pool)
    for state in ({}, pool.state(0) | {"state_00_lstm_1_h": np.zeros((2, 8))}):
        with pytest.raises(s2o.StateError):
            pool.set_state(0, state)
    assert_same(everything(pool), before)


def test_threads_can_share_a_pool(model_file):
    model = s2o.load(model_file)
    pool, ids = opened(model, 40, capacity=1)
    x = np.random.default_rng(0).normal(size=(30, 40, 4)).astype("f")
    last, errors = np.zeros((40, 3), "f"), []

    def work(own):
        try:
            for row in x:
                last[own] = pool.step(ids[own], row[own])
                pool.close(pool.open())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(np.arange(k, 40, 4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    np.testing.assert_allclose(last, model.predict(list(x.swapaxes(0, 1))), rtol=0, atol=1e-5)


def counted(pool):
    """A list that gets the ids of the streams that run in each turn of the batcher."""
    turns, batcher = [], pool._batcher
    turn, attempt = batcher.turn, batcher._try

    def noted_turn():
        turns.append([])
        return turn()

    def noted(group):
        turns[-1] = sorted(turns[-1] + [chunk.id for chunk in group])
        return attempt(group)

    batcher.turn, batcher._try = noted_turn, noted
    return turns


@pytest.mark.parametrize("gather_ms", [0, 3])
@pytest.mark.parametrize("network", [strided, lookahead_network, two_sensors, text_network])
def test_pushes_give_the_numbers_of_streams_alone_and_run_together(tmp_path, network, gather_ms):
    model, _ = export(tmp_path, network(), lookahead=network is lookahead_network)
    twins = Twins(model, 0, spoil=0)
    pool = twins.pool = model.pool(2, gather_ms=gather_ms)
    for _ in range(6):
        twins.open()
    runs = counted(pool)

    async def client(id, rows):
        return [await pool.push(id, row) for row in rows]

    async def all_of_them(chunks):
        return await asyncio.gather(*map(client, twins.alone, chunks))

    # Single steps alone, then steps and chunks of all lengths at once.
    for lengths in ([None] * 6, [None, 3, 0, None, 2, 1]):
        chunks = [[twins.data(n) for n in lengths[k:] + lengths[:k]] for k in range(6)]
        found = asyncio.run(all_of_them(chunks))
        for (id, stream), answers, rows in zip(twins.alone.items(), found, chunks, strict=True):
            for answer, row in zip(answers, rows, strict=True):
                expected = stream.step(row)
                if isinstance(expected, dict):
                    assert list(answer) == list(expected)
                for a, b in zip(*(y.values() if isinstance(y, dict) else [y] for y in (answer, expected)), strict=True):
                    assert a.shape == b.shape, id
                    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert runs == [list(twins.alone)] * 12


def test_pushes_to_one_stream_keep_their_order(model_file):
    model = s2o.load(model_file)
    pool, ids = opened(model, 2)
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("f")
    runs = counted(pool)

    async def main():
        return await asyncio.gather(*(pool.push(id, row) for row in x for id in ids.tolist()))

    found = asyncio.run(main())
    stream = model.stream()
    for k, row in enumerate(x):
        expected = stream.step(row)
        np.testing.assert_allclose(found[2 * k], expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found[2 * k + 1], expected, rtol=0, atol=1e-6)
    assert runs == [ids.tolist()] * 20


def test_an_error_of_a_push_reaches_only_its_coroutine(model_file):
    pool, ids = opened(s2o.load(model_file), 6)
    runs = counted(pool)
    a, b, c, d, e, f = ids.tolist()
    pool.close(f)

    async def main():
        pushes = asyncio.gather(
            pool.push(a, np.ones(4)),
            pool.push(b, np.full(4, np.nan)),
            pool.push(c, np.ones(5)),
            pool.push(d, np.ones(4)),
            pool.push(e, np.ones((2, 4))),
            pool.push(f, np.ones(4)),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
        pool.close(d)  # while its push waits
        return await pushes

    found = asyncio.run(main())
    stream = s2o.load(model_file).stream()
    np.testing.assert_allclose(found[0], stream.step(np.ones(4)), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[4], stream.step(np.ones(4)), rtol=0, atol=1e-6)
    for answer, kind, message in (
        (found[1], s2o.DataError, f"stream {b}: x contains NaN or infinity"),
        (found[2], s2o.ShapeError, f"stream {c}: expected [4] or [time, 4], got [5]"),
        (found[3], s2o.StreamError, f"stream {d}: is closed"),
        (found[5], s2o.StreamError, f"stream {f}: is closed"),
    ):
        assert type(answer) is kind
        assert message in str(answer)
    assert runs == [[a, e]]
    assert not any(array.any() for id in (b, c) for array in pool.state(id).values())


def test_a_cancelled_push_does_not_step_and_affects_no_other(model_file):
    model = s2o.load(model_file)
    pool, ids = opened(model, 3, gather_ms=5)
    a, b, c = ids.tolist()

    async def main():
        tasks = [asyncio.create_task(pool.push(id, np.ones(4))) for id in (a, b, b, c)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[3].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(main())
    expected = model.stream().step(np.ones(4))
    assert isinstance(found[1], asyncio.CancelledError)
    assert isinstance(found[3], asyncio.CancelledError)
    np.testing.assert_allclose([found[0], found[2]], [expected] * 2, rtol=0, atol=1e-6)
    assert not any(array.any() for array in pool.state(c).values())


def test_pushes_work_in_a_new_event_loop_but_not_in_two_at_once(model_file):
    pool, ids = opened(s2o.load(model_file), 2, gather_ms=200)

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.push(ids[0], np.ones(4)), 0.01)
        asyncio.create_task(pool.push(ids[0], np.ones(4)))  # noqa: RUF006 (the loop ends while it waits)
        await asyncio.sleep(0)

    asyncio.run(give_up())

    async def main():
        waiting = asyncio.create_task(pool.push(ids[0], np.ones(4)))
        await asyncio.sleep(0)

        def other():
            with pytest.raises(s2o.StreamError, match="another event loop is pushing to this pool"):
                asyncio.run(pool.push(ids[1], np.ones(4)))

        await asyncio.to_thread(other)
        return await waiting

    expected = s2o.load(pool._model.path).stream().step(np.ones(4))
    np.testing.assert_allclose(asyncio.run(main()), expected, rtol=0, atol=1e-6)


def test_a_failed_run_reaches_all_pushes_and_the_pool_still_works(model_file, monkeypatch):
    pool, ids = opened(s2o.load(model_file), 2)

    async def main():
        return await asyncio.gather(*(pool.push(id, np.ones(4)) for id in ids.tolist()), return_exceptions=True)

    with monkeypatch.context() as patch:
        patch.setattr(pool._states.buffers, "_run", lambda binding: 1 / 0)
        assert [type(answer) for answer in asyncio.run(main())] == [s2o.ModelFileError] * 2
    assert np.isfinite(asyncio.run(main())).all()


def test_a_large_pool_in_any_order(model_file):
    """As many streams as bindings are kept for, and more, in runs of every size."""
    model = s2o.load(model_file)
    pool, ids = opened(model, 200, capacity=16)
    rng = np.random.default_rng(0)
    streams = [model.stream() for _ in ids]
    for count in rng.permutation(np.arange(1, 201)):
        chosen = rng.permutation(200)[:count]
        x = rng.normal(size=(count, 4)).astype("f")
        found = pool.step(ids[chosen], x)
        expected = [streams[i].step(row) for i, row in zip(chosen, x, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_pool_works_after_its_model_is_deleted(model_file):
    torch.manual_seed(0)
    pool, ids = opened(s2o.load(model_file), 2)
    expected = s2o.load(model_file).predict([np.ones((1, 4))])[0]
    np.testing.assert_allclose(pool.step(ids, np.ones((2, 4), "f")), [expected] * 2, atol=1e-6)
