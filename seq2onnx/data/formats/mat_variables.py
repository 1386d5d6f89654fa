"""Read the variables of .mat files of version 5 to 7.3, as arrays of numbers, text or cells."""

from __future__ import annotations

import dataclasses
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.formats.apart import cell_array, read_apart
from seq2onnx.data.formats.hdf5_rules import check_dataset, find
from seq2onnx.data.formats.parsing import check_readable, parsing
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array

KIND = "a .mat file"
NUMBERS = {
    **{f"{sign}{bits}": np.dtype(f"{sign}{bits}") for sign in ("int", "uint") for bits in (8, 16, 32, 64)},
    "double": np.dtype(np.float64),
    "single": np.dtype(np.float32),
    "logical": np.dtype(bool),
}
CLASSES = {dtype: name for name, dtype in NUMBERS.items()}


@dataclasses.dataclass(frozen=True)
class Opaque:
    """A value that cannot be read: its class in MATLAB, and its size if the file has it."""

    kind: str
    shape: tuple[int, ...] = ()


Value = Array | Opaque
"""Numbers as an array as MATLAB shows it, text as an array [rows] of strings, a cell array as an array of objects."""
Variables = dict[str, Value]


def describe(value: Value) -> str:
    """Return class and size, as MATLAB shows them."""
    if isinstance(value, Opaque):
        kind, shape = value.kind, value.shape
    elif value.dtype.kind == "U":
        kind, shape = "char", (len(value), max(map(len, value), default=0))
    else:
        kind = {"c": "complex", "O": "cell"}.get(value.dtype.kind, "")
        kind, shape = kind or CLASSES.get(value.dtype.newbyteorder("="), str(value.dtype)), value.shape
    return f"{kind} {'×'.join(map(str, shape))}".strip()


def read_variables(path: str | Path, wanted: set[str] | None, trusted: bool = False) -> Variables:
    """Return the variables of a .mat file by name, None in `wanted`: all. A process of its own reads them.

    In a file of version 7.3, those that are not wanted are returned by class only.
    """
    check_readable(path)
    with Path(path).open("rb") as file:
        is_hdf5 = b"\x89HDF\r\n\x1a\n" in file.read(520)  # HDF5 begins after 512 bytes for MATLAB
    check_readable(path, "h5py" if is_hdf5 else "scipy")
    reader = f"{__name__}:{'_read_hdf5' if is_hdf5 else '_read_version_5'}"
    names = [json.dumps(None if wanted is None else sorted(wanted)), json.dumps(trusted)]
    found = read_apart(reader, path, *names, kind=KIND, trusted=trusted)
    return {name: _from_plain(value) for name, value in found.items()}


def _to_plain(value: Value) -> Any:
    """Return a value without instances of Opaque, for the way between processes."""
    if isinstance(value, Opaque):
        return [value.kind, list(value.shape)]
    return cell_array(value.shape, [_to_plain(cell) for cell in value.flat]) if value.dtype == object else value


def _from_plain(value: Any) -> Value:
    if isinstance(value, list):
        return Opaque(value[0], tuple(value[1]))
    return cell_array(value.shape, [_from_plain(cell) for cell in value.flat]) if value.dtype == object else value


def _read_version_5(path: str, *_: str) -> dict[str, Any]:
    from scipy.io import matlab

    with parsing(path, KIND), Path(path).open("rb") as file:
        if matlab.matfile_version(file)[0] != 1:
            raise DataError(f"{path}: expected a .mat file of version 5 or later; older versions have no cell arrays")
        # Each by itself: scipy up to 1.17 names all objects "None", and so returns only the last of them.
        parts = matlab.varmats_from_mat(file)
        found = [_read_variable(name, part) for name, part in parts if name]
        return {name: _to_plain(value) for name, value in found}


def _read_variable(name: str, part: io.BytesIO) -> tuple[str, Value]:
    from scipy.io import matlab

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            # MATLAB stores whole numbers of class double as integers; mat_dtype restores the class.
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
        return cell_array(raw.shape, [_from_scipy(cell) for cell in raw.flat])
    return raw


def _read_hdf5(path: str, wanted: str, trusted: str) -> dict[str, Any]:
    import h5py

    names = json.loads(wanted)
    found: dict[str, Any] = {}
    with parsing(path, KIND), h5py.File(path, "r") as file:
        for name in file:
            if name.startswith("#"):  # the content of cells, and objects
                continue
            item = find(file, name, path)
            is_wanted = names is None or name in names
            value = _from_hdf5(file, item, json.loads(trusted)) if is_wanted else _outline(item, dict(item.attrs))
            found[name] = _to_plain(value)
    return found


def _from_hdf5(file: Any, item: Any, trusted: bool) -> Value:
    """Return the array of a dataset. HDF5 has the axes in reverse order."""
    outline = _outline(item, dict(item.attrs))
    kind, shape = outline.kind, outline.shape
    if not shape or kind not in (*NUMBERS, "char", "cell"):
        return outline
    if 0 in shape:
        return np.zeros(0, "U1") if kind == "char" else np.zeros(shape, NUMBERS.get(kind, object))
    check_dataset(item, file.filename, trusted, kinds="fiubOV")
    raw: Array = np.atleast_2d(item[()]).T
    if kind == "cell":
        return cell_array(raw.shape, [_from_hdf5(file, file[reference], trusted) for reference in raw.flat])
    if kind == "char":
        rows = np.ascontiguousarray(raw, "<u2")
        return np.array([row.tobytes().decode("utf-16-le", "replace") for row in rows])
    if raw.dtype.names:
        return np.zeros(raw.shape, complex)
    return raw.astype(NUMBERS[kind])


def _outline(item: Any, attributes: dict[str, Any]) -> Opaque:
    """Return class and size of a variable; objects, structs and sparse matrices have no size in the file."""
    kind = _text(attributes.get("MATLAB_class", "unknown class"))
    if kind == "canonical empty":  # cells that were never set refer to it
        kind = "double"
    if "MATLAB_sparse" in attributes:
        return Opaque("sparse")
    if "MATLAB_object_decode" in attributes or not hasattr(item, "shape"):
        return Opaque(kind)
    return Opaque(kind, tuple(item[()].tolist()) if attributes.get("MATLAB_empty", 0) else item.shape[::-1])


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
