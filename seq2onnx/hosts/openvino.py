"""OpenVINO, in a process of its own: if it crashes, that is a row of the report."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from seq2onnx.errors import MissingExtra
from seq2onnx.hosts.cases import Case, Results, make_cases, read_cases, write_results
from seq2onnx.hosts.programs import run_program
from seq2onnx.runtime.model import Model

# Without this, processors with bfloat16 calculate with it: errors of 1e-2.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
_PACKAGE = Path(__file__).resolve().parents[2]
_PROGRAM = "from seq2onnx.hosts.openvino import main; main()"


def run_openvino(model: Model) -> list[tuple[Case, Results]]:
    """Run the cases of a file on the CPU."""
    if importlib.util.find_spec("openvino") is None:
        raise MissingExtra("openvino is not installed. Run: pip install openvino")
    path = os.pathsep.join([str(_PACKAGE), *(str(Path(place).absolute()) for place in sys.path)])
    command = [sys.executable, "-P", "-c", _PROGRAM]
    return run_program(model, make_cases(model), command, {"PYTHONPATH": path})


def main() -> None:
    """Run the cases in the working directory, as `run_program` wants it."""
    import openvino

    cases = read_cases(Path())
    try:
        compiled = openvino.Core().compile_model("model.onnx", "CPU", PRECISION)
    except RuntimeError as error:
        results: list[Results] = [_last_line(error)] * len(cases)
    else:
        results = [_run(compiled, case) for case in cases]
    write_results(results, Path())


def _run(compiled: object, case: Case) -> Results:
    states, results = case.states, []
    try:
        request = compiled.create_infer_request()  # type: ignore[attr-defined]
        for run in case.runs:
            found = request.infer(run.inputs | states)
            results.append({name: found[name].copy() for name in run.expected})
            states = {name: results[-1][f"new_{name}"] for name in states}
    except RuntimeError as error:
        return _last_line(error)
    return results


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [repr(error)])[-1]
