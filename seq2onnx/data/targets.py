"""Targets of sequences or of their steps: labels as class numbers, or numbers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Block, Column, Indices, InMemory, Mapped
from seq2onnx.data.statistics import ChannelStatistics, channel_statistics, with_id
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, as_array, is_frame
from seq2onnx.sequences.foreign import is_missing
from seq2onnx.texts import unfit_text

Label = str | int
Ignore = Label | float | None
Targets = Column | Array  # a column of arrays with a row for each step, or an array with a row for each sequence
Read = tuple[Targets | None, list[Label] | None, bool]


def read_targets(
    targets: Any, lengths: NDArray[np.int32], classes: Sequence[Label] | None, per_step: bool | None, ignore: Ignore
) -> Read:
    """Check the targets that a user gives; see SequenceDataset for the arguments.

    Returns:
        The targets (labels as class numbers, −1 where ignored; numbers as float32, NaN where ignored), the classes
        (None for numbers) and whether there is a target for each step.
    """
    if targets is None:
        if classes is not None:
            raise DataError("classes: were given, but there are no targets")
        return None, None, False
    names = None if classes is None else _class_names(classes)
    if isinstance(targets, Column):
        _check_count(targets, len(lengths))
        return _read_column(targets, names, ignore)
    rows = target_rows(targets, len(lengths))
    sizes = [len(row) if row.ndim else 0 for row in rows]
    # An array [sequences, k], or a list of vectors of one length, has a vector for each sequence.
    ragged = len(set(sizes)) > 1 or sizes == lengths.tolist()
    if per_step is None:
        is_array = hasattr(targets, "ndim") and targets.ndim > 1  # of numpy or torch, [sequences, k]
        per_step = rows[0].ndim > 0 and not is_array and ragged
    elif per_step and not rows[0].ndim:
        raise DataError("targets: per_step=True needs an array for each sequence, got single values")
    # numpy makes an empty list float64, which would turn labels into numbers.
    flat = _joined([row for row in rows if row.size] or rows if per_step else rows, per_step)
    if flat.dtype.kind == "u" and flat.size and int(flat.max()) > np.iinfo(np.int64).max:
        raise DataError(f"targets: got {flat.max()}; integers are labels of at most {np.iinfo(np.int64).max}")
    if flat.dtype.kind in "iubU":
        if flat.ndim == 2 and flat.shape[1] == 1:
            flat = flat[:, 0]  # a column of labels
        if flat.ndim > 1:
            raise DataError(
                f"targets: integers and strings are labels; expected one for each sequence, got "
                f"{list(flat.shape)}; give "
                "numbers as floats, labels for each step as a list of arrays"
            )
        names = names or _class_names(name for name in np.unique(flat).tolist() if name != ignore)
        flat = _class_numbers(flat, _numbers_by_label(names, ignore), sizes if per_step else [1] * len(rows))
    elif flat.dtype.kind == "f" and names is None:
        flat = _as_numbers(flat, ignore)
    else:
        raise DataError(
            f"targets: expected labels (strings or integers) or, without classes, numbers; got {flat.dtype}"
        )
    return (InMemory(np.split(flat, np.cumsum(sizes)[:-1])) if per_step else flat), names, per_step


def _class_names(classes: Iterable[Any]) -> list[Label]:
    found = [label.item() if isinstance(label, np.generic) else label for label in classes]
    if odd := [label for label in found if not isinstance(label, str | int)]:
        raise DataError(f"classes: expected strings or integers, got {odd[0]!r:.100}")
    if wrong := unfit_text(found):
        raise DataError(f"classes: {wrong}; rename it")
    return found


def _check_count(targets: Any, count: int) -> None:
    if len(targets) != count:
        raise DataError(f"targets: expected {count}, one for each sequence, got {len(targets)}")


def target_rows(targets: Any, count: int | None) -> list[Array]:
    """Return the target of each sequence, of which there must be `count` unless it is None, as an array."""
    if is_frame(targets):
        raise DataError(
            'targets: expected one for each sequence, got a data frame; give a column of labels: frame["label"], or '
            "numbers: frame.to_numpy()"
        )
    if isinstance(targets, Mapping | Set | str | bytes) or not isinstance(targets, Iterable):
        raise DataError(f"targets: expected a list with one for each sequence, got {type(targets).__name__}")
    if hasattr(targets, "detach") or hasattr(targets, "to_pylist"):
        targets = as_array(targets, "targets")
    if np.ma.is_masked(targets):
        raise DataError("targets: some are masked; fill them with a value, and give it as ignore")
    if isinstance(targets, np.ndarray) and targets.dtype == object and targets.ndim == 2 and 1 in targets.shape:
        targets = targets.ravel()  # a cell array, as scipy.io.loadmat returns it
    rows = list(targets)
    if count is not None:
        _check_count(rows, count)
    if isinstance(targets, np.ndarray) and targets.dtype != object:
        return [np.asarray(row) for row in rows]
    if any(hasattr(row, "__len__") and not isinstance(row, str) and np.ndim(row) for row in rows):
        return [target_values(row, f"targets of sequence {index}") for index, row in enumerate(rows)]
    single = np.empty(len(rows), object)
    single[:] = [as_array(row, "targets").item() if hasattr(row, "detach") else row for row in rows]
    return [np.asarray(value) for value in target_values(single, "targets", "sequence")]


def target_values(row: Any, where: str, unit: str = "step") -> Array:
    """Return targets as an array. Missing values are refused among labels; among floats they are NaN."""
    if not isinstance(row, np.ndarray) and hasattr(row, "to_list"):
        row = np.array(row.to_list(), object)  # a column, whose own array would have floats for integers with gaps
    if isinstance(row, list | tuple) and any(map(is_missing, row)):
        row = np.array(row, object)
    items = row.ravel().tolist() if isinstance(row, np.ndarray) and row.dtype == object else []
    missing = [place for place, item in enumerate(items) if is_missing(item)]
    known = [item for item in items if not is_missing(item)]
    are_numbers = all(isinstance(item, int | float) for item in known) and any(isinstance(x, float) for x in known)
    if missing and known and not are_numbers:  # integers alone are labels
        raise DataError(
            f"{where}: {unit} {missing[0]} has no value; leave it out, or fill it and give the value as ignore"
        )
    return as_array(row, where)


def _joined(rows: list[Array], per_step: bool) -> Array:
    """Return targets as one array; all must be of one kind."""
    kinds = {"labels" if row.dtype.kind == "U" else "numbers" if row.dtype.kind in "fiub" else "" for row in rows}
    if len(kinds) > 1:
        raise DataError("targets: expected strings, integers or floats, got several of these; make all of one type")
    return np.concatenate(rows) if per_step else np.stack(rows)


def _read_column(targets: Column, names: list[Label] | None, ignore: Ignore) -> Read:
    """Check targets of steps that are read from a file."""
    if targets.dtype.kind == "f" and names is None:
        return Mapped(targets, functools.partial(_as_numbers, ignore=ignore)), None, True
    if targets.dtype.kind not in "iubUO" or targets.shape:
        raise DataError(f"targets: expected a label or numbers for each step, got {targets.dtype} {targets.shape}")
    if names is None:
        found = set[Label]().union(*(np.unique(block.values).tolist() for block in targets.blocks()))
        names = _class_names(sorted(found - {ignore}))
    return Mapped(targets, functools.partial(_class_numbers, numbers=_numbers_by_label(names, ignore))), names, True


def renumber(targets: Targets, old: Sequence[Label], new: Sequence[Label]) -> Targets:
    """Return class numbers of the classes `old` as those of the classes `new`."""
    numbers = _numbers_by_label(list(new), None)
    by_old = np.array([*(numbers.get(label, -2) for label in old), -1])  # number −1, ignored, takes the last
    if isinstance(targets, Column) and not targets.in_memory:
        if unknown := [label for label in old if label not in numbers]:
            raise DataError(f"targets: label {unknown[0]!r} is not among the classes {list(new)}")
        return Mapped(targets, functools.partial(np.take, by_old))
    rows: Any = [by_old[row] for row in targets] if isinstance(targets, Column) else by_old[targets]
    for index, row in enumerate(rows):
        if np.any(row == -2):
            label = old[np.atleast_1d(targets[index])[np.argmax(row == -2)]]
            raise DataError(f"targets of sequence {index}: label {label!r} is not among the classes {list(new)}")
    return InMemory(rows) if isinstance(rows, list) else rows


def labels_of(targets: Targets | None, classes: Sequence[Label] | None, ignore: Ignore) -> Targets | None:
    """Return the labels that belong to class numbers; return other targets unchanged."""
    if targets is None or classes is None:
        return targets
    names = np.array([*classes, *([] if ignore is None else [ignore])])  # number −1, ignored, takes the last
    return Mapped(targets, functools.partial(np.take, names)) if isinstance(targets, Column) else names[targets]


def take_rows(targets: Targets | None, indices: Sequence[int] | Indices) -> Any:
    """Return the targets of some sequences."""
    return targets.take(indices) if isinstance(targets, Column) else None if targets is None else targets[indices]


def target_blocks(targets: Targets) -> Iterable[Block]:
    """Read all targets once, in blocks of bounded size."""
    if isinstance(targets, Column):
        return targets.blocks()
    return [Block(np.arange(len(targets)), targets, np.ones(len(targets), np.int64))]


def count_labels(targets: Targets, classes: int) -> NDArray[np.int64]:
    """Count the targets of each class; ignored ones do not count."""
    found = np.zeros(classes, np.int64)
    for block in target_blocks(targets):
        found += np.bincount(block.values[block.values >= 0], minlength=classes)
    return found


def target_statistics(targets: Targets) -> ChannelStatistics:
    """Compute the statistics of targets that are numbers; ignored ones count as gaps."""
    return channel_statistics(
        Block(block.indices, block.values.reshape(len(block.values), -1), block.lengths)
        for block in target_blocks(targets)
    )


def check_targets(targets: Targets, ignore: Ignore, ids: Sequence[str] | None = None) -> None:
    """Raise DataError, naming the sequence, where a target is infinite, or NaN and not ignored."""
    for block in target_blocks(targets):
        good = np.isfinite(block.values) | (np.isnan(block.values) & (ignore is not None))
        if not good.all():
            row = np.flatnonzero(~good.reshape(len(good), -1).all(1))[0]
            index = block.indices[np.searchsorted(np.cumsum(block.lengths), row, side="right")]
            raise DataError(f"targets of {with_id(index, ids)}: are not all finite; training needs finite numbers")


def _as_numbers(flat: Array, ignore: Ignore) -> NDArray[np.float32]:
    flat = flat.astype(np.float32)
    if ignore is not None:
        flat[flat == np.float32(ignore)] = np.nan
    return flat


def _numbers_by_label(names: list[Label], ignore: Ignore) -> dict[Label | float, int]:
    """Return the class number of each label; −1 for the one that is ignored."""
    numbers: dict[Label | float, int] = {name: number for number, name in enumerate(names)}
    if len(numbers) != len(names):
        raise DataError(f"classes: must differ, got {names}")
    return numbers if ignore is None else numbers | {ignore: -1}


def _class_numbers(flat: Array, numbers: dict[Label | float, int], sizes: list[int] | None = None) -> NDArray[np.int64]:
    """Return labels as class numbers; `sizes`, the rows of each sequence, serves to name the sequence in an error."""
    labels = flat.tolist()
    try:
        return np.array([numbers[label] for label in labels], np.int64)
    except KeyError:
        place = next(place for place, label in enumerate(labels) if label not in numbers)
        where = "" if sizes is None else f" of sequence {np.searchsorted(np.cumsum(sizes), place, side='right')}"
        names = [name for name, number in numbers.items() if number >= 0]
        raise DataError(f"targets{where}: label {labels[place]!r} is not among the classes {names}") from None
