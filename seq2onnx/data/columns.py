"""Columns: the sequences of one input, in memory or read from a file when they are needed."""

from __future__ import annotations

import abc
import dataclasses
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from seq2onnx.sequences import Array, by_size

Indices = NDArray[np.intp]

BLOCK_BYTES = 8 * 2**20
BYTES_OF_A_WORD = 64  # about what Python takes for a short string


@dataclasses.dataclass(frozen=True)
class Block:
    """Some sequences, joined to one array.

    Attributes:
        indices: the index [n] of each sequence.
        values: the steps [steps of all, …] of the sequences; vectors [n, size] if the input has no time axis.
        lengths: how many rows [n] of `values` each sequence has; 1 if the input has no time axis.
    """

    indices: Indices
    values: Array
    lengths: NDArray[np.integer[Any]]


def read_blocks(
    shards: Iterable[Indices], sizes: NDArray[np.int64], take: Callable[[Indices], Sequence[Array]], has_time: bool
) -> Iterator[Block]:
    """Read sequences in blocks of about BLOCK_BYTES, shard by shard; `sizes` has the bytes of each sequence."""
    for shard in shards:
        for indices in by_size(shard, sizes, BLOCK_BYTES):
            arrays = take(indices)
            lengths = np.array([len(array) if has_time else 1 for array in arrays])
            yield Block(indices, np.concatenate(arrays) if has_time else np.stack(arrays), lengths)


class Column(abc.ABC):
    """The sequences of one input.

    Attributes:
        lengths: the steps [n] of each sequence.
        shape: the shape of a step, or of the vector if the input has no time axis.
        dtype: float32, int64 for tokens, object for words.
        has_time: False: each sequence has one vector instead of steps.
        in_memory: False: the sequences are read from a file, which must not change meanwhile.
    """

    lengths: NDArray[np.int32]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    has_time: bool = True
    in_memory: bool = False

    @property
    def is_words(self) -> bool:
        """Whether the sequences are words. These are objects, since words differ in length."""
        return self.dtype == object

    @property
    def sizes(self) -> NDArray[np.int64]:
        """About how many bytes each sequence takes in memory."""
        step = BYTES_OF_A_WORD if self.is_words else math.prod(self.shape) * self.dtype.itemsize
        return np.maximum(self.lengths.astype(np.int64) * step if self.has_time else np.full(len(self), step), 1)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Array:
        """Return one sequence."""
        if not isinstance(index, int | np.integer) or not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}: expected an integer; take gives several")
        return self.take([index % len(self)])[0]

    def __iter__(self) -> Iterator[Array]:
        for indices in by_size(np.arange(len(self)), self.sizes, BLOCK_BYTES):
            yield from self.take(indices)

    @abc.abstractmethod
    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        """Return the sequences at `indices`, in this order."""

    @abc.abstractmethod
    def checksum(self) -> int:
        """Return a checksum of the content."""

    def shards(self, rng: np.random.Generator | None = None) -> list[Indices]:
        """Return all indices in shards, which are parts to read together; `rng` draws their order and that within each.

        Data in memory is one shard.
        """
        return [np.arange(len(self)) if rng is None else rng.permutation(len(self))]

    def blocks(self) -> Iterator[Block]:
        """Read all sequences once, in blocks of bounded size, in the order of the shards."""
        return read_blocks(self.shards(), self.sizes, self.take, self.has_time)

    def subset(self, indices: Indices) -> Column:
        """Return a column of the sequences at `indices`."""
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

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        """Return the sequences at `indices`, in this order."""
        return [self.arrays[index] for index in indices]

    def checksum(self) -> int:
        """Return a checksum of all values and shapes."""
        found = 0
        for array in self.arrays:
            content = repr(array.tolist()).encode() if self.is_words else np.ascontiguousarray(array).tobytes()
            found = zlib.crc32(content, zlib.crc32(repr(np.shape(array)).encode(), found))
        return found

    def subset(self, indices: Indices) -> InMemory:
        """Return a column of the sequences at `indices`."""
        return InMemory(self.take(indices), self.has_time)


@final
class Subset(Column):
    """Some sequences of another column."""

    def __init__(self, source: Column, indices: Indices) -> None:
        self._source, self._indices = source, indices
        self.in_memory, self.lengths = source.in_memory, source.lengths[indices]
        self.shape, self.dtype, self.has_time = source.shape, source.dtype, source.has_time

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        """Return the sequences at `indices`, in this order."""
        return self._source.take(self._indices[np.asarray(indices, np.intp)])

    def checksum(self) -> int:
        """Return a checksum of the other column and the indices."""
        return zlib.crc32(self._indices.tobytes(), self._source.checksum())

    def shards(self, rng: np.random.Generator | None = None) -> list[Indices]:
        """Return all indices, in the shards of the other column."""
        shards = self._source.shards(rng)
        turns = np.argsort(np.concatenate(shards))[self._indices]  # when each sequence is read
        order = np.argsort(turns, kind="stable")
        cuts = np.searchsorted(turns[order], np.cumsum([len(shard) for shard in shards])[:-1])
        return [shard for shard in np.split(order, cuts) if len(shard)]


@final
class Mapped(Column):
    """The results of a function for each sequence of another column, computed when they are read."""

    def __init__(self, source: Column, function: Callable[[Array], Array]) -> None:
        self._source, self._function = source, function
        first = function(source[0])
        self.in_memory, self.lengths, self.has_time = source.in_memory, source.lengths, source.has_time
        self.shape, self.dtype = first.shape[source.has_time :], first.dtype

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        """Return the results for the sequences at `indices`, in this order."""
        return [self._function(sequence) for sequence in self._source.take(indices)]

    def checksum(self) -> int:
        """Return the checksum of the other column."""
        return self._source.checksum()

    def shards(self, rng: np.random.Generator | None = None) -> list[Indices]:
        """Return the shards of the other column."""
        return self._source.shards(rng)
