"""Sequence to label: who of nine speakers said "ae"?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.runtime import Predictor
from zoo.pictures import confusion, save
from zoo.plain import Recurrent, accuracy_of
from zoo.recipe import Recipe, accuracy, most_frequent_and_linear


def _lstm_pictures(model: Predictor, test: s2o.SequenceDataset, folder: Path) -> dict[str, str]:
    index = int(test.lengths.argmax())
    stream, units = model.stream(), []
    for x in test[index][0]:
        stream.step(x)
        units.append(stream.state["state_00_lstm_1_h"].ravel())
    ax = plots.activations_heatmap(np.array(units), 10)
    ax.set_title(f"Test utterance {index}: first 10 units of the LSTM")
    save(ax, folder / "activations.png")
    return confusion(model, test, folder) | {
        "activations.png": f"The first ten units of the LSTM after each step of test utterance {index}."
    }


def _recipe(kind: str, layer: Any, dropout: float, options: dict[str, Any], limits: str, pictures: Any) -> Recipe:
    both_ways = isinstance(layer, s2o.BiLSTM)
    return Recipe(
        title=f"Japanese Vowels, {kind}",
        task="Two Japanese vowels in a row, as 12 cepstrum coefficients per step: which of nine men said them?",
        source=(
            "Japanese Vowels (Kudo, Toyama & Shimbo 1999), UCI Machine Learning Repository, CC BY 4.0. Recorded, not "
            "simulated. It is part of seq2onnx: `seq2onnx.datasets.japanese_vowels()`."
        ),
        split="The split of the data set: 270 utterances for training, 30 per speaker, and 370 for the test.",
        limits=limits,
        data=s2o.datasets.japanese_vowels,
        call="classify(data)",
        network=s2o.Network(
            [s2o.SequenceInput(12, "zscore"), layer, s2o.Dropout(dropout), s2o.FullyConnected(9), s2o.Softmax()],
            name=f"vowels_{kind.lower()}",
        ),
        options=options,
        figures=accuracy,
        pictures=pictures,
        baselines=most_frequent_and_linear,
        peer=accuracy_of(lambda: Recurrent(12, [100], 9, dropout, nn.LSTM, both_ways), options),
        seeds=5,
    )


OPTIONS = {"epochs": 60, "batch_size": 27, "learning_rate": 5e-3, "schedule": "cosine"}
LIMITS = "Nine speakers, one word, one recording session. It knows no other speaker and has no label for noise."

LSTM = _recipe("LSTM", s2o.LSTM(100, "last"), 0.5, OPTIONS, LIMITS, _lstm_pictures)

BILSTM = _recipe(
    "BiLSTM",
    s2o.BiLSTM(100, "last"),
    0.4,
    OPTIONS | {"l2": 1e-3},
    f"{LIMITS} It reads each utterance in both directions, so it cannot stream.",
    confusion,
)
