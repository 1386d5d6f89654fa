"""Compare the speed of this checkout with that of another checkout of the package.

    python tools/compare_versions.py OLD

One process imports each checkout and measures what it is told over a pipe. The two take turns, so that both see the
same load of the machine, and new processes take over every few pairs. A ratio is new time ÷ old time; the table shows
the median of the ratios of all pairs, and their quartiles. Export of 200 layers is compared with export of 50 layers
within this checkout.

Needs seq2onnx[cpu,train] installed. It uses only what is public in both versions. Exit code 1 if a ratio is too high.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import seq2onnx as s2o

ROOT = Path(__file__).resolve().parent.parent
HIGHEST_RATIO, HIGHEST_RATIO_OF_EXPORTS = 1.03, 6.0
PAIRS_OF_A_PROCESS = 2


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD", help="root folder of the other checkout")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of measurements (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=[*COMPARED, "export"], help="measure only this; repeatable")
    arguments = parser.parse_args()
    if not (arguments.old / "seq2onnx" / "__init__.py").is_file():
        parser.error(f"{arguments.old}: has no seq2onnx/__init__.py; give the root folder of a checkout")
    chosen = arguments.only or [*COMPARED, "export"]
    good = True
    print(f"{'':<28}{'old, ms':>10}{'new, ms':>10}{'ratio':>8}{'quartiles':>17}{'at most':>9}")
    old, new = arguments.old.resolve(), ROOT
    for name in COMPARED:
        if name in chosen:
            good &= compare(name, (old, name), (new, name), arguments.pairs, HIGHEST_RATIO)
    if "export" in chosen:
        print(f"\n{'within the new checkout':<28}{'50, ms':>10}{'200, ms':>10}")
        few, many = (new, "export of 50 layers"), (new, "export of 200 layers")
        good &= compare("export, 200 ÷ 50 layers", few, many, arguments.pairs, HIGHEST_RATIO_OF_EXPORTS)
    return 0 if good else 1


def compare(title: str, first: tuple[Path, str], second: tuple[Path, str], pairs: int, highest: float) -> bool:
    """Measure both in turns and print a row; whether the median of second ÷ first is low enough."""
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < pairs:
        # New processes now and then: where a process has its arrays in memory alone makes up to 20 %.
        with Worker(first[0]) as one, Worker(second[0]) as other:
            workers = ((one, first[1]), (other, second[1]))
            for worker, name in workers:
                worker.measure(name)  # the first call prepares and warms up
            for pair in range(min(PAIRS_OF_A_PROCESS, pairs - len(times[0]))):
                for index in (0, 1) if pair % 2 == 0 else (1, 0):
                    worker, name = workers[index]
                    times[index].append(worker.measure(name))
    ratios = [b / a for a, b in zip(*times, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if pairs > 1 else ratios * 3
    a, b = (1e3 * statistics.median(seconds) for seconds in times)
    verdict = "" if middle <= highest else "  TOO HIGH"
    print(
        f"{title:<28}{a:>10.2f}{b:>10.2f}{middle:>8.3f}{f'{low:.3f} to {high:.3f}':>17}{highest:>9.2f}{verdict}",
        flush=True,
    )
    return middle <= highest


class Worker:
    """A process that has imported one checkout and measures on request."""

    def __init__(self, root: Path) -> None:
        # One thread: with several, small networks mostly measure how the threads wait for each other.
        settings = {"PYTHONPATH": str(root), WORKER: str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", __file__]
        self._process = subprocess.Popen(
            command, env=os.environ | settings, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its standard input ends it

    def measure(self, name: str) -> float:
        """Seconds of processor time that one run of the named measurement took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(name, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"compare_versions: a worker ended while it measured {name}; see its error above")
        return float(answer)


WORKER = "SEQ2ONNX_COMPARED"
"""The environment variable that makes this script a worker, and holds the checkout that it must have imported."""


def work(root: Path) -> None:
    """Read names of measurements from standard input, and write the seconds of each."""
    import seq2onnx as s2o

    if not Path(s2o.__file__ or "").resolve().is_relative_to(root):
        raise SystemExit(f"compare_versions: imported {s2o.__file__}, not the checkout {root}")
    answers, sys.stdout = sys.stdout, sys.stderr  # what the package prints must not be read as an answer
    measurements = COMPARED | EXPORTS
    prepared: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            name = line.strip()
            if name not in prepared:
                prepared[name] = measurements[name](Path(folder))
                prepared[name]()
            # The time of the processor: other processes of the machine add to the time on the clock.
            start = time.process_time()
            prepared[name]()
            print(time.process_time() - start, file=answers, flush=True)


def step_stream(folder: Path) -> Callable[[], object]:
    """2,000 steps of one stream: 12 features, LSTM 100, 9 classes."""
    import numpy as np

    stream, x = _speaker(folder).stream(), np.ones(12, np.float32)

    def run() -> None:
        for _ in range(2000):
            stream.step(x)

    return run


def step_pool(folder: Path) -> Callable[[], object]:
    """10 steps of 1,000 streams, with the same network."""
    import numpy as np

    pool = _speaker(folder).pool(1000)
    ids = np.array([pool.open() for _ in range(1000)])
    x = np.ones((1000, 12), np.float32)

    def run() -> None:
        for _ in range(10):
            pool.step(ids, x)

    return run


def predict(folder: Path) -> Callable[[], object]:
    """The answers to 500 sequences of 1 to 100 steps, with the same network."""
    import numpy as np

    model, rng = _speaker(folder), np.random.default_rng(0)
    sequences = [rng.normal(size=(length, 12)).astype("f") for length in rng.integers(1, 101, 500)]
    return lambda: model.predict(sequences)


def train(folder: Path) -> Callable[[], object]:
    """One epoch of 100 batches of 4 sequences: 4 features, LSTM 8. The package's own time counts more than torch's."""
    import numpy as np

    import seq2onnx as s2o

    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(length, 4)).astype("f") for length in rng.integers(1, 20, 400)]
    data = s2o.SequenceDataset(sequences, rng.integers(0, 2, 400))
    network = s2o.Network([s2o.SequenceInput(4), s2o.LSTM(8, "last"), s2o.FullyConnected(2), s2o.Softmax()])
    options = s2o.TrainingOptions(epochs=1, batch_size=4, threads=1, device="cpu", progress=False)
    return lambda: s2o.train(network, data, options=options)


def export(folder: Path, layers: int) -> Callable[[], object]:
    """Export of a network of so many layers."""
    import seq2onnx as s2o

    # One layer in four has a state: a network may have 100.
    kinds = (lambda: s2o.Conv1d(4, 2, padding="causal"), lambda: s2o.FullyConnected(4), s2o.LayerNorm, s2o.Tanh)
    chain = [kinds[index % len(kinds)]() for index in range(layers - 1)]
    module = s2o.build(s2o.Network([s2o.SequenceInput(4), *chain])).eval()
    return lambda: s2o.export(module, folder / "export.onnx")


def _speaker(folder: Path) -> s2o.Predictor:
    import numpy as np

    import seq2onnx as s2o

    entry = s2o.SequenceInput(12, "zscore", statistics={"mean": np.zeros(12), "std": np.ones(12)})
    network = s2o.Network([entry, s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()])
    s2o.export(s2o.build(network).eval(), folder / "speaker.onnx")
    return s2o.load(folder / "speaker.onnx")


COMPARED: dict[str, Callable[[Path], Callable[[], object]]] = {
    "Stream.step": step_stream,
    "pool.step": step_pool,
    "predict": predict,
    "training epoch": train,
}
EXPORTS: dict[str, Callable[[Path], Callable[[], object]]] = {
    f"export of {layers} layers": functools.partial(export, layers=layers) for layers in (50, 200)
}

if __name__ == "__main__":
    if WORKER in os.environ:
        work(Path(os.environ[WORKER]))
    else:
        sys.exit(main())
