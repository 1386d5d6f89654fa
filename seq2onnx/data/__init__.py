"""Sequences of different lengths, their targets and statistics, and the batches for training."""

from seq2onnx.data.batches import Shuffle, batch_indices
from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.data.events import event_targets
from seq2onnx.data.padding_report import PaddingReport, padding_report
from seq2onnx.data.reading import read
from seq2onnx.data.vocabulary import Vocabulary

__all__ = [
    "PaddingReport",
    "SequenceDataset",
    "Shuffle",
    "Vocabulary",
    "batch_indices",
    "event_targets",
    "padding_report",
    "read",
]
