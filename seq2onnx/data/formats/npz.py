""".npz files: plain arrays, no pickles."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.arrays import from_arrays, to_arrays
from seq2onnx.data.formats.parsing import check_readable, parsing
from seq2onnx.files import write_atomically


def read(path: str | Path) -> Contents:
    """Read the arrays that `write` describes."""
    check_readable(path)
    with parsing(path, "an .npz of plain arrays"):
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return from_arrays(arrays, path)


def write(contents: Contents, path: str | Path) -> None:
    """Write a data set of one input as the arrays of `to_arrays`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **to_arrays(contents, path))
    write_atomically(path, buffer.getvalue())
