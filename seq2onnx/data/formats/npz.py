""".npz files: plain arrays, no pickles."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.arrays import NAMES, from_arrays, to_arrays
from seq2onnx.data.formats.parsing import check_readable, parsing
from seq2onnx.errors import DataError
from seq2onnx.files import write_atomically
from seq2onnx.limits import check_unpacked
from seq2onnx.sequences import Array

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""The reader of the header of an array, by its version. Version 3 is for names of fields."""


def read(path: str | Path, *, trusted: bool = False) -> Contents:
    """Read the arrays that `write` describes; others are left out."""
    check_readable(path)
    with parsing(path, "an .npz of plain arrays"):
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise DataError(f"{path}: has two arrays with one name; write it again")
            wanted = {name: info for name, info in members.items() if name in NAMES}
            declared = sum(info.file_size for info in wanted.values())
            check_unpacked(path, declared, Path(path).stat().st_size, trusted)
            arrays = {name: _read_array(archive, info, path) for name, info in wanted.items()}
        return from_arrays(arrays or dict.fromkeys(members), path)


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str | Path) -> Array:
    """Read a member, whose header must not promise more than the member has."""
    with archive.open(info) as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(f"{path}: {info.filename!r:.40} is no array of numpy")
        file.seek(0)
        read_header = HEADERS[np.lib.format.read_magic(file)]
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {info.filename} contains Python objects, which are never loaded; write plain arrays"
            )
        if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise DataError(f"{path}: {info.filename} is incomplete, or longer than its shape {shape!s:.60}")
        file.seek(0)
        found: Array = np.lib.format.read_array(file, allow_pickle=False)
        return found


def write(contents: Contents, path: str | Path) -> None:
    """Write a data set of one input as the arrays of `to_arrays`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **to_arrays(contents, path))
    write_atomically(path, buffer.getvalue())
