"""Programs that read cases from files: they are built in a folder of their own, and run there."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seq2onnx.errors import MissingExtra, Seq2OnnxError
from seq2onnx.hosts.cases import Case, Tensors, read_results, write_cases
from seq2onnx.runtime.model import Model

SOURCES = Path(__file__).with_name("sources")
SECONDS = 300


def run_program(model: Model, cases: Sequence[Case], command: Sequence[str]) -> list[tuple[Case, list[Tensors] | str]]:
    """Run a program on cases.

    Args:
        model: the file.
        cases: its cases.
        command: the program. It reads model.onnx, cases.txt and cases.bin in its working directory, and writes
            results.txt and results.bin.

    Raises:
        Seq2OnnxError: it fails as a whole.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(model.path, Path(folder, "model.onnx"))
        write_cases(cases, Path(folder))
        run_command(command, folder)
        return list(zip(cases, read_results(cases, Path(folder)), strict=True))


def run_command(command: Sequence[str], folder: str | Path) -> None:
    """Run a command in a folder.

    Raises:
        Seq2OnnxError: it fails.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise Seq2OnnxError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-600:]}")


def need(program: str, install: str) -> str:
    """Return the path of a program.

    Raises:
        MissingExtra: it is not there.
    """
    found = shutil.which(program)
    if found is None:
        raise MissingExtra(f"{program} is not installed. Run: {install}")
    return found
