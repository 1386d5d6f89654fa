"""OpenVINO, in this process."""

from __future__ import annotations

from seq2onnx.errors import MissingExtra
from seq2onnx.hosts.cases import Case, Tensors, make_cases
from seq2onnx.runtime.model import Model

# Without this, processors with bfloat16 calculate with it: errors of 1e-2.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


def run_openvino(model: Model) -> list[tuple[Case, list[Tensors] | str]]:
    """Run the cases of a file on the CPU.

    Raises:
        MissingExtra: openvino is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtra("openvino is not installed. Run: pip install openvino") from None
    cases = make_cases(model)
    try:
        compiled = openvino.Core().compile_model(str(model.path), "CPU", PRECISION)
    except RuntimeError as error:
        return [(case, _first_line(error)) for case in cases]
    return [(case, _run(compiled, case)) for case in cases]


def _run(compiled: object, case: Case) -> list[Tensors] | str:
    states, results = case.states, []
    try:
        request = compiled.create_infer_request()  # type: ignore[attr-defined]
        for run in case.runs:
            found = request.infer(run.inputs | states)
            results.append({name: found[name].copy() for name in run.expected})
            states = {name: results[-1][f"new_{name}"] for name in states}
    except RuntimeError as error:
        return _first_line(error)
    return results


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [repr(error)])[-1]
