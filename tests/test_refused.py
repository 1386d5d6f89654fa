"""Data, targets and networks with which training would seem to work and learn nothing are refused."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from tests.conftest import CLASSES, random_data, small_network
from tests.test_training import options


def with_targets(targets, **more):
    return s2o.SequenceDataset(random_data().sequences, targets, **more)


@pytest.mark.parametrize("loss", [None, "mse", "mae", "huber"])
@pytest.mark.parametrize("normalize_targets", [False, True])
def test_one_hot_targets_with_softmax_are_refused(loss, normalize_targets):
    one_hot = np.eye(3)[np.arange(12) % 3]
    with pytest.raises(s2o.SpecError, match=r"softmax_1 gives the probabilities of classes, but .*argmax\(-1\)"):
        s2o.train(small_network(), with_targets(one_hot), None, loss, normalize_targets, options())
    assert s2o.train(small_network(), with_targets(one_hot.argmax(-1)), options=options()).module.classes == [0, 1, 2]


def test_one_hot_targets_of_each_step_are_refused():
    rows = [np.eye(3)[np.arange(len(x)) % 3] for x in random_data().sequences]
    with pytest.raises(s2o.SpecError, match="softmax_1 gives the probabilities of classes"):
        s2o.train(small_network("sequence"), with_targets(rows), options=options())


def test_numbers_with_a_final_softmax_are_refused_but_not_for_a_function():
    net = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1), s2o.Softmax()])
    data = with_targets(np.linspace(0, 300, 12))
    with pytest.raises(s2o.SpecError, match="Integers and strings are labels, floats are numbers"):
        s2o.train(net, data, options=options())
    s2o.train(net, data, loss=lambda y, target: (y[:, 0] - target).abs(), options=options(epochs=1))


REGRESSOR = [s2o.SequenceInput(4), s2o.LSTM(3, "last"), s2o.FullyConnected(1)]


@pytest.mark.parametrize(
    ("network", "targets", "loss", "message"),
    [
        (REGRESSOR, np.arange(12), None, r"must end with Softmax.*If the targets are numbers, give them as floats"),
        (REGRESSOR, np.arange(12), "mse", r"needs numbers as targets, got labels. .* targets.astype\(float\)"),
        ([*REGRESSOR, s2o.Softmax()], np.arange(12), None, "size 12, .* If the targets are numbers, give them as fl"),
        (small_network().layers, np.arange(12.0) % 3, None, r"softmax_1 gives .* of whole numbers targets.astype\(int"),
        (small_network().layers, np.arange(12.0) % 3, "crossentropy", r"needs labels .*, got numbers. .*astype\(int\)"),
        (
            small_network().layers[:-1],
            np.arange(12.0) % 3,
            None,
            "size 1, .* If the targets are labels, give them as i",
        ),
    ],
)
def test_messages_say_that_integers_are_labels_and_floats_are_numbers(network, targets, loss, message):
    with pytest.raises(s2o.Seq2OnnxError, match=message):
        s2o.train(s2o.Network(list(network)), with_targets(targets), loss=loss, options=options())


# Windows -------------------------------------------------------------------------------------------------------------


def windows(**conv):
    middle = [s2o.Conv1d(6, 4, **conv), s2o.MaxPool1d(2, stride=2), s2o.Conv1d(6, 3)]
    head = [s2o.GlobalAvgPool1d(), s2o.FullyConnected(3), s2o.Softmax()]
    return s2o.Network([s2o.SequenceInput(4), *middle, *head])


def of_lengths(*lengths):
    return s2o.SequenceDataset([np.ones((n, 4)) * i for i, n in enumerate(lengths)], ["left"] * len(lengths), CLASSES)


def test_sequences_too_short_for_the_windows_are_refused():
    """With 8 steps the second convolution has no window: every sequence got the same answer."""
    message = "sequence 1: has 8 steps, but the windows up to conv1d_2 need at least 9. Remove or lengthen it"
    with pytest.raises(s2o.DataError, match=message):
        s2o.train(windows(), of_lengths(9, 8, 12, 3), options=options())
    s2o.train(windows(), of_lengths(9, 9, 12), options=options(epochs=1))
    with pytest.raises(s2o.DataError, match=f"validation: {message}"):
        s2o.train(windows(), of_lengths(9, 12), of_lengths(9, 8), options=options())


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ({"sequence_length": 9}, False),
        ({"sequence_length": 8}, "sequence 0: has 9 steps, with sequence_length=8 8 steps, but"),
        ({"sequence_length": 8, "mask_padding": False}, "sequence 0: .*, with sequence_length=8 8 steps"),
        ({"mask_padding": False}, False),
        ({"sequence_length": "shortest"}, False),
    ],
)
def test_the_steps_that_count_are_those_that_the_policy_leaves(policy, refused):
    if not refused:
        s2o.train(windows(), of_lengths(9, 12), options=options(epochs=1, **policy))
        return
    with pytest.raises(s2o.DataError, match=refused):
        s2o.train(windows(), of_lengths(9, 12), options=options(**policy))


def test_padding_that_is_data_lengthens_short_sequences():
    s2o.train(windows(), of_lengths(3, 12), options=options(epochs=1, sequence_length=12, mask_padding=False))
    s2o.train(windows(), of_lengths(3, 12), options=options(epochs=1, mask_padding=False))
    with pytest.raises(s2o.DataError, match="sequence 0: has 3 steps"):
        s2o.train(windows(), of_lengths(3, 12), options=options(epochs=1))


def test_the_fewest_steps_are_the_smallest_number_that_gives_a_step():
    kernels, strides, dilations, pads = (1, 2, 5), (1, 2, 3), (1, 2), (0, "same", "causal", (1, 0))
    choices = list(itertools.product(kernels, strides, dilations, pads))
    rng = np.random.default_rng(0)
    for _ in range(60):
        some = [choices[i] for i in rng.integers(len(choices), size=3)]
        layers = [s2o.Conv1d(1, k, stride, dilation, padding) for k, stride, dilation, padding in some]
        clock = s2o.Network([s2o.SequenceInput(1), *layers]).signals["conv1d_3"].clock
        assert clock.fewest_steps == next(n for n in range(1, 1000) if clock.length(n)), some


# Images --------------------------------------------------------------------------------------------------------------


def images(*size):
    head = [s2o.Flatten(), s2o.LSTM(2, "last"), s2o.FullyConnected(2), s2o.Softmax()]
    return s2o.Network([s2o.SequenceInput(size), *head]), s2o.SequenceDataset([np.ones((2, *size))] * 4, ["a", "b"] * 2)


@pytest.mark.parametrize("size", [(64, 64, 3), (32, 48, 1), (16, 16, 4)])
def test_images_with_channels_last_are_warned_of(size):
    network, data = images(*size)
    height, width, channels = size
    message = rf"{height} channels of {width} × {channels} pixels.*channels first: size \({channels}, {height}, {width}"
    with pytest.warns(UserWarning, match=message):
        s2o.build(network, data)
    with pytest.warns(UserWarning, match=message):
        s2o.train(network, data, options=options(epochs=1))


@pytest.mark.parametrize("size", [(3, 64, 64), (1, 28, 28), (16, 8, 8), (64, 8, 3), (4, 4, 4)])
def test_images_with_channels_first_are_not(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s2o.build(*images(*size))


@pytest.mark.parametrize(
    ("size", "layer"),
    [
        ((64, 64, 3), s2o.Conv2d(4, 5)),
        ((28, 1), s2o.Conv1d(4, 3, axis="space")),
        ((28, 1), s2o.MaxPool1d(2, axis="space")),
        ((28,), s2o.AvgPool1d(2, axis="space")),
        ((28, 3), s2o.Conv2d(4, 5)),
    ],
    ids=str,
)
def test_windows_that_do_not_fit_say_channels_first(size, layer):
    with pytest.raises(s2o.ShapeError, match="channels first"):
        s2o.Network([s2o.SequenceInput(size if len(size) > 1 else size[0]), layer])


def test_the_networks_that_are_refused_would_have_learned_nothing():
    """Why: what a network answers for sequences of 8 steps does not depend on them."""
    module = s2o.build(windows()).eval()
    a, b = (module(torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(seed)))[0] for seed in (1, 2))
    assert torch.equal(a, b)


# Values that float32 cannot tell apart -------------------------------------------------------------------------------


def with_times(times):
    rng = np.random.default_rng(0)
    sequences = [np.stack([rng.normal(size=50), times + 1000 * i], 1) for i in range(4)]
    return s2o.SequenceDataset([x.astype(times.dtype) for x in sequences])


@pytest.mark.parametrize("times", [1.7e9 + np.arange(50), 1_700_000_000 + np.arange(50), 1.7e9 + np.arange(50) / 100])
def test_unix_times_are_warned_of(times):
    """Of 50 different times, 1 is left."""
    with pytest.warns(
        UserWarning, match="feature 1 loses 19[0-9] of 196 changes.* Subtract the first value of each seq"
    ):
        with_times(times)
    named = {"sensor": [np.stack([times, times], 1)], "other": [np.ones((50, 2))]}
    with pytest.warns(UserWarning, match=r"sequences of sensor: feature 0 \(and 1 more\) loses"):
        s2o.SequenceDataset(named)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(50.0),
        np.float32(1.7e9) + np.arange(50, dtype=np.float32),  # was float32 already
        np.full(50, 1.7e9),
        np.random.default_rng(0).normal(1000, 1, 50),
        np.full(50, 0.3) + np.resize([0, 2**-54], 50),  # rounding errors
        1.7e9 + 3600.0 * np.arange(50),
        np.full(50, np.inf),
    ],
    ids=["small", "float32", "constant", "offset", "rounding", "hours", "infinite"],
)
def test_values_that_float32_tells_apart_are_not_warned_of(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_times(values)
        s2o.SequenceDataset([np.arange(50)])  # tokens
