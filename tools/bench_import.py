"""Benchmarks of networks that were trained elsewhere, relative to their own files."""

from __future__ import annotations

import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from bench_report import REPORT, table
from torch import nn

import seq2onnx as s2o
from seq2onnx.runtime.session import bind

STEPS = 20


class Recurrent(nn.Module):
    """12 features -> LSTM or GRU 100 -> 9 classes, for each step or the last one."""

    def __init__(self, cell: Any = nn.LSTM, last: bool = False) -> None:
        super().__init__()
        self.cell, self.out, self.last = cell(12, 100, batch_first=True), nn.Linear(100, 9), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        y, _ = self.cell(x)
        return torch.softmax(self.out(y[:, -1] if self.last else y), -1)


class Causal(nn.Module):
    """Four causal convolutions of 32 filters with dilations 1 to 8."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(32 if i else 12, 32, 3, dilation=2**i) for i in range(4))
        self.out = nn.Linear(32, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        x = x.transpose(1, 2)
        for i, conv in enumerate(self.convs):
            x = torch.relu(conv(nn.functional.pad(x, (2 * 2**i, 0))))
        out: torch.Tensor = self.out(x.transpose(1, 2))
        return out


def imported() -> None:
    """A step of files of add_states and from_torch, relative to what they came from; bound buffers on both sides."""
    torch.manual_seed(0)
    networks = {
        "LSTM": Recurrent(),
        "LSTM, last step": Recurrent(last=True),
        "GRU": Recurrent(nn.GRU),
        "causal convolutions": Causal(),
    }
    for name, module in networks.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source, out = Path(folder, "source.onnx"), Path(folder, "stream.onnx")
            axes = {"x": {0: "batch", 1: "time"}}
            torch.onnx.export(
                module.eval(), (torch.zeros(2, 9, 12),), source, dynamo=False, input_names=["x"], dynamic_axes=axes
            )
            s2o.add_states(source, out)
            runs = {f"{name}, its own file": one_step(source), f"{name}, add_states": one_step(out)}
        times = table(runs, rounds=500)
        each_round(f"{name}, add_states", f"{name}, its own file", times, 1.15)
    lifted = s2o.from_torch(Recurrent(last=True), torch.zeros(1, 9, 12), softmax=False)
    layers = [s2o.SequenceInput(12), s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()]
    with tempfile.TemporaryDirectory() as folder:
        models = {"written here": s2o.build(s2o.Network(layers)), "from_torch": lifted}
        for name, module in models.items():
            s2o.export(module, f"{folder}/{name}.onnx", "stream")
        times = table({name: one_step(Path(folder, f"{name}.onnx")) for name in models}, rounds=500)
    each_round("from_torch", "written here", times, 1.0)


def each_round(name: str, other: str, times: dict[str, list[float]], target: float) -> None:
    """Record the median of the ratios of single rounds: it does not change with the load of the machine."""
    rounds = [a / b for a, b in zip(times[name], times[other], strict=True)]
    REPORT.add(f"{name} / {other}", statistics.median(rounds), target, rounds)


def one_step(path: Path) -> Callable[[], None]:
    """Return STEPS runs of one step of a file with bound buffers; states go from run to run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shapes = {entry.name: [n if isinstance(n, int) else 1 for n in entry.shape] for entry in session.get_inputs()}
    feeds = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    feeds["x"][...] = np.random.default_rng(0).normal(size=shapes["x"])
    names = [entry.name for entry in session.get_outputs()]
    results = dict(zip(names, map(np.zeros_like, session.run(names, feeds)), strict=True))
    states = [name for name in feeds if f"new_{name}" in results]
    there = bind(session, feeds, results)
    swapped = {f"new_{name}": feeds[name] for name in states}
    back = bind(session, feeds | {name: results[f"new_{name}"] for name in states}, results | swapped)

    def run() -> None:
        _ = feeds, results  # the bindings do not keep the buffers
        for _ in range(STEPS // 2):
            session.run_with_iobinding(there)
            session.run_with_iobinding(back)

    return run
