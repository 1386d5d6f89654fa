"""onnxruntime's C++ API, as the system has it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from seq2onnx.errors import MissingExtra
from seq2onnx.hosts.cases import Case, Results, make_cases
from seq2onnx.hosts.programs import SOURCES, need, run_command, run_program
from seq2onnx.runtime.model import Model

INSTALL = "apt-get install g++ libonnxruntime-dev"
_HEADER = "onnxruntime_cxx_api.h"
_FOLDERS = ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/local/include")


def run_cpp(model: Model) -> list[tuple[Case, Results]]:
    """Compile a program with the C++ API, and run the cases of a file."""
    return run_program(model, make_cases(model), [str(Path(_built().name, "host"))])


@functools.cache
def _built() -> tempfile.TemporaryDirectory[str]:
    """Compile the program once for this process, in a folder that ends with it."""
    compiler = need("g++", INSTALL)
    include = next((folder for folder in _FOLDERS if Path(folder, _HEADER).exists()), None)
    if include is None:
        raise MissingExtra(f"{_HEADER} is not in {', '.join(_FOLDERS)}. Run: {INSTALL}")
    folder = tempfile.TemporaryDirectory()
    run_command(
        [compiler, "-std=c++17", f"-I{include}", str(SOURCES / "host.cpp"), "-lonnxruntime", "-o", "host"], folder.name
    )
    return folder
