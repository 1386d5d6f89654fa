"""FEED: ragged sequences, their targets and statistics, and the batches they are trained in."""

from seq2onnx.data.batches import Shuffle, batches
from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.data.padding_report import PaddingReport, padding_report
from seq2onnx.data.readers import read

__all__ = ["PaddingReport", "SequenceDataset", "Shuffle", "batches", "padding_report", "read"]
