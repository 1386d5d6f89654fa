"""FEED: ragged sequences, their targets and statistics, and the batches they are trained in."""

from seq2onnx.data.batches import Shuffle, batches
from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.data.padding_report import PaddingReport, padding_report
from seq2onnx.data.readers import read
from seq2onnx.data.text import Vocabulary

__all__ = ["PaddingReport", "SequenceDataset", "Shuffle", "Vocabulary", "batches", "padding_report", "read"]
