"""Benchmarks of exported files: predict, the graph alone and by form, generators, and the start of a process."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from bench_report import REPORT, lognormal, ratio, table, void

import seq2onnx as s2o
from seq2onnx.sequences import pad


def predict() -> None:
    """2,000 sequences of lognormal length (median 33, at most 600), LSTM 128, relative to one at a time."""
    threads, sequences = REPORT.threads, lognormal(2000)
    layers = [_entry(13), s2o.LSTM(128, "last"), s2o.FullyConnected(2), s2o.Softmax()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        s2o.export(s2o.build(s2o.Network(layers)).eval(), path)
        model, single = s2o.load(path, threads=threads), s2o.load(path)
        parallel = _session(path, threads)

    def run(session: Any, rows: list[Any]) -> None:
        x, lengths = pad(rows)
        session.run(["y"], {"x": x, "lengths": lengths} | {s.name: s.zeros(len(rows)) for s in model.states})

    def one_at_a_time() -> None:
        for x in sequences:
            run(single.session, [x])

    def unsorted() -> None:
        for start in range(0, len(sequences), 128):
            run(parallel, sequences[start : start + 128])

    steps = sum(map(len, sequences))
    gflop = 2 * 4 * 128 * (13 + 128) * steps / 1e9
    times = table(
        {
            "session.run, one at a time": one_at_a_time,
            "session.run, unsorted batches of 128": unsorted,
            "predict, 1 thread": lambda: void(single.predict(sequences)),
            f"predict, {threads} threads": lambda: void(model.predict(sequences)),
            f"predict, {threads} threads, batches of 128": lambda: void(model.predict(sequences, batch_size=128)),
            "floor, matrices of 512": _products(512, 512, 512, gflop, threads),
            "floor, matrices of this network": _products(32, 13 + 128, 4 * 128, gflop, threads),
        },
        rounds=25,
    )
    print(f"  {gflop:.1f} GFLOP; floors: the same arithmetic as matrix products in numpy, in {threads} threads")
    print("  (OpenBLAS with one thread each): [512, 512] · [512, 512] and [32, 141] · [141, 512]")
    ours = f"predict, {threads} threads"
    ratio(ours, "session.run, one at a time", times, 0.4)
    ratio(ours, "session.run, unsorted batches of 128", times, 0.3)
    ratio(ours, "floor, matrices of 512", times, 1.25)
    ratio(ours, "floor, matrices of this network", times, 1.25)


def _products(rows: int, inner: int, columns: int, gflop: float, threads: int) -> Callable[[], None]:
    """Matrix products of `gflop` in total, divided among threads."""
    rng = np.random.default_rng(0)
    count = round(gflop * 1e9 / (2 * rows * inner * columns) / threads)

    def work() -> None:
        a, b = rng.normal(size=(rows, inner)).astype("f"), rng.normal(size=(inner, columns)).astype("f")
        out = np.empty((rows, columns), np.float32)
        for _ in range(count):
            np.matmul(a, b, out=out)

    def run() -> None:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run


def graph() -> None:
    """The file in plain session.run, 12 -> LSTM 100 -> 9, relative to the file of torch.onnx.export(dynamo=False)."""

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = torch.nn.LSTM(12, 100, batch_first=True), torch.nn.Linear(100, 9)
            self.mean, self.std = torch.ones(12), torch.full((12,), 2.0)

        def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
            y, (h, c) = self.lstm((x - self.mean) / self.std, (h, c))
            return torch.softmax(self.linear(y[:, -1]), -1), h, c

    entering = _entry(12, mean=1, std=2)
    module = s2o.build(s2o.Network([entering, s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()])).eval()
    names, state = ["x", "h", "c"], torch.zeros(1, 1, 100)
    axes = {"x": {0: "batch", 1: "time"}, "h": {1: "batch"}, "c": {1: "batch"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = (torch.zeros(1, 5, 12), state, state)
        torch.onnx.export(
            Plain().eval(), given, f"{folder}/torch.onnx", dynamo=False, opset_version=17, input_names=names,
            dynamic_axes=axes,
        )  # fmt: skip
        for signature in ("stream", "full"):
            s2o.export(module, f"{folder}/{signature}.onnx", signature=signature)
        sessions = {name: _session(Path(folder, f"{name}.onnx"), 1) for name in ("torch", "stream", "full")}
    mine = {f"state_0{k}_lstm_1_{name}": np.zeros((1, 100), np.float32) for k, name in enumerate("hc")}
    for steps, target in ((1, 1.25), (20, 1.1), (50, 1.1)):
        x = np.random.default_rng(0).normal(size=(1, steps, 12)).astype("f")
        feeds: dict[str, dict[str, Any]] = {
            "torch": {"x": x} | {name: state.numpy() for name in "hc"},
            "stream": {"x": x} | mine,
            "full": {"x": x, "lengths": np.array([steps], np.int32)} | mine,
        }
        runs = {f"{name}, {steps} steps": _repeated(sessions[name], feeds[name]) for name in feeds}
        times = table(runs, rounds=60)
        ratio(f"stream, {steps} steps", f"torch, {steps} steps", times, 1.03)
        ratio(f"full, {steps} steps", f"torch, {steps} steps", times, target)


def portable() -> None:
    """Japanese Vowels in batches of 27 of similar length, 12 -> LSTM 100 -> 9, relative to the dynamic file."""
    data, _ = s2o.datasets.japanese_vowels()
    layers = [_entry(12), s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()]
    module, runs = s2o.build(s2o.Network(layers)).eval(), dict[str, Callable[[], None]]()
    order = np.argsort(data.lengths, kind="stable")
    batches = [pad(data.parts[""].take(order[start : start + 27])) for start in range(0, len(order), 27)]
    mine = [np.zeros((27, 100), np.float32)] * 2
    names = ["x", "lengths", *(entry.input_name for entry in module.network.states())]
    feeds = [dict(zip(names, (*batch, *mine), strict=True)) for batch in batches]

    def all_batches(session: Any) -> Callable[[], None]:
        return lambda: void([session.run(None, batch) for batch in feeds])

    with tempfile.TemporaryDirectory() as folder:
        for form in ("dynamic", "portable"):
            s2o.export(module, f"{folder}/{form}.onnx", form=form)
            runs[form] = all_batches(_session(Path(folder, f"{form}.onnx"), 1))
    ratio("portable", "dynamic", table(runs, rounds=200), 1.3)


def _repeated(session: Any, feeds: dict[str, Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(100):
            session.run(None, feeds)

    return run


def generator() -> None:
    """1,000,000 sequences of 2 to 12 steps from a generator, relative to a list of them; 4 features, LSTM 16."""
    count, rng = 100_000 if REPORT.quick else 1_000_000, np.random.default_rng(0)
    # All sequences differ. A few repeated ones, sorted by length, would stay in the processor's cache.
    lengths = rng.integers(2, 13, count)
    everything = np.split(rng.normal(size=(lengths.sum(), 4)).astype("f"), lengths.cumsum()[:-1])
    layers = [_entry(4), s2o.LSTM(16, "last"), s2o.FullyConnected(3), s2o.Softmax()]
    with tempfile.TemporaryDirectory() as folder:
        s2o.export(s2o.build(s2o.Network(layers)).eval(), f"{folder}/model.onnx")
        model = s2o.load(f"{folder}/model.onnx", threads=REPORT.threads)
    model.predict(everything[:10_000])
    before = _anonymous()
    peak, done = [before], threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, done))
    watcher.start()
    scores = model.predict(iter(everything))
    done.set()
    watcher.join()
    grown = peak[0] - before - scores.nbytes / 1e6
    del scores
    REPORT.add("peak memory beyond results, of a generator, MB", grown, 50)
    times = table(
        {
            "a list": lambda: void(model.predict(everything)),
            "a generator": lambda: void(model.predict(iter(everything))),
        },
        rounds=11,
    )
    print(f"  {count / statistics.median(times['a generator']):,.0f} sequences a second")
    ratio("a generator", "a list", times, 1 / 0.85)


def _anonymous() -> float:
    """Anonymous memory of this process, MB."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3


def _watch(peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.02):
        peak[0] = max(peak[0], _anonymous())


SAY_MEMORY = (
    "import re; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"  # of this process alone
)
OURS = "import numpy as np, seq2onnx as s2o; s2o.load('full.onnx').predict([np.ones((20, 12), np.float32)])"
BARE = """import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession('sequence.onnx', options, providers=['CPUExecutionProvider'])
session.run(None, {'x': np.ones((1, 20, 12), np.float32), 'lengths': np.array([20], np.int32)})"""
TORCH = """import torch
class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.linear = torch.nn.LSTM(12, 100, batch_first=True), torch.nn.Linear(100, 9)
    def forward(self, x):
        return torch.softmax(self.linear(self.lstm(x)[0][:, -1]), -1)
network = Network()
network.load_state_dict(torch.load('weights.pt'))
network.eval()
with torch.no_grad():
    network(torch.ones(1, 20, 12)).numpy()"""


def cold() -> None:
    """A new process up to its first prediction, 12 -> LSTM 100 -> 9, relative to torch: import, load, predict."""
    layers = [_entry(12), s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()]
    module = s2o.build(s2o.Network(layers)).eval()
    root, memory = Path(__file__).parent.parent, dict[str, int]()
    with tempfile.TemporaryDirectory() as folder:
        s2o.export(module, f"{folder}/full.onnx")
        s2o.export(module, f"{folder}/sequence.onnx", signature="sequence")
        plain = {"lstm": torch.nn.LSTM(12, 100), "linear": torch.nn.Linear(100, 9)}
        torch.save(torch.nn.ModuleDict(plain).state_dict(), f"{folder}/weights.pt")

        def start(name: str, code: str) -> Callable[[], None]:
            def run() -> None:
                command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}\n{SAY_MEMORY}"]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
                memory[name] = min(memory.get(name, sys.maxsize), int(done.stdout))

            return run

        runs = {"torch": TORCH, "onnxruntime": BARE, "seq2onnx": OURS, "python alone": ""}
        times = table({name: start(name, code) for name, code in runs.items()}, rounds=15)
    ratio("seq2onnx", "torch", times, 0.15)
    for name, size in memory.items():
        print(f"  {name:<44} {size / 1e3:9.1f} MB")
    REPORT.add("seq2onnx / torch, peak resident memory", memory["seq2onnx"] / memory["torch"], 0.35)


def _entry(size: int, mean: float = 0, std: float = 1) -> s2o.SequenceInput:
    return s2o.SequenceInput(size, "zscore", statistics={"mean": np.full(size, mean), "std": np.full(size, std)})


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def storage() -> None:
    """Files with smaller weights, relative to float32: 12 features, LSTM 100, 9 classes; also their sizes."""
    layers = [_entry(12), s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()]
    module, sequences = s2o.build(s2o.Network(layers)).eval(), [x[:, :12] for x in lognormal(200)]
    kinds = ("float32", "float16", "int8")

    def opened(path: Path) -> None:
        s2o.load(path)

    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: Path(folder, f"{kind}.onnx") for kind in kinds}
        for kind, path in paths.items():
            s2o.export(module, path, weights=kind)  # type: ignore[arg-type]
        sizes = {kind: path.stat().st_size for kind, path in paths.items()}
        loaded = table({kind: partial(opened, path) for kind, path in paths.items()}, rounds=25)
        models = {kind: s2o.load(path) for kind, path in paths.items()}
    streams, x = {kind: model.stream() for kind, model in models.items()}, sequences[0]

    def whole(kind: str) -> None:
        models[kind].predict(sequences)

    def steps(kind: str) -> None:
        for step in x:
            streams[kind].step(step)

    predicted = table({kind: partial(whole, kind) for kind in kinds}, rounds=51)
    stepped = table({kind: partial(steps, kind) for kind in kinds}, rounds=201)
    for kind, size in (("float16", 0.6), ("int8", 0.4)):
        REPORT.add(f"{kind}, size / float32", sizes[kind] / sizes["float32"], size)
        for what, times, most in (("step", stepped, 1.05), ("predict", predicted, 1.05), ("load", loaded, 1.5)):
            rounds = [a / b for a, b in zip(times[kind], times["float32"], strict=True)]
            figure = statistics.median(times[kind]) / statistics.median(times["float32"])
            REPORT.add(f"{kind}, {what} / float32", figure, most, rounds)
