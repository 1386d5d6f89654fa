"""Run `seq2onnx demo` in a fresh clone: python tools/demo.py [--seed 0] [--out demo]."""

from __future__ import annotations

import subprocess
import sys

from venv_setup import prepare_demo

if __name__ == "__main__":
    program = prepare_demo() / "seq2onnx"
    sys.exit(subprocess.run([str(program), "demo", *sys.argv[1:]]).returncode)
