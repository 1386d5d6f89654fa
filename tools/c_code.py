"""The package for C of a file, built with its Makefile, for the tools that measure it. Needs gcc and make."""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import seq2onnx as s2o
from seq2onnx.packaging import Source

LOOP = """\
#include <stdio.h>
#include "NAME.h"
int main(void) {
    static NAME_stream stream;
    static float x[CALLS][MACRO_STEPS * MACRO_FEATURES], y[MACRO_RESULTS * MACRO_OUTPUTS];
    if (fread(x, sizeof x, 1, stdin) != 1) {
        return 1;
    }
    while (getchar() != EOF) {
        for (int i = 0; i < CALLS; ++i) {
            NAME_step(&stream, x[i], y);
        }
        putchar('.');
        fflush(stdout);
    }
    return 0;
}
"""


STACK = 2**22  # half of what Linux gives a program


def build_example(file: Path, folder: Path, *flags: str) -> Path:
    """Write the package for C of a file into a folder, and build its example; further flags are for make."""
    s2o.package(file, "c", folder, stack=STACK)
    subprocess.run(["make", "--quiet", *flags], cwd=folder, check=True)
    return folder / "example"


@contextmanager
def c_steps(file: Path, x: NDArray[Any]) -> Iterator[Callable[[], None]]:
    """Give a function that runs steps [steps, features] in C; the stream goes on from call to call."""
    source = Source.open(file)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "package")
        s2o.package(file, "c", folder, stack=STACK)
        (steps,) = re.findall(r"_STEPS (\d+)", (folder / f"{source.name}.h").read_text(encoding="utf-8"))
        calls = len(x) // int(steps)
        text = LOOP.replace("NAME", source.name).replace("MACRO", source.name.upper()).replace("CALLS", str(calls))
        (folder / "main.c").write_text(text, encoding="utf-8")
        subprocess.run(["make", "--quiet"], cwd=folder, check=True)
        program = subprocess.Popen([folder / "example"], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with program:
            assert program.stdin is not None
            assert program.stdout is not None
            sent = memoryview(np.ascontiguousarray(x[: calls * int(steps)], np.float32).tobytes())
            while sent:
                sent = sent[program.stdin.write(sent) :]
            yield functools.partial(_run, program.stdin, program.stdout)


def _run(stdin: IO[bytes], stdout: IO[bytes]) -> None:
    stdin.write(b".")
    assert stdout.read(1) == b"."
