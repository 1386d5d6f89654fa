"""The package for C of a file, compiled here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from seq2onnx.hosts.cases import Case, Results, Run, make_cases
from seq2onnx.hosts.programs import HostError, need, run_command
from seq2onnx.runtime.model import Model
from seq2onnx.texts import fill

MAIN = """\
#include <stdio.h>
#include "@NAME@.h"
int main(void) {
    static @NAME@_stream stream;
    static float x[@MACRO@_STEPS * @MACRO@_FEATURES], y[@MACRO@_RESULTS * @MACRO@_OUTPUTS];
    @NAME@_reset(&stream);
    while (fread(x, sizeof x, 1, stdin) == 1) {
        @NAME@_step(&stream, x, y);
        fwrite(y, sizeof y, 1, stdout);
    }
    return 0;
}
"""
STACK = 2**22
"""The stack that a step may take here: half of what Linux gives a program."""


def run_c(model: Model) -> list[tuple[Case, Results]]:
    """Make the package, compile it, and run single steps. Only y is compared: the states are not public."""
    from seq2onnx.packaging import Source, package
    from seq2onnx.packaging.c import step_source

    compiler = need("cc", "apt-get install gcc")
    source = Source.open(model.path)
    with tempfile.TemporaryDirectory() as name, step_source(source) as step:
        (case,) = make_cases(step.model)
        y = step.model.outputs[0].tensor
        # A folder of its own, since the files of the package have the name of the network.
        folder, package_folder = Path(name), Path(name, "package")
        package(model.path, "c", package_folder, stack=STACK)
        (folder / "host.c").write_text(
            fill(MAIN, {"NAME": source.name, "MACRO": source.name.upper()}), encoding="utf-8"
        )
        code = ["-iquote", "package", "host.c", f"package/{source.name}.c"]
        run_command([compiler, "-std=c99", "-O2", *code, "-o", "host", "-lm"], folder)
        x = step.model.inputs[0].tensor
        sent = b"".join(run.inputs[x].astype(np.float32).tobytes() for run in case.runs)
        found = run_command([folder / "host"], folder, sent)
    shape = case.runs[0].expected[y].shape
    try:
        rows = np.frombuffer(found, np.float32).reshape(len(case.runs), *shape)
    except ValueError:
        raise HostError(f"the program gave {len(found):,} bytes for {len(case.runs)} results {shape}") from None
    only_y = Case(case.name, {}, [Run(run.inputs, {y: run.expected[y]}) for run in case.runs])
    return [(only_y, [{y: row} for row in rows])]
