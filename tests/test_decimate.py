"""Decimate: the filter of scipy, without aliases, in any chunks; the sample rate of a file that has one."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy.signal import decimate, firwin

import seq2onnx as s2o
from seq2onnx.layers.decimate import low_pass
from tests.comparison import FLOAT32
from tests.small_networks import exported

SCIPY = 1e-6


@pytest.mark.parametrize("factor", [2, 3, 6, 10, 1000])
def test_the_filter_is_that_of_scipy(factor):
    np.testing.assert_allclose(low_pass(factor), firwin(20 * factor + 1, 1 / factor), rtol=0, atol=SCIPY)


@pytest.mark.parametrize("factor", [2, 3, 7, 48])
def test_the_gain_is_1_below_the_new_nyquist_frequency_and_nothing_passes_above(factor):
    gains = np.abs(np.fft.rfft(low_pass(factor), 2**18))
    decibels, frequency = 20 * np.log10(np.maximum(gains, 1e-12)), np.linspace(0, factor, len(gains))  # 1: Nyquist
    assert np.abs(decibels[frequency <= 0.8]).max() <= 0.1
    assert decibels[frequency >= 1.2].max() <= -50


@pytest.mark.parametrize(("factor", "channels"), [(2, 1), (3, 2), (6, 1)])
def test_the_numbers_are_those_of_scipy_10_steps_later_in_every_form_of_file(tmp_path, factor, channels):
    x = np.random.default_rng(0).normal(size=(60 * factor + 1, channels)).astype(np.float32)
    # scipy's steps have their middle at samples 0, factor, …; ours end at sample factor − 1, 2 · factor − 1, …
    aligned = np.pad(x, ((1, 0), (0, 0)))[: 60 * factor]
    expected = decimate(np.pad(aligned.astype(float), ((0, 20 * factor), (0, 0))), factor, ftype="fir", axis=0)
    for options in ({}, {"signature": "sequence"}, {"form": "step"}, {"form": "portable"}):
        model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(channels), s2o.Decimate(factor)]), **options)
        (y,) = model.predict([x[: 60 * factor]])
        assert y.shape == (60, channels)
        np.testing.assert_allclose(y[10:], expected[1:51], rtol=0, atol=FLOAT32)


def test_a_tone_above_the_new_nyquist_frequency_leaves_nothing_behind(tmp_path):
    """Every third sample of 7 kHz at 24 kHz would be a tone of 1 kHz."""
    time = np.arange(24000) / 24000
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(1), s2o.Decimate(3)]))
    low, high = (np.sin(2 * np.pi * hertz * time).astype("f")[:, None] for hertz in (1000, 7000))
    assert model.predict([low])[0][40:].std() == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert np.abs(model.predict([high])[0][40:]).max() < 0.0032


def test_chunks_of_0_to_1000_samples_give_the_whole_signal(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9000, 3)).astype(np.float32)
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(3), s2o.Decimate(7)]))
    start, found, stream = 0, [], model.stream()
    while start < len(x):
        stop = start + int(rng.choice([0, 1, 6, 7, 8, 1000]))
        found.append(stream.step(x[start:stop]))
        start = stop
    np.testing.assert_allclose(np.concatenate(found), model.predict([x])[0], rtol=0, atol=FLOAT32)


def test_the_sample_rate_of_a_file_is_that_of_its_mel_spectrogram_times_the_factors_before_it(tmp_path):
    layers = [s2o.SequenceInput(1), s2o.Decimate(3), s2o.Decimate(2), s2o.MelSpectrogram(8000, 200, 80, 20)]
    model, _ = exported(tmp_path, s2o.Network(layers))
    assert model.contract.sample_rate == 48000
    assert model.contract.time_stride == 480
    stream = model.stream()
    assert [len(stream.step(np.zeros((480, 1), "f"))) for _ in range(3)] == [1, 1, 1]


def test_a_branch_with_frames_of_the_same_steps_can_be_joined(tmp_path):
    """Both have as many steps in any chunk, also where none is due."""
    x = [s2o.SequenceInput(2, name="x"), s2o.Decimate(4, name="a", inputs=["x"])]
    join = [s2o.WindowStatistics(9, 4, ["max"], "causal", name="b", inputs=["x"]), s2o.Concat(inputs=["a", "b"])]
    model, _ = exported(tmp_path, s2o.Network([*x, *join]))
    signal = np.random.default_rng(0).normal(size=(50, 2)).astype("f")
    stream = model.stream()
    found = np.concatenate([stream.step(signal[i : i + 1]) for i in range(50)])
    np.testing.assert_allclose(found, model.predict([signal])[0], rtol=0, atol=FLOAT32)


def test_gradients_pass_the_filter():
    x = torch.zeros(1, 50, 1, requires_grad=True)
    s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.Decimate(2)]))(x)[0][0, -1].sum().backward()
    np.testing.assert_allclose(x.grad[0, 9:, 0], low_pass(2), rtol=0, atol=SCIPY)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: s2o.Decimate(1), s2o.SpecError, "decimate.factor: must be at least 2; got 1"),
        (lambda: s2o.Decimate(2000), s2o.SpecError, "decimate.factor: must be at most 1000; got 2000"),
        (lambda: s2o.Decimate(2.5), s2o.SpecError, "decimate.factor: "),
        (
            lambda: s2o.Network([s2o.SequenceInput((2, 8)), s2o.Decimate(4)]),
            s2o.ShapeError,
            "decimate_1: expected channels of samples [batch, time, channels], got [batch, time, 2, 8]",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()
