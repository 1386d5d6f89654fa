"""Sequence to one regression: the death rate that three months of daily cases were followed by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from real_data import covid

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.runtime import Predictor
from zoo.pictures import save
from zoo.recipe import Data, Figures, Recipe, always_the_mean, explained, numbers, r2, ridge


def _log(data: s2o.SequenceDataset) -> s2o.SequenceDataset:
    return s2o.SequenceDataset([np.log1p(np.maximum(x, 0)) for x in data.sequences], data.targets)


def _data() -> Data:
    training, test = covid()
    return _log(training), _log(test)


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    """The mean of the training data, and ridge regression with the best of its penalties by the training data."""
    truth, t = numbers(test), numbers(training)[:, None]
    x, at = (np.stack(data.sequences)[:, :, 0] for data in (training, test))
    folds = np.arange(len(x)) % 5

    def error(penalty: float) -> float:
        return sum(
            float(np.square(ridge(x[folds != k], t[folds != k], x[folds == k], penalty) - t[folds == k]).sum())
            for k in range(5)
        )

    penalty = min((1, 10, 100, 1000, 10000), key=error)
    name = f"ridge regression on the 84 values (penalty {penalty} by cross-validation)"
    return always_the_mean(truth, t) | {name: r2(truth, ridge(x, t, at, penalty)[:, 0])}


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    ax = plots.predicted_against_true(numbers(test), model.predict(test)[:, 0], "deaths per case")
    ax.set_title("61 countries of the test data")
    save(ax, folder / "predicted.png")
    return {"predicted.png": "Predicted against true death rates of the test data. On the line they are equal."}


RECIPE = Recipe(
    title="Covid3Month",
    task="84 days of confirmed cases in a country, as ln(1 + cases): what share of the cases had died after 84 days?",
    source=(
        "Covid3Month from the archive of Tan, Bergmeir, Petitjean & Webb (2021), CC BY 4.0, based on data of the World "
        "Health Organization; in the package aeon 1.6.0 (BSD 3-Clause), downloaded with pip. Reported cases, not "
        "simulated."
    ),
    split="The split of the archive: 140 countries for training, 61 for the test.",
    limits=(
        "140 examples are few, and the cases tell little about the deaths: most of the variance stays unexplained. The "
        "model shows how to build, train and export a regression. Do not use it for epidemiology. Its input is the "
        "logarithm of the cases."
    ),
    data=_data,
    network=s2o.Network(
        [s2o.SequenceInput(1, "zscore"), s2o.LSTM(16, "last"), s2o.Dropout(0.5), s2o.FullyConnected(1)], name="covid"
    ),
    options={"epochs": 60, "batch_size": 20, "learning_rate": 3e-3, "l2": 1e-3, "schedule": "cosine"},
    figures=explained,
    pictures=_pictures,
    baselines=_baselines,
    seeds=5,
)
