"""Virtual environments for the tools, made on a machine that has only Python and its venv module."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "cpu,train,data,docs,dev"
LOCK, OLDEST_LOCK, OLDEST_TRAIN_LOCK = (
    ROOT / "requirements" / name for name in ("dev.txt", "oldest.txt", "oldest_train.txt")
)


def prepare() -> Path:
    """Create or update .venv, with the package and all that the tools need; return the folder of its programs."""
    # The package comes last and finds all that it needs; without isolation, its build uses the hatchling of the lock.
    package = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    return _environment(".venv", [_torch(), _locked(LOCK), package], [LOCK, ROOT / "pyproject.toml"])


def prepare_oldest() -> Path:
    """Create or update .venv-oldest, with the oldest versions for running models; return the folder of its programs."""
    return _environment(".venv-oldest", [_locked(OLDEST_LOCK)], [OLDEST_LOCK])


def prepare_oldest_train() -> Path:
    """Create or update .venv-oldest-train, which has torch and the oldest versions for training and export, too."""
    sources = [OLDEST_TRAIN_LOCK, ROOT / "pyproject.toml"]
    return _environment(".venv-oldest-train", [_torch(), _locked(OLDEST_TRAIN_LOCK)], sources)


def oldest_versions(*extras: str) -> list[str]:
    """The lower bounds in pyproject.toml of all that the extras need, as name==version, and what runs the tests."""
    tools = [
        requirement
        for requirement in _extras()["dev"]
        if requirement.startswith(("pytest>=", "pytest-xdist>=", "hypothesis>="))
    ]
    needed = [*_project()["dependencies"], *itertools.chain(*(_extras()[name] for name in extras)), *tools]
    return [name.replace(">=", "==") for name in needed if name not in _torch()]


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


def _environment(name: str, installs: list[list[str]], sources: list[Path]) -> Path:
    """Create a virtual environment by several calls of pip install, unless it was created from the same sources."""
    folder = ROOT / name
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    stamp, wanted = folder / "installed", hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return programs
    if folder.exists() and not stamp.exists():
        kept = next(path for number in itertools.count(1) if not (path := ROOT / f"{name}-before-{number}").exists())
        folder.rename(kept)
        print(f"{folder} was not made by this tool: it is {kept.name} now", flush=True)
    print(f"Creating {folder}. This takes some minutes, once.", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    stamp.write_text("not yet")
    # Python compiles what it imports; to compile all would take longer than the rest.
    pip = [str(programs / "python"), "-m", "pip", "install", "--no-compile", "--quiet", "--disable-pip-version-check"]
    for install in installs:
        subprocess.run([*pip, *install], check=True)
    stamp.write_text(wanted)
    return programs
