"""onnxruntime-node."""

from __future__ import annotations

import subprocess
from pathlib import Path

from seq2onnx.errors import MissingExtra
from seq2onnx.hosts.cases import Case, Tensors, make_cases
from seq2onnx.hosts.programs import SOURCES, need, run_program
from seq2onnx.runtime.model import Model

INSTALL = "npm install --ignore-scripts onnxruntime-node"  # the scripts only download files for GPUs


def run_node(model: Model) -> list[tuple[Case, list[Tensors] | str]]:
    """Run the cases of a file in node, with the onnxruntime-node of the working directory or of the system.

    Raises:
        MissingExtra: node or onnxruntime-node is not installed.
    """
    node = need("node", "apt-get install nodejs npm")
    script = f"console.log(require.resolve('onnxruntime-node', {{ paths: [{str(Path.cwd())!r}, ...module.paths] }}))"
    found = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=60, check=False)
    if found.returncode:
        raise MissingExtra(f"onnxruntime-node is not in {Path.cwd()} or a folder above it. Run: {INSTALL}")
    return run_program(model, make_cases(model), [node, str(SOURCES / "host.mjs"), found.stdout.strip()])
