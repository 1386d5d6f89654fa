"""The package for C of a file, compiled here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from seq2onnx.hosts.cases import Case, Results, Run, Tensors, make_cases
from seq2onnx.hosts.programs import HostError, need, run_command
from seq2onnx.runtime.model import Model
from seq2onnx.texts import fill

MAIN = """\
#include <stdio.h>
#include "@NAME@.h"
int main(void) {
    static @NAME@_stream stream;
@ARRAYS@
    @NAME@_reset(&stream);
    while (@READ@) {
        @NAME@_step(&stream, @PASSED@);
@WRITE@
    }
    return 0;
}
"""
STACK = 2**22
"""The stack that a step may take here: half of what Linux gives a program."""


def run_c(model: Model) -> list[tuple[Case, Results]]:
    """Make the package, compile it, and run single steps. The outputs are compared: the states are not public."""
    from seq2onnx.packaging import Source, package
    from seq2onnx.packaging.c import ports_of, step_source

    compiler = need("cc", "apt-get install gcc")
    source = Source.open(model.path)
    with tempfile.TemporaryDirectory() as name, step_source(source) as step:
        (case,) = make_cases(step.model, only_steps=True)
        inputs, outputs = ports_of(step)
        # A folder of its own, since the files of the package have the name of the network.
        folder, package_folder = Path(name), Path(name, "package")
        package(model.path, "c", package_folder, stack=STACK)
        names = [port.name for port in (*inputs, *outputs)]
        texts = {
            "NAME": source.name,
            "ARRAYS": "\n".join(f"    static {p.c_type} {p.name}[{p.numbers}];" for p in (*inputs, *outputs)),
            "READ": " && ".join(f"fread({p.name}, sizeof {p.name}, 1, stdin) == 1" for p in inputs),
            "PASSED": ", ".join(names),
            "WRITE": "\n".join(f"        fwrite({p.name}, sizeof {p.name}, 1, stdout);" for p in outputs),
        }
        (folder / "host.c").write_text(fill(MAIN, texts), encoding="utf-8")
        code = ["-iquote", "package", "host.c", f"package/{source.name}.c"]
        run_command([compiler, "-std=c99", "-O2", *code, "-o", "host", "-lm"], folder)
        sent = b"".join(run.inputs[p.tensor].astype(p.dtype).tobytes() for run in case.runs for p in inputs)
        found = run_command([folder / "host"], folder, sent)
    size = sum(port.numbers * np.dtype(port.dtype).itemsize for port in outputs)
    if len(found) != size * len(case.runs):
        raise HostError(f"the program gave {len(found):,} bytes for {len(case.runs)} calls of {size}")
    wanted = [Run(run.inputs, {p.tensor: run.expected[p.tensor] for p in outputs}) for run in case.runs]
    results, at = list[Tensors](), 0
    for run in wanted:
        results.append({})
        for port in outputs:
            values = np.frombuffer(found, port.dtype, port.numbers, at)
            results[-1][port.tensor] = values.reshape(run.expected[port.tensor].shape)
            at += values.nbytes
    return [(Case(case.name, {}, wanted), results)]
