"""Writes .mat files as MATLAB does: version 5 with scipy, version 7.3 with h5py, and in both the objects of MATLAB."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io


class Object(str):
    """An object of MATLAB, of this class."""


def cells(values, row=False) -> np.ndarray:
    """A cell array N × 1, or 1 × N."""
    made = np.empty((1, len(values)) if row else (len(values), 1), object)
    for place, value in enumerate(values):
        made.flat[place] = value
    return made


def write_v5(path: Path, variables: dict[str, Any], compressed: bool = True) -> None:
    plain = {name: value for name, value in variables.items() if not isinstance(value, Object)}
    scipy.io.savemat(path, plain, do_compression=compressed)
    with path.open("ab") as file:
        for name, value in variables.items():
            if isinstance(value, Object):
                file.write(_matrix(17, _part(1, name.encode()), _part(1, b"MCOS"), _part(1, value.encode()), _HANDLE))


def _part(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _matrix(kind: int, *parts: bytes) -> bytes:
    return _part(14, b"".join((_part(6, struct.pack("<II", kind, 0)), *parts)))


_HANDLE = _matrix(
    13, _part(5, struct.pack("<II", 6, 1)), _part(1, b""), _part(6, struct.pack("<6I", 0xDD000000, 2, 1, 1, 1, 1))
)


_numbers = itertools.count()


def write_v73(path: Path, variables: dict[str, Any]) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        _write(references, "a", np.array([0, 0], np.uint64), "canonical empty", MATLAB_empty=np.uint8(1))
        for name, value in variables.items():
            _put(file, references, name, value)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
    with path.open("r+b") as file:
        file.write(header.ljust(116) + bytes(8) + b"\x00\x02IM")


def _put(group, references, name, value) -> None:
    if isinstance(value, Object):
        _write(group, name, np.array([[0xDD000000, 2, 1, 1, 1, 1]], "u4"), value, MATLAB_object_decode=np.int32(3))
        return
    marks = {}
    if isinstance(value, str):  # of letters that are one code each
        codes = np.frombuffer(value.encode("utf-16-le"), "<u2").reshape(min(1, len(value)), len(value))
        kind, value, marks = "char", codes, {"MATLAB_int_decode": np.int32(2)}
    elif value.dtype.kind == "U":  # a char matrix, its rows of one width
        codes = np.stack([np.frombuffer(row.encode("utf-16-le"), "<u2") for row in value.tolist()])
        kind, value, marks = "char", codes, {"MATLAB_int_decode": np.int32(2)}
    elif value.dtype == bool:
        kind, value, marks = "logical", value.astype("u1"), {"MATLAB_int_decode": np.int32(1)}
    elif value.dtype == object:
        kind, made = "cell", np.empty(value.shape, h5py.ref_dtype)
        for place, cell in enumerate(value.flat):
            if isinstance(cell, np.ndarray) and cell.shape == (0, 0):
                made.flat[place] = references["a"].ref  # what was never set
                continue
            label = f"r{next(_numbers)}"
            _put(references, references, label, cell)
            made.flat[place] = references[label].ref
        value = made
    else:
        kind = {"float64": "double", "float32": "single"}.get(value.dtype.name, value.dtype.name)
        if value.dtype.kind == "c":
            kind, parts = "double", np.empty(value.shape, [("real", "f8"), ("imag", "f8")])
            parts["real"], parts["imag"] = value.real, value.imag
            value = parts
    if not value.size:
        value, marks = np.array(value.shape, np.uint64), {**marks, "MATLAB_empty": np.uint8(1)}
    _write(group, name, value, kind, **marks)


def _write(group, name, value, kind, **marks) -> None:
    dataset = group.create_dataset(name, data=value.T, dtype=h5py.ref_dtype if value.dtype == object else None)
    dataset.attrs["MATLAB_class"] = np.bytes_(kind)
    for mark, content in marks.items():
        dataset.attrs[mark] = content


def write_sparse_v73(path: Path, name: str) -> None:
    """One more variable: a sparse matrix of 4 rows, which is a group there."""
    with h5py.File(path, "r+") as file:
        group = file.create_group(name)
        group.attrs["MATLAB_class"], group.attrs["MATLAB_sparse"] = np.bytes_("double"), np.uint64(4)
        for part in ("data", "ir", "jc"):
            group[part] = np.arange(2)
