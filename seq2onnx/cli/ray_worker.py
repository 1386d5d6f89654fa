"""What the processes of a Ray cluster do for predict: read row groups, and write a file of answers for each."""

from __future__ import annotations

import dataclasses
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.cli.answers import answer
from seq2onnx.data import SequenceDataset, read
from seq2onnx.data.formats.parquet import read_schema
from seq2onnx.errors import DataError, Seq2OnnxError
from seq2onnx.files import write_atomically
from seq2onnx.runtime import load

ATTEMPTS = 5
"""How often a row group is begun; what ends its process each time, for want of memory say, would do so for ever."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A row group: the number of its file, its rows there, start to start + count, and that of the first among all."""

    part: int
    file: int
    start: int
    count: int
    first: int


@dataclasses.dataclass(frozen=True)
class Job:
    """What each process needs: ObjectRefs of the model's bytes and of the data set of each file; where to write."""

    model: Any
    opened: list[tuple[Path, Any]]
    folder: Path
    batch_size: int | None


class Worker:
    """An actor of the cluster, with the model open."""

    def __init__(self, job: Job) -> None:
        import ray

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            path.write_bytes(ray.get(job.model))
            self._model = load(path)
        self._job = job
        self._file = -1
        self._data: Any = None  # of the file that was read last

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, list[Any]]:
        """Answer a row group. Errors on what was given are told: raised, they would come with a traceback of Ray's."""
        piece = Piece(**{name: int(values[0]) for name, values in batch.items()})
        rows, error = 0, ""
        try:
            rows = self._write(piece)
        except (Seq2OnnxError, OSError) as found:
            error = _message(found)
        return {"part": [piece.part], "rows": [rows], "error": [error]}

    def _write(self, piece: Piece) -> int:
        """How many rows the file of a row group has."""
        import ray

        source, data = self._job.opened[piece.file]
        if piece.file != self._file:
            self._data, self._file = ray.get(data), piece.file
        path = self._job.folder / part_name(piece.part)
        _begin(path, f"{source}: rows {piece.start} to {piece.start + piece.count - 1}")
        try:
            answers = answer(
                self._model, RowRange(self._data, piece.start, piece.count), self._job.batch_size, piece.first
            )
        except Seq2OnnxError as error:
            raise DataError(f"{source}: {str(error).removeprefix(f'{source}: ')}") from None
        write_atomically(path, answers.parquet())
        return sum(map(len, answers.scores)) if isinstance(answers.scores, list) else len(answers.scores)


class RowRange:
    """Rows start to start + count of a data set, for `predict`; errors name their numbers there, as of no `subset`."""

    in_memory = False

    def __init__(self, data: SequenceDataset, start: int, count: int) -> None:
        self._indices = np.arange(start, start + count)
        self.take, self.sizes = data.take, data.sizes

    def __len__(self) -> int:
        return len(self._indices)

    def shards(self) -> list[NDArray[np.intp]]:
        return [self._indices]


def open_file(path: Path) -> tuple[SequenceDataset | None, list[int]]:
    """The sequences of a file, which are not read yet, and the rows of its row groups; None where it has none.

    Raises: DataError
    """
    try:
        _, groups = read_schema(path)
        return (SequenceDataset(read(path).parts) if sum(groups) else None), groups
    except OSError as error:
        raise DataError(_message(error)) from None


def _begin(path: Path, where: str) -> None:
    """Note that an answer is begun; once that has led to none so many times, nothing says that the next one would."""
    for attempt in range(ATTEMPTS):
        with suppress(FileExistsError), path.with_name(f".{path.name}.{attempt}").open("x") as note:
            note.write(str(os.getpid()))
            return
    raise DataError(f"{where}: {ATTEMPTS} processes ended while they answered these; have the machines the memory?")


def part_name(part: int) -> str:
    """The file of a row group's answers."""
    return f"part-{part:05}.parquet"


def _message(error: Exception) -> str:
    """What the user is told of an error of this process."""
    if isinstance(error, FileNotFoundError):
        return (
            f"{socket.gethostname()}: {error.filename or error}: is not there; the data and the folder of --out must "
            "be under the same path on every machine of the cluster"
        )
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
