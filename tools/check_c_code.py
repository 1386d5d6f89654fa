"""Run the examples of the packages for C of the networks in models/ under valgrind.

    python tools/check_c_code.py

The exit code is 1 if valgrind finds an error or a leak, or if an example does not print the expected output. Needs
the development environment, and apt-get install valgrind gcc make.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from c_code import build_example

import seq2onnx as s2o
from seq2onnx.hosts.programs import need

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Check each network that has C code; 1 if one of them is wrong."""
    valgrind = [need("valgrind", "apt-get install valgrind"), "--quiet", "--leak-check=full", "--error-exitcode=99"]
    wrong = 0
    for file in sorted((ROOT / "models").glob("*/model.onnx")):
        with tempfile.TemporaryDirectory() as name:
            try:
                example = build_example(file, Path(name, "package"), "CFLAGS=-O1 -g -std=c99 -Wall -Wextra -Werror")
            except (s2o.SpecError, s2o.NotStreamable):
                continue  # there is no C code for it
            sample = (example.parent / "sample_input.csv").read_text(encoding="utf-8")
            done = subprocess.run([*valgrind, example], input=sample, capture_output=True, text=True, check=False)
            expected = (example.parent / "expected_output.csv").read_text(encoding="utf-8")
        right = (done.returncode, done.stderr) == (0, "") and agree(done.stdout, expected)
        wrong += not right
        print(
            f"{file.parent.name}: {'right' if right else f'WRONG, exit code {done.returncode} {done.stderr}'}",
            flush=True,
        )
    return int(wrong > 0)


def agree(found: str, expected: str) -> bool:
    """Whether the lines of two outputs have equal labels, and numbers within 1e-4 × max(1, number)."""
    lines, others = (list(csv.reader(text.splitlines())) for text in (found, expected))
    pairs = [pair for two in zip(lines, others, strict=True) for pair in zip(*two, strict=True)]
    return all(
        math.isclose(float(a), float(b), rel_tol=1e-4, abs_tol=1e-4) if _is_number(b) else a == b for a, b in pairs
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
