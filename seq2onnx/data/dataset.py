"""SequenceDataset: sequences of different lengths, and their targets."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data import formats, iterables
from seq2onnx.data.columns import Block, Column, Indices, InMemory, Mapped, read_blocks
from seq2onnx.data.contents import Contents
from seq2onnx.data.forecasting import as_series, forecasting_contents, steps_ahead
from seq2onnx.data.formats.parsing import parsing
from seq2onnx.data.inputs import as_columns, common_lengths, select_channels
from seq2onnx.data.long_frames import read_long_frame
from seq2onnx.data.padded import cut_padding
from seq2onnx.data.splitting import groups_in_order, split_indices
from seq2onnx.data.statistics import ChannelStatistics, channel_statistics, input_statistics
from seq2onnx.data.targets import Label, check_targets, count_labels, labels_of, read_targets, renumber, take_rows
from seq2onnx.data.timing import Timing, timed
from seq2onnx.data.transforms import Chain, SelectChannels, Transform, select, transform_all
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, Channels, Names, TrainingStatistics, as_tokens
from seq2onnx.sequences.rates import check_number
from seq2onnx.tables import as_html

D = TypeVar("D", bound="SequenceDataset")


class SequenceDataset:
    """Sequences of different lengths, with or without targets.

    Args:
        sequences: a list of [time, features] arrays, which may differ in time, but not in features. Images are
            [time, channels, height, width], tokens [time] integers, texts strings or lists of words. For several
            inputs a dict of such lists by input layer; a FeatureInput takes a float vector [size] for each sequence.
            Data frames [time, features] are read by the names of their columns. With `lengths`, one padded array
            [sequences, time, features].
        targets: one for each sequence (labels, numbers, or vectors of numbers [sequences, k]), or a list of
            [time] or [time, k] arrays with one for each step of the network's output. Integers and strings are
            labels, floats are numbers.
        classes: the labels in the order of the scores. None: the sorted labels of the targets.
        ignore: the target that training and metrics leave out: a label, or a number such as nan.
        per_step: whether there is a target for each step. None: True if the targets are a list of rows that
            differ in length, or that are as long as the sequences.
        channels: the names of the features, a list or for several inputs a dict; of images the names of the channels.
            None: the names of the columns if the sequences are data frames. They travel with the data into the trained
            module and the exported file.
        lengths: the steps of each sequence, if `sequences` is padded. Padded targets of steps are cut too; give
            per_step for numbers [sequences, time].
        ids: the name of each sequence, such as its file; predictions show it.
        sample_rate: how many steps there are in a second. The trained module and the exported file keep it. If a layer
            has a rate, such as MelSpectrogram, it must be the same; nothing is resampled.

    Attributes:
        parts: a Column of sequences for each input; its key is "" if the input has no name.
        targets: labels as class numbers, −1 where ignored; numbers as float32, NaN where ignored.
        classes: the labels, or None for numbers.
        per_step: whether there is a target for each step.
        lengths: the steps [sequences] of each sequence.
        ids: the name of each sequence, or None.
        sample_rate: steps per second, or None.
        ahead: of data that `next_step` made, which later steps are the target of a step, such as range(1, 25); or None.

    Raises:
        DataError: data that cannot be used; the message names the sequence.
        ShapeError: shapes that do not fit together.

    Example:
        >>> SequenceDataset([np.zeros((20, 12)), np.zeros((26, 12))], ["yes", "no"])
    """

    def __init__(
        self,
        sequences: Any,
        targets: Any = None,
        classes: Sequence[Label] | None = None,
        *,
        ignore: Label | float | None = None,
        per_step: bool | None = None,
        channels: Channels = None,
        lengths: Any = None,
        ids: Sequence[str] | None = None,
        sample_rate: float | None = None,
    ) -> None:
        if lengths is not None:
            sequences, targets = cut_padding(sequences, targets, lengths, per_step)
        self.parts, self._channels = as_columns(sequences, channels)
        self.lengths = common_lengths(self.parts)
        self.ignore = ignore
        self.targets, self.classes, self.per_step = read_targets(targets, self.lengths, classes, per_step, ignore)
        self.ids = None if ids is None else [ids] if isinstance(ids, str) else [str(name) for name in ids]
        if self.ids is not None and len(self.ids) != len(self):
            raise DataError(f"ids: expected one for each of {len(self)} sequences, got {len(self.ids)}")
        check_number(sample_rate, "sample_rate")
        self.sample_rate = sample_rate
        self.ahead: range | None = None
        self._transform: Transform | None = None
        self.batch_transform: Callable[[Any], Any] | None = None
        self._statistics: dict[str, ChannelStatistics] = {}

    @classmethod
    def next_step(
        cls,
        series: Any,
        lead: int = 1,
        *,
        known: Mapping[str, Any] | None = None,
        horizon: int | None = None,
        sample_rate: float | None = None,
    ) -> Self:
        """Make data for forecasting: the target of each step is the next one, or the next `horizon` ones.

        Series and known values begin at the same step: value t of each belongs to step t. What is known of the steps
        in a target joins the step before them, so by default y_t and known_{t+1} are the inputs for the target y_{t+1}.

        Args:
            series: what is forecast: a list of [time, features] or [time] arrays, a single one, or a data set, whose
                targets are replaced. With `known` a dict of this by input layer. The last steps are targets only.
            lead: how many steps later the target is, if it is a single step.
            known: what is known in advance, such as the calendar or a plan, by input layer: arrays that are at least as
                long as the series. With a horizon each step gets the values of all steps in its target, side by
                side [time, horizon · features].
            horizon: forecast all of the next `horizon` steps at once. The target of step t is y_{t+1} to y_{t+horizon},
                side by side [time, horizon · features]: first all features of y_{t+1}.
            sample_rate: the steps per second. None: that of a data set, or not known.

        Raises:
            DataError: a series is too short, or known values do not belong to it.
            SpecError: lead and horizon are given.

        Example:
            >>> SequenceDataset.next_step([temperature, another])  # the target of x_t is x_{t+1}
            >>> SequenceDataset.next_step({"load": load}, known={"calendar": hours}, horizon=24)
        """
        steps = steps_ahead(lead, horizon)
        data = series if isinstance(series, SequenceDataset) else cls(as_series(series, "series"))
        future = None if not known else cls(as_series(known, "known")).contents()
        made = _of_contents(cls, forecasting_contents(data.contents(), future, steps))
        check_number(sample_rate, "sample_rate")
        return made._with(ahead=steps, sample_rate=made.sample_rate if sample_rate is None else sample_rate)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        id: str,
        time: str | None = None,
        features: Sequence[str] | None = None,
        targets: Any = None,
        per_step: bool = False,
        classes: Sequence[Label] | None = None,
        ignore: Label | float | None = None,
        sample_rate: float | None = None,
        rate: float | None = None,
        max_gap: float | None = None,
    ) -> SequenceDataset:
        """Read a long table: a data frame of pandas or polars with a row for each step of each sequence.

        Args:
            frame: the table.
            id: the column that tells the sequences apart. They keep the order in which they first occur.
            time: the column that orders the steps of a sequence; it is not a feature. See `seq2onnx.data.read` for what
                is found in it. None: the order of the rows.
            features: the columns with the features. None: all other columns; each must hold numbers.
            targets: a column, which is then not a feature; or a dict or a Series with the target of each id.
            per_step: whether the column has a target for each step. False: all rows of a sequence have the same one.
            classes: see SequenceDataset.
            ignore: see SequenceDataset.
            sample_rate: the steps per second. None: as measured from the time stamps.
            rate: resample to this many steps per second; see `seq2onnx.data.read`.
            max_gap: the longest gap, in seconds, that resampling fills; see `seq2onnx.data.read`.

        Raises:
            DataError: a column is missing, or has other content.

        Example:
            >>> SequenceDataset.from_frame(frame, id="pump", time="hour", targets={"p1": "good", "p2": "worn"})
        """
        timing = Timing(sample_rate, rate, max_gap)
        timing.check(time)
        found, _ = timed(read_long_frame(frame, id, time, features, targets, per_step), "from_frame", timing)
        about: dict[str, Any] = {"ignore": ignore, "per_step": per_step, "channels": found.channels, "ids": found.ids}
        return cls(found.sequences, found.targets, classes, **about, sample_rate=found.sample_rate)

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
        """Read (sequence, target) pairs, or sequences, from a torch Dataset or IterableDataset, or any other iterable.

        Args:
            items: each is read once, in order.
            path: a .parquet file, for data larger than memory: items are written to it, and read when they are needed.
            classes: see SequenceDataset.
            ignore: see SequenceDataset.
            per_step: see SequenceDataset. With a path, None means: True if targets are arrays.

        Example:
            >>> SequenceDataset.from_items(torch_dataset, "cache.parquet")
        """
        if path is None:
            return cls(*iterables.collect(items), classes, ignore=ignore, per_step=per_step)
        iterables.write_items(path, items, classes, ignore, per_step)
        return cls.load(path, trusted=True)

    @classmethod
    def load(cls, path: str | Path, *, trusted: bool = False) -> SequenceDataset:
        """Read a file that `save` wrote, or another that `seq2onnx.data.read` reads; see there for `trusted`."""
        return from_contents(formats.read(path, trusted=trusted), path)

    def save(self, path: str | Path) -> None:
        """Write a .parquet file with a row for each sequence, or, for data of one input, an .npz or .h5 file of arrays.

        These are values [all steps, features] and lengths [sequences]; with targets also targets (a row for each
        sequence, or a row for each step and target_lengths [sequences]), classes and ignore; channels, ids and
        sample_rate where they are known.
        """
        if self._transform is not None:
            raise DataError(f"{path}: the data has a transform, which no file can hold; save it without")
        formats.write(self.contents(), path)

    def contents(self) -> Contents:
        """Return the arguments that make this data set, without its transform."""
        targets = labels_of(self.targets, self.classes, self.ignore)
        about = self.classes, self.ignore, self.per_step, self.channels, self.ids, self.sample_rate
        return Contents(self.parts, targets, *about)

    @property
    def channels(self) -> Names | dict[str, Names | None] | None:
        """The names of the features: a list, for several inputs a dict; None if there are none."""
        if not any(self._channels.values()):
            return None
        return self._channels.get("", self._channels)

    @property
    def sequences(self) -> Any:
        """The sequences: a list, or for several inputs a dict of lists. For files a Column in place of a list."""
        plain = {name: part.arrays if isinstance(part, InMemory) else part for name, part in self.parts.items()}
        return plain[""] if list(plain) == [""] else plain

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int | slice) -> Any:
        """Return (sequence, target), with a dict of sequences for several inputs; for a slice return a subset."""
        if isinstance(index, slice):
            return self.subset(index)
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

    def _repr_html_(self) -> str:
        from seq2onnx.data.description import describe

        return as_html(describe(self) if self.in_memory else repr(self))  # a large file takes long to read

    @property
    def labels(self) -> Any:
        """The labels of the targets: an array [sequences], or a list of arrays if there is one for each step."""
        if self.classes is None or self.targets is None:
            raise DataError("labels: this data set has no labels")
        labels = labels_of(self.targets, self.classes, self.ignore)
        return list(labels) if isinstance(labels, Column) else labels

    def class_counts(self) -> NDArray[np.int64]:
        """Count the sequences, or steps, of each class. Ignored ones do not count."""
        if self.classes is None or self.targets is None:
            raise DataError("class_counts: this data set has no labels")
        return count_labels(self.targets, len(self.classes))

    def take(
        self, indices: Sequence[int] | Indices, seed: tuple[int, ...] = (0,)
    ) -> tuple[dict[str, list[Array]], Any]:
        """Return some sequences, a list for each input, and their targets, after the transform.

        Args:
            indices: which sequences.
            seed: seeds, with the index of a sequence, the generator of the transform.
        """
        parts = {name: part.take(indices) for name, part in self.parts.items()}
        targets = take_rows(self.targets, indices)
        if self._transform is None:
            return parts, targets
        return transform_all(self._transform, indices, parts, targets, seed)

    def transformed(self, sequence: Transform | None = None, batch: Callable[[Any], Any] | None = None) -> Self:
        """Return the same data with functions that change it whenever it is read, so each epoch gets new values.

        Args:
            sequence: (x, target, rng) -> (x, target), for each sequence, after the function that the data already has.
                x is [time, features], for several inputs a dict. The numpy generator rng is seeded for each sequence,
                so a seeded run repeats with any number of workers. Statistics are those of the results. The features
                keep their names if it keeps their number.
            batch: a `seq2onnx.training.batch_dataset.Batch` -> Batch, of padded tensors, in training and validation.

        Example:
            >>> data.transformed(lambda x, target, rng: (x + rng.normal(0, 0.01, x.shape), target))
        """
        sequence = sequence if self._transform is None or sequence is None else Chain(self._transform, sequence)
        batch = batch if self.batch_transform is None or batch is None else Chain(self.batch_transform, batch)
        made = self._with(_transform=sequence or self._transform, batch_transform=batch or self.batch_transform)
        # Where the transform changes the number of features, their names are no longer known.
        names = {n: c if c is None or len(c) == made.shape(n)[0] else None for n, c in self._channels.items()}
        return made._with(_channels=names)

    def subset(self, indices: Any) -> Self:
        """Return the sequences at `indices` (numbers, booleans or a slice), with the same classes."""
        try:
            chosen = np.atleast_1d(np.arange(len(self))[indices])
        except (IndexError, TypeError) as error:
            raise DataError(f"subset: expected numbers below {len(self)}, booleans or a slice: {error}") from None
        if not len(chosen):
            raise DataError("subset: expected at least one index, got none")
        targets = self.targets.subset(chosen) if isinstance(self.targets, Column) else take_rows(self.targets, chosen)
        parts = {name: part.subset(chosen) for name, part in self.parts.items()}
        ids = None if self.ids is None else [self.ids[index] for index in chosen]
        return self._with(parts=parts, lengths=self.lengths[chosen], targets=targets, ids=ids)

    def split(self, share: float, *, seed: int = 0, groups: Any = None) -> tuple[Self, Self]:
        """Split at random into two data sets. Both have each label in about the same share.

        Args:
            share: the share of the first data set, between 0 and 1.
            seed: seeds the choice; the same seed splits in the same way.
            groups: the group of each sequence, such as the machine or the speaker: a list, or by id a dict or a Series.
                All sequences of a group go to the same side. None: each sequence is chosen alone.

        Raises:
            DataError: a side would be empty, or an id has no group.

        Example:
            >>> training, test = data.split(0.8, groups=machines)
        """
        is_stratified = self.classes is not None and not self.per_step
        labels = np.asarray(self.targets) if is_stratified else None
        groups = None if groups is None else groups_in_order(groups, self.ids, len(self))
        first, second = split_indices(len(self), share, seed, labels, groups)
        return self.subset(first), self.subset(second)

    def with_channels(self, channels: Channels) -> Self:
        """Return the same data with these channels in this order, such as those of a trained module.

        Other channels are left out. An input without names stays as it is.

        Raises:
            DataError: the data lacks a channel.
        """
        places = select_channels(self.parts, self._channels, channels)
        if not places:
            return self
        names = self._channels | {n: [(self._channels[n] or [])[i] for i in chosen] for n, chosen in places.items()}
        if self._transform is not None:  # it reads the channels of the data
            return self._with(_channels=names, _transform=Chain(self._transform, SelectChannels(places)))
        parts = dict(self.parts)
        for name, chosen in places.items():
            column = Mapped(parts[name], functools.partial(select, places=chosen))
            parts[name] = InMemory(list(column), column.has_time) if column.in_memory else column
        return self._with(_channels=names, parts=parts)

    def with_classes(self, classes: Sequence[Label]) -> Self:
        """Return the same data with its labels numbered as in `classes`, such as those of the training data."""
        if self.classes is None or self.targets is None:
            got = "none" if self.targets is None else "numbers"
            raise DataError(f"targets: expected labels among {list(classes)}, got {got}")
        names = [np.asarray(label).item() for label in classes]
        if names == self.classes:
            return self
        return self._with(targets=renumber(self.targets, self.classes, names), classes=names)

    def with_vocabulary(self, words: Sequence[str], name: str = "") -> Self:
        """Return the same data with the words of the input `name` as their numbers in a `Vocabulary` of `words`."""
        numbers = {word: number for number, word in enumerate(words, 1)}
        encoded = Mapped(self.parts[name], functools.partial(as_tokens, where=name or "sequences", numbers=numbers))
        return self._with(parts=self.parts | {name: encoded})

    def _with(self, **changes: Any) -> Self:
        made = copy.copy(self)
        made._statistics = {}
        vars(made).update(changes)
        return made

    @property
    def in_memory(self) -> bool:
        """Whether all data is in memory and has no transform."""
        return all(part.in_memory for part in self.parts.values()) and self._transform is None

    def shards(self, rng: np.random.Generator | None = None) -> list[Indices]:
        """Return all indices, in parts to read together; see Column.shards."""
        columns = [*self.parts.values(), *([self.targets] if isinstance(self.targets, Column) else [])]
        stored = [column for column in columns if not column.in_memory]
        # The largest column decides how much is read together.
        return max(stored or columns[:1], key=lambda column: int(column.sizes.sum())).shards(rng)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """About how many bytes each sequence takes in memory."""
        return np.sum([part.sizes for part in self.parts.values()], 0)  # type: ignore[no-any-return]

    def shape(self, name: str = "") -> tuple[int, ...]:
        """Return the shape of a step of an input, or of its vector if it has no time axis."""
        if self._transform is None:
            return self.parts[name].shape
        (first,) = self.take([0])[0][name]
        return first.shape[self.parts[name].has_time :]

    def _blocks(self, name: str) -> Iterable[Block]:
        """Read an input, after the transform, in blocks of bounded size."""
        if self._transform is None:
            return self.parts[name].blocks()
        return read_blocks(self.shards(), self.sizes, lambda i: self.take(i)[0][name], self.parts[name].has_time)

    def channel_statistics(self, name: str = "") -> ChannelStatistics:
        """Compute the statistics of an input in one pass over it; for files only once."""
        if name in self._statistics:
            return self._statistics[name]
        found = channel_statistics(self._blocks(name))
        if not self.parts[name].in_memory:
            self._statistics[name] = found
        return found

    def statistics(self, name: str = "") -> dict[str, NDArray[np.float64]]:
        """Return mean, std (N − 1), min and max [channels] of an input, over all steps and all pixels."""
        found = self.channel_statistics(name)
        if not found.count.size or not found.count.all():
            raise DataError(f"{name or 'sequences'}: a channel has no finite values, so its statistics are undefined")
        return found.summary()

    def training_statistics(self) -> TrainingStatistics:
        """Return statistics of the steps of each input of numbers, and of how much its sequences differ."""
        inputs = {
            name: input_statistics(self.channel_statistics(name), self._blocks(name))
            for name, part in self.parts.items()
            if part.dtype.kind == "f"
        }
        return TrainingStatistics(len(self), int(self.lengths.sum()), self.sample_rate, inputs)

    def check_finite(self, missing: Collection[str] = ()) -> None:
        """Raise DataError, naming sequence and step, where a value is NaN or infinite.

        Args:
            missing: the inputs whose values may be missing, which are not checked.
        """
        for name, part in self.parts.items():
            if part.dtype.kind == "f" and name not in missing:
                found = self.channel_statistics(name)
                found.check_finite(name, part.has_time, self._channels[name], self.ids)
        if self.targets is not None:
            check_targets(self.targets, self.ignore, self.ids)


def from_contents(contents: Contents, path: str | Path) -> SequenceDataset:
    """Make a data set of what a file contains; raise DataError if that is no data set."""
    with parsing(path, "a data set"):
        return _of_contents(SequenceDataset, contents)


def _of_contents(cls: type[D], contents: Contents) -> D:
    return cls(**{name: value for name, value in vars(contents).items() if name != "times"})
