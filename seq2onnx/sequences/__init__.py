"""Sequences as numpy arrays: conversion, text, padding. Training and the runtime share it; it needs numpy alone."""

from seq2onnx.sequences.channels import (
    Channels,
    Names,
    by_names,
    check_names,
    check_rising_index,
    frame_names,
    is_frame,
    positions,
    read_frame,
)
from seq2onnx.sequences.conversion import Array, as_floats, as_list, check_steps, is_finite
from seq2onnx.sequences.data_info import DataInfo
from seq2onnx.sequences.foreign import as_array, row_names
from seq2onnx.sequences.padding import MASKED, PaddingPolicy, SequenceLength, by_size, chunk, pad
from seq2onnx.sequences.samples import warn_of_large_samples
from seq2onnx.sequences.text import Text, as_int64, as_strings, as_tokens, tokenize
from seq2onnx.sequences.training_statistics import InputStatistics, TrainingStatistics

__all__ = [
    "MASKED",
    "Array",
    "Channels",
    "DataInfo",
    "InputStatistics",
    "Names",
    "PaddingPolicy",
    "SequenceLength",
    "Text",
    "TrainingStatistics",
    "as_array",
    "as_floats",
    "as_int64",
    "as_list",
    "as_strings",
    "as_tokens",
    "by_names",
    "by_size",
    "check_names",
    "check_rising_index",
    "check_steps",
    "chunk",
    "frame_names",
    "is_finite",
    "is_frame",
    "pad",
    "positions",
    "read_frame",
    "row_names",
    "tokenize",
    "warn_of_large_samples",
]
