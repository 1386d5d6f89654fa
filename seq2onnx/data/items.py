"""Data from what yields sequences one by one: torch data sets, generators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data import parquet
from seq2onnx.data.columns import as_words
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, as_floats


def in_order(items: Any) -> Iterator[Any]:
    """The items of a torch Dataset, which is indexed and not iterable, or of an IterableDataset or another iterable."""
    if not hasattr(items, "__iter__") and hasattr(items, "__len__"):
        return (items[index] for index in range(len(items)))
    try:
        return iter(items)
    except TypeError:
        raise DataError(
            f"items: expected a data set, or another iterable of sequences, got {type(items).__name__}"
        ) from None


def parts_of(item: Any) -> tuple[Any, Any]:
    """(sequence, target) of an item, which may be a sequence alone."""
    return item if isinstance(item, tuple) and len(item) == 2 else (item, None)


def write_items(
    path: str | Path, items: Iterable[Any], classes: list[Any] | None, ignore: Any, per_step: bool | None
) -> None:
    """Write items to a parquet file as they come."""
    if Path(path).suffix != ".parquet":
        raise DataError(f"{path}: sequences beyond memory are kept in a .parquet file, got {Path(path).suffix!r}")
    pieces = _pieces(items)
    first = next(pieces, None)
    if first is None:
        raise DataError("items: expected at least one sequence, got none")
    if per_step is None:
        per_step = first[1] is not None and np.ndim(first[1][0]) > 0

    def again() -> Iterator[tuple[dict[str, list[Array]], Any]]:
        yield first
        yield from pieces

    parquet.write_parquet(path, again(), classes, ignore, per_step)


def _pieces(items: Iterable[Any]) -> Iterator[tuple[dict[str, list[Array]], Any]]:
    """As many sequences as make a row group, and their targets."""
    parts: dict[str, list[Array]] = {}
    targets: list[Any] = []
    size = 0
    for index, item in enumerate(items):
        given, target = parts_of(item)
        for name, value in (given if isinstance(given, dict) else {"": given}).items():
            array = as_words(value, f"sequence {index}") if isinstance(value, str) else np.asanyarray(value)
            if array.dtype.kind == "U":
                array = as_words(array, f"sequence {index}")
            if array.ndim == 1 and array.dtype.kind in "iu":
                array = array.astype(np.int64)
            elif array.dtype != object:
                array = as_floats(array, f"sequence {index}")
            parts.setdefault(name, []).append(array)
            size += array.nbytes
        targets.append(None if target is None else np.asarray(target))
        if (target is None) != (targets[0] is None):
            raise DataError(f"targets of sequence {index}: expected one for each sequence or for none")
        if size >= parquet.ROW_GROUP_BYTES:
            yield parts, None if targets[0] is None else targets
            parts, targets, size = {}, [], 0
    if parts:
        yield parts, None if targets[0] is None else targets
