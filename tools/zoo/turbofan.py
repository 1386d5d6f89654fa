"""Sequence to sequence regression: remaining life after each step, of simulated engines that wear out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.runtime import Predictor
from zoo.pictures import plt, save
from zoo.recipe import Data, Figures, Recipe, always_the_mean, every, r2, ridge, rmse

CAP = 150  # steps: an engine with more to come looks like new


def simulate(units: int, rng: np.random.Generator) -> s2o.SequenceDataset:
    """Engines that run from new to failure: [time, 17] sensors, and the steps that are left, at most 150.

    An engine lives 128 to 356 steps. Its wear w grows from w_0 in [0, 0.1] to 1 as exp(k · t / life), k in [1, 3].
    Three features are settings, each a slow random walk; fourteen are sensors, a · w^p + b · settings + noise, with
    a, b and p the same for all engines (two have a = 0 and say nothing) and an offset of its own for each engine.
    """
    fixed = np.random.default_rng(17)
    gain = fixed.normal(0, 1.5, 14)
    gain[[4, 9]] = 0
    power, mixed = fixed.uniform(0.6, 1.6, 14), fixed.normal(0, 0.5, (3, 14))
    sequences, lives = [], []
    for _ in range(units):
        life, steepness, start = int(rng.integers(128, 357)), rng.uniform(1, 3), rng.uniform(0, 0.1)
        share = np.arange(1, life + 1) / life
        wear = start + (1 - start) * np.expm1(steepness * share) / np.expm1(steepness)
        settings = np.cumsum(rng.normal(0, 0.1, (life, 3)), 0) + rng.normal(0, 0.5, 3)
        sensors = gain * wear[:, None] ** power + settings @ mixed + rng.normal(0, 0.2, 14)
        sequences.append(np.hstack([settings, sensors + rng.normal(0, 1, sensors.shape)]).astype(np.float32))
        lives.append(np.minimum(np.arange(life - 1, -1, -1), CAP).astype(np.float32))
    return s2o.SequenceDataset(sequences, lives, per_step=True)


def _data() -> Data:
    rng = np.random.default_rng(0)
    return simulate(200, rng), simulate(60, rng)


def _joined(rows: Any) -> np.ndarray:
    """The numbers of all steps, [n], of rows [time] or [time, 1]."""
    return np.concatenate([np.ravel(row) for row in rows])


def _remembered(data: s2o.SequenceDataset) -> np.ndarray:
    """Of each step the means of the last 10 and 30 and of the first 10 steps, as far as they are there, and its age."""
    rows = []
    for x in data.sequences:
        age = np.arange(1, len(x) + 1)
        sums = np.vstack([np.zeros(x.shape[1]), np.cumsum(x, 0, np.float64)])
        means = [(sums[age] - sums[np.maximum(age - n, 0)]) / np.minimum(age, n)[:, None] for n in (10, 30)]
        first = np.minimum(age, 10)
        rows.append(np.hstack([*means, sums[first] / first[:, None], age[:, None]]))
    return np.concatenate(rows)


def _figures(model: Predictor, test: s2o.SequenceDataset) -> Figures:
    truth, found = _joined(test.targets), _joined(model.predict(test))
    return {"R²": r2(truth, found), "RMSE, steps": rmse(truth, found)}


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    truth, t = _joined(test.targets), _joined(training.targets)[:, None]
    x, at = (np.concatenate(data.sequences) for data in (training, test))
    return always_the_mean(truth, t) | {
        "linear regression on each step alone": r2(truth, ridge(x, t, at, 1.0)[:, 0]),
        "linear regression on the age and the means of the last 10, last 30 and first 10 steps": r2(
            truth, ridge(_remembered(training), t, _remembered(test), 1.0)[:, 0]
        ),
    }


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained", sharey=True)
    for index, ax in enumerate(axes.flat):
        x, truth = test[index]
        plots.series_over_time(truth, model.predict([x])[0][:, 0], "steps left", f"engine {index}", ax=ax)
        ax.get_legend().remove()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(axes[0, 0], folder / "remaining_life.png")
    return {"remaining_life.png": "True and predicted remaining life of four simulated engines of the test data."}


RECIPE = Recipe(
    title="Remaining life (simulated turbofan-like engines)",
    task="17 features of a machine that wears out: at each step, how many steps are left until it fails (at most 150)?",
    source=(
        "SIMULATED, not NASA data: the equations are in `simulate` in tools/zoo/turbofan.py and imitate run-to-failure "
        "data sets. Engines live 128 to 356 steps."
    ),
    split="200 engines for training and 60 for the test, simulated with seed 0.",
    limits=(
        "Simulated engines wear by a formula: the figures say nothing about real machines. Linear regression on the "
        "age and a few means comes within 0.01 of its R² (below)."
    ),
    data=_data,
    network=s2o.Network(
        [s2o.SequenceInput(17, "zscore"), s2o.LSTM(200), s2o.Dropout(0.3), s2o.FullyConnected(1)], name="turbofan"
    ),
    options={"epochs": 20, "batch_size": 12, "learning_rate": 3e-3, "gradient_clip": 1.0, "schedule": "cosine"},
    figures=_figures,
    pictures=_pictures,
    baselines=_baselines,
    slice_of=every(6),
)
