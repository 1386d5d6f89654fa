"""Run the examples of the packages for C of the networks in models/ under valgrind.

    python tools/check_c_code.py

The exit code is 1 if valgrind finds an error or a leak, or if an example does not print the expected output. Needs
the development environment, and apt-get install valgrind gcc make.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from c_code import build_example

import seq2onnx as s2o
from seq2onnx.hosts.programs import need

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.test_packages import rows_of, same  # noqa: E402


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
        try:
            assert (done.returncode, done.stderr) == (0, "")
            same(rows_of(done.stdout), rows_of(expected))  # type: ignore[no-untyped-call]
        except AssertionError as error:
            wrong += 1
            print(f"{file.parent.name}: {error}", flush=True)
        else:
            print(f"{file.parent.name}: right", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
