"""The package for C of a file, compiled here."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from seq2onnx.hosts.cases import Case, Run, Tensors, make_cases
from seq2onnx.hosts.programs import SECONDS, need, run_command
from seq2onnx.runtime.model import Model

MAIN = """\
#include <stdio.h>
#include "NAME.h"
int main(void) {
    static NAME_stream stream;
    static float x[MACRO_STEPS * MACRO_FEATURES], y[MACRO_RESULTS * MACRO_OUTPUTS];
    NAME_reset(&stream);
    while (fread(x, sizeof x, 1, stdin) == 1) {
        NAME_step(&stream, x, y);
        fwrite(y, sizeof y, 1, stdout);
    }
    return 0;
}
"""


def run_c(model: Model) -> list[tuple[Case, list[Tensors] | str]]:
    """Make the package, compile it, and run single steps. Only y is compared: the states are not public.

    Raises:
        MissingExtra: a compiler or emx-onnx-cgen is not installed.
        SpecError, NotStreamable: as `package` does.
        Seq2OnnxError: the code cannot be compiled.
    """
    from seq2onnx.packaging import Source, package
    from seq2onnx.packaging.c import step_source

    compiler = need("cc", "apt-get install gcc")
    source = Source.open(model.path)
    with tempfile.TemporaryDirectory() as name, step_source(source) as step:
        (case,) = make_cases(step.model.model)
        y = step.model.model.outputs[0].tensor
        folder = Path(name, "package")
        package(model.path, "c", folder)
        main = MAIN.replace("NAME", source.name).replace("MACRO", source.name.upper())
        (folder / "host.c").write_text(main, encoding="utf-8")
        build = [compiler, "-std=c99", "-O2", "host.c", f"{source.name}.c", "-o", "host", "-lm"]
        run_command(build, folder)
        x = step.model.model.inputs[0].tensor
        sent = b"".join(run.inputs[x].astype(np.float32).tobytes() for run in case.runs)
        found = subprocess.run([folder / "host"], input=sent, capture_output=True, timeout=SECONDS, check=True).stdout
    shape = case.runs[0].expected[y].shape
    rows = np.frombuffer(found, np.float32).reshape(len(case.runs), *shape)
    only_y = Case(case.name, {}, [Run(run.inputs, {y: run.expected[y]}) for run in case.runs])
    return [(only_y, [{y: row} for row in rows])]
