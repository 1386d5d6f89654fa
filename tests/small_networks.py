"""Small networks of all shapes, for several test modules, and their export."""

from __future__ import annotations

import torch

import seq2onnx as s2o

WORDS = ["good", "bad", "film"]


def exported(tmp_path, network, **options):
    """The open file of a network with its first weights, and its module; options as `export` takes them."""
    torch.manual_seed(0)
    module = s2o.build(network).eval()
    s2o.export(module, tmp_path / "model.onnx", **options)
    return s2o.load(tmp_path / "model.onnx"), module


def tcn() -> s2o.Network:
    """Four residual blocks of two dilated causal convolutions each."""
    layers, before = [s2o.SequenceInput(5), s2o.Conv1d(8, 1, name="widen")], "widen"
    for block, dilation in enumerate((1, 2, 4, 8)):
        layers += [
            s2o.Conv1d(8, 3, dilation=dilation, padding="causal", name=f"first_{block}", inputs=[before]),
            s2o.ReLU(name=f"relu_{block}"),
            s2o.Conv1d(8, 3, dilation=dilation, padding="causal", name=f"second_{block}"),
            s2o.Add(name=f"block_{block}", inputs=[f"second_{block}", before]),
        ]
        before = f"block_{block}"
    return s2o.Network([*layers, s2o.FullyConnected(3), s2o.Softmax()])


def strided() -> s2o.Network:
    """Convolution and pooling, each with stride 2, then an LSTM."""
    conv = s2o.Conv1d(6, 3, stride=2, padding="causal")
    return s2o.Network(
        [s2o.SequenceInput(5), conv, s2o.MaxPool1d(2, stride=2, padding="causal"), s2o.LSTM(4), s2o.FullyConnected(2)]
    )


def gappy(fill: str = "hold", mark: str = "since", **options) -> s2o.Network:
    """A network for data with gaps."""
    front = [s2o.SequenceInput(3, missing=True, **options), s2o.Missing(fill, mark, 4)]
    return s2o.Network([*front, s2o.GRU(4), s2o.FullyConnected(2)])


def mel() -> s2o.Network:
    """Bands of every fourth sample."""
    return s2o.Network([s2o.SequenceInput(1), s2o.MelSpectrogram(100, 8, 4, 3, padding="causal"), s2o.GRU(4)])


def pooled() -> s2o.Network:
    """Convolution, an LSTM, and the mean over all time."""
    conv = s2o.Conv1d(6, 3, padding="causal")
    return s2o.Network([s2o.SequenceInput(5), conv, s2o.LSTM(4), s2o.GlobalAvgPool1d(), s2o.FullyConnected(2)])


def overflowing(two_inputs: bool = False) -> s2o.Network:
    """The mean over time, whose states become infinite if 3e38 and −3e38 follow each other."""
    inputs = [s2o.SequenceInput(2, name=name) for name in ("a", "b")[: 1 + two_inputs]]
    join = [s2o.Concat(inputs=["a", "b"])] if two_inputs else []
    return s2o.Network([*inputs, *join, s2o.GlobalAvgPool1d()])


def lookahead_network() -> s2o.Network:
    """Windows that read ahead by 2, 1 and, at half the rate, 1 step; a branch that waits for another."""
    return s2o.Network(
        [
            s2o.SequenceInput(5),
            s2o.Conv1d(6, 5, padding="same"),
            s2o.Conv1d(6, 1, inputs=["sequence_input_1"]),
            s2o.Add(inputs=["conv1d_1", "conv1d_2"]),
            s2o.MaxPool1d(3, 2, padding=1),
            s2o.Conv1d(4, 3, padding=(0, 1)),
            s2o.GRU(3),
        ]
    )


def two_sensors() -> s2o.Network:
    """Two sequences on one clock and static features, two heads."""
    return s2o.Network(
        [
            s2o.SequenceInput(3, name="sound"),
            s2o.SequenceInput(2, name="motion"),
            s2o.FeatureInput(4, name="machine"),
            s2o.Concat(inputs=["sound", "motion", "machine"]),
            s2o.LSTM(6, name="memory"),
            s2o.FullyConnected(2, name="now"),
            s2o.LSTM(5, "last", inputs=["memory"]),
            s2o.FullyConnected(1, name="overall"),
        ],
        outputs=["now", "overall"],
    )


def sensors(rng, lengths):
    """Random data of these lengths for two_sensors."""
    return {
        "sound": [rng.normal(size=(n, 3)).astype("f") for n in lengths],
        "motion": [rng.normal(size=(n, 2)).astype("f") for n in lengths],
        "machine": [rng.normal(size=4).astype("f") for _ in lengths],
    }


def text_network() -> s2o.Network:
    return s2o.Network(
        [s2o.SequenceInput("tokens"), s2o.WordEmbedding(4, WORDS), s2o.LSTM(5, "last"), s2o.FullyConnected(2)]
    )
