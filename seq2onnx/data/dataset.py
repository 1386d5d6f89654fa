"""SequenceDataset: sequences of differing lengths, and what they should give."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import BLOCK_BYTES, Block, Column, Indices, InMemory, Mapped, as_column
from seq2onnx.data.statistics import Survey, survey
from seq2onnx.data.targets import Label, Targets, read_targets, renumbered
from seq2onnx.data.transforms import Chain, Transform, transformed
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, as_list, as_tokens, by_size


class SequenceDataset:
    """A ragged list of sequences, with or without targets.

    Args:
        sequences: a list of [time, features] arrays; the times differ, the features do not. Images are
            [time, channels, height, width], tokens [time] integers, texts strings or lists of words. For several
            inputs a dict of such lists by input layer; there a float vector [size] for each sequence is what a
            FeatureInput takes.
        targets: one for each sequence (labels, numbers, or vectors of numbers [sequences, k]), or a list of
            [time] or [time, k] arrays, one for each step that the network answers. Integers and strings are
            labels, floats are numbers.
        classes: the labels in the order of the scores; else sorted from the targets, where those are labels
        per_step: whether targets are one a step; None: where a list of rows differs in length, or has the lengths of
            the sequences
        ignore: the target of sequences or steps that training and metrics leave out: a label, or a number such as nan
    Attributes: sequences, as given; parts, a Column of sequences for each input (without names the key is "");
        targets (labels as class numbers, −1 where ignored; numbers as float32, NaN where ignored); classes (None for
        numbers); per_step (targets are one a step); lengths [sequences]
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
        self.parts: dict[str, Column] = {name: as_column(values, name) for name, values in named.items()}
        counts = {name: len(part) for name, part in self.parts.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"sequences: expected as many for each input, got {counts}")
        timed = [part for part in self.parts.values() if part.has_time]
        if not timed:
            raise DataError("sequences: expected one input at least to have time, got float vectors alone")
        self.lengths = timed[0].lengths
        for part in timed:
            if (differ := np.flatnonzero(part.lengths != self.lengths)).size:
                raise DataError(
                    f"sequence {differ[0]}: expected as many steps in each input, "
                    f"got {self.lengths[differ[0]]} and {part.lengths[differ[0]]}"
                )
        self.ignore = ignore
        self.per_step = False
        self.classes: list[Label] | None = None
        self.targets: Targets | None = None
        self._transform: Transform | None = None
        self.batch_transform: Callable[[Any], Any] | None = None
        self._surveys: dict[str, Survey] = {}
        if targets is not None:
            self.targets, self.classes, self.per_step = read_targets(targets, self.lengths, classes, per_step, ignore)
        elif classes is not None:
            raise DataError("classes: are the labels of targets, and there are no targets")

    @classmethod
    def next_step(cls, series: Any, horizon: int = 1) -> SequenceDataset:
        """For forecasting: series [time, features] less their last steps, and for each step that `horizon` later.

        Raises: DataError (naming a series that is too short), ShapeError
        Example: >>> SequenceDataset.next_step([temperature, another])  # y_t: the x_{t+1}
        """
        if not isinstance(horizon, int) or horizon < 1:
            raise DataError(f"horizon: must be a whole number of steps, at least 1, got {horizon!r}")
        arrays = list(cls(as_list(series)).parts[""])
        for index, array in enumerate(arrays):
            if len(array) <= horizon:
                raise DataError(
                    f"sequence {index}: has {len(array)} steps, and a target {horizon} later needs {horizon + 1}; "
                    "leave it out"
                )
        return cls([a[:-horizon] for a in arrays], [a[horizon:] for a in arrays], per_step=True)

    @property
    def sequences(self) -> Any:
        """As they were given: a list, or for several inputs a dict of lists; of files a Column in place of a list."""
        plain = {name: part.arrays if isinstance(part, InMemory) else part for name, part in self.parts.items()}
        return plain[""] if list(plain) == [""] else plain

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """The sequence, for several inputs a dict, and its target (None without targets)."""
        if not isinstance(index, int | np.integer) or not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}: expected an integer; subset takes several")
        parts, targets = self.take([index % len(self)])
        first = {name: arrays[0] for name, arrays in parts.items()}
        return first.get("", first), None if targets is None else targets[0]

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        shapes = ", ".join(
            f"{name} {' × '.join(map(str, part.shape)) or ('words' if part.is_words else 'tokens')}".strip()
            for name, part in self.parts.items()
        )
        low, high = self.lengths.min(), self.lengths.max()
        return f"SequenceDataset({len(self)} sequences, {low} to {high} steps, features {shapes}{classes})"

    @property
    def labels(self) -> Any:
        """The labels of the targets: an array [sequences], or one label a step a list of arrays."""
        if self.classes is None or self.targets is None:
            raise DataError("labels: this data set has no labels as targets")
        # Class −1 is what is ignored, the last name.
        names = np.array([*self.classes, *([] if self.ignore is None else [self.ignore])])
        return [names[row] for row in self.targets] if self.per_step else names[np.asarray(self.targets)]

    def class_counts(self) -> NDArray[np.int64]:
        """How many sequences, or steps, there are of each class, without those that are ignored."""
        assert self.classes is not None
        rows = self.targets.blocks() if isinstance(self.targets, Column) else [_one_block(np.asarray(self.targets))]
        numbers = (block.values[block.values >= 0] for block in rows)
        return sum(np.bincount(row, minlength=len(self.classes)) for row in numbers)  # type: ignore[return-value]

    def take(
        self, indices: Sequence[int] | Indices, seed: tuple[int, ...] = (0,)
    ) -> tuple[dict[str, list[Array]], Any]:
        """Some sequences, a list for each part, and their targets, after the transform.

        seed: of what the transform draws, for each sequence another
        """
        parts = {name: part.take(indices) for name, part in self.parts.items()}
        targets: Any = self.targets
        if isinstance(targets, Column):
            targets = targets.take(indices)
        elif targets is not None:
            targets = targets[indices]
        if self._transform is None:
            return parts, targets
        changed = []
        for place, index in enumerate(indices):
            # Copies: what a transform does to them in place must not add up from epoch to epoch.
            x = {name: arrays[place].copy() for name, arrays in parts.items()}
            rng = np.random.default_rng([*seed, int(index)])
            new, target = transformed(self._transform, int(index), x, None if targets is None else targets[place], rng)
            for name, array in new.items():
                parts[name][place] = array
            changed.append(target)
        if targets is not None:
            targets = changed if self.per_step else np.stack(changed)
        return parts, targets

    def transformed(self, sequence: Transform | None = None, batch: Callable[[Any], Any] | None = None) -> Self:
        """The same data with hooks that change it as it is read, in each epoch anew.

        Args:
            sequence: (x, target, rng) -> (x, target), for each sequence; x is [time, features], for several inputs a
                dict, and rng a numpy generator of its own, so that a seeded run repeats with any number of workers.
                Statistics are those of what it gives.
            batch: a `seq2onnx.training.Batch` -> Batch, of padded tensors, in training and validation
            Those that the data has already come first.
        Example: >>> data.transformed(lambda x, target, rng: (x + rng.normal(0, 0.01, x.shape), target))
        """
        sequence = sequence if self._transform is None or sequence is None else Chain(self._transform, sequence)
        batch = batch if self.batch_transform is None or batch is None else Chain(self.batch_transform, batch)
        return self._with(_transform=sequence or self._transform, batch_transform=batch or self.batch_transform)

    def subset(self, indices: Any) -> Self:
        """The sequences at `indices` (numbers, booleans or a slice), with the same classes."""
        try:
            chosen = np.atleast_1d(np.arange(len(self))[indices])
        except (IndexError, TypeError) as error:
            raise DataError(f"subset: expected numbers below {len(self)}, booleans or a slice: {error}") from None
        if not len(chosen):
            raise DataError("subset: expected at least one index, got none")
        targets = self.targets
        if targets is not None:
            targets = targets.subset(chosen) if isinstance(targets, Column) else targets[chosen]
        parts = {name: part.subset(chosen) for name, part in self.parts.items()}
        return self._with(parts=parts, lengths=self.lengths[chosen], targets=targets)

    def with_classes(self, classes: Sequence[Label]) -> Self:
        """The same data with its labels numbered as `classes` are, those of the training data, say."""
        if self.classes is None or self.targets is None:
            got = "none" if self.targets is None else "numbers"
            raise DataError(f"targets: expected labels among {list(classes)}, got {got}")
        names = [np.asarray(label).item() for label in classes]
        return self if names == self.classes else self._with(targets=renumbered(self, names), classes=names)

    def with_vocabulary(self, words: Sequence[str], name: str = "") -> Self:
        """The same data with the words of an input as their numbers: as `Vocabulary` has them."""
        numbers = {word: number for number, word in enumerate(words, 1)}
        encoded = Mapped(self.parts[name], functools.partial(as_tokens, where=name or "sequences", numbers=numbers))
        return self._with(parts=self.parts | {name: encoded})

    def _with(self, **changes: Any) -> Self:
        made = copy.copy(self)
        made._surveys = {}
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    @property
    def in_memory(self) -> bool:
        """Whether all of it is; else it is read from files as it is needed."""
        return all(part.in_memory for part in self.parts.values()) and self._transform is None

    def windows(self, rng: np.random.Generator | None = None) -> list[Indices]:
        """All indices, in the parts that are best read together; in order, or at random as far as that goes."""
        columns = [*self.parts.values(), *([self.targets] if isinstance(self.targets, Column) else [])]
        stored = [column for column in columns if not column.in_memory]
        # What is largest decides how much is read together.
        return max(stored or columns[:1], key=lambda column: int(column.sizes.sum())).windows(rng)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes that each sequence takes in memory, about."""
        total = np.zeros(len(self), np.int64)
        for part in self.parts.values():
            total += part.sizes
        return total

    def shape(self, name: str = "") -> tuple[int, ...]:
        """Of a step of an input; of its vector, where it has no time."""
        if self._transform is None:
            return self.parts[name].shape
        (first,) = self.take([0])[0][name]
        return first.shape[self.parts[name].has_time :]

    def survey(self, name: str = "") -> Survey:
        """What a pass over an input tells of its channels; for files the pass is made once."""
        if name in self._surveys:
            return self._surveys[name]
        part = self.parts[name]
        found = survey(part.blocks() if self._transform is None else self._blocks(name), part.has_time)
        if not part.in_memory:
            self._surveys[name] = found
        return found

    def target_survey(self) -> Survey:
        """What a pass over the targets tells, where they are numbers; those that are ignored are gaps."""
        if isinstance(self.targets, Column):
            column = self.targets
            blocks = (Block(b.indices, b.values.reshape(len(b.values), -1), b.lengths) for b in column.blocks())
            return survey(blocks, True)
        numbers = np.asarray(self.targets)
        return survey([_one_block(numbers.reshape(len(numbers), -1))], False)

    def _blocks(self, name: str) -> Iterator[Block]:
        """Blocks of an input, after the transform."""
        for window in self.windows():
            for indices in by_size(window, self.sizes, BLOCK_BYTES):
                arrays = self.take(indices)[0][name]
                if self.parts[name].has_time:
                    yield Block(indices, np.concatenate(arrays), np.array([len(array) for array in arrays]))
                else:
                    yield Block(indices, np.stack(arrays), np.zeros(len(arrays), int))

    def check_finite(self) -> None:
        """Raise DataError, naming sequence and step, where a value is NaN or infinite."""
        for name, part in self.parts.items():
            gap = self.survey(name).first_gap if part.dtype.kind == "f" else None
            if gap:
                index, step, place, value = gap
                at = f"sequence {index}" + (f" of {name}" if name else "") + (f", step {step}" * part.has_time)
                raise DataError(
                    f"{at}: feature {', '.join(map(str, place))} is {value}; training needs "
                    "finite numbers: remove the sequence or fill the gap"
                )
        if self.targets is None:
            return
        rows = self.targets.blocks() if isinstance(self.targets, Column) else [_one_block(self.targets)]
        for block in rows:
            good = np.isfinite(block.values) | (np.isnan(block.values) & (self.ignore is not None))
            if not good.all():
                row = np.flatnonzero(~good.reshape(len(good), -1).all(1))[0]
                index = block.indices[np.searchsorted(np.cumsum(block.lengths), row, side="right")]
                raise DataError(f"targets of sequence {index}: are not all finite; training needs finite numbers")

    def statistics(self, name: str = "") -> dict[str, NDArray[np.float64]]:
        """mean, std (N − 1), min and max of each channel of an input over all steps (and space), each [channels]."""
        found = self.survey(name)
        if not found.count.size or not found.count.all():
            raise DataError(f"{name or 'sequences'}: there are no finite values in some channel to take statistics of")
        return found.statistics()

    def save(self, path: str | Path) -> None:
        """Write a .parquet file, a row a sequence; or, for data of one input, an .npz or .h5 file of arrays.

        Those have values [all steps, features] and lengths [sequences]; with targets also targets (a row a sequence,
        or a row a step and target_lengths [sequences]), with labels classes, and ignore where there is such a target.
        """
        from seq2onnx.data.hdf5 import write_hdf5
        from seq2onnx.data.npz import save_npz
        from seq2onnx.data.parquet import save_parquet

        if self._transform is not None:
            raise DataError(f"{path}: the data has a transform, which no file can hold; save it without")
        writers = {".parquet": save_parquet, ".npz": save_npz, ".h5": write_hdf5, ".hdf5": write_hdf5}
        suffix = Path(path).suffix
        if suffix not in writers:
            raise DataError(f"{path}: data is written as {', '.join(writers)}, got {suffix!r}")
        writers[suffix](self, path)

    @classmethod
    def from_items(
        cls,
        items: Any,
        path: str | Path | None = None,
        *,
        classes: Sequence[Label] | None = None,
        ignore: Label | float | None = None,
        per_step: bool | None = None,
    ) -> SequenceDataset:
        """Data from whatever yields (sequence, target), or sequences: a torch Dataset or IterableDataset, a generator.

        Args:
            items: each is read once, in order
            path: a .parquet file, for more than memory holds: items are written there as they come, and read from there
            classes, ignore, per_step: as of SequenceDataset; with a path, None takes targets that are arrays for one
                a step
        Raises: DataError, ShapeError, naming the sequence
        Example: >>> SequenceDataset.from_items(torch_dataset, "cache.parquet")
        """
        from seq2onnx.data.items import in_order, parts_of, write_items
        from seq2onnx.data.parquet import read_parquet

        if path is not None:
            write_items(path, in_order(items), None if classes is None else list(classes), ignore, per_step)
            return read_parquet(path)
        pairs = [parts_of(item) for item in in_order(items)]
        if not pairs:
            raise DataError("items: expected at least one sequence, got none")
        first, target = pairs[0]
        found: Any = [x for x, _ in pairs]
        if isinstance(first, Mapping):
            found = {name: [np.asanyarray(x[name]) for x in found] for name in first}
        else:
            found = [x if isinstance(x, str) else np.asanyarray(x) for x in found]
        missing = [index for index, (_, t) in enumerate(pairs) if (t is None) != (target is None)]
        if missing:
            raise DataError(f"targets of sequence {missing[0]}: expected one for each sequence or for none")
        targets = None if target is None else [np.asarray(t) for _, t in pairs]
        return cls(found, targets, classes, ignore=ignore, per_step=per_step)

    @classmethod
    def load(cls, path: str | Path) -> SequenceDataset:
        """Read a file, as `seq2onnx.data.read` does: what `save` writes, and more.

        Raises: DataError where the file is not one, OSError where it cannot be read
        """
        from seq2onnx.data.readers import read

        return read(path)


def _one_block(targets: Array) -> Block:
    return Block(np.arange(len(targets)), targets, np.ones(len(targets), np.int64))
