"""Import random networks of other frameworks and compare the files with their sources.

    python tools/fuzz_import.py --networks 500 --seed 1

Each network becomes a module with from_torch, and a file, which runs in onnxruntime: whole, in single steps and in
chunks. Prints what was refused and why, and the largest difference over max(1, largest number of the source). The exit
code is 1 after an error, a difference above 1e-6, or if fewer than 98 % were imported. Creates .venv if needed.
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

MOST_DIFFERENCE, LEAST_SHARE = 1e-6, 0.98


def main() -> int:
    """Run the fuzzer in .venv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=100, help="how many networks (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    arguments = parser.parse_args()
    if not os.environ.get("SEQ2ONNX_FUZZ"):
        # The networks are small: several threads in an operator would mostly wait for each other.
        settings = {"SEQ2ONNX_FUZZ": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [str(prepare() / "python"), __file__, *sys.argv[1:]]
        return subprocess.run(command, env=os.environ | settings).returncode
    with tempfile.TemporaryDirectory() as folder:
        return fuzz(arguments.networks, arguments.seed, Path(folder))


def fuzz(count: int, seed: int, folder: Path) -> int:
    """Import `count` networks; return 1 if the result is not good enough."""
    from seq2onnx.errors import ImportRefused

    began, refused = time.monotonic(), Counter[str]()
    worst: dict[str, float] = {}
    errors = streams = 0
    for number in range(count):
        name = f"{seed} {number}"
        try:
            found = from_torch(name, folder / "network.onnx")
        except Exception as error:
            if isinstance(error, ImportRefused) and "cannot be followed" not in str(error):
                refused[str(error)] += 1
                print(f"refused {name}: {error}", flush=True)
            else:
                errors += 1
                print(f"ERROR in {name}: {type(error).__name__}: {error}", flush=True)
            continue
        streams += "steps" in found
        worst = {check: max(worst.get(check, 0.0), found.get(check, 0.0)) for check in {**worst, **found}}
        if max(found.values()) > MOST_DIFFERENCE:
            print(f"DIFFERENCE in {name}: {found}", flush=True)
        if (number + 1) % 50 == 0:
            print(f"{number + 1} networks, {time.monotonic() - began:.0f} s", flush=True)
    lifted = count - errors - refused.total()
    print(f"\n{count} networks in {time.monotonic() - began:.0f} s: {errors} errors, {lifted / count:.1%} imported")
    print(f"{streams} of them stream\nlargest differences: {dict(worst)}")
    return int(errors > 0 or max(worst.values(), default=1.0) > MOST_DIFFERENCE or lifted < LEAST_SHARE * count)


def from_torch(name: str, path: Path) -> dict[str, float]:
    """Import a random torch network; return the largest difference of each comparison."""
    import seq2onnx as s2o
    from tests.random_torch import RandomNetwork
    from tests.torch_parity import differences

    network: Any = RandomNetwork(name).eval()
    axes = "BT" if network.axes == "tokens" else network.axes
    example = network.example()
    module = s2o.from_torch(network, example, axes=axes)
    found: dict[str, float] = differences(network, example, module, path, axes, double=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
