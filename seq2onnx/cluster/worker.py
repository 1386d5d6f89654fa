"""The work of the processes of a Ray cluster: read row groups, and write a file of predictions for each."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data import SequenceDataset, read
from seq2onnx.data.formats.parquet import read_schema
from seq2onnx.errors import DataError, Seq2OnnxError
from seq2onnx.evaluation.predictions import predict_table
from seq2onnx.files import write_atomically
from seq2onnx.runtime import load
from seq2onnx.runtime.inputs import by_name

# How often a row group is tried. A task that kills its process, for example for lack of memory, would be repeated
# without end.
ATTEMPTS = 5


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """One task: `count` rows of a parquet file from `start`, which are a row group, become file number `part`.

    `file` is the number of the file to read, `first` the number of the first row among those of all files.
    """

    part: int
    file: int
    start: int
    count: int
    first: int


@dataclasses.dataclass(frozen=True)
class Job:
    """The work of each process. `model` refers to the bytes of the file, `opened` to the data set of each path."""

    model: Any
    opened: list[tuple[Path, Any]]
    folder: Path
    batch_size: int | None
    allow_changed: bool


class Worker:
    """An actor of the cluster, with an open model."""

    def __init__(self, job: Job) -> None:
        import ray

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            path.write_bytes(ray.get(job.model))
            self._model = load(path, allow_changed=job.allow_changed)
        self._job = job
        # The row groups of a file follow one another, so its data set is fetched once.
        self._get_data: Any = functools.lru_cache(maxsize=1)(ray.get)

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, list[Any]]:
        """Run one row group. Errors are returned as text: if raised, they would have a traceback of Ray."""
        group = RowGroup(**{name: int(values[0]) for name, values in batch.items()})
        try:
            rows, error = self._write(group), ""
        except (Seq2OnnxError, OSError) as raised:
            rows, error = 0, _message(raised)
        return {"part": [group.part], "rows": [rows], "error": [error]}

    def _write(self, group: RowGroup) -> int:
        """Write the file of a row group, and return how many rows it has."""
        source, data = self._job.opened[group.file]
        path = self._job.folder / part_name(group.part)
        _count_attempt(path, f"{source}: rows {group.start} to {group.start + group.count - 1}")
        sequences = RowRange(by_name(self._get_data(data), self._model.inputs), group.start, group.count)
        try:
            table = predict_table(self._model, sequences, self._job.batch_size, group.first)
        except _ReadError:
            raise
        except Seq2OnnxError as error:
            raise DataError(f"{source}: {error}") from None
        write_atomically(path, table.parquet())
        return len(table.scores)


class _ReadError(DataError):
    """A data file cannot be read. The message begins with its path."""


class RowRange:
    """Some rows of a data set, for `predict`. Unlike those of a `subset`, errors give the row numbers of the file."""

    in_memory = False

    def __init__(self, data: SequenceDataset, start: int, count: int) -> None:
        self._data, self._indices = data, np.arange(start, start + count)
        self.sizes = data.sizes
        self.ids = None if data.ids is None else data.ids[start : start + count]

    def __len__(self) -> int:
        return len(self._indices)

    def shards(self) -> list[NDArray[np.intp]]:
        """The indices of all rows, which are read together."""
        return [self._indices]

    def take(self, indices: NDArray[np.intp]) -> Any:
        """Read the sequences of some rows."""
        try:
            return self._data.take(indices)
        except Seq2OnnxError as error:
            raise _ReadError(str(error)) from None


def open_file(path: Path) -> tuple[SequenceDataset | None, list[int]]:
    """Open a parquet file without reading its sequences; return its data set and the number of rows of each row group.

    A file without rows has no data set.
    """
    try:
        _, groups = read_schema(path)
        if not sum(groups):
            return None, groups
        data = read(path)
        return SequenceDataset(data.parts, channels=data.channels, ids=data.ids), groups
    except OSError as error:
        raise DataError(_message(error)) from None


def _count_attempt(path: Path, where: str) -> None:
    """Count that a row group is tried, in files beside its results; raise DataError after too many attempts.

    Each file has the id of the process that tries it.
    """
    for attempt in range(ATTEMPTS):
        with suppress(FileExistsError), path.with_name(f".{path.name}.{attempt}").open("x") as note:
            note.write(str(os.getpid()))
            return
    raise DataError(
        f"{where}: {ATTEMPTS} processes died while they worked on these rows. Do the machines have enough memory?"
    )


def part_name(part: int) -> str:
    """The name of the file with the predictions of a row group."""
    return f"part-{part:05}.parquet"


def _message(error: Exception) -> str:
    """The text of an error that the user is shown."""
    if isinstance(error, FileNotFoundError):
        return (
            f"{socket.gethostname()}: {error.filename or error}: does not exist. The data and the folder of --out must "
            "have the same path on every machine of the cluster."
        )
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
