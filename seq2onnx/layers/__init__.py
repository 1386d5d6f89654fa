"""The layers, one file each."""

from seq2onnx.layers.activations import HardSigmoid, ReLU, Sigmoid, Tanh
from seq2onnx.layers.alarm import Alarm
from seq2onnx.layers.attention_pool import AttentionPool
from seq2onnx.layers.base import KINDS, Example, Layer, layer
from seq2onnx.layers.batch_norm import BatchNorm
from seq2onnx.layers.bigru import BiGRU
from seq2onnx.layers.bilstm import BiLSTM
from seq2onnx.layers.conv1d import Conv1d
from seq2onnx.layers.conv2d import Conv2d
from seq2onnx.layers.decimate import Decimate
from seq2onnx.layers.delay import Delay
from seq2onnx.layers.dropout import Dropout
from seq2onnx.layers.feature_input import FeatureInput
from seq2onnx.layers.flatten import Flatten
from seq2onnx.layers.fully_connected import FullyConnected
from seq2onnx.layers.global_pool1d import GlobalAvgPool1d, GlobalMaxPool1d
from seq2onnx.layers.global_statistics1d import GlobalStdPool1d, GlobalSumPool1d
from seq2onnx.layers.gru import GRU
from seq2onnx.layers.joins import Add, Concat, Multiply
from seq2onnx.layers.last_step import LastStep
from seq2onnx.layers.layer_norm import LayerNorm, RMSNorm
from seq2onnx.layers.lstm import LSTM
from seq2onnx.layers.magnitude import Magnitude
from seq2onnx.layers.mel_spectrogram import MelSpectrogram
from seq2onnx.layers.mfcc import MFCC
from seq2onnx.layers.missing import Missing
from seq2onnx.layers.pool1d import AvgPool1d, MaxPool1d
from seq2onnx.layers.pool2d import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from seq2onnx.layers.rectifiers import ELU, GELU, LeakyReLU, SiLU
from seq2onnx.layers.rescale import Rescale
from seq2onnx.layers.rnn import RNN
from seq2onnx.layers.self_attention import SelfAttention
from seq2onnx.layers.sequence_input import SequenceInput
from seq2onnx.layers.signal import Clock, Signal, State, Weight
from seq2onnx.layers.softmax import Softmax
from seq2onnx.layers.spectrogram import Spectrogram
from seq2onnx.layers.window_statistics import WindowStatistics
from seq2onnx.layers.word_embedding import WordEmbedding

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "KINDS",
    "LSTM",
    "MFCC",
    "RNN",
    "Add",
    "Alarm",
    "AttentionPool",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "BiGRU",
    "BiLSTM",
    "Clock",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Decimate",
    "Delay",
    "Dropout",
    "Example",
    "FeatureInput",
    "Flatten",
    "FullyConnected",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalMaxPool1d",
    "GlobalStdPool1d",
    "GlobalSumPool1d",
    "HardSigmoid",
    "LastStep",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Magnitude",
    "MaxPool1d",
    "MaxPool2d",
    "MelSpectrogram",
    "Missing",
    "Multiply",
    "RMSNorm",
    "ReLU",
    "Rescale",
    "SelfAttention",
    "SequenceInput",
    "SiLU",
    "Sigmoid",
    "Signal",
    "Softmax",
    "Spectrogram",
    "State",
    "Tanh",
    "Weight",
    "WindowStatistics",
    "WordEmbedding",
    "layer",
]

FOR_LAYER_AUTHORS = ("KINDS", "Clock", "Example", "State", "Weight", "layer")
"""Names for authors of layers. These names are not in seq2onnx itself."""
