"""AttentionPool: a softmax over a million steps, whole and in chunks, and what the layer refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.errors import ShapeError, SpecError
from tests.comparison import SAME, close
from tests.small_networks import exported

STEPS, CHUNK = 1_000_000, 997


def normal(scale: float, offset: float = 0.0):
    return lambda steps: np.random.default_rng(0).normal(offset, scale, steps)


SCORES = {
    "constant": lambda steps: np.full(steps, 0.3),
    "normal": normal(1),
    "wide": normal(5),
    "far below 0": normal(1, -1000),
    "rising slowly": lambda steps: np.arange(steps) * 1e-6,
    "rising": lambda steps: np.arange(steps) * 1e-3,
    "falling": lambda steps: np.arange(steps)[::-1] * 1e-5,
    "highest first": lambda steps: np.r_[14.0, np.zeros(steps - 1)],
    "highest last": lambda steps: np.r_[np.zeros(steps - 1), 14.0],
}


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    """A million steps; for each kind of scores a channel with the scores and one with what they weigh."""
    scores = np.stack([make(STEPS) for make in SCORES.values()], 1)
    values = np.random.default_rng(1).normal(3, 1, scores.shape)
    return np.stack([scores, values], 2).reshape(STEPS, -1).astype("f")


def pooled(x: np.ndarray) -> np.ndarray:
    """The exact answer: for each kind the weighted mean of the scores and of the values."""
    pairs = x.reshape(len(x), -1, 2).astype(np.longdouble)
    shares = np.exp(pairs[..., :1] - pairs[..., :1].max(0))
    return ((shares * pairs).sum(0) / shares.sum(0)).ravel().astype(float)


@pytest.fixture(scope="module")
def exact(long) -> np.ndarray:
    return pooled(long)


@pytest.fixture(scope="module")
def module() -> s2o.SequenceModule:
    heads = len(SCORES)
    made = s2o.build(s2o.Network([s2o.SequenceInput(2 * heads), s2o.AttentionPool(heads)])).eval()
    with torch.no_grad():  # the score of a head is the first of its two channels
        made.layers["attention_pool_1"].weights.copy_(torch.eye(2 * heads)[::2])
    return made


@pytest.mark.parametrize("signature", ["full", "stream", "sequence"])
def test_a_million_steps_are_exact_as_a_whole_and_in_chunks(tmp_path, long, exact, module, signature):
    s2o.export(module, tmp_path / "model.onnx", signature=signature)
    model = s2o.load(tmp_path / "model.onnx")
    close(model.predict([long])[0], exact, SAME, "whole")
    if signature != "sequence":
        stream = model.stream()
        for start in range(0, STEPS, CHUNK):
            y = stream.step(long[start : start + CHUNK])
        close(y, exact, SAME, "chunks")


def test_torch_is_exact(long, exact, module):
    state = None
    with torch.no_grad():
        y, _, _ = module(torch.from_numpy(long)[None])
        close(y[0].numpy(), exact, SAME, "whole")
        for chunk in torch.from_numpy(long)[None].split(100 * CHUNK, 1):
            y, _, state = module(chunk, state=state)
        close(y[0].numpy(), exact, SAME, "chunks")


@pytest.mark.parametrize("form", ["dynamic", "portable", "step"])
def test_single_steps_still_count_after_a_million(tmp_path, long, exact, module, form):
    """A sum in float32 takes nothing more when it is 2^24 times as large as a step."""
    s2o.export(module, tmp_path / "long.onnx", signature="stream")
    s2o.export(module, tmp_path / "model.onnx", form=form)
    before, stream = s2o.load(tmp_path / "long.onnx").stream(), s2o.load(tmp_path / "model.onnx").stream()
    last = 20_000
    before.step(long[:-last])
    stream.state = before.state
    for x in long[-last:]:
        y = stream.step(x)
    close(y, exact, SAME, "steps after a long chunk")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dynamic", "portable", "step"])
def test_a_million_single_steps_are_exact(tmp_path, long, exact, module, form):
    s2o.export(module, tmp_path / "model.onnx", form=form)
    stream = s2o.load(tmp_path / "model.onnx").stream()
    for x in long:
        y = stream.step(x)
    close(y, exact, SAME, "one by one")


def test_chunks_of_any_lengths_give_the_mean_of_the_whole(tmp_path, module, long):
    s2o.export(module, tmp_path / "model.onnx")
    stream, rng, at = s2o.load(tmp_path / "model.onnx").stream(), np.random.default_rng(2), 0
    while at < 20_000:
        chunk = long[at : at + int(rng.choice([0, 1, 1, 2, 30, 3000]))]
        y = stream.step(chunk)
        at += len(chunk)
        if at:
            close(y, pooled(long[:at]), SAME, f"{at} steps")


def test_gradients_are_those_of_a_softmax():
    network = s2o.Network([s2o.SequenceInput(4), s2o.AttentionPool(2)])
    made, x = s2o.build(network), torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights, lengths = made.layers["attention_pool_1"].weights, torch.tensor([9, 4, 1])
    made(x, lengths, return_state=False)[0].square().sum().backward()
    found = x.grad, weights.grad
    x.grad = weights.grad = None
    scores = (x @ weights.T).masked_fill(torch.arange(9)[None, :, None] >= lengths[:, None, None], -torch.inf)
    (scores.softmax(1).repeat_interleave(2, 2) * x).sum(1).square().sum().backward()
    for got, expected in zip(found, (x.grad, weights.grad), strict=True):
        close(got.numpy(), expected.numpy(), SAME, "gradient")


def test_scores_may_come_from_another_layer_and_later_than_the_steps(tmp_path):
    """The scores look ahead, so that the steps wait for them."""
    network = s2o.Network(
        [
            s2o.SequenceInput(2, name="x"),
            s2o.Conv1d(1, 3, padding="same", name="scores"),
            s2o.AttentionPool(inputs=["x", "scores"]),
        ]
    )
    model, _ = exported(tmp_path, network, lookahead=True)
    x = np.random.default_rng(0).normal(size=(50, 2)).astype("f")
    stream = model.stream()
    for chunk in np.split(x, [1, 2, 20, 20, 49]):
        stream.step(chunk)
    close(stream.finish(), model.predict([x])[0], SAME, "stream")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([s2o.AttentionPool(2)], "attention_pool_1: heads 2 must divide the channels of x"),
        ([s2o.LSTM(2, "last"), s2o.AttentionPool()], r'attention_pool_1: with axis="time" expected'),
        (
            [s2o.FullyConnected(3, name="s"), s2o.AttentionPool(inputs=["x", "s"])],
            r"expected x and scores \[batch, time, 1\]",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(layers, message):
    with pytest.raises(ShapeError, match=message):
        s2o.Network([s2o.SequenceInput(3, name="x"), *layers])


def test_three_inputs_are_refused():
    with pytest.raises(SpecError, match="reads one layer, got 3"):
        s2o.Network([s2o.SequenceInput(3, name="x"), s2o.AttentionPool(inputs=["x", "x", "x"])])
