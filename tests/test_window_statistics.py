"""WindowStatistics: known numbers, windows that are constant, silent, long or far from zero, and any chunks."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.layers.window_statistics import ALL
from tests import reference
from tests.comparison import FLOAT32
from tests.small_networks import exported


def statistics(tmp_path, x, *fields):
    """The statistics of x [time, channels] by a file, after a comparison with float64 and torch."""
    x = np.asarray(x, np.float32)
    layer = s2o.WindowStatistics(*fields)
    model, module = exported(tmp_path, s2o.Network([s2o.SequenceInput(x.shape[1]), layer]))
    (y,) = model.predict([x])
    expected, _ = reference.window_statistics(layer, {}, (x.astype(float),), None)
    np.testing.assert_allclose(y, expected, FLOAT32, FLOAT32)
    found = module(torch.from_numpy(x)[None])[0][0, : len(expected)]
    np.testing.assert_allclose(found.detach(), expected, FLOAT32, FLOAT32)
    return y


def test_the_statistics_of_a_sine_are_the_known_ones(tmp_path):
    x = np.sin(2 * np.pi * (np.arange(200) + 0.5) / 40)[:, None]
    for row in statistics(tmp_path, x, 100, 20):
        found = dict(zip(ALL, row, strict=True))
        assert found["crest"] == pytest.approx(np.sqrt(2), rel=0.01)
        assert found["zero_crossings"] == pytest.approx(0.04, abs=0.01)
    found = dict(zip(ALL, statistics(tmp_path, x, 40)[0], strict=True))
    assert found["mean"] == pytest.approx(0, abs=1e-6)
    assert (found["std"], found["rms"]) == (pytest.approx(np.sqrt(0.5)), pytest.approx(np.sqrt(0.5)))
    assert (found["skewness"], found["kurtosis"]) == (pytest.approx(0, abs=1e-6), pytest.approx(1.5))
    assert (found["min"], found["max"]) == (x.min().astype("f"), x.max().astype("f"))


def test_the_columns_are_statistic_by_statistic_each_over_all_channels(tmp_path):
    x = np.array([[1, 10, 100], [3, 30, 300]])
    assert statistics(tmp_path, x, 2, None, ["max", "min"]).tolist() == [[3, 30, 300, 1, 10, 100]]


@pytest.mark.parametrize("size", [1, 9.81, -1e4, 1e-9])
def test_a_constant_window_has_exactly_no_spread_however_long_it_is(tmp_path, size):
    names = ["std", "skewness", "kurtosis", "zero_crossings", "crest"]
    y = statistics(tmp_path, np.full((10_000, 1), size), 10_000, None, names)
    np.testing.assert_allclose(y, [[0, 0, 0, 0, 1]], rtol=0, atol=FLOAT32)
    assert not y[0, :4].any()


def test_silence_is_all_zeros(tmp_path):
    assert not statistics(tmp_path, np.zeros((20, 2)), 10).any()


@pytest.mark.parametrize(("scale", "offset"), [(1e-9, 0), (1e6, 0), (1, 100)])
def test_skewness_and_kurtosis_are_right_at_any_scale_and_far_from_zero(tmp_path, scale, offset):
    """Of numbers with their float32 rounding, which moments about zero would enlarge ten thousand times."""
    x = np.random.default_rng(0).exponential(size=(5000, 1)) * scale + offset
    y = statistics(tmp_path, x, 5000, None, ["skewness", "kurtosis"])
    assert y[0] == pytest.approx([2, 9], rel=0.3)


def test_a_spread_above_the_rounding_of_float32_counts(tmp_path):
    x = np.where(np.arange(1000) % 2, 1, 1 + 2**-12)[:, None]  # a variance of 1.5e-8 of the mean square
    assert statistics(tmp_path, x, 1000, None, ["kurtosis"])[0, 0] == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("padding", ["causal", "none"])
def test_chunks_of_0_to_1000_samples_give_the_statistics_of_the_whole_signal(tmp_path, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9000, 3)).astype(np.float32)
    layer = s2o.WindowStatistics(400, 160, padding=padding)
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(3), layer]))
    start, found, stream = 0, [], model.stream()
    while start < len(x):
        stop = start + int(rng.integers(0, 1001))
        found.append(stream.step(x[start:stop]))
        start = stop
    np.testing.assert_allclose(np.concatenate(found), model.predict([x])[0], rtol=0, atol=FLOAT32)


def test_a_number_that_is_none_does_not_pass_for_a_window_without_spread():
    module = s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.WindowStatistics(4)]))
    y = module(torch.tensor([1, 2, torch.nan, 4])[None, :, None])[0].flatten()
    assert torch.isnan(y[: ALL.index("zero_crossings")]).all()


def test_constant_and_silent_windows_have_finite_gradients():
    module = s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.Conv1d(1, 1), s2o.WindowStatistics(4)]))
    for value in (0.0, 3.0):
        module.zero_grad()
        module(torch.full((1, 8, 1), value), return_state=False)[0].sum().backward()
        assert all(torch.isfinite(weight.grad).all() for weight in module.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: s2o.WindowStatistics(0), "window_statistics.length: must be greater than 0; got 0"),
        (lambda: s2o.WindowStatistics(4, 2_000_000), "window_statistics.hop: must be at most 1e+06; got 2000000"),
        (lambda: s2o.WindowStatistics(4, statistics=[]), "window_statistics.statistics: "),
        (lambda: s2o.WindowStatistics(4, statistics="mean"), "window_statistics.statistics: "),
        (
            lambda: s2o.WindowStatistics(4, statistics=["median"]),
            "window_statistics.statistics.0: must be 'mean', 'std'",
        ),
        (lambda: s2o.WindowStatistics(4, statistics=["min", "min"]), "has min more than once"),
    ],
)
def test_fields_that_do_not_fit_are_named(make, message):
    with pytest.raises(s2o.SpecError, match=re.escape(message)):
        make()


def test_steps_of_several_axes_and_vectors_without_time_are_refused():
    with pytest.raises(s2o.ShapeError, match=r"expected channels of samples \[batch, time, channels\].*put a Flatten"):
        s2o.Network([s2o.SequenceInput((2, 8)), s2o.WindowStatistics(4)])
    with pytest.raises(s2o.ShapeError, match="which has no time axis"):
        s2o.Network([s2o.FeatureInput(2), s2o.WindowStatistics(4)])


def test_a_closed_loop_refuses_windows_that_must_be_full():
    def made(padding):
        return s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.WindowStatistics(3, 1, ["mean"], padding)]))

    with pytest.raises(s2o.SpecError, match='gives no output before step 3; .* use padding="causal"'):
        s2o.export(made("none"), "loop.onnx", closed_loop=4)


def test_a_step_file_refuses_windows_that_must_be_full_and_says_what_to_do(tmp_path):
    module = s2o.build(s2o.Network([s2o.SequenceInput(2), s2o.WindowStatistics(400, 160)]))
    with pytest.raises(s2o.NotStreamable, match='no result before step 400.*use padding="causal"'):
        s2o.export(module, tmp_path / "step.onnx", form="step")


def test_zero_crossings_behind_an_elu_are_those_of_the_file(tmp_path):
    """Numbers so close to 0 that exp(x) − 1 is 0 have the sign of 0 in the file, and so in torch."""
    module = s2o.build(
        s2o.Network([s2o.SequenceInput(1), s2o.ELU(), s2o.WindowStatistics(20, statistics=["zero_crossings"])])
    ).eval()
    size = 10.0 ** -np.random.default_rng(0).uniform(8, 12, (400, 1))
    x = (size * np.random.default_rng(1).choice([-1, 1], (400, 1))).astype("f")
    with torch.no_grad():
        y = module(torch.from_numpy(x)[None])[0][0].numpy()
    for form in ("dynamic", "step"):
        s2o.export(module, tmp_path / "model.onnx", form=form)
        assert np.array_equal(s2o.load(tmp_path / "model.onnx").predict([x])[0], y)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_elu_in_torch_has_the_numbers_and_gradients_of_torch_s_own(alpha):
    x = torch.tensor([-np.inf, -1e4, -90.0, -2.0, -1e-3, 0.0, 1e-9, 3.0, 1e4, np.inf], requires_grad=True)
    module = s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.ELU(alpha)]))
    own, y = torch.nn.functional.elu(x, alpha), module(x[None, :, None])[0][0, :, 0]
    torch.testing.assert_close(y, own, rtol=0, atol=1e-7)
    (expected,), (found,) = (torch.autograd.grad(given.sum(), x) for given in (own, y))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
