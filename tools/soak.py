"""Run pools of 2,000 streams for some minutes.

    python tools/soak.py --minutes 10 --seed 1

Streams are opened, stepped, given chunks of different lengths, moved, reset, finished and closed at random, and some
rows have a NaN. Every answer must equal that of the same stream alone (1e-5 of max(1, largest number)), and memory must
not grow. Prints the actions; the exit code is 1 if an answer differs or memory grows. Creates .venv if needed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from venv_setup import ROOT, prepare

STREAMS = 2000
MOST_GROWTH = 50  # MB of resident memory, from the second quarter of the time to the last
PAGES_PER_MB = 2**20 / os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Run the soak test in .venv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="duration (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    arguments = parser.parse_args()
    if not os.environ.get("SEQ2ONNX_SOAK"):
        settings = {"SEQ2ONNX_SOAK": "1", "PYTHONPATH": str(ROOT)}
        command = [str(prepare() / "python"), __file__, *sys.argv[1:]]
        return subprocess.run(command, env=os.environ | settings).returncode
    with tempfile.TemporaryDirectory() as folder:
        return soak(60 * arguments.minutes, arguments.seed, Path(folder))


def soak(seconds: float, seed: int, folder: Path) -> int:
    """Run pools of three networks in turn; 1 if one fails."""
    import numpy as np
    import torch

    import seq2onnx as s2o
    from tests.comparison import KINDS_HERE, WORST
    from tests.small_networks import lookahead_network
    from tests.twins import Twins

    torch.manual_seed(seed)
    speaker = s2o.Network([s2o.SequenceInput(12), s2o.LSTM(100, "last"), s2o.FullyConnected(9), s2o.Softmax()])
    everything: dict[str, tuple[s2o.Network, Any, bool]] = {
        "LSTM, full": (speaker, "full", False),
        "LSTM, stream": (speaker, "stream", False),
        "windows that read ahead": (lookahead_network(), "full", True),
    }
    twins = {}
    for name, (network, signature, lookahead) in everything.items():
        s2o.export(s2o.build(network), folder / "model.onnx", signature=signature, lookahead=lookahead)
        twins[name] = Twins(s2o.load(folder / "model.onnx"), seed, STREAMS, capacity=64)
        for _ in range(STREAMS):
            twins[name].open()
    KINDS_HERE.add("stream")  # so that the largest difference is recorded
    began, done, memory, shown = time.monotonic(), Counter[str](), [], 0.0
    while (passed := time.monotonic() - began) < seconds:
        for name, pair in twins.items():
            try:
                done[pair.act()] += 1
            except Exception as error:
                print(f"FAILED in {name} after {passed:.0f} s, {done}: {type(error).__name__}: {error}")
                return 1
        memory.append((passed / seconds, resident()))
        if passed - shown >= 60:
            shown = passed
            print(f"{passed / 60:.0f} min, {done.total():,} actions, {memory[-1][1]:.0f} MB", flush=True)
    for pair in twins.values():
        pair.check_states()
    early, late = (np.mean([mb for at, mb in memory if low <= at < low + 0.25]) for low in (0.25, 0.75))
    print(f"{seconds / 60:g} minutes, seed {seed}, {len(twins)} pools of up to {STREAMS:,} streams")
    for name, times in done.most_common():
        print(f"{times:>12,}  {name}")
    print(f"{sum(pair.clean_steps for pair in twins.values()):>12,}  of the steps had no NaN in any row")
    print(f"{sum(pair.answers for pair in twins.values()):>12,}  answers, each equal to that of the stream alone")
    print(f"{max(WORST.values()):>12.1e}  largest difference, of max(1, largest number)")
    print(f"{early:>12.0f}  MB resident in the second quarter of the time, {late:.0f} in the last")
    if late - early > MOST_GROWTH:
        print(f"FAILED: memory grew by {late - early:.0f} MB")
        return 1
    return 0


def resident() -> float:
    """The resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) / PAGES_PER_MB


if __name__ == "__main__":
    sys.exit(main())
