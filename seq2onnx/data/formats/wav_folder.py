"""Folders of .wav files: one file for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.csv_labels import find_labels, read_labels
from seq2onnx.data.formats.folders import files_in, labels_of_folders
from seq2onnx.data.formats.wav import read_samples
from seq2onnx.errors import DataError


def read(
    path: str | Path,
    *,
    channels: Sequence[str] | None = None,
    targets: str | Sequence[str] | None = None,
    labels: str | Path | None = None,
    id: str | None = None,
    trusted: bool = False,
) -> Contents:
    """Read all .wav files in a folder, in natural order.

    If they are in subfolders, the name of the subfolder is the label, unless `labels` are given. See
    `seq2onnx.data.read` for the arguments.
    """
    folder = Path(path)
    labels = None if labels is None else find_labels(labels, folder)
    files = files_in(folder, ".wav")
    tables = [file for file in files_in(folder, ".csv") if labels is None or not file.samefile(labels)]
    if tables:
        raise DataError(
            f"{path}: has .wav files and {tables[0].relative_to(folder)}; if it has the labels, name it: "
            f'labels="{tables[0].name}"; else keep it in another folder'
        )
    if labels is None and (targets or id is not None):
        raise DataError(f"{path}: targets and id are columns of a file of labels; name it: labels=…, or leave them out")
    found = [read_samples(file, trusted) for file in files]
    samples, rates = [array for array, _ in found], [rate for _, rate in found]
    for file, array, rate in zip(files, samples, rates, strict=True):
        if (rate, array.shape[1]) != (rates[0], samples[0].shape[1]):
            raise DataError(
                f"{file}: has {rate:,g} samples a second and {array.shape[1]} channels, {files[0]} {rates[0]:,g} and "
                f"{samples[0].shape[1]}. Convert all files to one rate, such as with the package soxr, and to the same "
                "channels"
            )
    ids = [file.relative_to(folder).as_posix() for file in files]
    found_targets: Any = None
    if labels is not None:
        found_targets = read_labels(labels, id or "file", targets, ids)
    elif targets is None:
        found_targets = labels_of_folders(files, folder, ".wav")
    return Contents(samples, found_targets, per_step=False, channels=channels, ids=ids, sample_rate=rates[0])
