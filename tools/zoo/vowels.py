"""Sequence to label: who of nine speakers said "ae"?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

import seq2onnx as s2o
from seq2onnx import plots
from seq2onnx.runtime import Predictor
from zoo.pictures import confusion, save
from zoo.plain import Recurrent, accuracy_of
from zoo.recipe import Recipe, accuracy, most_frequent_and_linear

LSTM_OPTIONS = {"epochs": 60, "batch_size": 27, "learning_rate": 5e-3, "schedule": "cosine"}
BILSTM_OPTIONS = {"epochs": 60, "batch_size": 27, "learning_rate": 5e-3, "l2": 1e-3, "schedule": "cosine"}
TASK = "Two Japanese vowels in a row, as 12 cepstrum coefficients a step: which of nine male speakers said them?"
SOURCE = (
    "Japanese Vowels (Kudo, Toyama & Shimbo 1999), UCI Machine Learning Repository, CC BY 4.0; recorded, not "
    "simulated. It ships with seq2onnx: `seq2onnx.datasets.japanese_vowels()`."
)
SPLIT = "That of the data set: 270 utterances to learn from, 30 a speaker, and 370 for the test."
LIMITS = "Nine speakers, one word, one recording session: it knows no other speaker and has no answer for noise."


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
        "activations.png": f"What the first ten LSTM units say after each step of test utterance {index}."
    }


LSTM = Recipe(
    title="Japanese Vowels, LSTM",
    task=TASK,
    source=SOURCE,
    split=SPLIT,
    limits=LIMITS,
    data=s2o.datasets.japanese_vowels,
    call="classify(data)",
    network=s2o.Network(
        [
            s2o.SequenceInput(12, "zscore"),
            s2o.LSTM(100, "last"),
            s2o.Dropout(0.5),
            s2o.FullyConnected(9),
            s2o.Softmax(),
        ],
        name="vowels_lstm",
    ),
    options=LSTM_OPTIONS,
    figures=accuracy,
    pictures=_lstm_pictures,
    baselines=most_frequent_and_linear,
    peer=accuracy_of(lambda: Recurrent(12, [100], 9, 0.5), LSTM_OPTIONS),
    seeds=5,
)

BILSTM = Recipe(
    title="Japanese Vowels, BiLSTM",
    task=TASK,
    source=SOURCE,
    split=SPLIT,
    limits=f"{LIMITS} It reads each utterance from both ends, so it cannot stream.",
    data=s2o.datasets.japanese_vowels,
    call="classify(data)",
    network=s2o.Network(
        [
            s2o.SequenceInput(12, "zscore"),
            s2o.BiLSTM(100, "last"),
            s2o.Dropout(0.4),
            s2o.FullyConnected(9),
            s2o.Softmax(),
        ],
        name="vowels_bilstm",
    ),
    options=BILSTM_OPTIONS,
    figures=accuracy,
    pictures=confusion,
    baselines=most_frequent_and_linear,
    peer=accuracy_of(lambda: Recurrent(12, [100], 9, 0.4, nn.LSTM, both_ways=True), BILSTM_OPTIONS),
    seeds=5,
)
