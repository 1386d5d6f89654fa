"""Values of other packages as numpy arrays: tensors of torch, columns of pandas, polars and pyarrow, nested lists."""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError

_NUMBERS = (numbers.Real, decimal.Decimal, np.bool_)
_TIMES = (datetime.date, datetime.time, datetime.timedelta)
TIMES_REMEDY = "leave it out, or convert it to seconds since the start"


def as_array(value: Any, where: str) -> NDArray[Any]:
    """Return a tensor, a column or nested lists as an array. None and NA among numbers become NaN.

    Raises:
        DataError: the rows differ in length, or `value` is a table, a dict, masked, or mixes words and numbers.
    """
    if type(value) is np.ndarray and value.dtype != object:
        return value
    if isinstance(value, list | tuple):
        if any(map(_is_foreign, set(map(type, value)))):
            if any(row_names(item) for item in value):
                raise DataError(
                    f"{where}: is a list of rows with names; make them a data frame: pandas.DataFrame(rows)"
                )
            value = [as_array(item, where) for item in value]
    else:
        check_no_table(value, where, "an array")
        if np.ma.is_masked(value):
            raise DataError(f"{where}: some values are masked; fill them: x.filled(0)")
        if hasattr(value, "detach"):  # a torch tensor, which may need gradients or be on a GPU
            value = value.detach().cpu()
            return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)
        if hasattr(value, "to_pylist") or hasattr(value, "as_py"):  # of pyarrow
            value = value.to_pylist() if hasattr(value, "to_pylist") else value.as_py()
        elif hasattr(value, "to_numpy"):
            value = value.to_numpy()
    try:
        array = np.asarray(value)
        if array.dtype.kind == "U" and isinstance(value, list | tuple):
            array = np.asarray(value, object)  # numpy turns numbers among words, and NaN, into words
        return from_objects(array, where) if array.dtype == object else array
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        pairs = "; for (sequence, target) pairs use SequenceDataset.from_items" if isinstance(value, tuple) else ""
        raise DataError(f"{where}: expected an array of numbers, got rows of different lengths{pairs}") from None


def from_objects(array: NDArray[np.object_], where: str) -> NDArray[Any]:
    """Return an array of objects as numbers or words, if all are; None and NA among numbers become NaN.

    Raises:
        DataError: the objects are words and numbers, or dates or times.
        ValueError: the objects are arrays of different lengths.
    """
    items = array.ravel().tolist()
    present = [item for item in items if not is_missing(item)]
    kinds = set(map(type, present))
    if times := [kind for kind in kinds if issubclass(kind, _TIMES)]:
        raise DataError(f"{where}: holds timestamps ({times[0].__name__}); {TIMES_REMEDY}")
    if all(issubclass(kind, _NUMBERS) for kind in kinds):
        is_whole = len(present) == len(items) and not any(issubclass(kind, decimal.Decimal) for kind in kinds)
        found = np.array(items if is_whole else [np.nan if is_missing(item) else float(item) for item in items])
        return (found.astype(np.float64) if found.dtype == object else found).reshape(array.shape)
    words = [issubclass(kind, str) for kind in kinds]
    if any(words) and any(issubclass(kind, _NUMBERS) for kind in kinds):
        names = sorted(kind.__name__ for kind in kinds)
        raise DataError(f"{where}: expected values of one type, got {' and '.join(names)}")
    if all(words) and len(present) == len(items):
        return np.array(items, np.str_).reshape(array.shape)
    if all(hasattr(item, "__len__") and not isinstance(item, str | bytes) for item in items):
        found = np.stack([as_array(item, where) for item in items])
        return found.reshape(*array.shape, *found.shape[1:])
    return array


def column_numbers(column: Any, where: str) -> NDArray[np.floating[Any]]:
    """Return a column of pandas or polars, which holds numbers, as floats; missing values become NaN."""
    raw = np.asarray(column.to_numpy())
    if raw.dtype.kind in "Mm":
        raise DataError(f"{where}: holds timestamps ({column.dtype}); {TIMES_REMEDY}")
    is_number = raw.ndim == 1 and str(column.dtype) != "category"
    if is_number and raw.dtype == object:
        example = next((item for item in raw.tolist() if not is_missing(item)), 0.0)
        is_number = isinstance(example, _NUMBERS + _TIMES)
        raw = from_objects(raw, where) if is_number else raw
    if not is_number or raw.dtype.kind not in "fiub":
        example = next((item for item in raw.tolist() if not is_missing(item)), None)
        raise DataError(
            f"{where}: expected numbers, got {column.dtype} such as {example!r:.40}; leave the column out, or convert "
            "it to numbers"
        )
    return raw if raw.dtype.kind == "f" else raw.astype(np.float64)


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN or the missing value of pandas."""
    is_nan = isinstance(value, float | np.floating | decimal.Decimal) and value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType") or is_nan


def row_names(row: Any) -> list[str] | None:
    """Return the names of the values of a Series of pandas, such as a row of a data frame, or of a named tuple."""
    names = getattr(row, "_fields", None)
    if names is None and hasattr(row, "to_numpy"):
        names = getattr(row, "index", None)
    found = [] if names is None else list(names)
    return found if found and all(isinstance(name, str) for name in found) else None


def _is_foreign(kind: type) -> bool:
    return any(hasattr(kind, name) for name in ("detach", "to_numpy", "to_pylist", "_fields"))


def _table_remedy(value: Any) -> str:
    """Return what to do with a table that is no array; "" for other values."""
    if isinstance(value, Mapping):
        return "; a dict is for data of several inputs: {input layer: list of sequences}"
    if hasattr(value, "collect_schema") and not hasattr(value, "to_numpy"):
        return "; collect it: frame.collect()"
    if "GroupBy" in type(value).__name__:
        return '; for a table with many sequences use SequenceDataset.from_frame(frame, id="column")'
    if getattr(getattr(value, "dtype", None), "names", None):
        return "; give a field: x['name']. For a struct of a .mat file use scipy.io.loadmat(path, simplify_cells=True)"
    if hasattr(value, "column_names"):
        if hasattr(value, "features"):
            return (
                '. For a data set of Hugging Face give its columns: SequenceDataset(dataset["x"], dataset["label"]), '
                'or pairs: SequenceDataset.from_items((row["x"], row["label"]) for row in dataset)'
            )
        return "; make it a data frame: table.to_pandas(), or polars.from_arrow(table)"
    return ""


def check_no_table(value: Any, where: str, expected: str) -> None:
    """Raise DataError if a value is a table that is neither an array nor a data frame, and say what to do."""
    if remedy := _table_remedy(value):
        raise DataError(f"{where}: expected {expected}, got {type(value).__name__}{remedy}")
