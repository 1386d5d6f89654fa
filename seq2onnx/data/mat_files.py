"""What .mat files hold, of version 5 to 7.3, in one form: arrays of numbers, text, and cells; all else by its class."""

from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.hdf5 import check_readable, parsing
from seq2onnx.errors import DataError

Array = NDArray[Any]

NUMBERS = {
    **{name: np.dtype(name) for sign in ("int", "uint") for name in (f"{sign}{bits}" for bits in (8, 16, 32, 64))},
    "double": np.dtype(np.float64),
    "single": np.dtype(np.float32),
    "logical": np.dtype(bool),
}
CLASSES = {dtype: name for name, dtype in NUMBERS.items()}


@dataclasses.dataclass(frozen=True)
class Opaque:
    """A value that is not read: its class in MATLAB and, where that is told, its size."""

    kind: str
    shape: tuple[int, ...] = ()


# Numbers are arrays as MATLAB shows them, text is an array [rows] of strings, a cell array one of objects.
Value = Array | Opaque
Variables = dict[str, Value]


def describe(value: Value) -> str:
    """Class and size, as MATLAB says them."""
    if isinstance(value, Opaque):
        kind, shape = value.kind, value.shape
    elif value.dtype.kind == "U":
        kind, shape = "char", (len(value), max(map(len, value), default=0))
    else:
        is_complex = value.dtype.kind == "c"
        kind = (
            "complex"
            if is_complex
            else "cell"
            if value.dtype == object
            else CLASSES.get(value.dtype.newbyteorder("="), str(value.dtype))
        )
        shape = value.shape
    return f"{kind} {'×'.join(map(str, shape))}".strip()


def read_variables(path: str | Path, wanted: set[str] | None) -> Variables:
    """The variables of a .mat file by name; of version 7.3 all but those wanted, if that is said, by class alone.

    Raises: DataError where the file is not one, OSError where it cannot be read, MissingExtra without scipy or h5py
    """
    check_readable(path)
    with Path(path).open("rb") as file:
        is_hdf5 = b"\x89HDF\r\n\x1a\n" in file.read(520)  # after a block of 512 bytes, that version 5 has as header too
    check_readable(path, "h5py" if is_hdf5 else "scipy")
    with parsing(path, "a .mat file"):
        return _read_hdf5(path, wanted) if is_hdf5 else _read_version_5(path)


def _read_version_5(path: str | Path) -> Variables:
    from scipy.io import matlab

    with Path(path).open("rb") as file:
        if matlab.matfile_version(file)[0] != 1:
            raise DataError(f"{path}: expected a .mat file of version 5 or later, which have cell arrays")
        # One at a time: up to scipy 1.17 all objects are named "None", and the last takes the place of the others.
        parts = matlab.varmats_from_mat(file)
    return dict(_read_variable(name, part) for name, part in parts if name)


def _read_variable(name: str, part: io.BytesIO) -> tuple[str, Value]:
    from scipy.io import matlab

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            # Numbers of class double are stored as integers where they are whole, and without mat_dtype come as those.
            found = matlab.loadmat(part, mat_dtype=True)
        except np.exceptions.ComplexWarning:
            part.seek(0)  # mat_dtype drops the imaginary parts
            found = matlab.loadmat(part, mat_dtype=False)
    (raw,) = (value for key, value in found.items() if not key.startswith("__"))
    if isinstance(raw, matlab.MatlabOpaque) and "s0" in (raw.dtype.names or ()):
        name = _text(raw.ravel()[0]["s0"])
    return name, _from_scipy(raw)


def _from_scipy(raw: Any) -> Value:
    from scipy.io import matlab

    if raw is None or isinstance(raw, str):
        return Opaque("struct" if raw is None else "unreadable value")
    if isinstance(raw, matlab.MatlabOpaque):
        names = raw.dtype.names or ()
        return Opaque(_text(raw.ravel()[0]["_Class" if "_Class" in names else "s2"]))
    if not isinstance(raw, np.ndarray):
        return Opaque("sparse", raw.shape)
    if raw.dtype.names:
        kinds = {matlab.MatlabFunction: "function_handle", matlab.MatlabObject: "object"}
        return Opaque(kinds.get(type(raw), "struct"), raw.shape)
    if raw.dtype == object:
        return _cells(raw, [_from_scipy(cell) for cell in raw.flat])
    return raw


def _read_hdf5(path: str | Path, wanted: set[str] | None) -> Variables:
    import h5py

    with h5py.File(path, "r") as file:
        return {
            name: _from_hdf5(file, item) if wanted is None or name in wanted else _outline(item, dict(item.attrs))
            for name, item in file.items()
            if not name.startswith("#")  # what cells refer to, and the objects
        }


def _from_hdf5(file: Any, item: Any) -> Value:
    """The array of a dataset; HDF5 has its axes the other way round."""
    marks = dict(item.attrs)
    outline = _outline(item, marks)
    kind, shape = outline.kind, outline.shape
    if not shape or kind not in (*NUMBERS, "char", "cell"):
        return outline
    if 0 in shape:
        return np.zeros(0, "U1") if kind == "char" else np.zeros(shape, NUMBERS.get(kind, object))
    raw: Array = np.atleast_2d(item[()]).T
    if kind == "cell":
        return _cells(raw, [_from_hdf5(file, file[reference]) for reference in raw.flat])
    if kind == "char":
        rows = np.ascontiguousarray(raw, "<u2")
        return np.array([row.tobytes().decode("utf-16-le", "replace") for row in rows])
    if raw.dtype.names:
        return np.zeros(raw.shape, complex)
    return raw.astype(NUMBERS[kind])


def _outline(item: Any, marks: dict[str, Any]) -> Opaque:
    """Class and size of a variable by its attributes; objects, structs and sparse matrices do not tell their size."""
    kind = _text(marks.get("MATLAB_class", "unknown class"))
    if kind == "canonical empty":  # what cells that were never set refer to
        kind = "double"
    if "MATLAB_sparse" in marks:
        return Opaque("sparse")
    if "MATLAB_object_decode" in marks or not hasattr(item, "shape"):
        return Opaque(kind)
    return Opaque(kind, tuple(item[()].tolist()) if marks.get("MATLAB_empty", 0) else item.shape[::-1])


def _cells(raw: Array, values: list[Value]) -> Array:
    cells = np.empty(raw.shape, object)
    for place, value in enumerate(values):
        cells.flat[place] = value
    return cells


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
