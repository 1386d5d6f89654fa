"""Where the sequences of an input lie, and how they are read: all in memory, or a window at a time."""

from __future__ import annotations

import abc
import dataclasses
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import Array, as_floats, as_list, by_size, tokenize

Indices = NDArray[np.intp]

BLOCK_BYTES = 8 * 2**20
BYTES_OF_A_WORD = 64  # about what Python takes for a short string


@dataclasses.dataclass(frozen=True)
class Block:
    """Some sequences, end to end: values [steps of all, …] (vectors [n, size]), indices [n] and lengths [n]."""

    indices: Indices
    values: Array
    lengths: NDArray[np.integer[Any]]


class Column(abc.ABC):
    """The sequences of one input.

    Attributes: lengths [n], steps of each; shape, of a step (of the vector, where there is no time); dtype;
        has_time; in_memory, or else what is taken from a file that is not to change
    """

    lengths: NDArray[np.int32]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    has_time: bool = True
    in_memory: bool = False

    @property
    def is_words(self) -> bool:
        """Whether the sequences are words, which a vocabulary makes numbers of; of type object, for their lengths."""
        return self.dtype == object

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes that each sequence takes in memory, about."""
        step = BYTES_OF_A_WORD if self.is_words else math.prod(self.shape) * self.dtype.itemsize
        return np.maximum(self.lengths.astype(np.int64) * step if self.has_time else np.full(len(self), step), 1)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Array:
        if not isinstance(index, int | np.integer) or not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}: expected an integer; take gives several")
        return self.take([index % len(self)])[0]

    def __iter__(self) -> Iterator[Array]:
        for block in self.blocks():
            yield from np.split(block.values, np.cumsum(block.lengths)[:-1]) if self.has_time else block.values

    @abc.abstractmethod
    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        """Some sequences, in the order of the indices."""

    @abc.abstractmethod
    def mark(self) -> int:
        """A number that tells these sequences from others."""

    def windows(self, rng: np.random.Generator | None = None) -> list[Indices]:
        """All indices, in the parts that are best read together; in order, or at random as far as that goes."""
        return [np.arange(len(self)) if rng is None else rng.permutation(len(self))]

    def blocks(self) -> Iterator[Block]:
        """All sequences, once each, a bounded part at a time."""
        for window in self.windows():
            for indices in by_size(window, self.sizes, BLOCK_BYTES):
                values = self.take(indices)
                joined = np.concatenate(values) if self.has_time else np.stack(values)
                yield Block(indices, joined, self.lengths[indices])

    def subset(self, indices: Indices) -> Column:
        """The sequences at `indices`."""
        return Subset(self, indices)


@final
class InMemory(Column):
    """A list of arrays."""

    in_memory = True

    def __init__(self, arrays: list[Any], has_time: bool = True) -> None:
        self.arrays, self.has_time = arrays, has_time
        self.lengths = np.array([len(array) if has_time else 0 for array in arrays], np.int32)
        first = np.asarray(arrays[0])
        self.shape, self.dtype = first.shape[has_time:], first.dtype

    def __iter__(self) -> Iterator[Array]:
        return iter(self.arrays)

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        return [self.arrays[index] for index in indices]

    def mark(self) -> int:
        found = 0
        for array in self.arrays:
            content = repr(array.tolist()).encode() if self.is_words else np.ascontiguousarray(array).tobytes()
            found = zlib.crc32(content, zlib.crc32(repr(np.shape(array)).encode(), found))
        return found

    def subset(self, indices: Indices) -> InMemory:
        return InMemory(self.take(indices), self.has_time)


@final
class Subset(Column):
    """Some sequences of another column."""

    def __init__(self, source: Column, indices: Indices) -> None:
        self._source, self._indices = source, indices
        self.in_memory, self.lengths = source.in_memory, source.lengths[indices]
        self.shape, self.dtype, self.has_time = source.shape, source.dtype, source.has_time

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        return self._source.take(self._indices[np.asarray(indices, np.intp)])

    def mark(self) -> int:
        return zlib.crc32(self._indices.tobytes(), self._source.mark())

    def windows(self, rng: np.random.Generator | None = None) -> list[Indices]:
        place = np.full(len(self._source), -1)
        place[self._indices] = np.arange(len(self))
        found = [place[window] for window in self._source.windows(rng)]
        return [kept for window in found if len(kept := window[window >= 0])]


@final
class Mapped(Column):
    """What a function makes of each sequence of another column, as it is read."""

    def __init__(self, source: Column, function: Callable[[Array], Array]) -> None:
        self._source, self._function = source, function
        first = function(source[0])
        self.in_memory, self.lengths = source.in_memory, source.lengths
        self.shape, self.dtype = first.shape[1:], first.dtype

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        return [self._function(sequence) for sequence in self._source.take(indices)]

    def mark(self) -> int:
        return self._source.mark()

    def windows(self, rng: np.random.Generator | None = None) -> list[Indices]:
        return self._source.windows(rng)


def as_column(values: Any, name: str) -> Column:
    """The sequences of one input, all of one shape of step."""
    if isinstance(values, Column):
        return values
    of = f" of {name}" if name else ""
    arrays: list[Any] = []
    for index, value in enumerate(as_list(values, 1 if name else 2)):
        array = np.asarray(value) if isinstance(value, np.ndarray) and value.ndim == 1 else None
        if array is not None and array.dtype.kind in "iu":
            arrays.append(array.astype(np.int64))
        elif isinstance(value, str) or _is_words(value):
            arrays.append(as_words(value, f"sequence {index}{of}"))
        else:
            arrays.append(as_floats(value, f"sequence {index}{of}"))
        found, first = arrays[-1], arrays[0]
        if not found.ndim or (not name and found.ndim == 1 and found.dtype.kind == "f"):
            raise ShapeError(
                f"sequence {index}{of}: expected [time, features], got {list(found.shape)}; a sequence is steps by "
                "features, tokens are integers"
            )
        if found.ndim != first.ndim or _step(found) != _step(first):
            remedy = "; is it features by time? transpose it" if first.ndim == found.ndim == 2 else ""
            expected = ", ".join(["time"] * _has_time(first) + [str(size) for size in _step(first)])
            raise ShapeError(
                f"sequence {index}{of}: expected [{expected}] like sequence 0, got {list(found.shape)}{remedy}"
            )
    return InMemory(arrays, _has_time(arrays[0]))


def as_words(value: Any, where: str) -> Array:
    """The words of a text, or of a list of them, as an array of objects, since words differ in length."""
    words = tokenize(value) if isinstance(value, str) else [str(word) for word in value]
    if not words:
        raise DataError(f"{where}: has no words, got {value!r}; a sequence needs one at least: leave it out")
    return np.array(words, object)


def _is_words(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and (value.dtype.kind == "U" or (value.dtype == object and isinstance(value[0], str)))
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(word, str) for word in value)


def _has_time(array: Array) -> bool:
    """Steps have features, or are tokens or words; a float vector is one of a whole sequence."""
    return array.ndim > 1 or array.dtype.kind in "iO"


def _step(array: Array) -> tuple[int, ...]:
    return array.shape[1:] if _has_time(array) else array.shape
