"""Tables and ratios of tools/bench.py, and the JSON of a run."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from seq2onnx.files import write_atomically
from seq2onnx.sequences import Array

Times = dict[str, list[float]]  # seconds of each round, by name


@dataclasses.dataclass
class Report:
    """What a run has measured, of which `part` is underway."""

    threads: int = 1
    quick: bool = False
    part: str = ""
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    ratios: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def begin(self, threads: int, quick: bool) -> None:
        """Say what is measured with."""
        self.threads, self.quick = threads, quick
        modules = (np, onnx, onnxruntime, torch)
        self.about = {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": threads,
            "quick": quick,
            "load": [round(number, 1) for number in os.getloadavg()],
            "python": platform.python_version(),
        } | {module.__name__: str(module.__version__) for module in modules}
        print(", ".join(f"{name} {value}" for name, value in self.about.items()))

    def add(self, name: str, ratio: float, median: float | None, target: float, least: bool = False) -> None:
        """Print and keep one figure; `least`: the target is what it must reach, and not what it must stay below."""
        met = ratio >= target if least else ratio <= target
        rule = f"{'at least' if least else 'at most'} {target:.3g}"
        middle = "" if median is None else f"  median {median:7.3f}"
        print(f"  {name:<56} {ratio:7.3f}{middle}  ({rule}{'' if met else ': MISSED'})", flush=True)
        self.ratios.append(
            {"part": self.part, "name": name, "ratio": ratio, "median": median, "rule": rule, "met": met}
        )

    def save(self, path: Path) -> None:
        """All of it as JSON."""
        self.about["load at the end"] = [round(number, 1) for number in os.getloadavg()]
        write_atomically(path, json.dumps({"about": self.about, "ratios": self.ratios}, indent=1).encode())


REPORT = Report()


def ratio(name: str, other: str, times: Times, target: float) -> None:
    """The shortest time of one by that of another, and what it should be at most."""
    median = statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))
    REPORT.add(f"{name} / {other}", min(times[name]) / min(times[other]), median, target)


def table(runs: dict[str, Callable[[], None]], rounds: int = 9) -> Times:
    """The times of each, in turns; shown are the shortest, and ratios to the first."""
    times: Times = {name: [] for name in runs}
    for _ in range(max(3, rounds // 5) if REPORT.quick else rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    first = min(next(iter(times.values())))
    for name, seconds in times.items():
        print(f"  {name:<44} {min(seconds) * 1e3:9.2f} ms  {min(seconds) / first:6.3f}", flush=True)
    return times


def lognormal(count: int) -> list[Array]:
    """Sequences of 13 features and lognormal length, median 33, up to 600."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(np.exp(rng.normal(np.log(33), 0.8, count)).astype(int) + 1, 600)
    return [rng.normal(size=(n, 13)).astype(np.float32) for n in lengths]


def void(_: object) -> None:
    """Nothing: what a bench makes is not looked at."""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
