"""Distribute `predict` over a Ray cluster.

Ray transports only the model, the positions of row groups, and messages that a row group is done; sequences and
scores stay in files. A worker writes its results to a temporary file and renames it. The row group determines the
name, so a task can be repeated: if a process or machine dies, Ray starts another process and repeats its tasks.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.cluster.worker import Job, RowGroup, Worker, open_file, part_name
from seq2onnx.errors import DataError, Seq2OnnxError, SpecError, require
from seq2onnx.files import atomic_folder
from seq2onnx.runtime import Predictor
from seq2onnx.runtime.progress import Progress

SECONDS = 8  # for the connection to RAY_ADDRESS, and again for the first bytes from there
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # of HTTP/2, which gRPC uses


def predict_on_ray(
    model: Predictor, data: Path, out: Path | None, batch_size: int | None, workers: int | None, *, progress: bool
) -> tuple[int, int]:
    """Predict for the sequences of a parquet file, or of all parquet files in a folder in the order of their names.

    The results are part-00000.parquet and so on in the new folder `out`, as `Predictions.parquet` writes them.

    Args:
        model: the model; it runs on one thread in each process.
        data: the parquet file or the folder.
        out: the new folder.
        batch_size: sequences in one run.
        workers: the number of processes; None: one for each CPU of the cluster.
        progress: whether to show the progress on standard error.

    Returns:
        The number of files written, and of sequences in them.
    """
    require("ray", extra="ray")
    require("pyarrow", extra="data")
    policy = model.policy
    if policy.sequence_length == "shortest" or not (policy.mask_padding or isinstance(policy.sequence_length, int)):
        raise SpecError(
            f"{model.path}: cuts sequences to the shortest of a batch, or treats padding as data, so a result depends "
            "on the other sequences in its batch. With --ray, the batches are different. Predict without --ray."
        )
    if out is None or out.suffix != ".parquet":
        raise SpecError(f"--ray: writes a folder of parquet files; name it with --out NAME.parquet, got {out}")
    if out.resolve().is_relative_to(data.resolve()):
        raise SpecError(f"{out}: is inside {data}, and the next run would read it as data; choose another folder")
    files = _find_files(data)
    per_step = model.model.outputs[0].has_time or bool(model.closed_loop)
    with atomic_folder(out) as folder, _cluster(progress) as ray:
        opened, groups = _open_all(ray, files)
        count = sum(group.count for group in groups)
        job = Job(ray.put(model.path.read_bytes()), opened, folder, batch_size, model.model.allow_changed)
        missing = {group.part: group for group in groups}
        with Progress(count, progress) as shown:
            for part, rows in _run(ray, job, groups, workers):
                group = missing.pop(part)
                _check_part(folder / part_name(part), group, rows, per_step)
                shown.add(group.count)
        if missing:
            raise DataError(f"{data}: {len(missing)} of {len(groups)} row groups have no results; run it again")
        for leftover in folder.glob(".*"):  # notes of attempts, and temporary files of killed processes
            leftover.unlink()
    return len(groups), count


def _run(ray: Any, job: Job, groups: list[RowGroup], workers: int | None) -> Iterator[tuple[int, int]]:
    """Run all row groups; give the number of each when it is done, and how many rows its file has."""
    size = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(groups))
    # One block each: if a process dies, Ray gives its block to another one.
    rows = ray.data.from_items([dataclasses.asdict(group) for group in groups], override_num_blocks=len(groups))
    # By default, Ray Data restarts its actors and repeats their tasks without a limit.
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


def _find_files(data: Path) -> list[Path]:
    """The file, or the parquet files of a folder in the order of their names, without hidden ones."""
    if not data.exists():
        raise FileNotFoundError(f"{data}: there is no such file")
    if not data.is_dir():
        if data.suffix != ".parquet":
            raise SpecError(
                f"{data}: --ray reads a .parquet file or a folder of them; seq2onnx data convert writes one"
            )
        return [data.absolute()]
    found = [
        path.absolute()
        for path in sorted(data.rglob("*.parquet"))
        if path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(data).parts)
    ]
    if not found:
        raise DataError(f"{data}: the folder has no .parquet files")
    return found


@contextmanager
def _cluster(progress: bool) -> Iterator[Any]:
    """Connect to the cluster at RAY_ADDRESS or on this machine, or start one; without Ray's own messages."""
    address = os.environ.get("RAY_ADDRESS")
    if address:
        if progress:
            print(f"predict: connecting to the Ray cluster at {address}", file=sys.stderr, flush=True)
        _check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's core logs errors about the actors that Ray Data starts, though nothing is wrong.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    try:
        with _standard_error_closed():
            ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
        # Job managers send SIGTERM. Ray's handler ends the process at once and leaves the temporary folder behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise ConnectionError unless a server for gRPC answers at HOST:PORT. Ray itself would try for minutes."""
    place = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address)
    if place is None:  # such as "auto": Ray knows at once
        return
    try:
        with socket.create_connection((place[1], int(place[2])), SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                connection.settimeout(SECONDS)
                connection.sendall(HELLO)
                if connection.recv(9)[3:4] != HELLO[-6:-5]:
                    raise ConnectionError("what answers is not Ray")
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"RAY_ADDRESS: no Ray cluster answers at {address}: {error}. Start one there with `ray start --head` and "
            "set RAY_ADDRESS to the HOST:PORT that it prints, or unset RAY_ADDRESS to use this machine"
        ) from None


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Discard all that any library writes to standard error; exceptions are raised as usual."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _open_all(ray: Any, files: list[Path]) -> tuple[list[tuple[Path, Any]], list[RowGroup]]:
    """Open all files on the cluster: each path with a reference to its data set, and the row groups that have rows."""
    opened = [ray.remote(num_returns=2)(open_file).remote(path) for path in files]
    try:
        counts = ray.get([sizes for _, sizes in opened])
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Seq2OnnxError) else error) from None
    groups: list[RowGroup] = []
    first = 0
    for file, sizes in enumerate(counts):
        start = 0
        for count in sizes:
            if count:
                groups.append(RowGroup(len(groups), file, start, count, first + start))
            start += count
        first += start
    if not groups:
        raise DataError(f"{files[0].parent}: no file has rows; expected one sequence in each row")
    return [(path, data) for path, (data, _) in zip(files, opened, strict=True)], groups


def _check_part(path: Path, group: RowGroup, rows: int, per_step: bool) -> None:
    """Raise DataError unless the file has as many rows as the worker wrote, for the sequences of its row group."""
    import pyarrow.parquet as pq

    index = pq.read_table(path, columns=["index"]).column("index").to_numpy()
    expected = np.arange(group.first, group.first + group.count)
    is_good = np.isin(index, expected).all() if per_step else np.array_equal(index, expected)
    if len(index) != rows or not is_good:
        raise DataError(
            f"{path}: does not have the results that the worker wrote. Is the folder the same on every machine?"
        )
