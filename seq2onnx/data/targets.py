"""What sequences should give: labels as class numbers, or numbers; one a sequence, or one a step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Column, InMemory, Mapped
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.data.dataset import SequenceDataset

Label = str | int
Targets = Column | Array
Read = tuple[Targets, list[Label] | None, bool]


def read_targets(
    targets: Any,
    lengths: NDArray[np.int32],
    classes: Sequence[Label] | None,
    per_step: bool | None,
    ignore: Label | float | None,
) -> Read:
    """(targets, classes, per_step), for arguments of SequenceDataset."""
    if len(targets) != len(lengths):
        raise DataError(f"targets: expected {len(lengths)}, one for each sequence, got {len(targets)}")
    names = None if classes is None else [np.asarray(label).item() for label in classes]
    if isinstance(targets, Column):
        return _read_column(targets, names, ignore)
    rows = [np.asarray(target) for target in targets]
    sizes = [len(row) if row.ndim else 0 for row in rows]
    # An array [sequences, k], or a list of equal vectors, is a vector a sequence; the rest is a row a step.
    ragged = len(set(sizes)) > 1 or sizes == lengths.tolist()
    if per_step is None:
        per_step = rows[0].ndim > 0 and not isinstance(targets, np.ndarray) and ragged
    elif per_step and not rows[0].ndim:
        raise DataError("targets: per_step=True needs an array for each sequence, got single values")
    if per_step:
        # An empty list is float64 to numpy, and must not make numbers of labels.
        flat = np.concatenate([row for row in rows if row.size] or rows)
    else:
        flat = np.stack(rows)
    if flat.dtype.kind in "iubU":
        if flat.ndim > 1:
            raise DataError(
                f"targets: integers and strings are labels, and one each is expected, got {list(flat.shape)}; give "
                "numbers as floats, labels for each step as a list of arrays"
            )
        names = names or _names_in(flat, ignore)
        sizes_of_rows = sizes if per_step else [1] * len(rows)
        flat = _numbered(flat, _numbers_of(names, ignore), sizes_of_rows)
    elif flat.dtype.kind == "f" and names is None:
        flat = _as_numbers(flat, ignore)
    else:
        raise DataError(f"targets: expected labels, strings or integers, or without classes numbers, got {flat.dtype}")
    return (InMemory(np.split(flat, np.cumsum(sizes)[:-1])) if per_step else flat), names, per_step


def _read_column(targets: Column, names: list[Label] | None, ignore: Label | float | None) -> Read:
    """Targets one a step that are read as they are needed."""
    if targets.dtype.kind == "f" and names is None:
        return Mapped(targets, functools.partial(_as_numbers, ignore=ignore)), None, True
    if targets.dtype.kind not in "iubUO" or targets.shape:
        raise DataError(f"targets: expected a label or numbers for each step, got {targets.dtype} {targets.shape}")
    if names is None:
        found: set[Label] = set()
        for block in targets.blocks():
            found.update(np.unique(block.values).tolist())
        names = sorted(label for label in found if label != ignore)
    numbers = _numbers_of(names, ignore)
    return Mapped(targets, functools.partial(_numbered, numbers=numbers)), names, True


def renumbered(data: SequenceDataset, names: list[Label]) -> Targets:
    """The targets of a data set with labels, numbered as `names` are."""
    targets = data.targets
    assert data.classes is not None
    assert targets is not None
    numbers = _numbers_of(names, None)
    # Number −1, which is what is ignored, takes the last.
    new = np.array([*(numbers.get(label, -2) for label in data.classes), -1])
    if isinstance(targets, Column) and not targets.in_memory:
        unknown = [label for label in data.classes if label not in numbers]
        if unknown:
            raise DataError(f"targets: label {unknown[0]!r} is not among the classes {names}")
        return Mapped(targets, functools.partial(np.take, new))
    rows = [new[row] for row in targets] if data.per_step else new[np.asarray(targets)]
    for index, row in enumerate(rows):
        if np.any(row == -2):
            label = data.classes[np.atleast_1d(np.asarray(targets[index]))[np.argmax(row == -2)]]
            raise DataError(f"targets of sequence {index}: label {label!r} is not among the classes {names}")
    return InMemory(rows) if isinstance(rows, list) else rows


def _as_numbers(flat: Array, ignore: Label | float | None) -> NDArray[np.float32]:
    flat = flat.astype(np.float32)
    if ignore is not None:
        flat[flat == np.float32(ignore)] = np.nan
    return flat


def _names_in(flat: Array, ignore: Label | float | None) -> list[Label]:
    return [name for name in np.unique(flat).tolist() if name != ignore]


def _numbers_of(names: list[Label], ignore: Label | float | None) -> dict[Label, int]:
    """The class number of each label, −1 for what is ignored."""
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) != len(names):
        raise DataError(f"classes: must differ, got {names}")
    if ignore is not None:
        numbers[ignore] = -1  # type: ignore[index]
    return numbers


def _numbered(flat: Array, numbers: dict[Label, int], sizes: list[int] | None = None) -> NDArray[np.int64]:
    """Labels as class numbers; sizes: rows of each sequence, to say where one is that has no class."""
    labels = flat.tolist()
    try:
        return np.array([numbers[label] for label in labels], np.int64)
    except KeyError:
        place = next(place for place, label in enumerate(labels) if label not in numbers)
        where = "" if sizes is None else f" of sequence {np.searchsorted(np.cumsum(sizes), place, side='right')}"
        names = [name for name, number in numbers.items() if number >= 0]
        raise DataError(f"targets{where}: label {labels[place]!r} is not among the classes {names}") from None
