"""What the fuzzers share: their options, and a start in .venv."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from venv_setup import ROOT, prepare

Fuzz = Callable[[argparse.Namespace, Path], int]


def start(description: str | None, fuzz: Fuzz, networks: int, options: Mapping[str, Mapping[str, Any]]) -> int:
    """Run a fuzzer in .venv.

    Args:
        description: the text of --help.
        fuzz: the fuzzer; it gets the arguments and an empty folder, and returns the exit code.
        networks: the default number of networks.
        options: more options, with the arguments of add_argument.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=networks, help=f"how many networks (default: {networks})")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    for name, more in options.items():
        parser.add_argument(name, **more)
    arguments = parser.parse_args()
    if not os.environ.get("SEQ2ONNX_FUZZ"):
        # The networks are small: several threads in an operator would mostly wait for each other.
        settings = {"SEQ2ONNX_FUZZ": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [str(prepare() / "python"), *sys.argv]
        return subprocess.run(command, env=os.environ | settings).returncode
    with tempfile.TemporaryDirectory() as folder:
        return fuzz(arguments, Path(folder))
