"""Convert what users give to arrays of one type, and check their shapes."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences.channels import is_frame
from seq2onnx.sequences.foreign import TIMES_REMEDY, as_array, check_no_table

Array = NDArray[Any]
Shape = tuple[int, ...]

_REMEDIES = {
    "c": "give the real and the imaginary part as two features",
    "V": "convert it: np.lib.recfunctions.structured_to_unstructured(x)",
    "M": TIMES_REMEDY,
    "m": TIMES_REMEDY,
}


def as_floats(value: Any, where: str) -> NDArray[np.float32]:
    """Return real numbers of any width as float32; raise DataError, which begins with `where`, for other values.

    They are an array, a torch tensor, a column of a data frame, or nested lists. Masked values and None become NaN, and
    numbers too large for float32 become infinity.
    """
    if type(value) is np.ndarray and value.dtype == np.float32:
        return value
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    array = as_array(value, where)
    if array.dtype.kind not in "fiub":
        text = array.size and isinstance(array.flat[0], str)
        remedy = _REMEDIES.get(array.dtype.kind, "convert it to float32")
        remedy = "text becomes numbers with a Vocabulary" if text else remedy
        raise DataError(f"{where}: expected real numbers, got {array.dtype}; {remedy}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def is_finite(array: Array) -> bool:
    """Return whether all numbers are finite. Words and whole numbers always are.

    If a number is NaN or infinite, so is the sum of the squares, which takes a quarter of the time of numpy's isfinite.
    That decides where the squares of finite numbers overflow. Unlike dot, vdot does not warn of infinities.
    """
    if array.dtype.kind != "f":
        return True
    numbers = array.reshape(-1)
    return math.isfinite(np.vdot(numbers, numbers)) or bool(np.isfinite(numbers).all())


def check_steps(array: Array, where: str, shape: Shape) -> None:
    """Raise ShapeError unless `array` is a sequence [time, *shape]."""
    if array.ndim == 1 + len(shape) and array.shape[1:] == shape:
        return
    remedy = f"the network's input size is {' × '.join(map(str, shape)) or 'one token'}"
    if len(shape) == 1 and array.ndim == 2 and array.shape[0] == shape[0]:
        remedy += "; is it features by time? transpose it"
    expected = ", ".join(["time", *map(str, shape)])
    raise ShapeError(f"{where}: expected [{expected}], got {list(array.shape)}; {remedy}")


def as_list(values: Any, dimensions: int = 2) -> list[Any]:
    """Return the sequences, any iterable, as a list with at least one entry.

    An array with as many `dimensions` as one sequence is refused, because it is one sequence.
    """
    wanted = "a list of [time, features] arrays"
    check_no_table(values, "sequences", wanted)
    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 2 and 1 in values.shape:
        values = values.ravel()  # a cell array, as scipy.io.loadmat returns it
    is_array = isinstance(values, np.ndarray) and values.dtype != object
    if (is_array or hasattr(values, "detach")) and values.ndim == dimensions:
        got = f"one array {list(values.shape)}"
        raise ShapeError(f"sequences: expected {wanted}, got {got}; put a single sequence into a list: [x]")
    if is_frame(values):
        raise DataError(
            f"sequences: expected {wanted}, got one data frame; put the frame of a single sequence into a list: "
            "[frame]. For a frame with many sequences and a column that tells them apart use "
            "SequenceDataset.from_frame(frame, id=…)"
        )
    if isinstance(values, str | bytes | Set) or not hasattr(values, "__iter__"):
        remedy = "; a text is one sequence of words: [tokenize(text)]" if isinstance(values, str) else ""
        raise DataError(f"sequences: expected {wanted}, got {type(values).__name__}{remedy}")
    found = list(values)
    if not found:
        raise DataError("sequences: expected at least one sequence, got none")
    return found
