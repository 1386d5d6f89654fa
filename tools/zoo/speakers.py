"""Sequence to sequence classification: who is speaking now?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.runtime import Predictor
from zoo.pictures import save
from zoo.plain import Recurrent, accuracy_of
from zoo.recipe import Data, Figures, Recipe, accuracy, most_frequent, without_memory

JOINED = 10
OPTIONS = {"epochs": 30, "batch_size": 16, "learning_rate": 5e-3, "l2": 1e-3, "schedule": "cosine"}


def _joined(data: s2o.SequenceDataset, passes: int, rng: np.random.Generator) -> s2o.SequenceDataset:
    """Streams of ten utterances each, in random order, with the speaker as the label of each step."""
    streams, labels = [], []
    for _ in range(passes):
        order = rng.permutation(len(data))
        for start in range(0, len(order) - JOINED + 1, JOINED):
            indices = order[start : start + JOINED]
            streams.append(np.concatenate([data.sequences[i] for i in indices]))
            labels.append(np.repeat(data.labels[indices], data.lengths[indices]))
    return s2o.SequenceDataset(streams, labels, classes=data.classes)


def _data() -> Data:
    training, test = s2o.datasets.japanese_vowels()
    rng = np.random.default_rng(0)
    return _joined(training, 8, rng), _joined(test, 1, rng)


def _baselines(training: s2o.SequenceDataset, test: s2o.SequenceDataset) -> Figures:
    return most_frequent(training, test) | without_memory(training, test, OPTIONS)


def _pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    scores = model.predict(test.subset([0]))[0]
    ax = plots.scores_over_time(scores, model.classes, truth=test.labels[0])
    ax.set_title("Test stream 0: ten utterances, who is speaking?")
    save(ax, folder / "scores.png")
    return {"scores.png": "The scores after each step of a test stream, and below them the true speaker."}


RECIPE = Recipe(
    title="Who is speaking now?",
    task="Utterances of nine speakers follow one another without a pause: who is speaking at each step?",
    source=(
        "Utterances of Japanese Vowels (Kudo, Toyama & Shimbo 1999), UCI Machine Learning Repository, CC BY 4.0, "
        "recorded. The streams are made from them: ten utterances in random order."
    ),
    split=(
        "216 streams from the 270 training utterances, eight passes in random order; 37 streams from the 370 test "
        "utterances, each used once."
    ),
    limits=(
        "Speakers change from one step to the next, and it knows only these nine. The first steps after a change are "
        "often wrong."
    ),
    data=_data,
    call="classify(data)",
    # A forget gate that starts open would hold on to the last speaker, and did worse.
    network=s2o.Network(
        [
            s2o.SequenceInput(12, "zscore"),
            s2o.LSTM(100, bias_initializer="zeros"),
            s2o.Dropout(0.3),
            s2o.FullyConnected(9),
            s2o.Softmax(),
        ],
        name="speaker_now",
    ),
    options=OPTIONS,
    figures=accuracy,
    pictures=_pictures,
    baselines=_baselines,
    peer=accuracy_of(lambda: Recurrent(12, [100], 9, 0.3, per_step=True), OPTIONS),
)
