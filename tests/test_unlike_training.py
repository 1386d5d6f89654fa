"""Sequences unlike the training data are named: by `predict` and in the report, in numbers by `foreign`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import seq2onnx as s2o
from tests.command import run

NAMES = ["speed", "angle", "flow"]
ORIGINS = np.array([50, 0, 3])


def recordings(count, seed):
    """Channels that wander, at another level in each recording."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, 80, 3)) + rng.normal(size=(count, 1, 3))
    return list((ORIGINS + noise * [5, 0.5, 0.1]).astype("f"))


def opened(folder, layers, data=None):
    s2o.export(s2o.build(s2o.Network(layers), data), folder / "model.onnx")
    return s2o.load(folder / "model.onnx")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    data = s2o.SequenceDataset(recordings(60, 0), [0, 1] * 30, channels=NAMES)
    network = [s2o.SequenceInput(3, "zscore"), s2o.GRU(4, "last"), s2o.FullyConnected(2), s2o.Softmax()]
    return opened(tmp_path_factory.mktemp("unlike"), network, data)


def changed(change):
    """A fresh recording, changed."""

    def change_one(x):
        x = x.astype(float)
        change(x)
        return x.astype("f")

    return [change_one(x) for x in recordings(40, 1)]


def times_1000(x):
    x *= 1000


def far_away(x):
    x += 1e6


def degrees(x):
    x[:, 1] *= 180 / np.pi


def dead(x):
    x[:, 1] = 0


def stuck(x):
    x[:, 2] = x[7, 2]


@pytest.mark.parametrize(
    ("change", "channel", "guess"),
    [
        (times_1000, "speed", "another unit?"),
        (far_away, "flow", "an offset, or another unit?"),
        (degrees, "angle", "another unit?"),
        (dead, "angle", "is its sensor dead or stuck?"),
        (stuck, "flow", "is its sensor dead or stuck?"),
    ],
)
def test_predict_names_the_channel_once(model, change, channel, guess):
    with pytest.warns(s2o.Seq2OnnxWarning, match=f"unlike-training: .*{channel} is [0-9,]+ standard") as caught:
        model.predict(changed(change))
    (warning,) = caught
    assert guess in str(warning.message)
    assert "40 of 40 sequences" in str(warning.message)
    assert warning.filename == __file__
    assert (model.foreign(changed(change))[:, NAMES.index(channel)] > 8).mean() >= 0.9
    with pytest.warns(s2o.Seq2OnnxWarning, match="1 of 1 sequences"):
        model.predict(changed(change)[:1])


def test_fresh_recordings_are_not_named(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(recordings(200, 2))
        model.predict(iter(recordings(20, 3)))
        one = changed(times_1000)[:1] + recordings(40, 4)
        model.predict(one)  # one of many is no reason
    found = model.foreign(recordings(200, 2))
    assert found.shape == (200, 3)
    assert found.max() < 8
    assert model.foreign(one)[0].min() > 100


def test_a_number_of_foreign_is_the_largest_of_three(model):
    """Mean 3 deviations of recordings away; spread as of training; steps as of training."""
    statistics = model.contract.data_info.training_statistics.inputs["sequence_input_1"]
    x = recordings(1, 5)[0].astype(float)
    x = (x - x.mean(0)) / x.std(0) * np.exp(statistics.mean_of_log_spreads)
    x += np.array(statistics.mean_of_means) + 3 * np.array(statistics.std_of_means)
    assert np.allclose(model.foreign([x]), 3, atol=1e-3)
    x = recordings(1, 5)[0].astype(float)
    x = (x - x.mean(0)) / x.std(0)
    x *= np.exp(np.array(statistics.mean_of_log_spreads) - 9 * np.maximum(statistics.std_of_log_spreads, 160**-0.5))
    assert np.allclose(model.foreign([x + statistics.mean_of_means]), 9, atol=1e-3)


def test_one_training_recording_says_little_of_levels(tmp_path):
    """A slow wave: parts of it have other means and spreads, which is no reason to warn."""
    wave = np.sin(np.arange(4000) / 300)[:, None].astype("f")
    layers = [s2o.SequenceInput(1, "zscore"), s2o.GRU(2), s2o.FullyConnected(1)]
    model = opened(tmp_path, layers, s2o.SequenceDataset([wave], [wave]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict([wave[:100], wave[300:500]])
    with pytest.warns(s2o.Seq2OnnxWarning, match="channel 0 of"):
        model.predict([1000 * wave])


def test_files_without_statistics_give_nan_and_one_warning(tmp_path):
    model = opened(tmp_path, [s2o.SequenceInput(2), s2o.GRU(2)])
    x = np.ones((5, 2), "f")
    with pytest.warns(s2o.Seq2OnnxWarning, match="no-statistics: .*model.onnx: does not say") as caught:
        assert np.isnan(model.foreign([x, x])).all()
    assert len(caught) == 1
    stream = model.stream()
    with pytest.warns(s2o.Seq2OnnxWarning, match="no-statistics"):
        assert np.isnan(stream.foreign).all()
    stream.step(x)
    assert np.isnan(stream.foreign).all()
    assert stream.foreign.shape == (2,)


def test_tokens_have_no_distance(tmp_path):
    model = opened(tmp_path, [s2o.SequenceInput("tokens"), s2o.WordEmbedding(3, 9), s2o.GRU(2)])
    for of in (lambda: model.foreign([[1, 2]]), lambda: model.stream().foreign):
        with pytest.raises(s2o.SpecError, match="takes tokens"):
            of()


def test_several_inputs_and_gaps(tmp_path):
    rng = np.random.default_rng(0)
    layers = [
        s2o.SequenceInput(2, "zscore", missing=True, name="a"),
        s2o.Missing(name="filled"),
        s2o.FeatureInput(3, name="b"),
        s2o.Concat(inputs=["filled", "b"]),
        s2o.GRU(2),
    ]
    x = {"a": list(rng.normal(size=(20, 30, 2)).astype("f")), "b": rng.normal(size=(20, 3)).astype("f")}
    model = opened(tmp_path, layers, s2o.SequenceDataset(x))
    x["a"][0][:5] = np.nan
    x["a"][1][:] = np.nan
    found = model.foreign(x)
    assert {name: array.shape for name, array in found.items()} == {"a": (20, 2), "b": (20, 3)}
    assert np.isnan(found["a"][1]).all()
    assert np.isfinite(found["a"][0]).all()
    assert np.isfinite(found["b"]).all()
    x["b"] = 100 * x["b"]
    with pytest.warns(s2o.Seq2OnnxWarning, match="of b is"):
        model.predict(x)


def test_a_stream_measures_from_the_first_question_on(model):
    stream, plain = model.stream(), model.stream()
    stream.step(recordings(1, 6)[0])
    assert np.isnan(stream.foreign).all()  # begins here
    rng = np.random.default_rng(7)
    for part in np.split((ORIGINS + rng.normal(size=(900, 3)) * [5, 0.5, 0.1]).astype("f"), [1, 2, 3, 100]):
        stream.step(part[0] if len(part) == 1 else part)
    assert stream.foreign.shape == (3,)
    assert stream.foreign.max() < 5
    with pytest.raises(s2o.ShapeError):
        stream.step(np.zeros(4, "f"))
    with pytest.raises(s2o.DataError):
        stream.step(np.full(3, np.nan, "f"))
    assert stream.foreign.max() < 5  # refused steps do not count
    for _ in range(100):
        stream.step(np.tile(ORIGINS.astype("f"), (80, 1)))
    assert stream.foreign.min() > 8  # it does not change any more
    stream.reset()
    assert np.isnan(stream.foreign).all()
    x = recordings(1, 8)[0]
    assert np.array_equal(stream.step(x), plain.step(x))
    (expected,) = model.foreign([x])
    assert np.allclose(stream.foreign, expected, rtol=0.1)  # with other weights of the steps


def test_the_report_says_it(model, tmp_path):
    pytest.importorskip("matplotlib")
    s2o.SequenceDataset(changed(degrees), channels=NAMES).save(tmp_path / "new.npz")
    with pytest.warns(s2o.Seq2OnnxWarning, match="unlike-training: angle is"):
        run("report", model.path, tmp_path / "new.npz", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("standard deviations from the training data") == 1
    assert "Angle is" in page
