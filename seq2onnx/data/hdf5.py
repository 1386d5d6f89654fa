"""HDF5 files of sequences: the arrays of an .npz as datasets, so that rows can be read without reading the rest."""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.arrays import ends, from_arrays, to_arrays
from seq2onnx.data.columns import Column, Indices
from seq2onnx.data.dataset import SequenceDataset
from seq2onnx.errors import DataError, Seq2OnnxError, ShapeError, require
from seq2onnx.files import write_atomically
from seq2onnx.sequences import as_floats

Array = NDArray[Any]

NAMES = ("values", "lengths", "targets", "target_lengths", "classes", "ignore")


@contextlib.contextmanager
def parsing(path: str | Path, kind: str) -> Iterator[None]:
    """What is raised within becomes a DataError; on bytes that they do not expect, parsers raise errors of any kind."""
    try:
        yield
    except Seq2OnnxError:
        raise
    except Exception as error:
        raise DataError(f"{path}: is not {kind}, or not all of one: {type(error).__name__}: {error}") from error


def check_readable(path: str | Path, *modules: str) -> None:
    """Raise MissingExtra without `modules`, and OSError where the system refuses the file."""
    require(*modules, extra="data")
    with Path(path).open("rb"):
        pass


def write_hdf5(data: SequenceDataset, path: str | Path) -> None:
    """Write the arrays of an .npz (`SequenceDataset.save`) as HDF5 datasets, for data of one input.

    values [all steps, features], lengths [sequences]; with targets also targets, target_lengths, classes and ignore.
    Nothing is compressed, so that a sequence is one piece of the file; strings are UTF-8.
    """
    require("h5py", extra="data")
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in to_arrays(data, path).items():
            is_text = array.dtype.kind == "U"
            file.create_dataset(
                name, data=array.astype(object) if is_text else array, dtype=h5py.string_dtype() if is_text else None
            )
    write_atomically(path, buffer.getvalue())


def read_hdf5(path: str | Path) -> SequenceDataset:
    """The data set of a file that `write_hdf5` describes; its sequences are read as they are used.

    Raises: DataError where the file is not one, OSError where it cannot be read
    """
    check_readable(path, "h5py")
    with parsing(path, "an HDF5 file"):
        import h5py

        with h5py.File(path, "r") as file:
            _check_names(file, path)
            arrays = {name: _whole(file[name]) for name in NAMES[1:] if name in file}
            is_words = h5py.check_string_dtype(file["values"].dtype) is not None
            values: Any = _whole(file["values"]) if is_words else None
    return from_arrays(arrays | {"values": values if is_words else Hdf5Rows(path)}, path)


def _check_names(file: Any, path: str | Path) -> None:
    for name in NAMES[:2]:
        if name not in file or not hasattr(file[name], "dtype"):
            raise DataError(f"{path}: has no array {name!r} at its root, only {sorted(file)}; see write_hdf5")


def _whole(dataset: Any) -> Array:
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is None:
        return np.asarray(dataset[()])
    return np.asarray(dataset.asstr()[()]).astype(str)


@final
class Hdf5Rows(Column):
    """The sequences of an HDF5 file, each read when it is asked for; the lengths are known at once.

    Only what is asked for is read, in the order of the file. It can be pickled, and inherited by forked processes, as
    the workers of a torch DataLoader are: each process opens the file for itself.

    Args:       path: a file that `write_hdf5` describes
    Attributes: lengths [sequences] int32
    Raises:     DataError where the file is not one, OSError where it cannot be read
    Example:    >>> rows = Hdf5Rows("data.h5")
                >>> rows[3].shape
                (26, 12)
                >>> batch = rows.take([8, 1, 5])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._file: Any = None
        self._process = 0
        check_readable(path, "h5py")
        with parsing(path, "an HDF5 file"):
            file = self._open()
            _check_names(file, path)
            values, lengths = file["values"], np.asarray(file["lengths"][()])
            self._is_tokens = values.ndim == 1 and values.dtype.kind in "iu"
            if values.ndim < 2 and not self._is_tokens:
                raise ShapeError(
                    f"{path}: expected values [all steps, features], or integers [all steps] for tokens, "
                    f"got {values.dtype} {list(values.shape)}"
                )
            self._ends = ends(lengths, len(values), f"{path}: expected lengths")
        self.lengths = lengths.astype(np.int32)
        self.shape, self.dtype = values.shape[1:], np.dtype(np.int64 if self._is_tokens else np.float32)

    def mark(self) -> int:
        values = self._open()["values"]
        ends = np.ascontiguousarray(values[:4096]).tobytes() + np.ascontiguousarray(values[-4096:]).tobytes()
        return zlib.crc32(ends, zlib.crc32(self.lengths.tobytes()))

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        places = np.arange(len(self))[list(indices)]
        found: list[Any] = [None] * len(places)
        with parsing(self.path, "an HDF5 file"):
            values = self._open()["values"]
            for at in np.argsort(places, kind="stable").tolist():
                index = int(places[at])
                end = int(self._ends[index])
                rows = values[end - int(self.lengths[index]) : end]
                found[at] = rows.astype(np.int64) if self._is_tokens else as_floats(rows, f"sequence {index}")
        return found

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _open(self) -> Any:
        """The file, as this process has opened it."""
        import h5py

        if self._file is None or self._process != os.getpid():
            # A forked process closes what it inherited before it opens the file: HDF5 would else hand out the parent's
            # own descriptor again, and where reading moves a position in it, both would move the same.
            self.close()
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file
