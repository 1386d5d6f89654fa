"""Texts for networks of words: their vocabulary, and their words as numbers."""

from __future__ import annotations

import dataclasses

from seq2onnx.data import SequenceDataset
from seq2onnx.data.vocabulary import Vocabulary
from seq2onnx.errors import DataError
from seq2onnx.layers import Layer, WordEmbedding
from seq2onnx.network import Network


def with_vocabularies(network: Network, data: SequenceDataset) -> Network:
    """The network, each WordEmbedding that knows but how many words there are with the most frequent ones of the texts.

    They are counted in one pass over `data`.
    """
    found: dict[str, Layer] = {}
    for layer in network.layers:
        if isinstance(layer, WordEmbedding) and isinstance(layer.vocabulary, int):
            part = data.parts.get(network.reads[layer.label][0], data.parts.get(""))
            if part is not None and part.is_words:
                words = Vocabulary.from_texts(map(list, part), layer.vocabulary).words
                found[layer.label] = dataclasses.replace(layer, vocabulary=words)
    return network.replace(found)


def with_numbers(network: Network, data: SequenceDataset) -> SequenceDataset:
    """The data, its words as the numbers that the network's vocabulary gives them."""
    for name, part in data.parts.items():
        if part.is_words:
            reads = [
                layer
                for layer in network.layers
                if isinstance(layer, WordEmbedding)
                and not isinstance(layer.vocabulary, int)
                and network.reads[layer.label][0] == (name or network.inputs[0].label)
            ]
            if not reads:
                raise DataError(
                    "data: holds texts, and no layer of the network knows words; begin it with "
                    'SequenceInput("tokens"), WordEmbedding(dimension, vocabulary=how many words)'
                )
            assert not isinstance(reads[0].vocabulary, int)
            data = data.with_vocabulary(reads[0].vocabulary, name)
    return data
