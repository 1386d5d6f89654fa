"""Long chunks in a pool hold up nobody, and steps, resets and cancellations between their pieces have one meaning."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.runtime.steps import MOST_STEPS
from tests.comparison import FLOAT32, close
from tests.small_networks import exported, lookahead_network, overflowing, strided, text_network, two_sensors
from tests.test_predict import on_device
from tests.twins import Twins

LENGTHS = (0, 1, 2, 31, 32, 33, 64, 70, 100)
NETWORKS = [lookahead_network, strided, two_sensors, text_network]


def opened(model, count, **options):
    """A pool with so many streams, and their ids."""
    pool = model.pool(**options)
    return pool, [pool.open() for _ in range(count)]


def noise(steps, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, 4)).astype("f")


def watched(pool, monkeypatch):
    """A list that gets the lengths of the rows of each run that is not of bound steps."""
    runs, run = [], pool._model.run

    def noted(x, lengths, *rest, **more):
        runs.append(lengths.tolist())
        return run(x, lengths, *rest, **more)

    monkeypatch.setattr(pool._model, "run", noted)
    return runs


def same_states(pool, alone):
    for id, stream in alone.items():
        state = pool.state(id)
        for name, own in stream.state.items():
            close(state[name], own, FLOAT32, f"{name} of {id}")


class LongTwins(Twins):
    """Twins whose chunks are often cut."""

    def chunk(self, ids) -> None:
        steps = int(self.rng.choice(LENGTHS))
        self.compare(ids, [self.data(steps) for _ in ids], np.stack)

    def ragged(self, ids) -> None:
        self.compare(ids, [self.data(int(self.rng.choice(LENGTHS))) for _ in ids], list)


@pytest.mark.parametrize("signature", ["full", "stream"])
@pytest.mark.parametrize("network", NETWORKS)
def test_chunks_in_pieces_give_the_numbers_of_streams_alone(tmp_path, monkeypatch, network, signature):
    model, _ = exported(tmp_path, network(), signature=signature, lookahead=network is lookahead_network)
    twins = LongTwins(model, 0)
    runs = watched(twins.pool, monkeypatch)
    for _ in range(40):
        twins.act()
    twins.check_states()
    assert max(max(lengths, default=0) for lengths in runs) == 100  # of a stream alone
    assert twins.answers > 20


def test_chunks_in_pieces_of_states_on_the_device_give_the_numbers_of_streams_alone(tmp_path):
    twins = LongTwins(on_device(exported(tmp_path, two_sensors())[0]), 1)
    for _ in range(40):
        twins.act()
    twins.check_states()
    assert twins.pool._states.on_device is not None


@pytest.mark.parametrize("signature", ["full", "stream"])
def test_no_run_is_long_and_like_lengths_run_together(tmp_path, monkeypatch, signature):
    """The padding of a run is at most as long as its data, or the run is short."""
    network = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(8)])
    pool, ids = opened(exported(tmp_path, network, signature=signature)[0], 40)
    runs = watched(pool, monkeypatch)
    rng = np.random.default_rng(0)
    lengths = [1000, *(1 + int(n) for n in rng.integers(0, 50, 19)), *[1] * 20]
    answers = pool.step(ids, [noise(steps) for steps in lengths])
    assert [len(y) for y in answers] == lengths
    assert sum(map(sum, runs)) == sum(lengths)
    for run in runs:
        assert max(run) <= MOST_STEPS
        padded = len(run) * max(run)
        assert padded <= 2 * sum(run) or padded <= 256
    assert len(runs) < 32 + 1000 // MOST_STEPS + 32


def test_a_file_that_forecasts_gets_whole_chunks(tmp_path):
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(4), s2o.GRU(4)]), closed_loop=3)
    pool, ids = opened(model, 3)
    chunks = [noise(steps, steps) for steps in (100, 40, 2)]
    close(list(pool.step(ids, chunks)), [model.stream().step(x) for x in chunks], FLOAT32, "forecast")


@pytest.mark.parametrize("use", ["step", "push"])
def test_a_state_that_becomes_infinite_in_a_later_piece_is_refused_with_the_whole_chunk(tmp_path, use):
    pool, ids = opened(exported(tmp_path, overflowing())[0], 2)
    large = np.array([[1, 1], [3e38, 1]], "f")
    pool.step(ids, large)
    kept = pool.state(ids[1])
    bad, good = np.ones((100, 2), "f"), np.ones((5, 2), "f")
    bad[:64, 0], bad[64:, 0] = 3e38, -3e38

    async def push():
        return await asyncio.gather(pool.push(ids[0], good), pool.push(ids[1], bad))

    stream = s2o.load(pool._model.path).stream()
    stream.step(np.ones(2, "f"))
    expected = stream.step(good)
    found = pool.step(ids, [good, bad]) if use == "step" else asyncio.run(push())
    close(found[0], expected, FLOAT32, "the other")
    assert np.isnan(found[1]).all()
    close(pool.state(ids[1]), kept, 0, "state")


@pytest.mark.parametrize("number", [0, 1, 5])
def test_after_an_error_in_any_piece_no_stream_has_changed(model_file, monkeypatch, number):
    pool, ids = opened(s2o.load(model_file), 20)
    pool.step(ids, noise(20))
    before = [pool.state(id) for id in ids]
    run, runs = pool._model.run, []

    def failing(*given, **more):
        runs.append(1)
        if len(runs) > number:
            raise s2o.ModelFileError("broken")
        return run(*given, **more)

    chunks = [noise(steps) for steps in [200, *[1] * 10, *[20] * 9]]
    with monkeypatch.context() as patch:
        patch.setattr(pool._model, "run", failing)
        with pytest.raises(s2o.ModelFileError, match="broken"):
            pool.step(ids, chunks)
    assert len(runs) == number + 1
    close([pool.state(id) for id in ids], before, 0, "state")


def test_single_steps_are_answered_between_the_pieces_of_a_long_chunk(model_file):
    model = s2o.load(model_file)
    pool, (a, b) = opened(model, 2)
    x, steps = noise(10_000), noise(100, 1)

    async def main():
        long = asyncio.create_task(pool.push(a, x))
        await asyncio.sleep(0)
        found = [await pool.push(b, step) for step in steps]
        assert not long.done()
        assert not any(array.any() for array in pool.state(a).values())  # it takes effect as a whole
        return found, await long

    found, long = asyncio.run(main())
    stream = model.stream()
    close(found, [stream.step(step) for step in steps], FLOAT32, "steps")
    alone = model.stream()
    close(long, alone.step(x), FLOAT32, "chunk")
    same_states(pool, {a: alone, b: stream})


def test_a_row_of_nan_does_not_leave_the_bound_buffers(model_file, monkeypatch):
    pool, ids = opened(s2o.load(model_file), 5)
    runs = watched(pool, monkeypatch)
    x = noise(5)
    x[3, 1] = np.nan
    assert np.isnan(pool.step(ids, x)).all(1).tolist() == [False, False, False, True, False]
    assert runs == []


def test_refused_rows_are_in_no_run(per_step_file, monkeypatch):
    pool, ids = opened(s2o.load(per_step_file), 3)
    runs = watched(pool, monkeypatch)
    chunks = [noise(5), noise(70), noise(50)]
    chunks[1][69, 0] = np.inf
    found = pool.step(ids, chunks)
    assert [y.shape for y in found] == [(5, 3), (70, 3), (50, 3)]
    assert np.isnan(found[1]).all()
    assert sum(map(sum, runs)) == 55
    runs.clear()
    assert np.isnan(pool.step(ids, np.full((3, 9, 4), np.nan))).all()
    assert runs == []


def test_a_run_that_fails_costs_only_the_push_that_caused_it(model_file, monkeypatch):
    model = s2o.load(model_file)
    pool, ids = opened(model, 4)
    run = pool._model.run

    def failing(x, *rest, **more):
        if (next(iter(x.values())) == 7).any():
            raise s2o.ModelFileError("broken")
        return run(x, *rest, **more)

    monkeypatch.setattr(pool._model, "run", failing)
    chunks = [noise(100, k) for k in range(4)]
    chunks[2][50] = 7  # in its second piece

    async def main():
        return await asyncio.gather(*map(pool.push, ids, chunks), return_exceptions=True)

    found = asyncio.run(main())
    assert isinstance(found.pop(2), s2o.ModelFileError)
    monkeypatch.undo()
    close(found, [model.stream().step(chunks[k]) for k in (0, 1, 3)], FLOAT32, "the others")
    assert not any(array.any() for array in pool.state(ids[2]).values())
    assert not pool._batcher.is_waiting


def test_what_may_wait_for_a_stream_has_a_bound(model_file):
    pool, (a, b) = opened(s2o.load(model_file), 2, waiting_steps=10)

    async def main():
        long = asyncio.create_task(pool.push(a, noise(50)))  # alone it may be longer
        few = [asyncio.create_task(pool.push(b, noise(5))) for _ in range(2)]
        await asyncio.sleep(0)
        for id, waiting in ((a, 50), (b, 10)):
            with pytest.raises(s2o.StreamError, match=f"stream {id}: {waiting} steps wait for it, and 10 may; this"):
                await pool.push(id, noise(1)[0])
        few[1].cancel()
        await asyncio.gather(few[1], return_exceptions=True)
        await pool.push(b, noise(5))
        await asyncio.gather(long, few[0])
        await pool.push(a, noise(10))

    asyncio.run(main())
    with pytest.raises(s2o.SpecError, match="waiting_steps: must be a whole number"):
        s2o.load(model_file).pool(waiting_steps=0)


def test_the_batcher_works_without_an_event_loop(model_file):
    """As a server may use it: chunks in, turns, chunks with answers out."""
    model = s2o.load(model_file)
    pool, (a, b, c) = opened(model, 3)
    batcher = pool._batcher
    long, step, after, closed = (
        batcher.add(a, noise(70)), batcher.add(b, noise(1)[0]), batcher.add(b, noise(3)), batcher.add(c, noise(40)),
    )  # fmt: skip
    assert batcher.turn() == [step]
    pool.close(c)
    assert sorted(map(id, batcher.turn())) == sorted(map(id, [closed, after]))
    assert isinstance(closed.error, s2o.StreamError)
    assert batcher.turn() == [long]
    assert not batcher.is_waiting
    assert batcher.turn() == []
    close(long.answer, model.stream().step(noise(70)), FLOAT32, "chunk")


@pytest.mark.parametrize("act", ["reset", "set_state", "step", "finish"])
def test_other_calls_come_before_a_push_that_is_half_done(tmp_path, act):
    model, _ = exported(tmp_path, lookahead_network(), lookahead=True)
    pool, (a,) = opened(model, 1)
    rng = np.random.default_rng(0)
    first, x, one = (rng.normal(size=(steps, 5)).astype("f") for steps in (7, 100, 1))
    stream = model.stream()
    close(pool.step([a], [first])[0], stream.step(first), FLOAT32, "first")
    other = model.stream()
    other.step(x[:9])

    async def main():
        push = asyncio.create_task(pool.push(a, x))
        while a not in pool._batcher._begun:
            await asyncio.sleep(0)
        if act == "reset":
            pool.reset(a)
            stream.reset()
        elif act == "set_state":
            pool.set_state(a, other.state)
            stream.state = other.state
        elif act == "step":
            close(pool.step([a], one)[0], stream.step(one[0]), FLOAT32, "step")
        else:
            close(pool.finish([a])[0], stream.finish(), FLOAT32, "finish")
        return await push

    close(asyncio.run(main()), stream.step(x), FLOAT32, "push")
    same_states(pool, {a: stream})


@pytest.mark.parametrize("seed", range(4))
def test_hundreds_of_clients_with_all_kinds_of_chunks_and_interruptions(model_file, seed):
    """Each client's answers and state are those of a stream of its own, however its pushes and other calls mix."""
    model = s2o.load(model_file)
    pool, ids = opened(model, 200, capacity=64)
    queue, alone, counts = pool._batcher._chunks, {id: model.stream() for id in ids}, {}

    async def client(number, id):
        rng, stream = np.random.default_rng([seed, number]), alone[id]
        for _ in range(4):
            steps = int(10 ** rng.uniform(0, 4 if number < 3 else 2.2))
            x = rng.normal(size=(steps, 4)).astype("f") if rng.random() < 0.6 else rng.normal(size=4).astype("f")
            if rng.random() < 0.1:
                x.reshape(-1)[rng.integers(x.size)] = np.nan
                with pytest.raises(s2o.DataError, match=f"stream {id}: x contains NaN"):
                    await pool.push(id, x)
                continue
            push = asyncio.create_task(pool.push(id, x))
            for _ in range(rng.integers(1, 6)):
                await asyncio.sleep(0)
            act = rng.choice(["nothing", "cancel", "reset", "step", "close"], p=[0.5, 0.2, 0.1, 0.15, 0.05])
            waits = id in queue
            counts[act, waits] = counts.get((act, waits), 0) + 1
            if not waits:
                expected = stream.step(x)
            if act == "cancel":
                push.cancel()
            elif act == "reset":
                pool.reset(id)
                stream.reset()
            elif act == "step":
                one = rng.normal(size=4).astype("f")
                close(pool.step([id], one[None])[0], stream.step(one), FLOAT32, "step")
            elif act == "close":
                pool.close(id)
                del alone[id]
            if waits and act == "close":
                with pytest.raises(s2o.StreamError, match=f"stream {id}: is closed"):
                    await push
                return
            if act == "cancel" and not push.done():
                with pytest.raises(asyncio.CancelledError):
                    await push
                continue
            if waits:
                expected = stream.step(x)
            close(await push, expected, FLOAT32, f"push of {steps} after {act}")
            if act == "close":
                return

    async def main():
        await asyncio.gather(*(client(number, id) for number, id in enumerate(ids)))

    asyncio.run(main())
    assert not pool._batcher.is_waiting
    assert not pool._batcher._begun
    assert not pool._batcher._steps
    assert sorted(pool.ids.tolist()) == sorted(alone)
    same_states(pool, alone)
    assert {act for act, waits in counts if waits} == {"nothing", "cancel", "reset", "step", "close"}


def test_pools_streams_and_models_are_true(model_file):
    model = s2o.load(model_file)
    pool = model.pool()
    assert len(pool) == 0
    assert pool
    assert model
    assert model.stream()
