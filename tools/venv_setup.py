"""Virtual environments for the tools, made on a machine that has only Python and its venv module."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "cpu,train,data,docs,dev"


def prepare() -> Path:
    """Create or update .venv, with the package and all that the tools need; return the folder of its programs."""
    return _environment(".venv", (ROOT / "pyproject.toml").read_text(), ["--editable", f"{ROOT}[{EXTRAS}]"])


def prepare_oldest() -> Path:
    """Create or update .venv-oldest, with the oldest versions for running models; return the folder of its programs."""
    requirements = oldest_versions()
    return _environment(".venv-oldest", "\n".join(requirements), requirements)


def oldest_versions() -> list[str]:
    """The lower bounds in pyproject.toml of all that runs models and reads data, as name==version, and pytest."""
    import tomllib  # prepare() reports a Python that is too old to have it

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pytest = [requirement for requirement in extras["dev"] if requirement.startswith("pytest>=")]
    return [
        requirement.replace(">=", "==")
        for requirement in project["dependencies"] + extras["cpu"] + extras["data"] + pytest
    ]


def _environment(name: str, content: str, install: list[str]) -> Path:
    """Create a virtual environment, unless it was created for the same content."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before anything has been installed)
        raise SystemExit(f"seq2onnx needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    folder = ROOT / name
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    stamp, wanted = folder / "installed", hashlib.sha256(content.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return programs
    print(f"Creating {folder}. This takes some minutes, once.", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *install], check=True)
    stamp.write_text(wanted)
    return programs
