"""HDF5 files: the arrays of an .npz as datasets, so that each sequence can be read alone."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from seq2onnx.data.columns import BLOCK_BYTES, Column, Indices
from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.apart import read_apart
from seq2onnx.data.formats.arrays import NAMES, from_arrays, sequence_ends, to_arrays
from seq2onnx.data.formats.hdf5_rules import check_dataset, find
from seq2onnx.data.formats.parsing import check_readable, parsing
from seq2onnx.errors import DataError, ShapeError, require
from seq2onnx.files import write_atomically
from seq2onnx.sequences import Array, as_floats, as_int64

KIND = "an HDF5 file"


def read(path: str | Path, *, trusted: bool = False) -> Contents:
    """Read a file that `write` describes. Its sequences are read when they are needed; words at once.

    A process of its own reads the file first, because a damaged one can make the library hang or crash.
    """
    check_readable(path, "h5py")
    texts: dict[str, Any] = read_apart(f"{__name__}:probe", path, *["trusted"] * trusted, kind=KIND, trusted=trusted)
    with parsing(path, KIND):
        import h5py

        with h5py.File(path, "r") as file:
            found = _find_arrays(file, path, trusted)
            is_text = found["values"].dtype.kind in "SUO"
            arrays: dict[str, Any] = {
                name: _whole(item)
                for name, item in found.items()
                if name not in texts and (is_text or name != "values")
            }
            if not is_text:
                arrays["values"] = Hdf5Column(path, trusted)
        return from_arrays(arrays | texts, path)


def probe(path: str, trusted: str = "") -> dict[str, Array]:
    """Read what could end the process, the chunks of arrays; return the texts of different lengths.

    Version 0.1 wrote such texts. An array that is not in chunks is one piece of the file.
    """
    import h5py

    with parsing(path, KIND), h5py.File(path, "r") as file:
        found = _find_arrays(file, path, bool(trusted))
        for dataset in found.values() if not trusted else ():
            rows = max(BLOCK_BYTES // max(dataset.nbytes // max(len(dataset), 1), 1), 1) if dataset.shape else 1
            for start in range(0, len(dataset) if dataset.chunks else 0, rows):
                dataset[start : start + rows]
        return {name: _whole(dataset) for name, dataset in found.items() if dataset.dtype.kind == "O"}


def write(contents: Contents, path: str | Path) -> None:
    """Write a data set of one input as HDF5 datasets of the arrays of `to_arrays`.

    Nothing is compressed, so that a sequence is one piece of the file. Strings are UTF-8.
    """
    require("h5py", extra="data")
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in to_arrays(contents, path).items():
            if array.dtype.kind == "U":
                # All of one length: texts of different lengths need a process of their own when they are read.
                array = np.char.encode(array, "utf-8")
                array = array.astype(h5py.string_dtype(length=max(array.itemsize, 1)))
            file.create_dataset(name, data=array)
    write_atomically(path, buffer.getvalue())


def _find_arrays(file: Any, path: str | Path, trusted: bool) -> dict[str, Any]:
    """Return the datasets of a file, checked, but not read."""
    found = {name: find(file, name, path) for name in NAMES}
    for name in NAMES[:2]:
        if not hasattr(found[name], "dtype"):
            raise DataError(f"{path}: has no array {name!r} at its root, only {sorted(file)}; see SequenceDataset.save")
    arrays = {name: dataset for name, dataset in found.items() if dataset is not None}
    for dataset in arrays.values():
        check_dataset(dataset, path, trusted, kinds="fiubSO")
    return arrays


def _whole(dataset: Any) -> Array:
    """Read an array; the texts are UTF-8."""
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is None:
        if dataset.dtype.kind == "O":
            raise DataError(f"{dataset.file.filename}: {dataset.name} has references; expected numbers or texts")
        return np.asarray(dataset[()])
    return np.asarray(dataset.asstr()[()]).astype(str)


@final
class Hdf5Column(Column):
    """The sequences of an HDF5 file, which `write` describes, each read when it is needed, in the order of the file.

    It can be pickled and inherited by forked processes, such as the workers of a torch DataLoader: each process opens
    the file itself.
    """

    def __init__(self, path: str | Path, trusted: bool = False) -> None:
        self.path = Path(path).resolve()
        self._file: Any = None
        self._process = 0
        check_readable(path, "h5py")
        with parsing(path, KIND):
            found = _find_arrays(self._open(), path, trusted)
            values, lengths = found["values"], np.asarray(found["lengths"][()])
            self._is_tokens = values.ndim == 1 and values.dtype.kind in "iu"
            if values.ndim < 2 and not self._is_tokens:
                raise ShapeError(
                    f"{path}: expected values [all steps, features], or integers [all steps] for tokens, "
                    f"got {values.dtype} {list(values.shape)}"
                )
            self._ends = sequence_ends(lengths, len(values), f"{path}: expected lengths")
        self.lengths = lengths.astype(np.int32)
        self.shape, self.dtype = values.shape[1:], np.dtype(np.int64 if self._is_tokens else np.float32)

    def checksum(self) -> int:
        """Return a checksum of the lengths and of the first and last steps."""
        values = self._open()["values"]
        ends = np.ascontiguousarray(values[:4096]).tobytes() + np.ascontiguousarray(values[-4096:]).tobytes()
        return zlib.crc32(ends, zlib.crc32(self.lengths.tobytes()))

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        """Return the sequences at `indices`, in this order."""
        places = np.arange(len(self))[list(indices)]
        found: list[Any] = [None] * len(places)
        with parsing(self.path, KIND):
            values = self._open()["values"]
            for at, index in sorted(enumerate(places.tolist()), key=lambda place: place[1]):
                end = int(self._ends[index])
                rows = values[end - int(self.lengths[index]) : end]
                found[at] = as_int64(rows) if self._is_tokens else as_floats(rows, f"sequence {index}")
        return found

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _open(self) -> Any:
        """Return the file, opened by this process."""
        import h5py

        if self._file is None or self._process != os.getpid():
            # A forked process closes what it inherited before it opens the file. HDF5 would otherwise return the
            # parent's descriptor, whose position both processes would move.
            self.close()
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file
