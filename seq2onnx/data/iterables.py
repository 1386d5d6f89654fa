"""Read data from iterables that give one sequence after another: torch data sets, generators."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats import FORMATS, parquet
from seq2onnx.data.inputs import as_sequence, place, read_like_first
from seq2onnx.data.targets import Ignore, Label, target_values
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, Names, frame_names, is_frame

Pair = tuple[dict[str, Any], Any]
_KINDS = {"U": "strings", "i": "integers", "u": "integers", "b": "integers", "f": "floats"}


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
    channels: dict[str, Names | None] = {}
    row_groups = _row_groups(_pairs(items), channels)
    first = next(row_groups)  # this also finds the channels
    if per_step is None:
        per_step = first[1] is not None and np.ndim(first[1][0]) > 0
    contents = Contents({}, None, classes, ignore, per_step, channels)
    parquet.write_row_groups(path, itertools.chain([first], row_groups), contents)


def _pairs(items: Any) -> Iterator[Pair]:
    """Yield (sequences by input, target) for each item, which may be a sequence without a target."""
    first: Pair | None = None
    for index, item in enumerate(_in_order(items)):
        # A tuple of one sequence is what torch's TensorDataset gives for data without targets.
        given, target = (*item, None)[:2] if isinstance(item, tuple) and len(item) in (1, 2) else (item, None)
        named = dict(given) if isinstance(given, Mapping) else {"": given}
        pair = named, target
        first = first or pair
        if (target is None) != (first[1] is None):
            raise DataError(f"targets of sequence {index}: expected one for each sequence or for none")
        if named.keys() != first[0].keys():
            raise DataError(f"sequence {index}: expected the inputs {list(first[0])}, got {list(named)}")
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


def _row_groups(
    pairs: Iterable[Pair], channels: dict[str, Names | None]
) -> Iterator[tuple[dict[str, list[Array]], Any]]:
    """Yield the sequences of each input and the targets of as many items as make a row group.

    Data frames have the columns of the first; their names are put into `channels`.
    """
    parts: dict[str, list[Array]] = {}
    targets: list[Any] = []
    first: dict[str, Array] = {}
    kind, size = "", 0
    for index, (x, target) in enumerate(pairs):
        for name, value in x.items():
            where = place(index, name)
            if not index and is_frame(value):
                channels[name] = frame_names(value, where)
            array = read_like_first(value, channels.get(name), where) if is_frame(value) else value
            array = as_sequence(array, name, index, first.get(name))
            first.setdefault(name, array)
            parts.setdefault(name, []).append(array)
            size += array.nbytes
        targets.append(None if target is None else target_values(target, f"targets of sequence {index}"))
        found = "" if target is None else _KINDS.get(targets[-1].dtype.kind, "")
        kind = kind or found
        if found != kind:
            raise DataError(f"targets of sequence {index}: expected {kind}, as of sequence 0, got {target!r:.60}")
        if size >= parquet.ROW_GROUP_BYTES:
            yield parts, None if target is None else targets
            parts, targets, size = {}, [], 0
    if parts:
        yield parts, None if targets[0] is None else targets
