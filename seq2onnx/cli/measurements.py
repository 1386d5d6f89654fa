"""What bench and report measure: how long runs of a model take, of one step or sequence and of many at once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor
    from seq2onnx.runtime.inputs import Rows

BATCHES = (1, 8, 32, 128, 512)
STREAMS = (1, 10, 100, 1000, 10000)
MOST_BYTES = 2**26
MOST_STEPS = 1000
# A run that is underway is waited for: none is begun that may take so many times as long as a measurement should.
PATIENCE = 2

# What runs, and what it is given in turn: (steps in there, argument).
Subject = tuple[Callable[[Any], Any], list[tuple[int, Any]]]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """of: what ran; at_once: with so many sequences, or streams; p50 … max: seconds that a run took."""

    of: str
    at_once: int
    runs: int
    p50: float
    p90: float
    p99: float
    max: float
    sequences_per_second: float | None
    steps_per_second: float


def measure(model: Predictor, lowest: int, highest: int, seconds: float) -> tuple[list[Measurement], dict[str, str]]:
    """The measurements that apply to the model; and of what was left out, why."""
    from seq2onnx.runtime.random_rows import random_sequences

    rng = np.random.default_rng(0)
    step = sum(math.prod(entry.shape) * np.dtype(entry.dtype).itemsize for entry in model.inputs)
    state = sum(math.prod(info.shape) * info.dtype.itemsize for info in model.model.stream_states)
    most = int(np.clip(MOST_BYTES // (step * highest), 1, BATCHES[-1]))
    rows = random_sequences(model.model, rng, rng.integers(lowest, highest + 1, most).tolist())
    found: list[Measurement] = []
    left_out: dict[str, str] = {}
    subjects: list[tuple[str, tuple[int, ...], int, Callable[[Predictor, Rows, int], Subject]]]
    subjects = [("predict", BATCHES, step * highest, _batches)]
    if model.signature == "sequence":
        left_out["Stream.step and pool.step"] = "the file has no states, by its signature"
    else:
        subjects = [("Stream.step", (1,), step, _stream), *subjects, ("pool.step", STREAMS, step + state, _pool)]
    for of, counts, size, prepare in subjects:
        expected = 0.0
        for count in counts:
            if count > 1 and count * size > MOST_BYTES:
                left_out[f"{of}, {count:,} or more"] = f"takes more than {MOST_BYTES // 2**20} MiB"
                break
            if found and found[-1].of == of:
                expected = found[-1].p50 / found[-1].at_once * count
            if expected > PATIENCE * seconds:
                left_out[f"{of}, {count:,} or more"] = (
                    f"a run would take {in_words(expected)}; --seconds is {seconds:g}"
                )
                break
            run, given = prepare(model, rows, count)
            found.append(_timed(of, count, run, given, seconds))
    return found, left_out


def measure_alone(model: Predictor, steps: int, seconds: float) -> list[Measurement]:
    """Of one sequence of so many steps: a step of a stream, where the file has states, and `predict`."""
    from seq2onnx.runtime.random_rows import random_sequences

    rows = random_sequences(model.model, np.random.default_rng(0), [steps])
    subjects = [] if model.signature == "sequence" else [("Stream.step", _stream)]
    return [_timed(of, 1, *prepare(model, rows, 1), seconds) for of, prepare in [*subjects, ("predict", _batches)]]


def _stream(model: Predictor, rows: Rows, count: int) -> Subject:
    steps = _steps(model, rows)
    total = min(len(next(iter(steps.values()))), MOST_STEPS)
    given = [(count, _plain({layer: array[i] for layer, array in steps.items()})) for i in range(total)]
    return model.stream().step, given


def _batches(model: Predictor, rows: Rows, count: int) -> Subject:
    timed = next((entry.layer for entry in model.inputs if entry.has_time), None)
    total = len(next(iter(rows.values())))
    given = []
    for start in range(0, total - count + 1, count):
        batch = {layer: arrays[start : start + count] for layer, arrays in rows.items()}
        given.append((sum(map(len, batch[timed])) if timed else count, _plain(batch)))
    return functools.partial(model.predict, batch_size=count), given


def _pool(model: Predictor, rows: Rows, count: int) -> Subject:
    pool = model.pool(count)
    ids = np.array([pool.open() for _ in range(count)])
    x = {layer: np.resize(array, (count, *array.shape[1:])) for layer, array in _steps(model, rows).items()}
    return functools.partial(pool.step, ids), [(count, _plain(x))]


def _steps(model: Predictor, rows: Rows) -> dict[str, NDArray[Any]]:
    """All steps of all sequences, end to end; of an input without time the vector of each sequence as often."""
    lengths = next((list(map(len, rows[entry.layer])) for entry in model.inputs if entry.has_time), None)
    return {
        entry.layer: np.concatenate(rows[entry.layer])
        if entry.has_time
        else np.repeat(np.stack(rows[entry.layer]), lengths or 1, 0)
        for entry in model.inputs
    }


def _plain(by_layer: dict[str, Any]) -> Any:
    """Without the name, where there is but one input."""
    return by_layer if len(by_layer) > 1 else next(iter(by_layer.values()))


def _timed(of: str, count: int, run: Callable[[Any], Any], given: list[tuple[int, Any]], seconds: float) -> Measurement:
    """Warm up for a tenth of the time, then run until it is over."""
    clock, steps = time.perf_counter, 0
    times: list[float] = []
    for duration in (seconds / 10, seconds):
        end, steps, times = clock() + duration, 0, []
        for some, x in itertools.cycle(given):
            began = clock()
            run(x)
            now = clock()
            times.append(now - began)
            steps += some
            if now >= end:
                break
    total = sum(times)
    p50, p90, p99, longest = np.percentile(times, [50, 90, 99, 100]).tolist()
    sequences = count * len(times) / total if of == "predict" else None
    return Measurement(of, count, len(times), p50, p90, p99, longest, sequences, steps / total)


def surroundings() -> dict[str, Any]:
    """Versions and processor, without which a time says nothing."""
    import onnxruntime

    import seq2onnx

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # on Linux, platform knows the architecture alone
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), name)
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "seq2onnx": seq2onnx.__version__,
        "python": platform.python_version(),
    }


def in_words(seconds: float) -> str:
    """Three digits, with a unit."""
    unit, size = next(((u, s) for u, s in (("s", 1), ("ms", 1e-3)) if seconds >= 0.9995 * s), ("µs", 1e-6))
    return f"{seconds / size:.3g} {unit}"
