"""onnxruntime-node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from seq2onnx.errors import MissingExtra
from seq2onnx.hosts.cases import Case, Results, make_cases
from seq2onnx.hosts.programs import SOURCES, need, run_program
from seq2onnx.runtime.model import Model

# The scripts of the package only download files for GPUs.
INSTALL = "npm install --global --ignore-scripts onnxruntime-node"


def run_node(model: Model) -> list[tuple[Case, Results]]:
    """Run the cases of a file in node, with the onnxruntime-node of NODE_PATH or of the system.

    node_modules of the working directory is not read: a folder of a stranger may contain one.
    """
    node = need("node", "apt-get install nodejs npm")
    runtime = find_runtime(node)
    if runtime is None:
        raise MissingExtra(
            f"onnxruntime-node is neither in NODE_PATH nor in the global node_modules of {node}. Run: {INSTALL}"
        )
    return run_program(model, make_cases(model), [node, str(SOURCES / "host.mjs"), str(runtime)])


def find_runtime(node: str) -> Path | None:
    """Return the folder of onnxruntime-node; None: there is none."""
    found = (folder / "onnxruntime-node" for folder in _global_modules(node))
    return next((folder for folder in found if (folder / "package.json").is_file()), None)


def _global_modules(node: str) -> Iterator[Path]:
    """The folders of modules that do not depend on the working directory."""
    paths = map(Path, filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)))
    yield from (path for path in paths if path.is_absolute())
    for program in (Path(node).absolute(), Path(node).resolve()):
        yield program.parent.parent / "lib" / "node_modules"
    yield Path("/usr/local/lib/node_modules")  # where npm of Debian installs
