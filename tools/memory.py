"""Measure memory and speed of training on data that do not fit into memory.

    python tools/memory.py [--gigabytes 4] [--steps 500]

Writes a parquet file of float32 sequences (13 features; lognormal lengths, median 33, at most 600). Computes its
statistics, trains an LSTM of 128 units on it for some steps, and scores it; then does the same with a slice of the data
in memory. Each runs in its own process. Prints the peak of anonymous resident memory and the steps a second, and
deletes the file. Needs Linux and seq2onnx[cpu,train,data].
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, CLASSES, SLICE, BATCH = 13, 10, 20_000, 128


def main() -> None:
    """Write the file and measure both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4, help="size of the values (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=500, help="training steps (default: %(default)s)")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "FROM"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(Path(arguments.measure[0]), arguments.measure[1] == "memory", arguments.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        write(path, arguments.gigabytes)
        for source in ("file", "memory"):
            command = [sys.executable, __file__, "--steps", str(arguments.steps), "--measure", str(path), source]
            subprocess.run(command, check=True)


def write(path: Path, gigabytes: float) -> None:
    """Write a parquet file of random sequences with labels."""
    from seq2onnx.data.contents import Contents
    from seq2onnx.data.formats.parquet import write_row_groups

    rng = np.random.default_rng(0)

    def pieces() -> Iterator[tuple[dict[str, list[Any]], Any]]:
        written = 0.0
        while written < gigabytes * 1e9:
            lengths = np.clip(rng.lognormal(np.log(33), 0.8, 3000).astype(int), 1, 600)
            x = rng.standard_normal((lengths.sum(), FEATURES), np.float32)
            written += x.nbytes
            yield {"": np.split(x, np.cumsum(lengths)[:-1])}, rng.integers(0, CLASSES, 3000)

    write_row_groups(path, pieces(), Contents({}, classes=range(CLASSES)))
    print(f"{path.stat().st_size / 1e9:.2f} GB of parquet", flush=True)


def measure(path: Path, in_memory: bool, steps: int) -> None:
    """Train and score, and print time and memory."""
    peak = [0.0]
    threading.Thread(target=watch, args=(peak,), daemon=True).start()
    import pytorch_lightning as lightning

    import seq2onnx as s2o
    from seq2onnx.data import read

    class Stop(lightning.Callback):
        """Stop training after `steps` steps."""

        began, done = 0.0, 0

        def on_train_start(self, trainer: Any, module: Any) -> None:
            self.began = time.perf_counter()

        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            self.done += 1
            if self.done == steps:
                print(f"  {steps / (time.perf_counter() - self.began):.2f} steps a second", flush=True)
                trainer.should_stop = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = True

    data = read(path)
    if in_memory:
        part = data.subset(slice(0, SLICE))
        data = s2o.SequenceDataset(list(part.sequences), part.labels, part.classes)
    print(f"from {'a slice in memory' if in_memory else 'the file'}: {data}", flush=True)
    began = time.perf_counter()
    data.statistics()
    print(f"  statistics in {time.perf_counter() - began:.1f} s", flush=True)
    network = s2o.Network(
        [s2o.SequenceInput(FEATURES, "zscore"), s2o.LSTM(128, "last"), s2o.FullyConnected(CLASSES), s2o.Softmax()]
    )
    epochs = -(-steps * BATCH // len(data))
    options = s2o.TrainingOptions(epochs=epochs, batch_size=BATCH, threads=1, progress=False)
    module = s2o.train(network, data, options=options, callbacks=[Stop()]).module
    s2o.export(module, path.with_name("model.onnx"))
    began = time.perf_counter()
    scores = s2o.load(path.with_name("model.onnx")).predict(data)
    print(f"  {len(scores) / (time.perf_counter() - began):.0f} sequences scored a second", flush=True)
    print(f"  peak of anonymous memory {peak[0]:.2f} GB", flush=True)


def watch(peak: list[float]) -> None:
    """Update the peak of anonymous memory, GB, for ever."""
    while True:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        peak[0] = max(peak[0], int(found[1]) / 1e6)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
