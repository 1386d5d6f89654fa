"""Timings, as ratios measured side by side in one run: python tools/bench.py [--only cells]

Timings are no tests: machines are noisy. Needs seq2onnx[cpu,train] installed.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import torch

import seq2onnx as s2o


def main() -> None:
    benches: dict[str, Callable[[], None]] = {"cells": cells, "export": export}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(benches), help="one of the tables")
    only = parser.parse_args().only
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads")
    for name, bench in benches.items():
        if only in (None, name):
            print(f"\n{name}: {(bench.__doc__ or '').splitlines()[0]}")
            bench()


def cells() -> None:
    """A training step of recurrent layers, as a ratio to the fused LSTM: 100 units, 100 steps, batch 32."""

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


def export() -> None:
    """Export of the demo's network, as a ratio to torch.onnx.export (dynamo=False) of an LSTM and a linear layer."""
    import tempfile
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

    table({"torch.onnx.export": theirs, "seq2onnx": ours})


def table(runs: dict[str, Callable[[], None]], rounds: int = 9) -> None:
    """The shortest time of each, in turns; ratios to the first."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    first = next(iter(best.values()))
    for name, seconds in best.items():
        print(f"  {name:<28} {seconds * 1e3:9.2f} ms  {seconds / first:6.3f}")


if __name__ == "__main__":
    main()
