"""GlobalSumPool1d and GlobalStdPool1d: a million steps, whole, in chunks and one by one; gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from tests.comparison import SAME, close
from tests.small_networks import exported

STEPS, CHUNK = 1_000_000, 997


def normal(mean: float, deviation: float) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, deviation, STEPS)


DATA = {
    "normal": normal(0, 1),
    "far from 0": normal(1000, 1),
    "skewed": np.random.default_rng(1).lognormal(0, 2, STEPS),
    "rising": np.sort(normal(3, 1)),
    "falling": np.sort(normal(3, 1))[::-1],
    "outlier first": np.r_[1000, normal(0, 1e-3)[1:]],
    "outlier last": np.r_[normal(0, 1e-3)[1:], 1000],
    "constant": np.full(STEPS, 0.1),
    "two levels": np.repeat([0, 1], STEPS // 2),
    "alternating": np.tile([1000, -999.9], STEPS // 2),
}


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    return np.stack(list(DATA.values()), 1).astype("f")


def network(channels: int = len(DATA)) -> s2o.Network:
    """The first half of the answer is the sum, the second one the deviation."""
    layers = [s2o.SequenceInput(channels, name="x"), s2o.GlobalSumPool1d(name="sum"), s2o.GlobalStdPool1d(inputs=["x"])]
    return s2o.Network([*layers, s2o.Concat(inputs=["sum", "global_std_pool1d_1"])])


def check(y: np.ndarray, x: np.ndarray, what: str) -> None:
    """Compare sums with the numbers that they sum, and each deviation with the exact one."""
    wide = x.astype(np.longdouble)
    size, exact = np.abs(wide).sum(0), wide.std(0)
    for name, found, expected, unit in zip(
        ("sum", "deviation"), np.split(y, 2), (wide.sum(0), exact), (size, exact), strict=True
    ):
        unit = np.where(unit > 0, unit, 1)
        close((found / unit).astype(float), (expected / unit).astype(float), SAME, f"{name}, {what}")


@pytest.mark.parametrize("signature", ["full", "stream", "sequence"])
def test_a_million_steps_are_exact_as_a_whole_and_in_chunks(tmp_path, long, signature):
    model, _ = exported(tmp_path, network(), signature=signature)
    check(model.predict([long])[0], long, "whole")
    if signature != "sequence":
        stream = model.stream()
        for start in range(0, STEPS, CHUNK):
            y = stream.step(long[start : start + CHUNK])
        check(y, long, "chunks")


def test_torch_is_exact(long):
    module, state = s2o.build(network()).eval(), None
    with torch.no_grad():
        check(module(torch.from_numpy(long)[None])[0][0].numpy(), long, "whole")
        for chunk in torch.from_numpy(long)[None].split(100 * CHUNK, 1):
            y, _, state = module(chunk, state=state)
        check(y[0].numpy(), long, "chunks")


@pytest.mark.parametrize("form", ["dynamic", "portable", "step"])
def test_single_steps_still_count_after_a_million(tmp_path, long, form):
    before, module = exported(tmp_path, network(), signature="stream")
    s2o.export(module, tmp_path / f"{form}.onnx", form=form)
    first, stream, last = before.stream(), s2o.load(tmp_path / f"{form}.onnx").stream(), 20_000
    first.step(long[:-last])
    stream.state = first.state
    for x in long[-last:]:
        y = stream.step(x)
    check(y, long, "steps after a long chunk")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dynamic", "portable", "step"])
def test_a_million_single_steps_are_exact(tmp_path, long, form):
    model, _ = exported(tmp_path, network(), form=form)
    stream = model.stream()
    for x in long:
        y = stream.step(x)
    check(y, long, "one by one")


def test_chunks_of_any_lengths_give_the_statistics_of_the_whole(tmp_path, long):
    model, module = exported(tmp_path, network())
    stream, state, rng, at = model.stream(), None, np.random.default_rng(2), 0
    while at < 20_000:
        chunk = long[at : at + int(rng.choice([0, 1, 1, 2, 30, 3000]))]
        y = stream.step(chunk)
        with torch.no_grad():
            in_torch, _, state = module(torch.from_numpy(chunk)[None], state=state)
        at += len(chunk)
        if at:
            check(y, long[:at], f"{at} steps")
            check(in_torch[0].numpy(), long[:at], f"torch, {at} steps")


@pytest.mark.parametrize("correction", [0, 1])
def test_gradients_are_those_of_the_formulas_and_finite_where_nothing_varies(correction):
    layers = [s2o.SequenceInput(2), s2o.GlobalStdPool1d(correction)]
    module = s2o.build(s2o.Network(layers))
    x = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(0))
    x[1, :, 0] = 0.3
    lengths = torch.tensor([9, 4, 1])
    x.requires_grad_(True)
    module(x, lengths, return_state=False)[0].square().sum().backward()
    found, x.grad = x.grad, None
    rows = [x[0].var(0, correction=correction), x[1, :4].var(0, correction=correction)]
    torch.stack(rows).sum().backward()  # the square of a deviation; a row of one step has none
    close(found.numpy(), x.grad.numpy(), SAME, "gradient")


def test_a_row_of_no_step_or_one_has_no_deviation(tmp_path):
    for layer, expected in ((s2o.GlobalStdPool1d(1), 0), (s2o.GlobalStdPool1d(epsilon=0.25), 0.5)):
        model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(2), layer]))
        x = np.array([[3, -7]], "f")
        assert model.predict([x]).tolist() == [[expected] * 2]
        stream = model.stream()
        assert stream.step(np.zeros((0, 2))).tolist() == [expected] * 2
        assert stream.step(x).tolist() == [expected] * 2


def test_steps_that_are_no_vectors_are_refused():
    for layer in (s2o.GlobalSumPool1d(), s2o.GlobalStdPool1d()):
        with pytest.raises(s2o.errors.ShapeError, match=rf"{layer.kind}_1: .*expected \[batch, time, channels\]"):
            s2o.Network([s2o.SequenceInput((2, 4)), layer])
