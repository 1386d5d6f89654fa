"""Read data from iterables that give one sequence after another: torch data sets, generators."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.formats import FORMATS, parquet
from seq2onnx.data.inputs import as_sequence
from seq2onnx.data.targets import Ignore, Label
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array

Pair = tuple[dict[str, Any], Any]


def collect(items: Any) -> tuple[dict[str, list[Any]], list[Any] | None]:
    """Return the sequences of each input and the targets of all items; see SequenceDataset.from_items."""
    pairs = list(_pairs(items))
    sequences = {name: [x[name] for x, _ in pairs] for name in pairs[0][0]}
    return sequences, None if pairs[0][1] is None else [target for _, target in pairs]


def write_items(
    path: str | Path, items: Any, classes: Sequence[Label] | None, ignore: Ignore, per_step: bool | None
) -> None:
    """Write items to a parquet file as they come; see SequenceDataset.from_items."""
    if FORMATS.get(Path(path).suffix) is not parquet:
        raise DataError(f"{path}: the path must be a .parquet file, got {Path(path).suffix!r}")
    row_groups = _row_groups(_pairs(items))
    first = next(row_groups)
    if per_step is None:
        per_step = first[1] is not None and np.ndim(first[1][0]) > 0
    parquet.write_row_groups(path, itertools.chain([first], row_groups), classes, ignore, per_step)


def _pairs(items: Any) -> Iterator[Pair]:
    """Yield (sequences by input, target) for each item, which may be a sequence without a target."""
    first: Pair | None = None
    for index, item in enumerate(_in_order(items)):
        given, target = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
        named = given if isinstance(given, Mapping) else {"": given}
        arrays = {name: x if isinstance(x, str) else np.asanyarray(x) for name, x in named.items()}
        pair = arrays, None if target is None else np.asarray(target)
        first = first or pair
        if (target is None) != (first[1] is None):
            raise DataError(f"targets of sequence {index}: expected one for each sequence or for none")
        if arrays.keys() != first[0].keys():
            raise DataError(f"sequence {index}: expected the inputs {list(first[0])}, got {list(arrays)}")
        yield pair
    if first is None:
        raise DataError("items: expected at least one sequence, got none")


def _in_order(items: Any) -> Iterable[Any]:
    """Return an iterable: torch's Dataset has a length and indices, and may not be iterable."""
    if not hasattr(items, "__iter__") and hasattr(items, "__len__"):
        return (items[index] for index in range(len(items)))
    try:
        found: Iterator[Any] = iter(items)
    except TypeError:
        raise DataError(f"items: expected an iterable of sequences, got {type(items).__name__}") from None
    return found


def _row_groups(pairs: Iterable[Pair]) -> Iterator[tuple[dict[str, list[Array]], Any]]:
    """Yield the sequences of each input and the targets of as many items as make a row group."""
    parts: dict[str, list[Array]] = {}
    targets: list[Any] = []
    first: dict[str, Array] = {}
    size = 0
    for index, (x, target) in enumerate(pairs):
        for name, value in x.items():
            array = as_sequence(value, name, index, first.get(name))
            first.setdefault(name, array)
            parts.setdefault(name, []).append(array)
            size += array.nbytes
        targets.append(target)
        if size >= parquet.ROW_GROUP_BYTES:
            yield parts, None if target is None else targets
            parts, targets, size = {}, [], 0
    if parts:
        yield parts, None if targets[0] is None else targets
