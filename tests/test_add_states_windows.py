"""add_states with window=: a file of a fixed number of steps answers for each window of a stream."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

import seq2onnx as s2o
from tests.command import run
from tests.foreign import Graph, plain_lstm
from tests.test_from_onnx import windowed
from tests.torch_modules import convolutional
from tests.torch_modules.cases import C

# Both run the same operators of onnxruntime, for one window or for many at once.
CLOSE = 1e-6


def answers_of_windows(path, x, steps, name="x"):
    """What the source gives for each window of x [time, …] alone."""
    session = onnxruntime.InferenceSession(path)
    windows = [session.run(None, {name: x[None, t : t + steps]})[0].ravel() for t in range(len(x) + 1 - steps)]
    return np.stack(windows)


@pytest.mark.parametrize("free", [{}, {0: "batch"}, {0: "batch", 1: "time"}], ids=["fixed", "batch", "batch and time"])
@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (convolutional.WakeWord, 16),
        (convolutional.StridedThenFlattened, 15),
        (convolutional.DownToOneStep, 10),
        (convolutional.LstmThenFlattened, 8),
    ],
)
def test_each_step_ends_a_window_of_its_own(make, steps, free, tmp_path):
    windowed(make(), steps, tmp_path / "source.onnx", free)
    assert s2o.add_states(tmp_path / "source.onnx", tmp_path / "out.onnx", axes="BTC", window=steps).ok
    assert s2o.verify(tmp_path / "out.onnx").ok
    model, rng = s2o.load(tmp_path / "out.onnx"), np.random.default_rng(0)
    x = rng.normal(size=(40, C)).astype("f")
    expected = answers_of_windows(tmp_path / "source.onnx", x, steps)
    whole, short, one = model.predict([x, x[: steps - 1], x[:steps]])
    np.testing.assert_allclose(whole, expected, atol=CLOSE)
    np.testing.assert_allclose(one, expected[:1], atol=CLOSE)
    assert short.shape == (0, expected.shape[1])
    for sizes in ([1] * 40, [0, 3, 0, 17, 20, 0], [40]):
        stream, parts = model.stream(), np.split(x, np.cumsum(sizes)[:-1])
        found = [np.reshape(stream.step(part), (-1, expected.shape[1])) for part in parts]
        assert sum(map(len, found[: steps - 1])) == 0 or len(sizes) < 40
        np.testing.assert_allclose(np.concatenate(found), expected, atol=CLOSE)


def test_streams_of_a_pool_begin_at_any_time(tmp_path):
    windowed(convolutional.WakeWord(), 16, tmp_path / "source.onnx")
    s2o.add_states(tmp_path / "source.onnx", tmp_path / "out.onnx", axes="BTC", window=16)
    pool, x = s2o.load(tmp_path / "out.onnx").pool(), np.random.default_rng(0).normal(size=(30, C)).astype("f")
    expected = answers_of_windows(tmp_path / "source.onnx", x, 16)
    early, late, found = pool.open(), None, [[], []]
    for t in range(37):
        if t == 7:
            late = pool.open()
        steps = {early: x[t : t + 1], **({late: x[t - 7 : t - 6]} if t >= 7 else {})}
        for place, y in enumerate(pool.step([*steps], [*steps.values()])):
            found[place].append(y)
    for parts in found:
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=CLOSE)


def of_tokens(steps=6, axes="BT", opset=17) -> Graph:
    g = Graph(opset)
    x = g.input("x", [None, steps] if axes == "BT" else [None, 4, steps], 7 if axes == "BT" else 1)
    x = g.op("Gather", g.weight(9, 4), x) if axes == "BT" else x
    g.op("Gemm", g.op("Flatten", x), g.weight(4 * steps, 3), out=g.output("y"))
    return g


@pytest.mark.parametrize("axes", ["BT", "BCT"])
def test_tokens_and_time_last(axes, tmp_path):
    path, rng = of_tokens(axes=axes).save(tmp_path), np.random.default_rng(0)
    s2o.add_states(path, tmp_path / "out.onnx", axes=axes, window=6)
    x = rng.integers(0, 9, 20) if axes == "BT" else rng.normal(size=(20, 4)).astype("f")
    session = onnxruntime.InferenceSession(path)
    windows = [x[None, t : t + 6] if axes == "BT" else x[None, t : t + 6].swapaxes(1, 2) for t in range(15)]
    expected = np.concatenate([session.run(None, {"x": window})[0] for window in windows])
    np.testing.assert_allclose(s2o.load(tmp_path / "out.onnx").predict([x])[0], expected, atol=CLOSE)


def of_one_number() -> Graph:
    g = of_tokens()
    g.op("Add", "y", g.input("gain", [1]), out=g.output("z"))
    return g


def of_two_rows() -> Graph:
    g = Graph()
    flat = g.op("Reshape", g.input("x", [2, 6, 4]), g.ints(2, 24))
    g.op("Gemm", flat, g.weight(24, 3), out=g.output("y"))
    return g


REFUSED = {
    "another number": (of_tokens, 5, "takes 6 steps, not the window=5; give window=6"),
    "one step": (of_tokens, 1, "one step needs no window"),
    "an answer for each step": (plain_lstm, 7, "an answer for each step; leave window= out"),
    "another input": (of_one_number, 6, "has the input 'gain' beside the data.*fixed="),
    "several rows": (of_two_rows, 6, "takes batches of 2 rows only"),
    "old operators": (lambda: of_tokens(opset=11), 6, "opset 11; windows need 12 or newer"),
    "no window": (lambda: of_tokens(axes="BCT"), None, "always reads 6 steps and answers once, give window=6"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_window_is_refused(name, tmp_path):
    make, window, match = REFUSED[name]
    axes = {"another input": "BT", "no window": "BCT"}.get(name, "BTC" if make in (plain_lstm, of_two_rows) else "BT")
    with pytest.raises(s2o.ImportRefused, match=match):
        s2o.add_states(make().save(tmp_path), tmp_path / "out.onnx", axes=axes, window=window)
    assert not (tmp_path / "out.onnx").exists()


def test_windows_beside_states_are_refused(tmp_path):
    with pytest.raises(s2o.SpecError, match="window: a file that carries states= runs step by step"):
        s2o.add_states(of_tokens().save(tmp_path), tmp_path / "out.onnx", states={"h": "hn"}, window=6)


def test_the_command_tries_the_window_with_both_doors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    windowed(convolutional.LstmThenFlattened(), 8, "source.onnx")
    out, _ = run("import", "source.onnx", "--explain")
    assert "--window 8" in out
    run("import", "source.onnx", "--window", "8", "--out", "out.onnx")
    x = torch.randn(20, C).numpy()
    expected = answers_of_windows("source.onnx", x, 8)
    np.testing.assert_allclose(s2o.load("out.onnx").predict([x])[0], expected, atol=CLOSE)
