"""The wheel in an environment of its own, which has nothing but what the wheel asks for."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def build(folder: Path) -> Path:
    """Build the wheel."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, *extras: str) -> Path:
    """Make an environment with the wheel and what it and these extras need; return its Python.

    The other packages are links to those of this environment, so nothing is downloaded or copied.
    """
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("[Ll]ib/**/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (metadata,) = packages.glob("*.dist-info/METADATA")
    asked = [line.partition(": ")[2] for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    for name in closure(asked, extras):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(found.locate_file(top))
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def closure(requirements: Iterable[str], extras: Iterable[str]) -> set[str]:
    """Return the distributions that these requirements, with these extras, need directly or through others."""
    found: set[str] = set()
    waiting = [(text, tuple(extras)) for text in requirements]
    while waiting:
        text, wanted = waiting.pop()
        requirement = Requirement(text)
        is_needed = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (*wanted, "")
        )
        if is_needed and requirement.name not in found:
            found.add(requirement.name)
            waiting += [(more, tuple(requirement.extras)) for more in distribution(requirement.name).requires or ()]
    return found
