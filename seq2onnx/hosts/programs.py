"""Programs that read cases from files: they are built in a folder of their own, and run there."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from seq2onnx.errors import MissingExtra, Seq2OnnxError
from seq2onnx.hosts.cases import Case, Results, read_results, write_cases
from seq2onnx.runtime.model import Model

SOURCES = Path(__file__).with_name("sources")
SECONDS = 300
"""A program of a host may take so long."""


class HostError(Seq2OnnxError):
    """A host failed as a whole: a row of the report, not an error of the command."""


def run_program(
    model: Model, cases: Sequence[Case], command: Sequence[str], settings: Mapping[str, str] | None = None
) -> list[tuple[Case, Results]]:
    """Run a program on cases; raise HostError if it fails as a whole.

    It reads model.onnx, cases.txt and cases.bin in its working directory, and writes results.txt and results.bin.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(model.path, Path(folder, "model.onnx"))
        write_cases(cases, Path(folder))
        run_command(command, folder, settings=settings)
        try:
            return list(zip(cases, read_results(cases, Path(folder)), strict=True))
        except (OSError, ValueError, LookupError, TypeError, AssertionError) as error:
            raise HostError(f"its results cannot be read: {error!r:.200}") from None


def run_command(
    command: Sequence[str | Path], folder: str | Path, sent: bytes = b"", settings: Mapping[str, str] | None = None
) -> bytes:
    """Run a command in a folder, and return its standard output; HostError: it fails, or runs longer than SECONDS.

    `sent` is its standard input; `settings` are added to the environment of this process.
    """
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | (settings or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that what it started ends with it
        )
    except OSError as error:
        raise HostError(f"{name} cannot be run: {error}") from None
    with process:
        try:
            output, errors = process.communicate(sent, SECONDS)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise HostError(f"{name} did not end within {SECONDS:g} s") from None
            raise
    if process.returncode:
        said = _error_in((errors or output).decode(errors="replace"))
        raise HostError(f"{name} {_how_it_ended(process.returncode)}{said and ': '}{said}")
    return output


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and all that it started."""
    process.kill()
    if hasattr(os, "killpg"):  # not on Windows
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _error_in(text: str) -> str:
    """Return the last line about an error, with the line before it; without one, the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    places = [place for place, line in enumerate(lines) if "rror" in line]
    return " ".join(lines[max(0, places[-1] - 1) : places[-1] + 1] if places else lines[-1:])[-600:]


def _how_it_ended(code: int) -> str:
    if code > 0:
        return f"failed with exit code {code}"
    try:
        return f"ended with the signal {signal.Signals(-code).name}"
    except ValueError:
        return f"ended with the signal {-code}"


def need(program: str, install: str) -> str:
    """Return the path of a program; raise MissingExtra if it is not there."""
    found = shutil.which(program)
    if found is None:
        raise MissingExtra(f"{program} is not installed. Run: {install}")
    return found
