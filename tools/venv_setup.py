"""Sets up .venv with everything the tools need, on a machine that has python and its venv module alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
EXTRAS = "cpu,train,data,dev"


def prepare() -> Path:
    """Make .venv and install the package in it, unless that has been done; the folder of its programs."""
    programs = FOLDER / ("Scripts" if os.name == "nt" else "bin")
    stamp = FOLDER / "installed"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return programs
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before anything has been installed)
        raise SystemExit(f"seq2onnx needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    print(f"Setting up {FOLDER}, once: some minutes.", flush=True)
    venv.create(FOLDER, with_pip=True, clear=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", f"{ROOT}[{EXTRAS}]"], check=True)
    stamp.write_text(wanted)
    return programs
