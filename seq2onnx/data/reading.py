"""read: a data set from a file or folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data import formats
from seq2onnx.data.columns import Column, Mapped
from seq2onnx.data.contents import Contents
from seq2onnx.data.dataset import SequenceDataset, from_contents
from seq2onnx.data.targets import target_rows
from seq2onnx.data.time_steps import TimeSteps
from seq2onnx.data.timing import Timing, timed
from seq2onnx.errors import DataError
from seq2onnx.sequences import Channels


def read(  # noqa: PLR0913 (a keyword for each option of reading)
    path: str | Path,
    *,
    sequences: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    targets: str | Sequence[str] | None = None,
    features_by_time: bool = False,
    channels: Channels = None,
    id: str | None = None,
    time: str | None = None,
    labels: str | Path | None = None,
    per_step: bool = False,
    numbers: bool = False,
    trusted: bool = False,
    sample_rate: float | None = None,
    rate: float | None = None,
    max_gap: float | None = None,
) -> SequenceDataset:
    """Read a data set from a file or folder.

    Args:
        path: a .parquet file with list columns, an .npz, .h5 or .hdf5 file of the arrays that `SequenceDataset.save`
            describes, a .mat file with a cell array of matrices, a .ts file of the time series archives, a .wav file, a
            folder of CSV or .wav files, or a .csv file. In CSV, each line is a step, and the header has the names of
            the channels. In a folder, each file is a sequence; if the files are in subfolders, the name of the
            subfolder is the label. A .csv file is one sequence, or with `id` several. Samples of .wav files become
            numbers in ±1; nothing is resampled.
        sequences: which variable of a .mat file, or column of a .parquet file, holds the sequences. For parquet also a
            list with a column for each feature, or a dict of these by input layer. None: found by type.
        targets: which variable or column holds the targets, "" for none. None: found by name or type. In CSV, or in
            the file `labels`, one or several columns; several are numbers and give vectors.
        features_by_time: the matrices of a .mat file, and CSV files, have a row for each feature, not for each step.
        channels: the names of the features, such as those of a model. Columns are read by these names, in any order,
            and others are left out. Data without names gets them. None: the names that the data has.
        id: the column that tells the sequences of a .csv file apart. With `labels`, also the column of the names in
            that file; for a folder it is "file" by default.
        time: a column of CSV files with the time of each step: dates, or numbers. It is not a feature. The steps of a
            .csv file with `id` are sorted by it, and those of other files must be in this order. Numbers are seconds,
            dates in seconds to nanoseconds since 1970, or in a unit with which the name of the column ends (time_ms).
            A Seq2OnnxWarning names the sequences whose stamps have other rates or units than most (rates-differ,
            units-differ), holes, equal stamps (duplicates), or stamps that go back before they are sorted
            (stamps-back).
        labels: a CSV file with the targets, with a line for each sequence. It is in the folder of the data, beside it,
            or at this path.
        per_step: whether the targets in CSV have one for each step. False: all lines of a sequence have the same one.
        numbers: whether integers as targets are numbers. False: they are labels.
        trusted: lift the limits on the time and memory that reading may take. False: a file that would take much more
            memory than it has bytes, or more than a minute, is refused. See docs/security.md.
        sample_rate: the steps per second. None: as the file says, or as measured from the time stamps, if all sequences
            have one rate. It is rounded to three digits where the steps vary by less than 1 %.
        rate: resample each sequence to this many steps per second, by its time stamps: values are on lines between
            their neighbours in time, and a target of a step is that of the nearest earlier stamp. There is no filter.
        max_gap: in resampling, steps between values that are further apart, in seconds, are NaN, which a layer Missing
            takes. None: every gap is filled.

    Raises:
        DataError: the file has other content; the message names the file and the place.
        OSError: it cannot be read.
        MissingExtra: pyarrow, h5py, scipy or soundfile is needed and not installed.

    Example:
        >>> read("data.mat", sequences="XTrain", targets="TTrain", features_by_time=True)
        >>> read("recordings", labels="labels.csv", time="timestamp")
        >>> read("pumps.csv", id="pump", time="hour", targets="state")
        >>> read("recordings", time="timestamp", rate=10, max_gap=0.5)
    """
    return read_timed(
        path,
        channels=channels,
        numbers=numbers,
        sequences=sequences,
        targets=targets,
        features_by_time=features_by_time,
        trusted=trusted,
        id=id,
        time=time,
        labels=labels,
        per_step=per_step or None,
        timing=Timing(sample_rate, rate, max_gap, trusted),
    )[0]


def read_timed(
    path: str | Path, *, channels: Channels = None, numbers: bool = False, timing: Timing, **options: Any
) -> tuple[SequenceDataset, list[TimeSteps]]:
    """Return what `read` returns, and the steps between the time stamps of each sequence: none without `time`."""
    timing.check(options.get("time"))
    contents = formats.read(path, channels=channels if formats.takes(path, "channels") else None, **options)
    if numbers and contents.targets is not None:
        contents = _with_numbers(contents, path)
    contents, steps = timed(contents, path, timing)
    data = from_contents(contents, path)
    if channels is not None and data.channels is None:
        return from_contents(dataclasses.replace(contents, channels=channels), path), steps
    return data.with_channels(channels), steps


def _with_numbers(contents: Contents, path: str | Path) -> Contents:
    """Return the contents with their targets, integers or the text of numbers, as floats."""
    targets = contents.targets
    if isinstance(targets, Column):
        if targets.dtype.kind not in "iubf":
            raise DataError(f"{path}: numbers needs numbers as targets, got words; leave it out")
        found: Any = Mapped(targets, functools.partial(np.asarray, dtype=np.float32))
    else:
        try:
            found = [row.astype(np.float64) for row in target_rows(targets, None)]
        except ValueError as error:
            raise DataError(f"{path}: numbers needs numbers as targets; leave it out. {error}") from None
        if not found[0].ndim or (isinstance(targets, np.ndarray) and targets.ndim > 1):
            found = np.stack(found)
    return dataclasses.replace(contents, targets=found, classes=None)
