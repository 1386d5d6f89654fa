"""Virtual environments for the tools, made on a machine that has only Python and its venv module."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "cpu,train,data,docs,dev"
LOCK, DEMO_LOCK, OLDEST_LOCK, OLDEST_TRAIN_LOCK, NEWEST_LOCK = (
    ROOT / "requirements" / name for name in ("dev.txt", "demo.txt", "oldest.txt", "oldest_train.txt", "newest.txt")
)
# The package comes last and finds all that it needs; without isolation, its build uses the hatchling of the lock.
PACKAGE = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]


def prepare() -> Path:
    """Create or update .venv, with the package and all that the tools need; return the folder of its programs."""
    return _environment(".venv", [_torch(), _locked(LOCK), PACKAGE], [LOCK, ROOT / "pyproject.toml"])


def prepare_demo() -> Path:
    """Create or update .venv-demo, with what training, export and running need; return the folder of its programs.

    If .venv is there, it has all of that: then return its folder.
    """
    if (ROOT / ".venv" / "installed").is_file():
        return prepare()
    return _environment(".venv-demo", [_torch(), _locked(DEMO_LOCK), PACKAGE], [DEMO_LOCK, ROOT / "pyproject.toml"])


def prepare_oldest() -> Path:
    """Create or update .venv-oldest, with the oldest versions for running models; return the folder of its programs."""
    return _environment(".venv-oldest", [_locked(OLDEST_LOCK)], [OLDEST_LOCK])


def prepare_oldest_train() -> Path:
    """Create or update .venv-oldest-train, which has torch and the oldest versions for training and export, too."""
    sources = [OLDEST_TRAIN_LOCK, ROOT / "pyproject.toml"]
    return _environment(".venv-oldest-train", [_torch(), _locked(OLDEST_TRAIN_LOCK)], sources)


def prepare_newest(python: str) -> Path:
    """Create or update .venv-newest, with a newer Python and the newest versions for running models, without torch."""
    return _environment(".venv-newest", [_locked(NEWEST_LOCK)], [NEWEST_LOCK], python)


def newer_python() -> str | None:
    """The newest Python on the path that is newer than this one and can create environments; None: there is none."""
    for minor in range(sys.version_info.minor + 9, sys.version_info.minor, -1):
        python = shutil.which(f"python3.{minor}")
        command = [python or "", "-c", "import ensurepip, sys; print(sys.version_info.minor)"]
        if python and subprocess.run(command, capture_output=True, text=True).stdout == f"{minor}\n":
            return python
    return None


def oldest_versions(*extras: str) -> list[str]:
    """The lower bounds in pyproject.toml of all that the extras need, as name==version, and what runs the tests."""
    return [name.replace(">=", "==") for name in needed(*extras)]


def needed(*extras: str) -> list[str]:
    """What pyproject.toml asks for in the extras, without torch, and what runs the tests."""
    tools = [
        requirement
        for requirement in _extras()["dev"]
        if requirement.startswith(("pytest>=", "pytest-xdist>=", "hypothesis>="))
    ]
    everything = [*_project()["dependencies"], *itertools.chain(*(_extras()[name] for name in extras)), *tools]
    return [name for name in everything if name not in _torch()]


def _torch() -> list[str]:
    return [requirement for requirement in _extras()["train"] if requirement.startswith("torch>=")]


def _project() -> dict[str, Any]:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before anything has been installed)
        raise SystemExit(f"seq2onnx needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    import tomllib

    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _extras() -> dict[str, list[str]]:
    extras: dict[str, list[str]] = _project()["optional-dependencies"]
    return extras


def _locked(lock: Path) -> list[str]:
    return ["--no-deps", "--require-hashes", "--requirement", str(lock)]


def _environment(name: str, installs: list[list[str]], sources: list[Path], python: str = "") -> Path:
    """Create a virtual environment by several calls of pip install, unless it was created from the same sources."""
    folder = ROOT / name
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    content = python.encode() + b"".join(path.read_bytes() for path in sources)
    stamp, wanted = folder / "installed", hashlib.sha256(content).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return programs
    if folder.exists() and not stamp.exists():
        kept = next(path for number in itertools.count(1) if not (path := ROOT / f"{name}-before-{number}").exists())
        folder.rename(kept)
        print(f"{folder} was not made by this tool: it is {kept.name} now", flush=True)
    print(f"Creating {folder}. This takes some minutes, once.", flush=True)
    subprocess.run([python or sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    stamp.write_text("not yet")
    # Python compiles what it imports; to compile all would take longer than the rest.
    pip = [str(programs / "python"), "-m", "pip", "install", "--no-compile", "--quiet", "--disable-pip-version-check"]
    for number, install in enumerate(installs, 1):
        what = Path(install[-1]).name if install[-1].startswith(str(ROOT)) else install[-1]
        print(f"  {number} of {len(installs)}: pip installs {what}", flush=True)
        subprocess.run([*pip, *install], check=True)
    stamp.write_text(wanted)
    return programs
