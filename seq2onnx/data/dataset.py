"""SequenceDataset: sequences of differing lengths, and what they should give."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.files import write_atomically
from seq2onnx.sequences import as_sequences

Label = str | int


class SequenceDataset:
    """A ragged list of sequences, with or without targets.

    Args:
        sequences: a list of [time, features] arrays; the times differ, the features do not
        targets: one for each sequence (labels, numbers, or vectors of numbers [sequences, k]),
            or one for each step: a list of [time] or [time, k] arrays
        classes: the labels in the order of the scores; else sorted from the targets, where those are
            strings or integers
    Attributes: sequences, targets (labels as class numbers), classes (None for numbers), per_step
        (targets are one a step), lengths [sequences]
    Raises: DataError, ShapeError, naming the sequence
    Example: >>> SequenceDataset([np.zeros((20, 12)), np.zeros((26, 12))], ["yes", "no"])
    """

    def __init__(self, sequences: Any, targets: Any = None, classes: Sequence[Label] | None = None) -> None:
        self.sequences = as_sequences(sequences)
        features = self.sequences[0].shape[1]
        for index, sequence in enumerate(self.sequences):
            if sequence.shape[1] != features:
                raise ShapeError(
                    f"sequence {index}: expected [time, {features}] like sequence 0, got {list(sequence.shape)}"
                )
        self.lengths = np.array([len(sequence) for sequence in self.sequences], np.int32)
        self.per_step = False
        self.classes: list[Label] | None = None
        self.targets: list[NDArray[Any]] | NDArray[Any] | None = None
        if targets is not None:
            self._read_targets(targets, None if classes is None else [np.asarray(c).item() for c in classes])
        elif classes is not None:
            raise DataError("classes: are the labels of targets, and there are no targets")

    def _read_targets(self, targets: Any, classes: list[Label] | None) -> None:
        if len(targets) != len(self):
            raise DataError(f"targets: expected {len(self)}, one for each sequence, got {len(targets)}")
        rows = [np.asarray(target) for target in targets]
        sizes = [len(row) if row.ndim else 0 for row in rows]
        # An array [sequences, k], or a list of equal vectors, is a vector a sequence; the rest is a row a step.
        ragged = len(set(sizes)) > 1 or sizes == self.lengths.tolist()
        self.per_step = rows[0].ndim > 0 and not isinstance(targets, np.ndarray) and ragged
        if self.per_step:
            for index, (size, length) in enumerate(zip(sizes, self.lengths, strict=True)):
                if size != length:
                    raise DataError(
                        f"targets of sequence {index}: expected one for each of its {length} steps, got {size}"
                    )
            flat = np.concatenate(rows)
        else:
            flat = np.stack(rows)
        if (flat.dtype.kind in "iub" and flat.ndim == 1) or flat.dtype.kind == "U":
            flat, self.classes = _numbered(flat, classes, [] if not self.per_step else self.lengths)
        elif flat.dtype.kind == "f" and classes is None:
            flat = flat.astype(np.float32)
        else:
            raise DataError(
                f"targets: expected labels (strings or integers), or numbers without classes, got {flat.dtype}"
            )
        self.targets = np.split(flat, np.cumsum(self.lengths)[:-1]) if self.per_step else flat

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], Any]:
        """The sequence, and its target (None without targets)."""
        return self.sequences[index], None if self.targets is None else self.targets[index]

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        low, high = self.lengths.min(), self.lengths.max()
        return f"SequenceDataset({len(self)} sequences, {low} to {high} steps, {self.features} features{classes})"

    @property
    def features(self) -> int:
        """Numbers in a step."""
        return int(self.sequences[0].shape[1])

    @property
    def labels(self) -> NDArray[Any]:
        """The targets as they were given: the label of each sequence."""
        if self.classes is None or self.per_step:
            raise DataError("labels: this data set has no label for each sequence")
        return np.array(self.classes)[self.targets]

    def subset(self, indices: Any) -> SequenceDataset:
        """The sequences at `indices`, with the same classes."""
        chosen = np.arange(len(self))[indices]
        made = object.__new__(SequenceDataset)
        made.sequences = [self.sequences[i] for i in chosen]
        made.lengths, made.per_step, made.classes = self.lengths[chosen], self.per_step, self.classes
        made.targets = None if self.targets is None else [self.targets[i] for i in chosen]
        if isinstance(self.targets, np.ndarray):
            made.targets = self.targets[chosen]
        if not made.sequences:
            raise DataError("subset: expected at least one index, got none")
        return made

    def with_classes(self, classes: Sequence[Label]) -> SequenceDataset:
        """The same data with its labels numbered as `classes` are, those of the training data, say."""
        if self.classes is None or self.targets is None:
            raise DataError(f"targets: expected labels among {list(classes)}, got numbers")
        names = np.array(self.classes)
        rows = list(self.targets) if self.per_step else self.targets
        given = [names[row] for row in rows] if self.per_step else names[np.asarray(rows)]
        return SequenceDataset(self.sequences, given, classes)

    def check_finite(self) -> None:
        """Raise DataError, naming sequence and step, where a value is NaN or infinite."""
        for index, sequence in enumerate(self.sequences):
            if not np.isfinite(sequence).all():
                step, feature = np.argwhere(~np.isfinite(sequence))[0]
                raise DataError(
                    f"sequence {index}, step {step}: feature {feature} is {sequence[step, feature]}; training "
                    "needs finite numbers: remove the sequence or fill the gap"
                )
            if self.targets is not None and not np.isfinite(self.targets[index]).all():
                raise DataError(f"targets of sequence {index}: are not all finite; training needs finite numbers")

    def statistics(self) -> dict[str, NDArray[np.float64]]:
        """mean, std (N − 1), min and max of each feature over all steps, each [features]."""
        values = np.concatenate(self.sequences).astype(np.float64)
        spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros(self.features)
        # Rounding gives a constant feature a spread of its last digits; it has none.
        spread[values.min(0) == values.max(0)] = 0
        return {"mean": values.mean(0), "std": spread, "min": values.min(0), "max": values.max(0)}

    def save(self, path: str | Path) -> None:
        """Write an .npz: values [all steps, features], lengths [sequences], targets (a row a sequence or a step)."""
        arrays: dict[str, NDArray[Any]] = {"values": np.concatenate(self.sequences), "lengths": self.lengths}
        if self.targets is not None:
            targets = np.concatenate(list(self.targets)) if self.per_step else np.asarray(self.targets)
            arrays["targets"] = targets if self.classes is None else np.array(self.classes)[targets]
            if self.classes is not None:
                arrays["classes"] = np.array(self.classes)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> SequenceDataset:
        """Read the .npz that `save` describes; `classes` in it is optional.

        Raises: DataError where the file is not one, OSError where it cannot be read
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
            raise DataError(f"{path}: is not an .npz of plain arrays, or not all of one: {error}") from None
        for name in ("values", "lengths"):
            if name not in arrays:
                raise DataError(f"{path}: has no array {name!r}, only {sorted(arrays)}; see SequenceDataset.save")
        values, lengths = arrays["values"], arrays["lengths"]
        if values.ndim != 2 or lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.sum() != len(values):
            raise DataError(
                f"{path}: expected values [all steps, features] and lengths [sequences] that add up to all steps, "
                f"got values {list(values.shape)} and lengths {list(lengths.shape)} that add up to {lengths.sum()}"
            )
        if not len(lengths):
            raise DataError(f"{path}: expected at least one sequence, got none")
        cuts = np.cumsum(lengths)[:-1]
        targets: Any = arrays.get("targets")
        if targets is not None:
            if len(targets) == len(values) and len(lengths) != len(values):
                targets = np.split(targets, cuts)
            elif len(targets) != len(lengths):
                raise DataError(
                    f"{path}: expected targets with a row for each of the {len(lengths)} sequences or each of the "
                    f"{len(values)} steps, got {len(targets)}"
                )
        return cls(np.split(values, cuts), targets, arrays.get("classes"))


def _numbered(flat: NDArray[Any], classes: list[Label] | None, lengths: Any) -> tuple[NDArray[np.int64], list[Label]]:
    """Labels as class numbers, and the classes."""
    names: list[Label] = np.unique(flat).tolist() if classes is None else classes
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) != len(names):
        raise DataError(f"classes: must differ, got {names}")
    for place, label in enumerate(flat.tolist()):
        if label not in numbers:
            index = int(np.searchsorted(np.cumsum(lengths), place, side="right")) if len(lengths) else place
            raise DataError(f"targets of sequence {index}: label {label!r} is not among the classes {names}")
    return np.array([numbers[label] for label in flat.tolist()], np.int64), names
