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

FILES = Path(__file__).with_name("programs")
SECONDS = 300


def run_program(
    model: Model, cases: Sequence[Case], build: Sequence[str] | None, command: Sequence[str], *files: str
) -> list[tuple[Case, list[Tensors] | str]]:
    """Run a program of `programs` on cases.

    Args:
        model: the file.
        cases: its cases.
        build: the command that builds the program, in the folder of the files. None: it need not be built.
        command: the command that runs it. It reads model.onnx, cases.txt and cases.bin, and writes results.txt and
            results.bin.
        files: the source files.

    Raises:
        Seq2OnnxError: it cannot be built, or fails as a whole.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in files:
            shutil.copyfile(FILES / file, folder / file)
        shutil.copyfile(model.path, folder / "model.onnx")
        write_cases(cases, folder)
        for step in (build, command):
            if step is not None:
                done = subprocess.run(step, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
                if done.returncode:
                    raise Seq2OnnxError(f"{step[0]} failed: {(done.stderr or done.stdout).strip()[-600:]}")
        return list(zip(cases, read_results(cases, folder), strict=True))


def need(program: str, install: str) -> str:
    """Return the path of a program.

    Raises:
        MissingExtra: it is not there.
    """
    found = shutil.which(program)
    if found is None:
        raise MissingExtra(f"{program} is not installed. Run: {install}")
    return found
