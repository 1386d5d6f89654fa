"""The layers, one file each."""

from seq2onnx.layers.activations import ReLU, Sigmoid, Tanh
from seq2onnx.layers.base import KINDS, Example, Layer, layer
from seq2onnx.layers.batch_norm import BatchNorm
from seq2onnx.layers.bilstm import BiLSTM
from seq2onnx.layers.conv1d import Conv1d
from seq2onnx.layers.conv2d import Conv2d
from seq2onnx.layers.dropout import Dropout
from seq2onnx.layers.feature_input import FeatureInput
from seq2onnx.layers.flatten import Flatten
from seq2onnx.layers.fully_connected import FullyConnected
from seq2onnx.layers.global_pool1d import GlobalAvgPool1d, GlobalMaxPool1d
from seq2onnx.layers.gru import GRU
from seq2onnx.layers.joins import Add, Concat
from seq2onnx.layers.layer_norm import LayerNorm
from seq2onnx.layers.lstm import LSTM
from seq2onnx.layers.pool1d import AvgPool1d, MaxPool1d
from seq2onnx.layers.rescale import Rescale
from seq2onnx.layers.sequence_input import SequenceInput
from seq2onnx.layers.signal import Clock, Signal, State, Weight
from seq2onnx.layers.softmax import Softmax
from seq2onnx.layers.word_embedding import WordEmbedding

__all__ = [
    "GRU",
    "KINDS",
    "LSTM",
    "Add",
    "AvgPool1d",
    "BatchNorm",
    "BiLSTM",
    "Clock",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Example",
    "FeatureInput",
    "Flatten",
    "FullyConnected",
    "GlobalAvgPool1d",
    "GlobalMaxPool1d",
    "Layer",
    "LayerNorm",
    "MaxPool1d",
    "ReLU",
    "Rescale",
    "SequenceInput",
    "Sigmoid",
    "Signal",
    "Softmax",
    "State",
    "Tanh",
    "Weight",
    "WordEmbedding",
    "layer",
]

FOR_LAYER_AUTHORS = ("KINDS", "Clock", "Example", "State", "Weight", "layer")
"""What only those need who write a layer. These names are not in seq2onnx itself."""
