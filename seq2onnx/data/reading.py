"""read: a data set from a file or folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seq2onnx.data import formats
from seq2onnx.data.dataset import SequenceDataset


def read(
    path: str | Path,
    *,
    sequences: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    targets: str | None = None,
    features_by_time: bool = False,
) -> SequenceDataset:
    """Read a data set from a file or folder.

    Args:
        path: a .parquet file with list columns, an .npz, .h5 or .hdf5 file of the arrays that `SequenceDataset.save`
            describes, a .mat file with a cell array of matrices, a .ts file of the time series archives, or a folder of
            CSV files. Each CSV file is a sequence, with an optional header and a line for each step; if the files are
            in subfolders, the name of the subfolder is the label.
        sequences: which variable of a .mat file, or column of a .parquet file, holds the sequences. For parquet also a
            list with a column for each feature, or a dict of these by input layer. None: found by type.
        targets: which variable or column holds the targets, "" for none. None: found by name or type.
        features_by_time: the matrices of a .mat file, and CSV files, have a row for each feature, not for each step.

    Raises:
        DataError: the file has other content; the message names the file and the place.
        OSError: it cannot be read.
        MissingExtra: pyarrow, h5py or scipy is needed and not installed.

    Example:
        >>> read("data.mat", sequences="XTrain", targets="TTrain", features_by_time=True)
    """
    contents = formats.read(path, sequences=sequences, targets=targets, features_by_time=features_by_time)
    return SequenceDataset(**vars(contents))
