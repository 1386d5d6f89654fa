"""Renew requirements/*.txt: the exact versions, with hashes, of all that CI and the tools install.

    python tools/lock.py

Needs uv (pip install uv). Each file holds for every platform and every Python that pyproject.toml allows. It has
neither torch nor what only torch needs: the build of torch depends on the machine, so tools/venv_setup.py installs it
first. Run tools/check.py afterwards.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from venv_setup import DEMO_LOCK, EXTRAS, LOCK, NEWEST_LOCK, OLDEST_LOCK, OLDEST_TRAIN_LOCK, needed, oldest_versions

# hatchling builds the package, and asks for `editables` to install it in place.
BUILD = ["hatchling", "editables"]


def main() -> None:
    """Resolve all environments."""
    requirements = [*BUILD, f".[{EXTRAS}]"]
    lock(LOCK, requirements)
    lock(
        DEMO_LOCK,
        [*BUILD, *(name for name in needed("cpu", "train") if not name.startswith(("pytest", "hypothesis")))],
        LOCK,
    )
    lock(OLDEST_LOCK, oldest_versions("cpu", "data"))
    lock(OLDEST_TRAIN_LOCK, oldest_versions("cpu", "data", "train"))
    lock(NEWEST_LOCK, needed("cpu", "data"))


def lock(path: Path, requirements: Sequence[str], same_as: Path | None = None) -> None:
    """Write the newest versions that the requirements allow, or those of another lock."""
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        excluded = Path(folder) / "excluded.txt"
        excluded.write_text("torch; python_version < '3'\n")
        options = ["--universal", "--generate-hashes", "--upgrade", "--no-annotate", "--no-emit-package", "seq2onnx"]
        options += ["--override", str(excluded), "--custom-compile-command", "python tools/lock.py"]
        options += ["--constraint", str(same_as)] if same_as else []
        command = ["uv", "pip", "compile", "--quiet", *options, "--output-file", str(path), "-"]
        subprocess.run(command, input="\n".join(requirements), text=True, check=True, cwd=path.parent.parent)


if __name__ == "__main__":
    main()
