"""Measure how long a model takes for one step, one sequence, batches of sequences and pools of streams."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor
    from seq2onnx.runtime.inputs import Rows

MAX_BYTES = 2**26
MAX_STEPS = 1000
# A run cannot be interrupted. A measurement is skipped if one run is expected to take longer than this many times
# the measuring time.
PATIENCE = 2

# The function to time, and the inputs that it gets in turn, each with its number of steps.
Workload = tuple[Callable[[Any], Any], list[tuple[int, Any]]]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The times of repeated runs, in seconds.

    Attributes:
        of: the function: Stream.step, predict or pool.step.
        at_once: the sequences, or streams, in one run.
        runs: the number of timed runs.
        p50: the median.
        p90: the 90th percentile.
        p99: the 99th percentile.
        max: the slowest run.
        sequences_per_second: the throughput of `predict`; None for steps.
        steps_per_second: the throughput in steps.
    """

    of: str
    at_once: int
    runs: int
    p50: float
    p90: float
    p99: float
    max: float
    sequences_per_second: float | None
    steps_per_second: float


def measure(
    model: Predictor,
    lengths: tuple[int, int],
    seconds: float,
    batch_sizes: Sequence[int] = (1,),
    pool_sizes: Sequence[int] = (),
) -> tuple[list[Measurement], dict[str, str]]:
    """Measure single steps, batches and pools, on random input scaled like the training data.

    Args:
        model: the model.
        lengths: the steps of the shortest and of the longest random sequence.
        seconds: the duration of each measurement.
        batch_sizes: the numbers of sequences that `predict` runs at once, in ascending order.
        pool_sizes: the numbers of streams that step at once, in ascending order.

    Returns:
        The measurements, and what was skipped: name -> reason.
    """
    from seq2onnx.runtime.random_rows import random_sequences

    rng, (shortest, longest) = np.random.default_rng(0), lengths
    step = sum(math.prod(entry.shape) * np.dtype(entry.dtype).itemsize for entry in model.inputs)
    state = sum(math.prod(info.shape) * info.dtype.itemsize for info in model.model.stream_states)
    count = int(np.clip(MAX_BYTES // (step * longest), 1, batch_sizes[-1]))
    rows = random_sequences(model.model, rng, rng.integers(shortest, longest + 1, count).tolist())
    # For each function: how many sequences or streams run at once, the bytes of one, and how to prepare a run.
    plan: dict[str, tuple[Sequence[int], int, Callable[[Predictor, Rows, int], Workload]]] = {
        "Stream.step": ((1,), step, _single_steps),
        "predict": (batch_sizes, step * longest, _batches),
        "pool.step": (pool_sizes, step + state, _pool_steps),
    }
    found: list[Measurement] = []
    skipped: dict[str, str] = {}
    if model.signature == "sequence":
        del plan["Stream.step"], plan["pool.step"]
        skipped["Stream.step and pool.step"] = "the file has no states"
    elif model.contract.form == "step":
        del plan["pool.step"]
        skipped["pool.step"] = "a step file runs one stream at a time"
    for of, (counts, size, prepare) in plan.items():
        expected = 0.0  # seconds for each sequence or stream of a run
        for count in counts:
            if count > 1 and count * size > MAX_BYTES:
                skipped[f"{of}, {count:,} or more"] = f"needs more than {MAX_BYTES // 2**20} MiB"
                break
            if expected * count > PATIENCE * seconds:
                run_time = format_seconds(expected * count)
                skipped[f"{of}, {count:,} or more"] = f"one run would take {run_time}; --seconds is {seconds:g}"
                break
            found.append(_timed(of, count, *prepare(model, rows, count), seconds))
            expected = found[-1].p50 / count
    return found, skipped


def _single_steps(model: Predictor, rows: Rows, count: int) -> Workload:
    steps, of_run = _all_steps(model, rows), model.contract.chunk_steps
    timed = {entry.layer for entry in model.inputs if entry.has_time}

    def at(layer: str, i: int) -> slice | int:
        return slice(i, i + of_run) if of_run > 1 and layer in timed else i

    places = range(0, min(len(next(iter(steps.values()))), MAX_STEPS * of_run), of_run)
    inputs = [
        (count * of_run, _unwrapped({layer: array[at(layer, i)] for layer, array in steps.items()})) for i in places
    ]
    return model.stream().step, inputs


def _batches(model: Predictor, rows: Rows, count: int) -> Workload:
    timed = next((entry.layer for entry in model.inputs if entry.has_time), None)
    total = len(next(iter(rows.values())))
    inputs = []
    for start in range(0, total - count + 1, count):
        batch = {layer: arrays[start : start + count] for layer, arrays in rows.items()}
        inputs.append((sum(map(len, batch[timed])) if timed else count, _unwrapped(batch)))
    return functools.partial(model.predict, batch_size=count), inputs


def _pool_steps(model: Predictor, rows: Rows, count: int) -> Workload:
    pool = model.pool(count)
    ids = np.array([pool.open() for _ in range(count)])
    x = {layer: np.resize(array, (count, *array.shape[1:])) for layer, array in _all_steps(model, rows).items()}
    return functools.partial(pool.step, ids), [(count, _unwrapped(x))]


def _all_steps(model: Predictor, rows: Rows) -> dict[str, NDArray[Any]]:
    """Concatenate the steps of all sequences; repeat the vector of an input without time for each step."""
    lengths = next((list(map(len, rows[entry.layer])) for entry in model.inputs if entry.has_time), None)
    return {
        entry.layer: np.concatenate(rows[entry.layer])
        if entry.has_time
        else np.repeat(np.stack(rows[entry.layer]), lengths or 1, 0)
        for entry in model.inputs
    }


def _unwrapped(by_layer: dict[str, Any]) -> Any:
    """The only value of a dict with one input, else the dict."""
    return by_layer if len(by_layer) > 1 else next(iter(by_layer.values()))


def _timed(
    of: str, count: int, run: Callable[[Any], Any], inputs: list[tuple[int, Any]], seconds: float
) -> Measurement:
    """Warm up for a tenth of the time, then time runs until the time is over."""
    clock = time.perf_counter
    for duration in (seconds / 10, seconds):
        end, steps, times = clock() + duration, 0, list[float]()
        for run_steps, x in itertools.cycle(inputs):
            began = clock()
            run(x)
            now = clock()
            times.append(now - began)
            steps += run_steps
            if now >= end:
                break
    total = sum(times)
    p50, p90, p99, slowest = np.percentile(times, [50, 90, 99, 100]).tolist()
    sequences = count * len(times) / total if of == "predict" else None
    return Measurement(of, count, len(times), p50, p90, p99, slowest, sequences, steps / total)


def environment() -> dict[str, Any]:
    """The processor and the versions that a measurement depends on."""
    import onnxruntime

    import seq2onnx

    cpuinfo = Path("/proc/cpuinfo")  # on Linux, platform gives only the architecture
    found = re.search(r"^model name\s*:(.*)", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return {
        "processor": found[1].strip() if found else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "seq2onnx": seq2onnx.__version__,
        "python": platform.python_version(),
    }


def format_seconds(seconds: float) -> str:
    """Three significant digits with the unit s, ms or µs."""
    unit, size = next(((u, s) for u, s in (("s", 1), ("ms", 1e-3)) if seconds >= 0.9995 * s), ("µs", 1e-6))
    return f"{seconds / size:.3g} {unit}"
