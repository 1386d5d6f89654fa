"""The layers, a file each: what every one is, and can do, stands in its file."""

from seq2onnx.layers.base import KINDS, Clock, Example, Layer, Signal, State, Weight, layer
from seq2onnx.layers.dropout import Dropout
from seq2onnx.layers.fully_connected import FullyConnected
from seq2onnx.layers.lstm import LSTM
from seq2onnx.layers.sequence_input import SequenceInput
from seq2onnx.layers.softmax import Softmax

__all__ = [
    "KINDS",
    "LSTM",
    "Clock",
    "Dropout",
    "Example",
    "FullyConnected",
    "Layer",
    "SequenceInput",
    "Signal",
    "Softmax",
    "State",
    "Weight",
    "layer",
]
