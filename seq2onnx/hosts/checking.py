"""check_host: the rows of `verify --runtime`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from seq2onnx.errors import SpecError
from seq2onnx.hosts.c import run_c
from seq2onnx.hosts.cases import Case, Results
from seq2onnx.hosts.cpp import run_cpp
from seq2onnx.hosts.node import run_node
from seq2onnx.hosts.openvino import run_openvino
from seq2onnx.hosts.programs import HostError
from seq2onnx.modelfile import read_checked
from seq2onnx.parity import ParityReport, ParityRow
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.session import SessionSettings

TOLERANCE = 1e-4
"""Runtimes differ in the order of additions and in their exp and tanh."""


def check_host(path: str | Path, runtime: str) -> ParityReport:
    """Run cases of a file in another runtime, and compare the results with those of onnxruntime.

    Args:
        path: the file.
        runtime: "openvino", "cpp" (onnxruntime's C++ API), "node" (onnxruntime-node), or "c" (the package for C of the
            file, compiled here).

    Returns:
        A row for each case and tensor. A row passes if its largest error is at most 1e-4 × max(1, largest number).
        Where a case or the whole runtime fails, crashes or does not end, the error is infinite and a note has the
        message.

    Raises:
        SpecError: there is no such runtime.
        ModelFileError: `path` is not an exported file.
        MissingExtra: the runtime, or a compiler for it, is not installed.
    """
    if runtime not in HOSTS:
        raise SpecError(f"runtime: must be one of {', '.join(HOSTS)}, got {runtime!r:.60}")
    rows, notes = [], []
    model = Model(read_checked(path), SessionSettings())
    try:
        found_by_case = HOSTS[runtime](model)
    except HostError as error:
        found_by_case = [(Case("all cases", {}, []), str(error))]
    for case, results in found_by_case:
        check = f"{runtime}, {case.name}"
        if not isinstance(results, str) and len(results) != len(case.runs):
            results = f"gave the results of {len(results)} runs instead of {len(case.runs)}"
        if isinstance(results, str):
            rows.append(ParityRow(check, "", np.inf, np.inf, TOLERANCE))
            notes.append(f"{check}: {results:.300}")
            continue
        for name in case.runs[0].expected:
            pairs = [(run.expected[name], found.get(name)) for run, found in zip(case.runs, results, strict=True)]
            rows.append(ParityRow(check, name, *_errors(pairs), TOLERANCE))
    return ParityReport(str(path), rows, tuple(notes))


def _errors(pairs: list[tuple[np.ndarray, np.ndarray | None]]) -> tuple[float, float]:
    """Return the largest error, and that over max(1, largest number); infinite where a shape differs."""
    largest, scale = 0.0, 1.0
    for expected, found in pairs:
        if found is None or found.shape != expected.shape:
            return np.inf, np.inf
        matters = ~np.isnan(expected) if expected.dtype.kind == "f" else np.ones(expected.shape, bool)
        if matters.any():
            errors = np.abs(found[matters].astype(float) - expected[matters])
            largest = max(largest, float(np.where(np.isnan(errors), np.inf, errors).max()))
            scale = max(scale, float(np.abs(expected[matters]).max()))
    return largest, largest / scale


HOSTS: dict[str, Callable[[Model], list[tuple[Case, Results]]]] = {
    "openvino": run_openvino,
    "cpp": run_cpp,
    "node": run_node,
    "c": run_c,
}
"""The function that makes the cases of a file and runs them, for each runtime."""
