"""Benchmark of what runs where Python does not: the form "step", and the C code of a network."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_report import REPORT, ratio, table
from c_code import build_example, c_steps

import seq2onnx as s2o
from seq2onnx.runtime.session import bind
from seq2onnx.sequences import Array

STEPS = 1000


def edge() -> None:
    """1,000 steps of one stream, 12 -> LSTM 100 -> 9, relative to bound buffers of the signature stream; one thread."""
    statistics = {"mean": np.zeros(12), "std": np.ones(12)}
    entering = s2o.SequenceInput(12, "zscore", statistics=statistics)
    layers = [entering, s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()]
    module = s2o.build(s2o.Network(layers)).eval()
    x = np.random.default_rng(0).normal(size=12).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        stream, step = Path(name, "stream.onnx"), Path(name, "step.onnx")
        s2o.export(module, stream, signature="stream")
        s2o.export(module, step, form="step")
        runs = {"signature stream, bound": bound(stream, x, STEPS), "form step, bound": bound(step, x, STEPS)}
        with c_steps(step, np.tile(x, (STEPS, 1))) as run:
            times = table(runs | {"C code": run}, rounds=101)
        example = build_example(step, Path(name, "package"))
        memory = peak_memory(example, (example.parent / "sample_input.csv").read_text(encoding="utf-8"))
    ratio("form step, bound", "signature stream, bound", times, 0.85)
    ratio("C code", "signature stream, bound", times, 0.6)
    REPORT.add("peak resident memory of the C program, MB", memory, 4)


def bound(file: Path, x: Array, steps: int) -> Callable[[], None]:
    """Return what runs an even number of steps in onnxruntime, with buffers that are written in turn."""
    model = s2o.load(file).model
    y = np.zeros((1, 9), np.float32)
    old, new = ({state.name: state.zeros(1) for state in model.states} for _ in range(2))
    there, back = (
        bind(model.session, {"x": x[None, None]} | read, {"y": y} | {f"new_{name}": written[name] for name in written})
        for read, written in ((old, new), (new, old))
    )

    def run() -> None:
        for _ in range(steps // 2):
            model.session.run_with_iobinding(there)
            model.session.run_with_iobinding(back)

    return run


def peak_memory(example: Path, sample: str) -> float:
    """Return the most memory that the example had resident up to the end of a sample, MB."""
    with subprocess.Popen([example], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for line in sample.splitlines():
            program.stdin.write(f"{line}\n")
            program.stdout.readline()
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{program.pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1e3
