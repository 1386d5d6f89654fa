"""Measure speed as ratios between alternatives in one run.

    python tools/bench.py [--only cells] [--threads 2]

In each round every alternative runs once. A figure is a ratio of medians over the rounds; in brackets are the quartiles
of the ratios of single rounds. Timings are not tests, since machines are noisy. Needs
seq2onnx[cpu,train,bench,edge], gcc and make.
"""

from __future__ import annotations

import os

# Set before numpy is imported: the lower bound for `predict` multiplies matrices in its own threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_c import code
from bench_data import resampling
from bench_edge import edge
from bench_import import imported
from bench_report import REPORT, lognormal, ratio, table, void
from bench_runtime import cold, generator, graph, portable, predict, storage
from bench_signals import alarm, keyword, spectra

import seq2onnx as s2o


def main() -> None:
    """Run the chosen parts."""
    benches: dict[str, Callable[[], None]] = {
        "cells": cells,
        "training": training,
        "bucketing": bucketing,
        "export": export,
        "forecast": forecast,
        "stream": stream,
        "pool": pool,
        "predict": predict,
        "graph": graph,
        "portable": portable,
        "edge": edge,
        "c": code,
        "imported": imported,
        "generator": generator,
        "spectra": spectra,
        "alarm": alarm,
        "keyword": keyword,
        "cold": cold,
        "storage": storage,
        "resampling": resampling,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(benches), action="append", help="run only this part; repeatable")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads of torch and predict (default: all cores)"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds, without the parts that train")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all ratios and their targets to a file")
    parser.add_argument("--rtneural", type=Path, metavar="FOLDER", help="sources of RTNeural, for the part c")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="packages for C of an earlier version by network, for the part c"
    )
    arguments = parser.parse_args()
    REPORT.rtneural, REPORT.before = arguments.rtneural, arguments.before
    torch.set_num_threads(arguments.threads)
    REPORT.begin(arguments.threads, arguments.quick)
    for name, bench in benches.items():
        if name in arguments.only if arguments.only else not (arguments.quick and name in SLOW):
            REPORT.part = name
            print(f"\n{name}: {(bench.__doc__ or '').splitlines()[0]}", flush=True)
            bench()
    if arguments.json:
        REPORT.save(arguments.json)


SLOW = ("cells", "training", "bucketing")


def cells() -> None:
    """A training step of recurrent layers, relative to the fused LSTM: 100 units, 100 steps, batch 32."""

    def step(layer: s2o.layers.Layer) -> Callable[[], None]:
        module = s2o.build(s2o.Network([s2o.SequenceInput(12), layer]))
        optimizer, x = torch.optim.Adam(module.parameters()), torch.randn(32, 100, 12)

        def run() -> None:
            loss = module(x, return_state=False)[0].square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return run

    layers = {"LSTM tanh sigmoid (fused)": s2o.LSTM(100)}
    for state in ("tanh", "softsign", "relu"):
        for gate in ("sigmoid", "hard_sigmoid"):
            if (state, gate) != ("tanh", "sigmoid"):
                layers[f"LSTM {state} {gate}"] = s2o.LSTM(100, "sequence", state, gate)
    table({name: step(layer) for name, layer in layers.items()})


def training() -> None:
    """An epoch on Japanese Vowels (LSTM 100, batches of 27), relative to a plain loop with pack_padded_sequence."""
    from seq2onnx.sequences import pad

    data, _ = s2o.datasets.japanese_vowels()
    known = {name: torch.tensor(values, dtype=torch.float32) for name, values in data.statistics().items()}
    order = np.argsort(data.lengths, kind="stable")
    batches = [order[start : start + 27] for start in range(0, len(order), 27)]
    epochs = 30

    class Plain(torch.nn.Module):
        def __init__(self, packed: bool) -> None:
            super().__init__()
            self.lstm, self.linear = torch.nn.LSTM(12, 100, batch_first=True), torch.nn.Linear(100, 9)
            self.packed = packed

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
            x = (x - known["mean"]) / known["std"]
            if self.packed:
                pack = torch.nn.utils.rnn.pack_padded_sequence
                _, (h, _) = self.lstm(pack(x, lengths, batch_first=True, enforce_sorted=False))
                return self.linear(h[0])
            return self.linear(self.lstm(x)[0][torch.arange(len(x)), lengths.long() - 1])

    def loop(packed: bool) -> None:
        module = Plain(packed)
        optimizer = torch.optim.Adam(module.parameters(), weight_decay=1e-4)
        for _ in range(epochs):
            for batch in batches:
                x, lengths = map(torch.from_numpy, pad(data.parts[""].take(batch)))
                target = torch.from_numpy(np.asarray(data.targets)[batch])
                loss = torch.nn.functional.cross_entropy(module(x, lengths), target)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def ours(folder: str | None) -> None:
        layers = [s2o.SequenceInput(12, "zscore"), s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()]
        options = s2o.TrainingOptions(epochs=epochs, batch_size=27, shuffle="sorted", progress=False, device="cpu")
        s2o.train(s2o.Network(layers), data, options=options, run_dir=folder)

    with tempfile.TemporaryDirectory() as folder:
        runs = {
            "plain torch, packed sequences": lambda: loop(True),
            "plain torch, padded sequences": lambda: loop(False),
            "seq2onnx": lambda: ours(None),
            "seq2onnx with a run folder": lambda: ours(folder),
        }
        table(runs, rounds=5)


def bucketing() -> None:
    """An epoch of 2,000 sequences of lognormal length (median 33, at most 600), relative to random batches."""
    sequences = lognormal(2000)
    data = s2o.SequenceDataset(sequences, (np.random.default_rng(0).random(len(sequences)) < 0.5).astype(int))
    layers = [s2o.SequenceInput(13), s2o.LSTM(128, "last"), s2o.FullyConnected(2), s2o.Softmax()]

    def epoch(shuffle: Any) -> Callable[[], None]:
        options = s2o.TrainingOptions(epochs=1, batch_size=64, shuffle=shuffle, progress=False, device="cpu")
        return lambda: void(s2o.train(s2o.Network(layers), data, options=options))

    table({"random batches": epoch("random"), "batches from buckets of similar lengths": epoch("bucket")}, rounds=3)


def export() -> None:
    """Export of the demo's network, relative to torch.onnx.export (dynamo=False) of an LSTM and a linear layer."""
    import warnings

    from seq2onnx.cli.demo import network
    from seq2onnx.exporting import build_model

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = torch.nn.LSTM(12, 100, batch_first=True), torch.nn.Linear(100, 9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.linear(self.lstm(x)[0][:, -1]), -1)

    training, _ = s2o.datasets.japanese_vowels()
    module, plain = s2o.build(network(), training), Plain().eval()
    weights = {n: {k: t.numpy() for k, t in m.state_dict().items()} for n, m in module.layers.items()}

    def theirs() -> None:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            torch.onnx.export(plain, (torch.zeros(1, 5, 12),), f"{folder}/m.onnx", dynamo=False, opset_version=17)

    def ours() -> None:
        build_model(module.network, weights)

    def dynamo() -> None:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(plain, (torch.zeros(1, 5, 12),), dynamo=True, verbose=False)

    times = table({"torch.onnx.export": theirs, "torch.onnx.export, dynamo": dynamo, "seq2onnx": ours}, rounds=5)
    ratio("seq2onnx", "torch.onnx.export, dynamo", times, 1 / 20)


def forecast() -> None:
    """A closed loop of 100 steps in one run, 12 → LSTM 100 → 12, relative to 100 calls of `Stream.step`."""
    mean, std = np.linspace(-1, 1, 12), np.linspace(1, 2, 12)
    entry = s2o.SequenceInput(12, "zscore", statistics={"mean": mean, "std": std})
    module = s2o.build(s2o.Network([entry, s2o.LSTM(100), s2o.FullyConnected(12)]))
    rng, steps = np.random.default_rng(0), 100
    history = rng.normal(size=(1, 12)).astype(np.float32)
    many = [rng.normal(size=(n, 12)) for n in rng.integers(20, 60, 256)]
    with tempfile.TemporaryDirectory() as folder:
        s2o.export(module, f"{folder}/open.onnx")
        s2o.export(module, f"{folder}/loop.onnx", closed_loop=steps)
        model, loop = s2o.load(f"{folder}/open.onnx"), s2o.load(f"{folder}/loop.onnx")
        one_step, all_steps = model.stream(), loop.stream()

        def by_steps() -> None:
            x = history[0]
            for _ in range(steps):
                x = one_step.step(x)

        one = {
            "100 Stream.step": by_steps,
            "one Stream.step of a loop": lambda: void(all_steps.step(history[0])),
            "forecast with a loop inside": lambda: void(loop.forecast(history, steps)),
            "forecast with a loop outside": lambda: void(model.forecast(history, steps)),
        }
        times = table(one, rounds=50)
        ratio("one Stream.step of a loop", "100 Stream.step", times, 0.8)
        print("  256 series of 20 to 59 steps, each forecast 100 steps ahead:")
        table(
            {"outside": lambda: void(model.forecast(many, steps)), "inside": lambda: void(loop.forecast(many, steps))}
        )


def speaker(folder: str) -> Any:
    """The module of the streaming benchmarks, 12 -> LSTM 100 -> 9, and its exported file, open."""
    statistics = {"mean": np.zeros(12), "std": np.ones(12)}
    entering = s2o.SequenceInput(12, "zscore", statistics=statistics)
    layers = [entering, s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()]
    module = s2o.build(s2o.Network(layers)).eval()
    s2o.export(module, f"{folder}/model.onnx")
    return module, s2o.load(f"{folder}/model.onnx")


def stream() -> None:
    """1,000 steps of one stream, relative to a loop of session.run(None, dict); 12 features, LSTM 100, one thread."""
    from seq2onnx.runtime.session import bind

    steps = 1000
    with tempfile.TemporaryDirectory() as folder:
        module, model = speaker(folder)
        s2o.export(module, f"{folder}/stream.onnx", signature="stream")
        s2o.export(module, f"{folder}/step.onnx", form="step")
        by_signature, by_form = (s2o.load(f"{folder}/{name}.onnx").stream() for name in ("stream", "step"))
    session, x = model.session, np.random.default_rng(0).normal(size=12).astype("f")

    def by_hand() -> None:
        feeds = {"x": x[None, None], "lengths": np.ones(1, np.int32)} | {s.name: s.zeros(1) for s in model.states}
        for _ in range(steps):
            feeds["x"] = x[None, None]
            _, feeds["state_00_lstm_1_h"], feeds["state_01_lstm_1_c"] = session.run(None, feeds)

    fixed, y = {"x": x[None, None], "lengths": np.ones(1, np.int32)}, np.zeros((1, 9), np.float32)
    old, new = ({s.name: s.zeros(1) for s in model.states} for _ in range(2))
    there = bind(session, fixed | old, {"y": y} | {f"new_{name}": array for name, array in new.items()})
    back = bind(session, fixed | new, {"y": y} | {f"new_{name}": array for name, array in old.items()})

    def bound() -> None:
        for _ in range(steps // 2):
            session.run_with_iobinding(there)
            session.run_with_iobinding(back)

    ours = model.stream()

    def stepped(stream: s2o.Stream) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps):
                stream.step(x)

        return run

    tensor, lengths = torch.from_numpy(x[None, None]), torch.ones(1, dtype=torch.int32)

    def in_torch() -> None:
        state: Any = (torch.zeros(1, 100), torch.zeros(1, 100))
        with torch.no_grad():
            for _ in range(steps):
                _, _, state = module(tensor, lengths, state)

    runs = {
        "session.run": by_hand,
        "bound buffers, bare": bound,
        "Stream.step": stepped(ours),
        "torch module": in_torch,
        "Stream.step, signature stream": stepped(by_signature),
        "Stream.step, form step": stepped(by_form),
    }
    times = table(runs, rounds=25)
    targets = {"session.run": 0.78, "bound buffers, bare": 1.25, "torch module": 0.15}
    for name, target in targets.items():
        ratio("Stream.step", name, times, target)
    ratio("Stream.step, form step", "Stream.step, signature stream", times, 0.85)


def pool() -> None:
    """A step of 1,000 streams, relative to one session.run of 1,000 rows; 12 features, LSTM 100, one thread."""
    import asyncio

    count = 1000
    with tempfile.TemporaryDirectory() as folder:
        _, model = speaker(folder)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 12)).astype("f")
    feeds = {"x": x[:, None], "lengths": np.ones(count, np.int32)} | {s.name: s.zeros(count) for s in model.states}
    ours, mixed = model.pool(count), model.pool(2 * count)
    ids = np.array([ours.open() for _ in range(count)])
    some = rng.permutation([mixed.open() for _ in range(2 * count)])[:count]
    ragged = list(x[:, None])
    alone = [model.stream() for _ in range(count)]

    def singly() -> None:
        for one, row in zip(alone, x, strict=True):
            one.step(row)

    async def push() -> None:
        await asyncio.gather(*(ours.push(id, row) for id, row in zip(ids.tolist(), x, strict=True)))

    runs = {
        "session.run": lambda: void(model.session.run(None, feeds)),
        "pool.step": lambda: void(ours.step(ids, x)),
        "pool.step, half of 2,000": lambda: void(mixed.step(some, x)),
        "pool.step, a list of chunks": lambda: void(ours.step(ids, ragged)),
        "pool.push": lambda: asyncio.run(push()),
        "Stream.step": singly,
    }
    times = table(runs, rounds=25)
    ratio("pool.step", "session.run", times, 1.3)
    ratio("pool.step, half of 2,000", "session.run", times, 1.3)
    ratio("pool.step", "Stream.step", times, 0.2)


if __name__ == "__main__":
    main()
