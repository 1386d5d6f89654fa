"""The file formats of data sets: one module for each.

To add a format, write a module with `read(path) -> Contents` and, if data can be saved in it, `write(contents, path)`.
Then add a row to FORMATS. `read` may also take the keywords of `seq2onnx.data.read`.
"""

from __future__ import annotations

import errno
import inspect
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats import csv_folder, csv_table, hdf5, mat, npz, parquet, ts, wav, wav_folder
from seq2onnx.errors import DataError
from seq2onnx.file_kinds import instead

FOLDER, SOUNDS = "a folder of .csv files", "a folder of .wav files"

FORMATS: dict[str, ModuleType] = {
    ".parquet": parquet,
    ".npz": npz,
    ".h5": hdf5,
    ".hdf5": hdf5,
    ".mat": mat,
    ".ts": ts,
    ".csv": csv_table,
    ".wav": wav,
    FOLDER: csv_folder,
    SOUNDS: wav_folder,
}
"""The module of each suffix."""


def readable(keyword: str | None = None) -> str:
    """List what can be read, or those formats that take a keyword."""
    return ", ".join(suffix for suffix, module in FORMATS.items() if keyword is None or keyword in _keywords(module))


def writable() -> str:
    """List the suffixes of what can be written."""
    return ", ".join(suffix for suffix, module in FORMATS.items() if hasattr(module, "write"))


def read(path: str | Path, *, features_by_time: bool = False, trusted: bool = False, **names: Any) -> Contents:
    """Read a file or folder.

    Args:
        path: its suffix says which format.
        features_by_time: see `seq2onnx.data.read`. Formats without matrices ignore it.
        trusted: see `seq2onnx.data.read`. Formats that need no limits ignore it.
        **names: the other arguments of `seq2onnx.data.read`. None means that nothing is named.

    Raises:
        DataError: no format has this suffix, or the format lacks an argument; or the file has other content.
        OSError: it cannot be read.
    """
    kind = _kind(path)
    if not kind and not Path(path).exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if Path(path).exists() and (other := instead(path, "data")):
        raise DataError(other)
    if kind not in FORMATS:
        raise DataError(f"{path}: data is read from {readable()}, got {kind!r}")
    given = {name: value for name, value in names.items() if value is not None}
    keywords = _keywords(FORMATS[kind])
    if surplus := [name for name in given if name not in keywords]:
        raise DataError(f"{path}: {surplus[0]} applies only to {readable(surplus[0])}; leave it out")
    given |= {
        name: value
        for name, value in {"features_by_time": features_by_time, "trusted": trusted}.items()
        if name in keywords
    }
    contents: Contents = FORMATS[kind].read(path, **given)
    return contents


def takes(path: str | Path, keyword: str) -> bool:
    """Return whether the format of a file or folder takes a keyword."""
    kind = _kind(path)
    return kind in FORMATS and keyword in _keywords(FORMATS[kind])


def write(contents: Contents, path: str | Path) -> None:
    """Write a file, whose suffix says which format; raise DataError if no format can hold the data."""
    suffix = Path(path).suffix
    if not hasattr(FORMATS.get(suffix), "write"):
        raise DataError(f"{path}: data is written as {writable()}, got {suffix!r}")
    FORMATS[suffix].write(contents, path)


def _kind(path: str | Path) -> str:
    path = Path(path)
    if not path.is_dir():
        return ".wav" if path.suffix == ".WAV" else path.suffix  # as some recorders name them
    return SOUNDS if any(file.suffix.lower() == ".wav" for file in path.rglob("*")) else FOLDER


def _keywords(module: ModuleType) -> set[str]:
    return set(inspect.signature(module.read).parameters)
