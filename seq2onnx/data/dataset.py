"""SequenceDataset: sequences of differing lengths, and what they should give."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.files import write_atomically
from seq2onnx.sequences import as_floats, as_list

Label = str | int
Array = NDArray[Any]


class SequenceDataset:
    """A ragged list of sequences, with or without targets.

    Args:
        sequences: a list of [time, features] arrays; the times differ, the features do not. Images are
            [time, channels, height, width], tokens [time] integers. For several inputs a dict of such lists by
            input layer; there a float vector [size] for each sequence is what a FeatureInput takes.
        targets: one for each sequence (labels, numbers, or vectors of numbers [sequences, k]), or a list of
            [time] or [time, k] arrays, one for each step that the network answers. Integers and strings are
            labels, floats are numbers.
        classes: the labels in the order of the scores; else sorted from the targets, where those are labels
        per_step: whether targets are one a step; None: where a list of rows differs in length, or has the lengths of
            the sequences
        ignore: the target of sequences or steps that training and metrics leave out: a label, or a number such as nan
    Attributes: sequences, as given; parts, the same as a dict (without names the key is ""); targets (labels
        as class numbers, −1 where ignored; numbers as float32, NaN where ignored); classes (None for numbers);
        per_step (targets are one a step); lengths [sequences]
    Raises: DataError, ShapeError, naming the sequence
    Example: >>> SequenceDataset([np.zeros((20, 12)), np.zeros((26, 12))], ["yes", "no"])
    """

    def __init__(
        self,
        sequences: Any,
        targets: Any = None,
        classes: Sequence[Label] | None = None,
        *,
        ignore: Label | float | None = None,
        per_step: bool | None = None,
    ) -> None:
        named = sequences if isinstance(sequences, Mapping) else {"": sequences}
        if not named:
            raise DataError("sequences: expected data for at least one input, got an empty dict")
        self.parts: dict[str, list[Array]] = {name: _read_part(values, name) for name, values in named.items()}
        counts = {name: len(part) for name, part in self.parts.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"sequences: expected as many for each input, got {counts}")
        timed = [part for part in self.parts.values() if has_time(part[0])]
        if not timed:
            raise DataError("sequences: expected one input at least to have time, got float vectors alone")
        self.lengths = np.array([len(sequence) for sequence in timed[0]], np.int32)
        for part in timed:
            for index, sequence in enumerate(part):
                if len(sequence) != self.lengths[index]:
                    raise DataError(
                        f"sequence {index}: expected as many steps in each input, "
                        f"got {self.lengths[index]} and {len(sequence)}"
                    )
        self.ignore = ignore
        self.per_step = False
        self.classes: list[Label] | None = None
        self.targets: list[Array] | Array | None = None
        if targets is not None:
            if classes is not None:
                classes = [np.asarray(label).item() for label in classes]
            self._read_targets(targets, classes, per_step)
        elif classes is not None:
            raise DataError("classes: are the labels of targets, and there are no targets")

    def _read_targets(self, targets: Any, classes: list[Label] | None, per_step: bool | None) -> None:
        if len(targets) != len(self):
            raise DataError(f"targets: expected {len(self)}, one for each sequence, got {len(targets)}")
        rows = [np.asarray(target) for target in targets]
        sizes = [len(row) if row.ndim else 0 for row in rows]
        # An array [sequences, k], or a list of equal vectors, is a vector a sequence; the rest is a row a step.
        ragged = len(set(sizes)) > 1 or sizes == self.lengths.tolist()
        self.per_step = rows[0].ndim > 0 and not isinstance(targets, np.ndarray) and ragged
        if per_step is not None:
            self.per_step = per_step
            if per_step and not rows[0].ndim:
                raise DataError("targets: per_step=True needs an array for each sequence, got single values")
        if self.per_step:
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
            sizes_of_rows = sizes if self.per_step else [1] * len(self)
            flat, self.classes = _numbered(flat, classes, sizes_of_rows, self.ignore)
        elif flat.dtype.kind == "f" and classes is None:
            flat = flat.astype(np.float32)
            if self.ignore is not None:
                flat[flat == np.float32(self.ignore)] = np.nan
        else:
            raise DataError(
                f"targets: expected labels, strings or integers, or without classes numbers, got {flat.dtype}"
            )
        self.targets = np.split(flat, np.cumsum(sizes)[:-1]) if self.per_step else flat

    @classmethod
    def next_step(cls, series: Any, horizon: int = 1) -> SequenceDataset:
        """For forecasting: series [time, features] less their last steps, and for each step that `horizon` later.

        Raises: DataError (naming a series that is too short), ShapeError
        Example: >>> SequenceDataset.next_step([temperature, another])  # y_t: the x_{t+1}
        """
        if not isinstance(horizon, int) or horizon < 1:
            raise DataError(f"horizon: must be a whole number of steps, at least 1, got {horizon!r}")
        arrays = cls(as_list(series)).parts[""]
        for index, array in enumerate(arrays):
            if len(array) <= horizon:
                raise DataError(
                    f"sequence {index}: has {len(array)} steps, and a target {horizon} later needs {horizon + 1}; "
                    "leave it out"
                )
        return cls([a[:-horizon] for a in arrays], [a[horizon:] for a in arrays], per_step=True)

    @property
    def sequences(self) -> list[Array] | dict[str, list[Array]]:
        """As they were given: a list, or for several inputs a dict of lists."""
        return self.parts[""] if list(self.parts) == [""] else self.parts

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """The sequence, for several inputs a dict, and its target (None without targets)."""
        parts = {name: part[index] for name, part in self.parts.items()}
        return parts.get("", parts), None if self.targets is None else self.targets[index]

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        low, high = self.lengths.min(), self.lengths.max()
        shapes = ", ".join(
            f"{name} {' × '.join(map(str, _step(part[0]))) or 'tokens'}".strip() for name, part in self.parts.items()
        )
        return f"SequenceDataset({len(self)} sequences, {low} to {high} steps, features {shapes}{classes})"

    @property
    def labels(self) -> Any:
        """The labels of the targets: an array [sequences], or one label a step a list of arrays."""
        if self.classes is None or self.targets is None:
            raise DataError("labels: this data set has no labels as targets")
        # Class −1 is what is ignored, the last name.
        names = np.array([*self.classes, *([] if self.ignore is None else [self.ignore])])
        return [names[row] for row in self.targets] if self.per_step else names[np.asarray(self.targets)]

    def subset(self, indices: Any) -> SequenceDataset:
        """The sequences at `indices` (numbers, booleans or a slice), with the same classes."""
        chosen = np.arange(len(self))[indices]
        if not len(chosen):
            raise DataError("subset: expected at least one index, got none")
        made = object.__new__(SequenceDataset)
        made.parts = {name: [part[i] for i in chosen] for name, part in self.parts.items()}
        made.lengths, made.per_step, made.classes = self.lengths[chosen], self.per_step, self.classes
        made.ignore = self.ignore
        made.targets = self.targets
        if self.targets is not None:
            made.targets = [self.targets[i] for i in chosen] if self.per_step else np.asarray(self.targets)[chosen]
        return made

    def with_classes(self, classes: Sequence[Label]) -> SequenceDataset:
        """The same data with its labels numbered as `classes` are, those of the training data, say."""
        if self.classes is None or self.targets is None:
            got = "none" if self.targets is None else "numbers"
            raise DataError(f"targets: expected labels among {list(classes)}, got {got}")
        return SequenceDataset(self.sequences, self.labels, classes, ignore=self.ignore, per_step=self.per_step)

    def check_finite(self) -> None:
        """Raise DataError, naming sequence and step, where a value is NaN or infinite."""
        for name, part in self.parts.items():
            of = f" of {name}" if name else ""
            for index, sequence in enumerate(part):
                if not np.isfinite(sequence).all():
                    place = np.argwhere(~np.isfinite(sequence))[0]
                    step, feature = (place[0], place[1:]) if has_time(sequence) else (None, place)
                    at = f"sequence {index}{of}" if step is None else f"sequence {index}{of}, step {step}"
                    raise DataError(
                        f"{at}: feature {', '.join(map(str, feature))} is {sequence[tuple(place)]}; training needs "
                        "finite numbers: remove the sequence or fill the gap"
                    )
        for index in range(len(self) if self.targets is not None else 0):
            assert self.targets is not None
            row = np.asarray(self.targets[index])
            if not (np.isfinite(row) | (np.isnan(row) & (self.ignore is not None))).all():
                raise DataError(f"targets of sequence {index}: are not all finite; training needs finite numbers")

    def statistics(self, name: str = "") -> dict[str, NDArray[np.float64]]:
        """mean, std (N − 1), min and max of each channel of an input over all steps (and space), each [channels]."""
        part = self.parts[name]
        values = np.concatenate(part) if has_time(part[0]) else np.stack(part)
        channels = np.moveaxis(values.astype(np.float64), 1, 0).reshape(values.shape[1], -1)
        low, high = channels.min(1), channels.max(1)
        spread = channels.std(1, ddof=1) if channels.shape[1] > 1 else np.zeros(len(channels))
        # Rounding gives a constant channel a spread of its last digits; it has none.
        spread[low == high] = 0
        return {"mean": channels.mean(1), "std": spread, "min": low, "max": high}

    def save(self, path: str | Path) -> None:
        """Write an .npz, for data of one input.

        values [all steps, features], lengths [sequences]; with targets also targets (a row a sequence, or a
        row a step and target_lengths [sequences]), with labels classes, and ignore where there is such a target.
        """
        if not isinstance(self.sequences, list):
            raise DataError(f"{path}: an .npz holds one input, this data set has {', '.join(self.parts)}")
        arrays: dict[str, Array] = {"values": np.concatenate(self.sequences), "lengths": self.lengths}
        if self.targets is not None:
            targets: Any = list(self.targets) if self.classes is None else self.labels
            arrays["targets"] = np.concatenate(targets) if self.per_step else np.asarray(targets)
            if self.ignore is not None:
                arrays["ignore"] = np.array(self.ignore)
            if self.per_step:
                arrays["target_lengths"] = np.array([len(row) for row in self.targets], np.int32)
            if self.classes is not None:
                arrays["classes"] = np.array(self.classes)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> SequenceDataset:
        """Read the .npz that `save` describes. Without target_lengths there is a target for each step, or sequence.

        Raises: DataError where the file is not one, OSError where it cannot be read
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: is not an .npz of plain arrays, or not all of one: {error}") from None
        for name in ("values", "lengths"):
            if name not in arrays:
                raise DataError(f"{path}: has no array {name!r}, only {sorted(arrays)}; see SequenceDataset.save")
        values = arrays["values"]
        if not values.ndim:
            raise DataError(f"{path}: expected values [all steps, features], got one number")
        cuts = _cuts(path, arrays, "lengths", len(values))
        targets: Any = arrays.get("targets")
        if targets is not None:
            count, rows = len(cuts) + 1, len(targets) if targets.ndim else 0
            if "target_lengths" in arrays:
                targets = np.split(targets, _cuts(path, arrays, "target_lengths", rows))
            elif rows == len(values) and count != rows:
                targets = np.split(targets, cuts)
            elif rows != count:
                raise DataError(
                    f"{path}: expected targets with a row for each of the {count} sequences or each of the "
                    f"{len(values)} steps, got {rows}"
                )
        per_step = None if targets is None else isinstance(targets, list)
        ignore = arrays["ignore"].item() if "ignore" in arrays else None
        return cls(np.split(values, cuts), targets, arrays.get("classes"), ignore=ignore, per_step=per_step)


def _read_part(values: Any, name: str) -> list[Array]:
    """The sequences of one input, all of one shape of step."""
    of = f" of {name}" if name else ""
    part: list[Array] = []
    for index, value in enumerate(as_list(values, 1 if name else 2)):
        array = np.asarray(value) if isinstance(value, np.ndarray) and value.ndim == 1 else None
        if array is not None and array.dtype.kind in "iu":
            part.append(array.astype(np.int64))
        else:
            part.append(as_floats(value, f"sequence {index}{of}"))
        if not part[-1].ndim or (not name and part[-1].ndim == 1 and part[-1].dtype.kind == "f"):
            raise ShapeError(
                f"sequence {index}{of}: expected [time, features], got {list(part[-1].shape)}; a sequence is steps by "
                "features, tokens are integers"
            )
        if part[-1].ndim != part[0].ndim or _step(part[-1]) != _step(part[0]):
            remedy = "; is it features by time? transpose it" if part[0].ndim == part[-1].ndim == 2 else ""
            expected = ", ".join(["time"] * has_time(part[0]) + [str(size) for size in _step(part[0])])
            raise ShapeError(
                f"sequence {index}{of}: expected [{expected}] like sequence 0, got {list(part[-1].shape)}{remedy}"
            )
    return part


def has_time(array: Array) -> bool:
    """Steps have features, or are tokens; a float vector is one of a whole sequence."""
    return array.ndim > 1 or array.dtype.kind == "i"


def _step(array: Array) -> tuple[int, ...]:
    return array.shape[1:] if has_time(array) else array.shape


def _cuts(path: str | Path, arrays: dict[str, Array], name: str, rows: int) -> Array:
    """Where one sequence ends and the next begins."""
    lengths = arrays[name]
    good = lengths.ndim == 1 and len(lengths) and lengths.dtype.kind in "iu" and lengths.min() >= 0
    if not good or lengths.sum() != rows:
        raise DataError(
            f"{path}: expected {name} [sequences], one at least, integers that are not negative and add up to {rows}, "
            f"got {lengths.dtype} {list(lengths.shape)}{f' that add up to {lengths.sum()}' if good else ''}"
        )
    return np.cumsum(lengths)[:-1]


def _numbered(
    flat: Array, classes: list[Label] | None, sizes: list[int], ignore: Label | float | None
) -> tuple[NDArray[np.int64], list[Label]]:
    """Labels as class numbers, −1 where ignored, and the classes."""
    names: list[Label] = [n for n in np.unique(flat).tolist() if n != ignore] if classes is None else classes
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) != len(names):
        raise DataError(f"classes: must differ, got {names}")
    if ignore is not None:
        numbers[ignore] = -1  # type: ignore[index]
    for place, label in enumerate(flat.tolist()):
        if label not in numbers:
            index = int(np.searchsorted(np.cumsum(sizes), place, side="right"))
            raise DataError(f"targets of sequence {index}: label {label!r} is not among the classes {names}")
    return np.array([numbers[label] for label in flat.tolist()], np.int64), names
