"""predict on a Ray cluster: its processes read row groups themselves, and write a file of answers for each.

What goes through Ray is the model, where the row groups are, and word that one is done; sequences and scores do not. An
answer is written beside and then renamed, to a name that the row group decides, so that it may be made again: where a
process or a machine dies, Ray starts another process and gives it what was not done.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.cli.ray_worker import Job, Piece, Worker, open_file, part_name
from seq2onnx.errors import DataError, Seq2OnnxError, SpecError, require
from seq2onnx.files import atomic_folder
from seq2onnx.runtime import Predictor
from seq2onnx.runtime.progress import Progress


def predict_on_ray(
    model: Predictor, data: Path, out: Path | None, batch_size: int | None, workers: int | None, *, progress: bool
) -> tuple[int, int]:
    """Answer the sequences of a parquet file, or of a folder of them in the order of their names, into a new folder.

    Args:
        model: is run on one thread in each process
        out: the folder to be, of files part-00000.parquet … with the columns of `Answers.parquet`
        workers: how many processes; None: as many as the cluster has CPUs
    Returns: (files, sequences) written
    Raises: SpecError, DataError, MissingExtra; OSError, ConnectionError where RAY_ADDRESS names no cluster
    """
    require("ray", extra="ray")
    require("pyarrow", extra="data")
    policy = model.policy
    if policy.sequence_length == "shortest" or (
        not policy.mask_padding and not isinstance(policy.sequence_length, int)
    ):
        raise SpecError(
            f"{model.path}: cuts sequences to the shortest, or takes padding as data, so that an answer depends on "
            "those it is computed with; with --ray those would be others: predict without"
        )
    if out is None or out.suffix != ".parquet":
        raise SpecError(f"--ray: writes a folder of parquet files; name it with --out NAME.parquet, got {out}")
    if out.resolve().is_relative_to(data.resolve()):
        raise SpecError(f"{out}: lies in {data}, and would be taken for data the next time; name another folder")
    files = _files(data)
    per_step = model.model.outputs[0].has_time or bool(model.closed_loop)
    with atomic_folder(out) as folder, _cluster(progress) as ray:
        opened, pieces = _open_all(ray, files)
        count = sum(piece.count for piece in pieces)
        job = Job(ray.put(model.path.read_bytes()), opened, folder, batch_size)
        missing = {piece.part: piece for piece in pieces}
        with Progress(count, progress) as shown:
            for part, rows in _answered(ray, job, pieces, workers):
                piece = missing.pop(part)
                _check_part(folder / part_name(part), piece, rows, per_step)
                shown.add(piece.count)
        if missing:
            raise DataError(f"{data}: {len(missing)} of {len(pieces)} row groups were not answered; run it again")
        names = {part_name(piece.part) for piece in pieces}
        for leftover in folder.iterdir():  # of processes that were ended
            if leftover.name not in names:
                leftover.unlink()
    return len(pieces), count


def _answered(ray: Any, job: Job, pieces: list[Piece], workers: int | None) -> Iterator[tuple[int, int]]:
    """The numbers of pieces, as they are done, and how many rows each has."""
    size = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(pieces))
    # A block each: what is given to another process, where one has died, is a block.
    rows = ray.data.from_items([dataclasses.asdict(piece) for piece in pieces], override_num_blocks=len(pieces))
    # Ray Data starts its actors anew, and gives them their tasks again, as often as they die, unless told otherwise.
    done = rows.map_batches(
        Worker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
        num_cpus=1,
        fn_constructor_args=(job,),
    )
    for batch in done.iter_batches(batch_size=None):
        for part, written, error in zip(batch["part"], batch["rows"], batch["error"], strict=True):
            if error:
                raise DataError(error)
            yield int(part), int(written)


def _files(data: Path) -> list[Path]:
    """The parquet files of a folder, in the order of their names, without those that are hidden; or the one."""
    if not data.exists():
        raise FileNotFoundError(f"{data}: there is no such file")
    if not data.is_dir():
        if data.suffix != ".parquet":
            raise SpecError(
                f"{data}: --ray reads a .parquet file or a folder of them; seq2onnx data convert writes one"
            )
        return [data.absolute()]
    data = data.absolute()
    found = [
        path
        for path in sorted(data.rglob("*.parquet"))
        if path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(data).parts)
    ]
    if not found:
        raise DataError(f"{data}: holds no .parquet files")
    return found


@contextmanager
def _cluster(progress: bool) -> Iterator[Any]:
    """Ray, connected to the cluster of RAY_ADDRESS or of this machine, else to one that it starts; quiet."""
    address = os.environ.get("RAY_ADDRESS")
    if progress and address:  # where nobody answers, Ray tries for minutes
        print(f"predict: connecting to the Ray cluster at {address}", file=sys.stderr, flush=True)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Of the way in which Ray Data makes its actors, Ray's core warns as of an error; and says that it was told not to.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    try:
        with _standard_error_closed():
            ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
        # Job managers send it. What Ray has put there ends the process at once, and the folder would be left.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Nothing is written there meanwhile, by whatever libraries; exceptions are raised as ever."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _open_all(ray: Any, files: list[Path]) -> tuple[list[tuple[Path, Any]], list[Piece]]:
    """Each file, and where in the cluster its data set is, read there; and the row groups that hold sequences."""
    opened = [ray.remote(num_returns=2)(open_file).remote(path) for path in files]
    try:
        counts = ray.get([groups for _, groups in opened])
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Seq2OnnxError) else error) from None
    pieces: list[Piece] = []
    first = 0
    for file, groups in enumerate(counts):
        start = 0
        for count in groups:
            if count:
                pieces.append(Piece(len(pieces), file, start, count, first + start))
            start += count
        first += start
    if not pieces:
        raise DataError(f"{files[0].parent}: no file holds rows; expected a sequence in each")
    return [(path, data) for path, (data, _) in zip(files, opened, strict=True)], pieces


def _check_part(path: Path, piece: Piece, rows: int, per_step: bool) -> None:
    """Raise DataError unless a file has the rows that were written, of the sequences of its row group."""
    import pyarrow.parquet as pq

    index = pq.read_table(path, columns=["index"]).column("index").to_numpy()
    expected = np.arange(piece.first, piece.first + piece.count)
    good = np.isin(index, expected).all() if per_step else np.array_equal(index, expected)
    if len(index) != rows or not good:
        raise DataError(f"{path}: does not hold what was written there; is the folder the same on every machine?")
