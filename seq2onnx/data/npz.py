"""Data sets as .npz files: plain arrays, no pickles."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from seq2onnx.data.arrays import from_arrays, to_arrays
from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.errors import DataError
from seq2onnx.files import write_atomically


def save_npz(data: SequenceDataset, path: str | Path) -> None:
    """Write the arrays of a data set of one input."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **to_arrays(data, path))
    write_atomically(path, buffer.getvalue())


def load_npz(path: str | Path) -> SequenceDataset:
    """Read what `save_npz` writes.

    Raises: DataError where the file is not one, OSError where it cannot be read
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: is not an .npz of plain arrays, or not all of one: {error}") from None
    return from_arrays(arrays, path)
