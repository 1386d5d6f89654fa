"""Quantiles: the loss, the coverage, calibration, and what files and commands say of them."""

from __future__ import annotations

import functools
import json
from statistics import NormalDist

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.evaluation.quantiles import measure_coverage
from seq2onnx.evaluation.scores import evaluate
from seq2onnx.training.calibration import expected_coverage
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
    truth = [np.atleast_1d(t) for t in data.targets]
    known = [k for k, t in enumerate(truth) if not np.isnan(t).any()]
    errors = [truth[k][:, None] - np.reshape(y[k], (-1, 3)).astype(float) for k in known]
    assert scale == 1
    # Of 60 or 59 sequences, and one more with any errors, each counts once, however many steps it has.
    counts = len(known) + 1
    for k, (q, sign) in enumerate(zip(QUANTILES, (-1, 1, 1), strict=True)):
        level = max(q, 1 - q)
        reached = [
            s
            for s in sign * np.concatenate(errors)[:, k]
            if sum(np.mean(sign * e[:, k] <= s) for e in errors) >= counts * level - 1e-9
        ]
        np.testing.assert_allclose(sign * offset[k], min(reached), atol=1e-5)


def engines(count, noise, rng):
    """Engines whose wear is alike at all of their steps, of which there are 20 to 200."""
    wear = [rng.normal() + noise * rng.normal(size=(n, 1)) for n in rng.integers(20, 200, count)]
    return s2o.SequenceDataset([np.zeros((len(y), 2)) for y in wear], wear, per_step=True)


@pytest.mark.parametrize(("noise", "most"), [(0.01, 0.925), (0.3, 0.975)])
def test_20_engines_cover_the_nominal_rate(noise, most, capsys):
    """On average over 300 draws of 20 engines. If steps counted instead of engines, it would be 85 %."""
    module = s2o.build(network(2, mode="sequence"))
    with torch.no_grad():
        for weights in module.parameters():
            weights.zero_()
    module.quantiles = (0.05, 0.95)
    new = NormalDist(0, np.hypot(1, noise))  # the steps of new engines
    covered = []
    for seed in range(300):
        calibrated = s2o.calibrate_quantiles(module, engines(20, noise, np.random.default_rng(seed)))
        low, high = calibrated.network.layers[-1].offset
        covered.append(new.cdf(high) - new.cdf(low))
    # 90.5 % is promised, and is what steps give that are all alike; the mean of the draws has an error of 0.4 %.
    assert 0.89 < np.mean(covered) < most
    assert capsys.readouterr().err.splitlines()[:2] == [
        "calibrated on 20 sequences, whose steps count together",
        "  0.05 to 0.95: covers at least 90.5 % on average, 75 to 99 % in 95 % of cases",
    ]
    assert np.mean(np.array(covered) > 0.75) > 0.95


def test_what_is_said_of_the_coverage_is_what_happens():
    """Of single numbers, over 20,000 draws: the share of new numbers between two order statistics."""
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.uniform(size=(20_000, 60)))
    covered = drawn[:, 57] - drawn[:, 2]  # ranks 3 and 58 of 61
    mean, least, most = expected_coverage(0.05, 0.95, 60)
    assert covered.mean() == pytest.approx(mean, abs=0.002)
    np.testing.assert_allclose(np.quantile(covered, (0.025, 0.975)), (least, most), atol=0.003)


def test_a_single_series_is_calibrated_on_its_steps(capsys):
    module = built(network(mode="sequence"), series(4, 0))
    module.quantiles = QUANTILES
    x = np.random.default_rng(0).normal(size=(500, 2))
    data = s2o.SequenceDataset([x], [x[:, :1]], per_step=True)
    found = s2o.calibrate_quantiles(module, data)
    y = found(torch.tensor(x[None], dtype=torch.float32))[0][0].detach().numpy()
    np.testing.assert_allclose((x[:, :1] <= y).mean(0), QUANTILES, atol=0.005)
    assert "how much a band covers of another one is not known" in capsys.readouterr().err
    s2o.calibrate_quantiles(module, data, progress=False)
    assert capsys.readouterr().err == ""


def test_a_forecast_of_a_day_has_quantiles_for_each_hour(tmp_path, capsys):
    """The further away, the less is known: of a random walk, bands grow with the root of the steps."""
    rng = np.random.default_rng(0)
    walks = [np.cumsum(rng.normal(size=(n, 1)), 0).astype("f") for n in rng.integers(30, 60, 150)]
    data, unseen, test = (s2o.SequenceDataset.next_step(w, horizon=4) for w in (walks[:60], walks[60:110], walks[110:]))
    # The last value, and a number for each quantile of each step.
    layers = [s2o.SequenceInput(1), s2o.FullyConnected(12)]
    options = s2o.TrainingOptions(epochs=60, batch_size=20, learning_rate=0.05, progress=False, device="cpu", threads=1)
    result = s2o.train(s2o.Network(layers), data, unseen, "quantile", True, options, quantiles=(0.1, 0.5, 0.9))
    assert result.coverage.count == 4 * unseen.lengths.sum()
    module = s2o.calibrate_quantiles(result.module, unseen, progress=False)
    s2o.export(module, tmp_path / "walk.onnx")
    model = s2o.load(tmp_path / "walk.onnx")
    assert (model.quantiles, s2o.restore(tmp_path / "walk.onnx").quantiles) == ([0.1, 0.5, 0.9], (0.1, 0.5, 0.9))
    y = np.concatenate(model.predict(test)).reshape(-1, 4, 3)
    truth = np.concatenate(list(test.targets))[..., None]
    inside = ((y[..., :1] <= truth) & (truth <= y[..., 2:])).mean((0, 2))
    assert (inside > 0.7).all(), inside
    assert (inside < 0.9).all(), inside
    widths = (y[..., 2] - y[..., 0]).mean(0)
    np.testing.assert_allclose(widths, 2 * 1.2816 * np.sqrt([1, 2, 3, 4]), rtol=0.25)
    found = evaluate(model, test)
    np.testing.assert_allclose(found.coverage.bands[0].covered, inside.mean(), atol=1e-6)
    assert found.of([0]).coverage.count == 4 * test.lengths[0]
    truth, predicted = found.first_sequence
    assert (truth.shape, predicted.shape) == ((test.lengths[0],), (test.lengths[0], 3))
    s2o.plots.bands_over_time(walks[110][9:13, 0], model.predict(test)[0][8].reshape(4, 3), model.quantiles)
    test.save(tmp_path / "test.npz")
    table, _ = run("predict", tmp_path / "walk.onnx", tmp_path / "test.npz")
    assert table.splitlines()[0].split(",")[:6] == ["index", "step", "y0_q0.1", "y0_q0.5", "y0_q0.9", "y1_q0.1"]
    assert "0.1 to 0.9" in run("evaluate", tmp_path / "walk.onnx", tmp_path / "test.npz")[0]
    run("report", tmp_path / "walk.onnx", tmp_path / "test.npz", "--out", tmp_path / "report.html")
    assert "Bands in the first sequence" in (tmp_path / "report.html").read_text()


def test_the_loss_of_several_numbers_is_the_mean_of_their_losses():
    rng = np.random.default_rng(0)
    y, target = torch.tensor(rng.normal(size=(5, 6))), torch.tensor(rng.normal(size=(5, 2)))
    loss = LOSSES["quantile"].function
    each = [loss(y[:, 3 * k : 3 * k + 3], target[:, k]) for k in range(2)]
    np.testing.assert_allclose(loss(y, target), sum(each) / 2)


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
        (
            {"data": s2o.SequenceDataset([np.zeros((3, 2))], np.zeros((1, 2)))},
            "an output of size 6, one for each of the quantiles .* of each of the 2 numbers of a target, got 3",
        ),
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
    with pytest.raises(s2o.DataError, match="the quantile 0.95 or 0.05 needs at least 19 targets, got 18"):
        s2o.calibrate_quantiles(overfitted.module, series(18, 0))
    per_step = built(network(mode="sequence"), series(4, 0))
    per_step.quantiles = QUANTILES
    with pytest.raises(s2o.DataError, match="needs at least 19 sequences, got 18. Cut long sequences into pieces"):
        s2o.calibrate_quantiles(per_step, series(18, 0, per_step=True))
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
