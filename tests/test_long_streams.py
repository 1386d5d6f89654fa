"""Streams of ten million steps: no sum loses steps, and no counter wraps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from tests.comparison import SAME, close
from tests.small_networks import exported

STEPS, CHUNK = 10_000_000, 997
COUNTED = 2**30  # where counters stop
CHANNELS = 6


def elevens(steps: int) -> np.ndarray:
    """One in a hundred steps is 11, the others are 0.1."""
    return np.where(np.random.default_rng(0).random(steps) < 0.01, np.float32(11), np.float32(0.1))


def noise(steps: int) -> np.ndarray:
    return elevens(steps) + np.random.default_rng(1).normal(1, 0.3, steps).astype("f")


DATA = {
    "constant": lambda steps: np.full(steps, 1.1, "f"),
    "skewed": elevens,
    "skewed with noise": noise,
    "elevens first": lambda steps: np.sort(elevens(steps))[::-1],
    "elevens last": lambda steps: np.sort(elevens(steps)),
}


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    """Ten million steps, a channel of each kind of data."""
    return np.stack([make(STEPS) for make in DATA.values()], 1)


def averaging(channels: int) -> s2o.Network:
    return s2o.Network([s2o.SequenceInput(channels), s2o.GlobalAvgPool1d()])


def mean(x: np.ndarray) -> np.ndarray:
    return x.mean(0, dtype=np.longdouble).astype(float)


@pytest.mark.parametrize("signature", ["full", "stream"])
def test_the_mean_of_ten_million_steps_is_exact_as_a_whole_and_in_chunks(tmp_path, long, signature):
    model, _ = exported(tmp_path, averaging(len(DATA)), signature=signature)
    whole = model.predict([long])[0]
    close(whole, mean(long), SAME, "whole")
    stream = model.stream()
    for start in range(0, STEPS, CHUNK):
        y = stream.step(long[start : start + CHUNK])
    close(y, mean(long), SAME, "chunks")
    close(y, whole, SAME, "whole and chunks")


def test_a_file_without_states_gives_the_mean_of_ten_million_steps(tmp_path, long):
    model, _ = exported(tmp_path, averaging(len(DATA)), signature="sequence")
    close(model.predict([long])[0], mean(long), SAME, "whole")


def test_torch_gives_the_mean_of_ten_million_steps(long):
    module, state = s2o.build(averaging(len(DATA))).eval(), None
    with torch.no_grad():
        y, _, _ = module(torch.from_numpy(long)[None])
        close(y[0].numpy(), mean(long), SAME, "whole")
        for chunk in torch.from_numpy(long)[None].split(100 * CHUNK, 1):
            y, _, state = module(chunk, state=state)
        close(y[0].numpy(), mean(long), SAME, "chunks")


@pytest.mark.parametrize("signature", ["full", "stream"])
def test_single_steps_still_count_after_ten_million(tmp_path, signature):
    """A sum in float32 takes nothing more when it is 2^24 times as large as a step."""
    model, _ = exported(tmp_path, averaging(1), signature=signature)
    stream, before, after = model.stream(), np.full((STEPS, 1), 1.1, "f"), noise(50_000)[:, None]
    stream.step(before)
    for x in after:
        y = stream.step(x)
    close(y, mean(np.concatenate([before, after])), SAME, "steps after a long chunk")


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["full", "stream"])
def test_the_mean_of_ten_million_single_steps_is_exact(tmp_path, long, signature):
    model, _ = exported(tmp_path, averaging(len(DATA)), signature=signature)
    stream = model.stream()
    for step in long:
        y = stream.step(step)
    close(y, mean(long), SAME, "one by one")


def test_chunks_of_any_lengths_give_the_mean_of_the_whole(tmp_path):
    model, module = exported(tmp_path, averaging(CHANNELS))
    rng = np.random.default_rng(2)
    x = (1000 * rng.normal(size=CHANNELS) + rng.normal(size=(20_000, CHANNELS))).astype("f")
    stream, at, state = model.stream(), 0, None
    while at < len(x):
        chunk = x[at : at + int(rng.choice([0, 1, 1, 2, 30, 3000]))]
        y = stream.step(chunk)
        with torch.no_grad():
            torch_y, _, state = module(torch.from_numpy(chunk)[None], state=state)
        at += len(chunk)
        if at:
            close(y, mean(x[:at]), SAME, f"{at} steps")
            close(torch_y[0].numpy(), mean(x[:at]), SAME, f"torch, {at} steps")


@pytest.mark.parametrize("pooling", [s2o.GlobalAvgPool1d(), s2o.GlobalMaxPool1d()])
@pytest.mark.parametrize("signature", ["full", "stream"])
def test_the_counter_of_global_pooling_stops_at_two_to_the_thirty(tmp_path, pooling, signature):
    model, module = exported(tmp_path, s2o.Network([s2o.SequenceInput(2), pooling]), signature=signature)
    stream, x = model.stream(), np.ones((7, 2), "f")
    *values, count = stream.state
    state = stream.state | {count: np.array([[COUNTED - 5]], "i4")}
    state |= {name: np.full((1, 2), 1 if name == values[0] else 0, "f") for name in values}
    in_torch = tuple(torch.from_numpy(array) for array in state.values())
    stream.state = state
    for chunk in (x[:3], x, x[0], x):
        before = stream.state[count].item()
        y = stream.step(chunk)
        with torch.no_grad():
            torch_y, _, in_torch = module(torch.from_numpy(np.atleast_2d(chunk))[None], state=in_torch)
        expected = min(before + np.atleast_2d(chunk).shape[0], COUNTED)
        assert stream.state[count].item() == in_torch[-1].item() == expected
        assert (y == 1).all()
        assert (torch_y == 1).all()
    assert stream.state[count].item() == COUNTED


def test_a_mean_over_more_steps_forgets_slowly(tmp_path):
    model, module = exported(tmp_path, averaging(1))
    stream = model.stream()
    names = list(stream.state)
    stream.state = {names[0]: np.ones((1, 1), "f"), names[1]: np.zeros((1, 1), "f"), names[2]: [[COUNTED]]}
    state = tuple(torch.from_numpy(array) for array in stream.state.values())
    x = np.full((5_000_000, 1), 3, "f")
    y = stream.step(x)
    with torch.no_grad():
        torch_y, _, _ = module(torch.from_numpy(x)[None], state=state)
    expected = (COUNTED + 3.0 * len(x)) / (COUNTED + len(x))
    close(y, [expected], SAME, "mean")
    close(torch_y[0].numpy(), [expected], SAME, "torch")


@pytest.mark.parametrize("signature", ["full", "stream"])
def test_a_chunk_without_steps_changes_no_mean(tmp_path, signature):
    """mean + carry stays the same number exactly; how it is split may be rounded anew."""
    model, module = exported(tmp_path, averaging(CHANNELS), signature=signature)
    rng = np.random.default_rng(3)
    for _ in range(100):
        stream = model.stream()
        for chunk in np.split(rng.normal(size=(8, CHANNELS)).astype("f"), [1, 2, 5]):
            y = stream.step(chunk)
        before = stream.state
        close(stream.step(np.zeros((0, CHANNELS), "f")), y, SAME, "y")
        (mean, carry, count), (new_mean, new_carry, new_count) = before.values(), stream.state.values()
        assert (mean.astype(float) + carry == new_mean.astype(float) + new_carry).all()
        assert count == new_count == 8
        with torch.no_grad():
            state = tuple(torch.from_numpy(array) for array in stream.state.values())
            _, _, new = module(torch.zeros(1, 0, CHANNELS), state=state)
        assert all(torch.equal(a, b) for a, b in zip(state, new, strict=True))


def test_the_mean_of_large_numbers_does_not_overflow(tmp_path):
    model, module = exported(tmp_path, averaging(1))
    x = np.full((1000, 1), 1e38, "f")
    close(model.predict([x])[0], [1e38], SAME, "whole")
    stream = model.stream()
    for chunk in (x, x[0], x):
        close(stream.step(chunk), [1e38], SAME, "stream")
    with torch.no_grad():
        close(module(torch.from_numpy(x)[None])[0][0].numpy(), [1e38], SAME, "torch")
