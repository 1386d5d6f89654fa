"""Quantiles at each step: how many sunspots in twelve months, as a band, with data held out in time to calibrate it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_data import sunspots

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.evaluation.quantiles import Coverage, measure_coverage
from seq2onnx.runtime import Predictor
from zoo.making import figure_of
from zoo.pictures import plt, save
from zoo.recipe import Data, Figures, Recipe

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
AHEAD, CYCLE = 12, 132  # months
TRAINED, CALIBRATED = 1848, 2520  # how many months are trained on, and how many are known before the test
WINDOW, HOP, NOISE, SCALE = 660, 12, 15, 0.6
FIRST_YEAR = 1749

Values = NDArray[Any]


def _later(series: Values, first: int) -> s2o.SequenceDataset:
    """A series, whose targets are the values `AHEAD` months later; those before month `first` are ignored."""
    targets = np.where(np.arange(AHEAD, len(series)) < first, np.nan, series[AHEAD:])
    return s2o.SequenceDataset([series[:-AHEAD, None]], [targets], per_step=True, ignore=np.nan)


def _data() -> Data:
    """Windows of the first months, of whose targets the first cycle is left out; and all months, for the last ones."""
    series = sunspots().astype(np.float32)
    windows = [_later(series[i : i + WINDOW], CYCLE + AHEAD) for i in range(0, TRAINED - WINDOW + 1, HOP)]
    sequences, targets = zip(*(window[0] for window in windows), strict=True)
    training = s2o.SequenceDataset(list(sequences), list(targets), per_step=True, ignore=np.nan)
    return training.transformed(_changed), _later(series, CALIBRATED)


def _changed(x: Values, target: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """A window with noise in its inputs, made higher or lower: no two cycles are alike."""
    by = np.float32(rng.uniform(SCALE, 1 / SCALE))
    return by * (x + rng.normal(0, NOISE, x.shape).astype(np.float32)), by * target


def _calibrate(module: Any) -> Any:
    """Shift the quantiles so that they are right for the months between training and test."""
    return s2o.calibrate_quantiles(module, _later(sunspots()[:CALIBRATED].astype(np.float32), TRAINED))


def _pairs(test: s2o.SequenceDataset) -> tuple[Values, Values]:
    """Which steps have a target, and these targets."""
    target = np.ravel(test[0][1])
    return np.flatnonzero(~np.isnan(target)), target[~np.isnan(target)]


def _coverages(model: Predictor, test: s2o.SequenceDataset) -> tuple[Coverage, Coverage]:
    """The coverage of the file, and that without its last layer, the calibration."""
    steps, truth = _pairs(test)
    found = model.predict(test)[0][steps]
    shifts: Any = s2o.Network.from_dict(model.metadata["network"]).layers[-1]
    return measure_coverage(found, truth, QUANTILES), measure_coverage(found - shifts.offset, truth, QUANTILES)


def _simple(test: s2o.SequenceDataset) -> dict[str, float]:
    """Pinball losses of simple forecasts, each with the quantiles of its errors in the months before the test."""
    steps, truth = _pairs(test)
    x = np.append(test.sequences[0], truth[-AHEAD:])
    months = steps + AHEAD
    before = slice(CYCLE, months[0])
    answers = {  # by month, what is known AHEAD months before it
        "the last value": np.roll(x, AHEAD),
        f"the value {CYCLE} months before (seasonal naive)": np.roll(x, CYCLE),
        "always the same": np.zeros(len(x)),
    }
    losses = {}
    for name, answer in answers.items():
        errors = np.quantile((x - answer)[before], QUANTILES)
        losses[name] = measure_coverage(answer[months, None] + errors, truth, QUANTILES).loss
    return losses


def _figures(model: Predictor, test: s2o.SequenceDataset) -> Figures:
    """Skill is 1 − pinball loss / that of the last value with the quantiles of its errors."""
    found, before = _coverages(model, test)
    outer, inner = found.bands
    return {
        "skill of the quantiles": 1 - found.loss / _simple(test)["the last value"],
        "pinball loss": found.loss,
        "in the 90 % band": outer.covered,
        "in it without calibration": before.bands[0].covered,
        "in the 50 % band": inner.covered,
        "mean width of the 90 % band": outer.width,
        "share of months with crossings": found.crossings,
    }


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    """Skill of others in the same months."""
    losses = _simple(test)
    skill = {
        f"{name}, and the quantiles of its errors before the test": 1 - loss / losses["the last value"]
        for name, loss in losses.items()
    }
    linear = s2o.Network(
        [s2o.SequenceInput(1, "zscore"), s2o.Conv1d(len(QUANTILES), CYCLE + 1, padding="causal")], name="linear"
    )
    name = f"linear quantile regression on the last {CYCLE + 1} months, trained and calibrated in the same way (seed 0)"
    return skill | {name: figure_of(linear, RECIPE, (training, test))}


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    """The bands over the test years, and how right they are: by quantile, and by decade."""
    steps, truth = _pairs(test)
    found = model.predict(test)[0][steps]
    year = FIRST_YEAR + CALIBRATED // 12
    _, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
    plots.bands_over_time(truth, found, QUANTILES, "sunspot number", ax=ax, xlabel="year")
    years = range(year, year + len(truth) // 12, 5)
    ax.set_xticks([1 + 12 * (each - year) for each in years], [str(each) for each in years])
    save(ax, folder / "band.png")
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, coverage in zip(("calibrated", "without calibration"), _coverages(model, test), strict=True):
        left.plot(QUANTILES, coverage.below, "o-", label=name)
    left.plot([0, 1], [0, 1], ":k", label="right quantiles")
    left.set(xlabel="quantile", ylabel="share of true numbers at or below it", xlim=(0, 1), ylim=(0, 1))
    left.legend()
    parts = np.array_split(np.arange(len(truth)), len(truth) // 120)
    covered = [measure_coverage(found[part], truth[part], QUANTILES).bands[0].covered for part in parts]
    right.bar([f"{year + 10 * k} to\n{year + 10 * k + 9}" for k in range(len(parts))], covered, color="C0")
    right.axhline(0.9, color="k", linestyle=":", label="right band")
    right.set(ylabel="share in the 90 % band", ylim=(0, 1))
    right.legend(loc="lower right", framealpha=1)
    save(left, folder / "coverage.png")
    return {
        "band.png": "The bands of the test years, each predicted twelve months before, and the true numbers.",
        "coverage.png": "Left: share of the test months at or below each quantile. Right: share in the 90 % band, by "
        "decade.",
    }


RECIPE = Recipe(
    title="Sunspots in twelve months, with a band",
    task=(
        "Monthly mean sunspot numbers: between which numbers will the one in twelve months be? Five quantiles at each "
        "month: a band of 90 %, one of 50 %, and the median."
    ),
    source=(
        "Monthly mean sunspot numbers since January 1749 (National Geophysical Data Center), public domain, in the "
        "package statsmodels (BSD 3-Clause), downloaded with pip. Observed, not simulated."
    ),
    split=(
        "Training: 1749 to 1902, in windows of 660 months, scaled at random. Calibration of the quantiles: 1903 to "
        "1958. Test: 1959 to 2008. The network knows all months up to twelve before the one that it predicts."
    ),
    limits=(
        "Calibration makes bands right for data like those of the calibration. Later cycles are not like earlier ones, "
        "so nothing guarantees the shares of the test years (below). 672 months of calibration are only five cycles. "
        "Months outside of the band follow each other, above all where a cycle begins. Bands can reach below 0. Linear "
        "quantile regression on 133 months has a higher skill (below)."
    ),
    data=_data,
    network=s2o.Network(
        [
            s2o.SequenceInput(1, "zscore"),
            s2o.Conv1d(8, 25, padding="causal"),  # two years
            s2o.ReLU(),
            s2o.GRU(16),
            s2o.FullyConnected(len(QUANTILES)),
        ],
        name="sunspots_band",
    ),
    options={
        "epochs": 40,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "l2": 1e-3,
        "gradient_clip": 1.0,
        "schedule": "cosine",
    },
    train={"loss": "quantile", "quantiles": QUANTILES},
    finish=_calibrate,
    figures=_figures,
    pictures=_pictures,
    baselines=_baselines,
)
