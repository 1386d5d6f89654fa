"""Tables and ratios of tools/bench.py, and the JSON of a run."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from seq2onnx.files import write_atomically
from seq2onnx.reporting.benchmark import environment
from seq2onnx.sequences import Array

Times = dict[str, list[float]]  # seconds of each round, by name


@dataclasses.dataclass
class Report:
    """All measurements of a run; `part` is the part that is running, the folders are for `c`."""

    threads: int = 1
    quick: bool = False
    part: str = ""
    rtneural: Path | None = None
    before: Path | None = None
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    figures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    times: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def begin(self, threads: int, quick: bool) -> None:
        """Record and print the environment of the measurements."""
        self.threads, self.quick = threads, quick
        modules = (np, onnx, torch)
        self.about = (
            environment()
            | {"threads": threads, "quick": quick, "load": [round(number, 1) for number in os.getloadavg()]}
            | {module.__name__: str(module.__version__) for module in modules}
        )
        print(", ".join(f"{name} {value}" for name, value in self.about.items()))

    def add(self, name: str, figure: float, target: float, rounds: list[float] | None = None) -> None:
        """Print and keep one figure, what it should be at most, and the quartiles of what the rounds gave."""
        met, spread = figure <= target, ""
        row = {"part": self.part, "name": name, "figure": figure, "target": target, "met": met}
        if rounds:
            low, _, high = statistics.quantiles(rounds)
            row["quartiles"], spread = [low, high], f"  ({low:.3f} to {high:.3f})"
        print(f"  {name:<64} {figure:7.3f}{spread}  at most {target:.3g}{'' if met else ': MISSED'}", flush=True)
        self.figures.append(row)

    def save(self, path: Path) -> None:
        """All of it as JSON."""
        self.about["load at the end"] = [round(number, 1) for number in os.getloadavg()]
        write_atomically(
            path, json.dumps({"about": self.about, "figures": self.figures, "times": self.times}, indent=1).encode()
        )


REPORT = Report()


def ratio(name: str, other: str, times: Times, target: float) -> None:
    """Record the ratio of two median times, and the target that it should not exceed."""
    rounds = [a / b for a, b in zip(times[name], times[other], strict=True)]
    figure = statistics.median(times[name]) / statistics.median(times[other])
    REPORT.add(f"{name} / {other}", figure, target, rounds)


def table(runs: dict[str, Callable[[], None]], rounds: int = 9) -> Times:
    """Time all of them in turns; print the medians and their ratios to the first."""
    times: Times = {name: [] for name in runs}
    for _ in range(max(3, rounds // 5) if REPORT.quick else rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    first = next(iter(medians.values()))
    for name, seconds in medians.items():
        print(f"  {name:<44} {seconds * 1e3:9.2f} ms  {seconds / first:6.3f}", flush=True)
    REPORT.times.append({"part": REPORT.part, "medians in seconds": medians})
    return times


def lognormal(count: int) -> list[Array]:
    """Sequences of 13 features and lognormal length, median 33, up to 600."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(np.exp(rng.normal(np.log(33), 0.8, count)).astype(int) + 1, 600)
    return [rng.normal(size=(n, 13)).astype(np.float32) for n in lengths]


def void(_: object) -> None:
    """Discard a result."""
