"""One input of a parquet file: sequences in list columns, read a shard of row groups at a time."""

from __future__ import annotations

import collections
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import BLOCK_BYTES, Block, Column, Indices
from seq2onnx.data.formats.parsing import check_readable, parsing
from seq2onnx.data.inputs import word_array
from seq2onnx.errors import DataError, Seq2OnnxError
from seq2onnx.limits import check_unpacked
from seq2onnx.sequences import Array

KIND = "a parquet file"

# A shard of row groups is shuffled together. Two may be in use at once, while a batch straddles them.
SHARD_BYTES = 64 * 2**20
CACHED_BYTES = 2 * SHARD_BYTES
ROWS_AT_ONCE = 2**16


@final
class ParquetColumn(Column):
    """The sequences in one list column, or in several, one for each feature; read when they are needed.

    Each row is a sequence. A list of integers is tokens. A list of other numbers is one feature. A list of lists, or of
    fixed-size lists, of numbers is [time, features]. With several columns, each column has a list [time]. A text or a
    list of words is words. A fixed-size list is one vector for a whole sequence.

    Args:
        path: the file.
        names: the columns.
        lengths: the steps of each sequence. None: they are counted, in a pass over the file.
        step: the shape of a step, which is flat in the file. None: as in the file.
        trusted: whether a row group may take any memory.
    """

    def __init__(
        self,
        path: str | Path,
        names: Sequence[str],
        lengths: NDArray[np.int32] | None,
        step: Sequence[int] | None,
        trusted: bool = False,
    ) -> None:
        self.path, self._names, self._step = Path(path).resolve(), list(names), step
        self._files: dict[int, Any] = {}
        self._cache: collections.OrderedDict[int, list[Array]] = collections.OrderedDict()
        about = self._file().metadata
        groups = [about.row_group(group) for group in range(about.num_row_groups)]
        self._starts = np.cumsum([0, *(group.num_rows for group in groups)])
        if not self._starts[-1]:
            raise DataError(f"{path}: has no rows; expected one sequence in each row")
        prefixes = tuple(f"{name}." for name in self._names)
        places = [i for i in range(about.num_columns) if f"{about.schema.column(i).path}.".startswith(prefixes)]
        # A group is read at once. Its encoding may be small, if its values are equal.
        largest = max(sum(group.column(i).num_values for i in places) for group in groups)
        check_unpacked(path, 4 * largest, self.path.stat().st_size, trusted)
        self._bytes = np.array([sum(group.column(i).total_uncompressed_size for i in places) for group in groups])
        self.has_time = kind_of(self._file().schema_arrow.field(self._names[0]).type) != "vector"
        self.shape: tuple[int, ...] = ()
        if lengths is not None:
            self.lengths = lengths
        first = next((block for block in self.blocks() if len(block.values)), None)
        if first is None:
            raise DataError(f"{path}: column {', '.join(names)}: every sequence is empty")
        self.shape, self.dtype = first.values.shape[1:], first.values.dtype
        if not self.has_time:
            lengths = np.zeros(self._starts[-1], np.int32)
        elif lengths is None:
            lengths = np.concatenate([block.lengths for block in self.blocks()]).astype(np.int32)
        self.lengths = lengths
        # A group may take much more memory than its encoding.
        ends = np.concatenate([[0], np.cumsum(self.sizes)])[self._starts]
        self._bytes = np.maximum(self._bytes, np.diff(ends))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process: without open files and cached sequences."""
        return self.__dict__ | {"_files": {}, "_cache": collections.OrderedDict()}

    def take(self, indices: Sequence[int] | Indices) -> list[Array]:
        """Return the sequences at `indices`, in this order."""
        wanted = np.asarray(indices, np.intp)
        found: list[Any] = [None] * len(wanted)
        groups = np.searchsorted(self._starts, wanted, side="right") - 1
        for group in np.unique(groups):  # one after another: two may not fit
            sequences, start = self._group(int(group)), int(self._starts[group])
            for place in np.flatnonzero(groups == group):
                found[place] = sequences[int(wanted[place]) - start]
        return found

    def checksum(self) -> int:
        """Return a checksum of the footer of the file, which holds the positions and the limits of the values."""
        with self.path.open("rb") as file:
            file.seek(-min(self.path.stat().st_size, 2**20), os.SEEK_END)
            return zlib.crc32(file.read(), zlib.crc32(repr((self._names, self.path.stat().st_size)).encode()))

    def shards(self, rng: np.random.Generator | None = None) -> list[Indices]:
        """Return all indices, in shards of as many row groups as fit into SHARD_BYTES, at least one."""
        count = len(self._bytes)
        shards: list[list[int]] = []
        room = 0
        for group in np.arange(count) if rng is None else rng.permutation(count):
            if not shards or self._bytes[group] > room:
                shards.append([])
                room = SHARD_BYTES
            shards[-1].append(group)
            room -= self._bytes[group]
        found = [np.concatenate([np.arange(self._starts[g], self._starts[g + 1]) for g in shard]) for shard in shards]
        return found if rng is None else [rng.permutation(shard) for shard in found]

    def blocks(self) -> Iterator[Block]:
        """Read all sequences once, in blocks of bounded size."""
        rows = int(self._starts[-1] * BLOCK_BYTES / max(int(self._bytes.sum()), 1))
        yield from self._read(range(len(self._bytes)), min(max(rows, 1), ROWS_AT_ONCE))

    def _file(self) -> Any:
        """Return the file, opened by this process: open files do not survive a fork."""
        if os.getpid() not in self._files:
            self._files = {os.getpid(): open_parquet(self.path)}
        return self._files[os.getpid()]

    def _group(self, group: int) -> list[Array]:
        """Return the sequences of a row group, from the cache if they are there."""
        if group in self._cache:
            self._cache.move_to_end(group)
            return self._cache[group]
        held = sum(int(self._bytes[g]) for g in self._cache) + int(self._bytes[group])
        while self._cache and held > CACHED_BYTES:
            held -= int(self._bytes[self._cache.popitem(last=False)[0]])
        found: list[Array] = []
        for block in self._read([group], ROWS_AT_ONCE):
            found += np.split(block.values, np.cumsum(block.lengths)[:-1]) if self.has_time else list(block.values)
        self._cache[group] = found
        return found

    def _read(self, groups: Sequence[int], rows: int) -> Iterator[Block]:
        """Read row groups, `rows` rows at a time."""
        for group in groups:
            start = int(self._starts[group])
            batches = self._file().iter_batches(rows, [group], self._names, use_threads=False)
            try:
                for batch in batches:
                    batch.validate(full=True)  # texts that are not UTF-8, lists that end before they begin
                    block = self._block(batch, start)
                    self._check_lengths(block)
                    yield block
                    start += batch.num_rows
            except Seq2OnnxError:
                raise
            except Exception as error:  # noqa: BLE001 (a damaged file raises many types)
                last, why = int(self._starts[group + 1]) - 1, " ".join(str(error).split())
                raise DataError(
                    f"{self.path}: row group {group}, rows {self._starts[group]} to {last}, cannot be read: {why}; "
                    "write the file again, or leave the group out"
                ) from None

    def _check_lengths(self, block: Block) -> None:
        """Raise DataError if a sequence has other steps than the file says, if it does."""
        if not self.has_time or not hasattr(self, "lengths"):
            return
        known = self.lengths[block.indices]
        if (differ := np.flatnonzero(known != block.lengths)).size:
            row = block.indices[differ[0]]
            got = f"has {block.lengths[differ[0]]} steps, but its saved length is {known[differ[0]]}"
            raise DataError(f"{self.path}: row {row}: {got}; write the file again")

    def _block(self, batch: Any, start: int) -> Block:
        """Return the sequences of the rows from `start`."""
        found = [self._values(batch.column(name), name, start) for name in self._names]
        indices = np.arange(start, start + batch.num_rows)
        lengths, values = found[0]
        for name, (others, _) in zip(self._names, found, strict=True):
            if (differ := np.flatnonzero(others != lengths)).size:
                row, first = differ[0], self._names[0]
                got = f"{others[row]} in {name}, {lengths[row]} in {first}"
                raise DataError(
                    f"{self.path}: row {start + row}: expected the same number of steps in each column, got {got}"
                )
        if len(found) > 1:
            values = np.stack([column for _, column in found], 1)
        if values.dtype == object and values.ndim > 1:
            raise DataError(f"{self.path}: {', '.join(self._names)}: expected lists of numbers, got strings")
        if values.dtype.kind not in "iO" or values.ndim > 1:
            values = values.astype(np.float32, copy=False)
            if values.ndim == 1:
                values = values[:, None]
        if self._step is not None:
            values = values.reshape(len(values), *self._step)
        known = getattr(self, "dtype", values.dtype)
        if len(values) and (values.shape[1:], values.dtype) != (self.shape or values.shape[1:], known):
            raise DataError(
                f"{self.path}: rows {start} to {indices[-1]}: expected steps {list(self.shape)} of {known} as in the "
                f"rows before, got {list(values.shape[1:])} of {values.dtype}"
            )
        if not len(values):
            values = np.zeros((0, *self.shape), known)
        return Block(indices, values, lengths)

    def _values(self, array: Any, name: str, start: int) -> tuple[NDArray[np.int64], Array]:
        """Return (lengths, values joined) of one column, whose first row is `start`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if array.null_count:
            row = start + pc.index(array.is_null(), True).as_py()
            raise DataError(f"{self.path}: row {row}: {name} is null; a sequence is a list, which may be empty")
        if kind_of(array.type) == "text":
            texts = [word_array(text, f"{self.path}: row {row}") for row, text in enumerate(array.to_pylist(), start)]
            return np.array([len(words) for words in texts]), np.concatenate(texts)
        if kind_of(array.type) == "vector":
            values = numbers(array.flatten(), self.path, name)
            return np.ones(len(array), np.int64), values.reshape(-1, array.type.list_size)
        offsets = array.offsets.to_numpy()
        inner = array.values[int(offsets[0]) : int(offsets[-1])]
        lengths = np.diff(offsets).astype(np.int64)

        def where(step: int) -> str:
            row = int(np.searchsorted(np.cumsum(lengths), step, side="right"))
            return f"{self.path}: row {start + row}, step {step - int(lengths[:row].sum())}"

        if kind_of(inner.type) not in ("list", "vector"):
            if inner.null_count and not pa.types.is_floating(inner.type):
                step = pc.index(inner.is_null(), True).as_py()
                raise DataError(f"{where(step)}: {name} is null; fill the gap, or leave the row out")
            return lengths, numbers(inner, self.path, name)
        sizes = pc.list_value_length(inner).to_numpy(zero_copy_only=False)
        size = sizes[0] if len(sizes) else 0
        if np.isnan(sizes).any() or (sizes != size).any():
            step = int(np.flatnonzero(~(sizes == size))[0])
            raise DataError(f"{where(step)}: expected {size:g} features as in the steps before, got {sizes[step]:g}")
        values = numbers(inner.flatten(), self.path, name)
        if not len(values):
            size = inner.type.list_size if kind_of(inner.type) == "vector" else (*self.shape, 1)[0]
        return lengths, values.reshape(-1, int(size))


def open_parquet(path: str | Path) -> Any:
    """Open a file with pyarrow; raise DataError if it is not a parquet file."""
    check_readable(path, "pyarrow")
    import pyarrow.parquet as pq

    with parsing(path, KIND):
        return pq.ParquetFile(path, memory_map=True, pre_buffer=False, page_checksum_verification=True)


def kind_of(arrow_type: Any) -> Literal["list", "vector", "text", "number", "other"]:
    """Say what an arrow type holds; "vector" is a list of fixed size."""
    from pyarrow import types

    if types.is_list(arrow_type) or types.is_large_list(arrow_type):
        return "list"
    if types.is_fixed_size_list(arrow_type):
        return "vector"
    if types.is_string(arrow_type) or types.is_large_string(arrow_type):
        return "text"
    is_number = types.is_floating(arrow_type) or types.is_integer(arrow_type) or types.is_boolean(arrow_type)
    return "number" if is_number else "other"


def numbers(array: Any, path: Path, name: str) -> Array:
    """Return the values of an arrow array: int64 for integers and booleans, NaN where null, object for text.

    Integers above those of int64 are float64.
    """
    kind = kind_of(array.type)
    if kind == "text":
        return np.array(array.to_pylist(), object)
    if kind != "number":
        raise DataError(f"{path}: column {name}: expected lists of numbers, got {array.type}")
    values: Array = array.to_numpy(zero_copy_only=False)
    if values.dtype == object:  # booleans with nulls
        values = np.array([np.nan if value is None else value for value in values.tolist()])
    if values.dtype == np.uint64 and values.max(initial=0) > np.iinfo(np.int64).max:
        return values.astype(np.float64)
    return values.astype(np.int64, copy=False) if values.dtype.kind in "iub" else values
