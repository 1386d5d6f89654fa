"""Quantiles: the loss, the coverage, calibration, and what files and commands say of them."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.evaluation.quantiles import measure_coverage
from seq2onnx.evaluation.scores import evaluate
from seq2onnx.training.losses import CROSSING, LOSSES, quantile_loss
from tests.command import run
from tests.conftest import built

QUANTILES = (0.05, 0.5, 0.95)
OPTIONS = s2o.TrainingOptions(epochs=40, batch_size=64, learning_rate=5e-3, progress=False, device="cpu", threads=1)


def series(count, seed, per_step=False):
    """The target is the mean of the first feature, with noise whose size is the second."""
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=(n, 2)) for n in rng.integers(8, 16, count)]
    x = [np.column_stack([a[:, 0] + rng.normal(), np.full(len(a), rng.uniform(0.1, 1))]) for a in x]
    if per_step:
        return s2o.SequenceDataset(x, [a[:, 0] + a[:, 1] * rng.normal(size=len(a)) for a in x], per_step=True)
    return s2o.SequenceDataset(x, np.array([10 + a[:, 0].mean() + a[0, 1] * rng.normal() for a in x]))


def network(size=3, mode="last"):
    return s2o.Network([s2o.SequenceInput(2, "zscore"), s2o.GRU(16, mode), s2o.FullyConnected(size)])


@pytest.fixture(scope="module")
def overfitted():
    """A network that has learned 80 sequences by heart."""
    return s2o.train(network(), series(80, 0), series(200, 1), "quantile", True, OPTIONS)


@pytest.fixture(scope="module")
def calibrated(overfitted):
    return s2o.calibrate_quantiles(overfitted.module, series(1000, 2))


@pytest.fixture(scope="module")
def file(calibrated, tmp_path_factory):
    path = tmp_path_factory.mktemp("quantiles") / "bands.onnx"
    s2o.export(calibrated, path)
    return path


def test_the_loss_is_the_mean_pinball_loss():
    y, target = torch.tensor([[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]]), torch.tensor([[1.5], [4.0]])
    expected = [(0.05 * 1.5 + 0.5 * 0.5 + 0.05 * 0.5) / 3, (0.95 * 1 + 0.5 * 2 + 0.05 * 3) / 3]
    np.testing.assert_allclose(LOSSES["quantile"].function(y, target), expected, rtol=1e-6)
    np.testing.assert_allclose(LOSSES["quantile"].function(y, target[:, 0]), expected, rtol=1e-6)


def test_quantiles_that_cross_cost_more_than_sorted_ones():
    loss = quantile_loss([0.1, 0.9])
    crossed, ordered = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    pinball = (0.9 * 0.5 + 0.9 * 0.5) / 2
    np.testing.assert_allclose(loss.function(crossed, torch.tensor([1.5])), pinball + CROSSING / 2, rtol=1e-6)
    np.testing.assert_allclose(loss.function(ordered, torch.tensor([1.5])), (0.1 * 0.5 + 0.1 * 0.5) / 2, rtol=1e-6)


def test_coverage_counts_what_lies_below_and_within():
    found = measure_coverage([[0, 1, 2], [0, 1, 2], [0, 1, 2], [3, 2, 4]], [0, 1.5, 2.5, 3], QUANTILES)
    assert found.below == (0.5, 0.25, 0.75)
    assert found.bands == ((0.05, 0.95, 0.75, 1.75),)
    assert (found.bands[0].expected, found.crossings, found.count) == (0.9, 0.25, 4)


def test_calibration_makes_the_bands_of_an_overfitted_network_right(overfitted, calibrated, file):
    fresh = series(4000, 3)
    before = overfitted.coverage.bands[0].covered
    after = evaluate(s2o.load(file), fresh).coverage
    assert before < 0.85
    assert 0.87 <= after.bands[0].covered <= 0.93
    np.testing.assert_allclose(after.below, QUANTILES, atol=0.03)
    assert after.crossings <= 0.001
    np.testing.assert_array_equal(overfitted.module.network.outputs, ["rescale_1"])  # it did not change
    assert [layer.kind for layer in calibrated.network.layers[-2:]] == ["rescale", "rescale"]


@pytest.mark.parametrize("mode", ["last", "sequence"])
def test_the_shares_of_the_calibration_data_are_the_quantiles(mode):
    """In the data of the calibration, the rank of a shift is known exactly; targets that are NaN do not count."""
    data = series(60, 4, per_step=mode == "sequence")
    if mode == "last":
        data = s2o.SequenceDataset(
            list(data.parts[""]), np.where(np.arange(60) == 7, np.nan, data.targets), ignore=np.nan
        )
    module = built(network(mode=mode), data)
    module.quantiles = QUANTILES
    found = s2o.calibrate_quantiles(module, data)
    again = s2o.calibrate_quantiles(found, data)
    shifts = np.array(again.network.layers[-1].offset)
    np.testing.assert_allclose(shifts, 0, atol=1e-5)
    assert found.quantiles == QUANTILES
    scale, offset = found.network.layers[-1].scale, found.network.layers[-1].offset
    with torch.no_grad():
        y = [module(torch.tensor(x[None], dtype=torch.float32))[0][0].numpy() for x in data.parts[""]]
    truth = np.concatenate([np.ravel(t) for t in data.targets])
    known = ~np.isnan(truth)
    errors = np.sort(truth[known, None] - np.vstack(y)[known].astype(float), 0)
    n = len(errors)
    ranks = [int((n + 1) * 0.05), -int(-(n + 1) // 2), -int(-(n + 1) * 0.95 // 1)]
    assert scale == 1
    np.testing.assert_allclose(offset, [errors[rank - 1, k] for k, rank in enumerate(ranks)], atol=1e-5)


def test_without_undoes_the_calibration(overfitted, calibrated):
    x = torch.zeros(1, 5, 2)
    back = s2o.without(calibrated, calibrated.network.outputs[0])
    np.testing.assert_array_equal(back(x)[0].detach(), overfitted.module(x)[0].detach())
    assert back.quantiles == QUANTILES


def test_the_file_says_which_quantiles_its_columns_are(file, calibrated, tmp_path):
    model = s2o.load(file)
    assert (model.contract.answer, model.quantiles, model.metadata["format_version"]) == ("quantiles", [*QUANTILES], 1)
    assert "0.05, 0.5, 0.95" in run("inspect", file)[0]
    restored = s2o.restore(file)
    assert restored.quantiles == QUANTILES
    s2o.export(restored, tmp_path / "again.onnx")
    assert s2o.load(tmp_path / "again.onnx").quantiles == [*QUANTILES]


def test_the_commands_train_with_quantiles_and_say_what_the_columns_are(tmp_path):
    network().save(tmp_path / "net.yaml")
    series(60, 0).save(tmp_path / "data.npz")
    command = ["train", tmp_path / "net.yaml", tmp_path / "data.npz", "--out", tmp_path / "run", "--loss", "quantile"]
    command += ["--set", "epochs=2", "--set", "device=cpu", "--normalize-targets", "--validation", "0.25"]
    out, _ = run(*command, "--quantiles", "0.1,0.5,0.9")
    assert "0.1 to 0.9" in out
    run("export", tmp_path / "run", "--out", tmp_path / "model.onnx")
    table, _ = run("predict", tmp_path / "model.onnx", tmp_path / "data.npz")
    assert table.splitlines()[0] == "index,q0.1,q0.5,q0.9"
    figures = tmp_path / "figures.json"
    text, _ = run("evaluate", tmp_path / "model.onnx", tmp_path / "data.npz", "--by", "file", "--json", figures)
    assert "quantile 0.9" in text
    band = json.loads(figures.read_text())["bands"][0]
    found = evaluate(s2o.load(tmp_path / "model.onnx"), series(60, 0)).coverage
    assert (band["expected"], band["covered"]) == (0.8, found.bands[0].covered)
    assert "validation_crossings" in json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert s2o.training.load_run(tmp_path / "run").quantiles == (0.1, 0.5, 0.9)
    resumed = [*command[:-3], "--validation", "0.25", "--set", "epochs=3", "--resume"]
    assert "quantiles" in run(*resumed, "--normalize-targets", "--quantiles", "0.2,0.5,0.9", code=2)[1]
    run("report", tmp_path / "run", tmp_path / "data.npz")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "0.1 to 0.9" in page
    assert "Bands of the first sequences" in page


def test_training_goes_on_with_the_quantiles_of_the_module(overfitted):
    module = s2o.append(overfitted.module, [s2o.Rescale(1, 0)])
    module.quantiles = (0.2, 0.5, 0.8)
    options = s2o.TrainingOptions(epochs=1, progress=False, device="cpu")
    result = s2o.train(module, series(30, 5), loss="quantile", options=options)
    assert result.coverage.quantiles == (0.2, 0.5, 0.8)
    assert s2o.train(network(1), series(30, 5), options=options).coverage is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": network(1)}, "expected an output of size 3, one for each of the quantiles 0.05, 0.5, 0.95, got 1"),
        ({"quantiles": (0.5, 0.1)}, "quantiles: expected increasing numbers between 0 and 1"),
        ({"quantiles": (0.5, 1)}, "quantiles: expected increasing"),
        ({"quantiles": 0.5}, "quantiles: expected increasing"),
        ({"quantiles": ()}, "quantiles: expected increasing"),
        ({"quantiles": (0.5,), "loss": "mse"}, "quantiles: belong to loss=\"quantile\", got loss='mse'"),
        ({"data": s2o.SequenceDataset([np.zeros((3, 2))], np.zeros((1, 2)))}, "needs one number as target of each seq"),
        ({"data": s2o.SequenceDataset([np.zeros((3, 2))], ["a"])}, "needs numbers as targets, got labels"),
        ({"options": s2o.TrainingOptions(metrics=("rmse",))}, "options.metrics: there are none of quantiles"),
    ],
)
def test_what_does_not_fit_is_an_error(arguments, message):
    arguments = {"network": network(), "data": series(4, 0), "loss": "quantile"} | arguments
    with pytest.raises(s2o.Seq2OnnxError, match=message):
        s2o.train(**arguments)


def test_calibration_refuses_other_modules_and_too_few_targets(overfitted):
    with pytest.raises(s2o.SpecError, match='trained with loss="quantile", got another module'):
        s2o.calibrate_quantiles(built(network(), series(4, 0)), series(30, 0))
    with pytest.raises(s2o.DataError, match="the quantile 0.05 needs at least 19 targets, got 18"):
        s2o.calibrate_quantiles(overfitted.module, series(18, 0))
    s2o.calibrate_quantiles(overfitted.module, series(19, 0))
    with pytest.raises(s2o.DataError, match="has none"):
        s2o.calibrate_quantiles(overfitted.module, s2o.SequenceDataset(list(series(30, 0).parts[""])))


def test_quantiles_are_not_fed_back(tmp_path):
    module = built(s2o.Network([s2o.SequenceInput(3), s2o.GRU(4), s2o.FullyConnected(3)]), None)
    module.quantiles = QUANTILES
    with pytest.raises(s2o.SpecError, match="closed_loop: the outputs of this network are quantiles"):
        s2o.export(module, tmp_path / "loop.onnx", closed_loop=4)
    s2o.export(module, tmp_path / "bands.onnx")
    with pytest.raises(s2o.SpecError, match="its outputs are quantiles"):
        s2o.load(tmp_path / "bands.onnx").forecast([np.zeros((5, 3))], 4)


def test_the_picture_marks_what_lies_outside():
    from matplotlib.figure import Figure

    draw = functools.partial(s2o.plots.bands_over_time, [1, 5, np.nan], [[0, 1, 2]] * 3, QUANTILES)
    ax = draw(ax=Figure().add_subplot())
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    assert lines["true, outside"] == [[2, 5]]
    assert lines["quantile 0.5"] == [[1, 1], [2, 1], [3, 1]]
    assert [band.get_label() for band in ax.collections] == ["0.05 to 0.95: 90 %"]
    with pytest.raises(s2o.ShapeError, match=r"predicted: expected \[3, 2\]"):
        s2o.plots.bands_over_time([1, 5, 2], [[0, 1, 2]] * 3, (0.1, 0.9))
