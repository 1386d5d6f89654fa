"""Texts: from strings to a trained network whose file takes words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.data import read
from seq2onnx.sequences import tokenize

pytestmark = pytest.mark.usefixtures("in_this_process")

TEXTS = ["A good film!", "bad, bad film", "good", "It's a bad one.", "a good good day", "so bad"]
LABELS = ["+", "-", "+", "-", "+", "-"]
OPTIONS = s2o.TrainingOptions(epochs=40, batch_size=3, learning_rate=0.02, progress=False, threads=1)


def network(vocabulary=5):
    return s2o.Network(
        [
            s2o.SequenceInput("tokens"),
            s2o.WordEmbedding(8, vocabulary),
            s2o.LSTM(8, "last"),
            s2o.FullyConnected(2),
            s2o.Softmax(),
        ]
    )


def test_a_vocabulary_is_built_in_training_and_goes_into_the_file(tmp_path):
    data = s2o.SequenceDataset(TEXTS, LABELS)
    assert data.lengths.tolist() == [4, 4, 1, 5, 4, 2]
    assert "features words" in repr(data)
    result = s2o.train(network(), data, data, options=OPTIONS)
    embedding = result.module.network["word_embedding_1"]
    assert embedding.vocabulary == ("bad", "good", "a", "film", "!")  # by count, then by the alphabet
    assert result.history[-1]["validation_accuracy"] == 1
    s2o.export(result.module, tmp_path / "model.onnx")
    model = s2o.load(tmp_path / "model.onnx")
    assert model.classify([tokenize(text) for text in TEXTS]).tolist() == LABELS
    assert model.classify(data).tolist() == LABELS
    with torch.no_grad():
        y, _, _ = result.module(torch.tensor([[3, 2, 4, 5]]))
    np.testing.assert_allclose(model.predict(data)[0], y[0].numpy(), rtol=0, atol=1e-5)
    assert s2o.verify(tmp_path / "model.onnx", result.module, data).ok
    again = s2o.train(result.module, s2o.SequenceDataset(["what bad news"], ["-"], ["+", "-"]), options=OPTIONS)
    assert again.module.network["word_embedding_1"].vocabulary == embedding.vocabulary


def test_training_gives_the_same_weights_from_texts_words_files_and_numbers(tmp_path):
    data = s2o.SequenceDataset(TEXTS, LABELS)
    for name in ("data.parquet", "data.npz"):
        data.save(tmp_path / name)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": TEXTS, "label": LABELS}), tmp_path / "texts.parquet")
    numbers = {word: number for number, word in enumerate(["bad", "good", "a", "film", "!"], 1)}
    encoded = [np.array([numbers.get(word, 6) for word in tokenize(text)]) for text in TEXTS]
    sources = [
        s2o.SequenceDataset([tokenize(text) for text in TEXTS], LABELS),
        *(read(tmp_path / name) for name in ("data.parquet", "data.npz", "texts.parquet")),
        s2o.SequenceDataset.from_items(zip(TEXTS, LABELS, strict=True)),
        s2o.SequenceDataset.from_items(zip(TEXTS, LABELS, strict=True), tmp_path / "items.parquet"),
        s2o.SequenceDataset(encoded, LABELS),
    ]
    expected = s2o.train(network(), data, options=OPTIONS).module.state_dict()
    for source in sources:
        found = s2o.train(network(), source, options=OPTIONS).module.state_dict()
        for a, b in zip(found.values(), expected.values(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_texts_for_a_network_of_numbers_are_refused():
    net = s2o.Network([s2o.SequenceInput(1), s2o.LSTM(2, "last"), s2o.FullyConnected(2), s2o.Softmax()])
    with pytest.raises(s2o.DataError, match="has texts, but no layer of the network reads words"):
        s2o.train(net, s2o.SequenceDataset(TEXTS, LABELS))
    with pytest.raises(s2o.DataError, match="sequence 1: has no words, got '  '"):
        s2o.SequenceDataset(["a", "  "])
