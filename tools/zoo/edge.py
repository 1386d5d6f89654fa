"""What the cards say about smaller files and C code, measured with the exported file."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from c_code import build_example, c_steps

import seq2onnx as s2o
from seq2onnx.reporting.benchmark import environment
from zoo.making import SECONDS, read_figures
from zoo.recipe import Figures, Recipe

STEPS, NUMBERS = 1000, 2**22  # at most, for the time of a step in C


def edge(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Measure the file with int8 weights and, where the network has C code, the program and its step.

    Returns:
        int8: its bytes, and its first figure on the shipped part of the test data; c: bytes of the stripped example,
        and median microseconds of a step, or None; processor: on which it was measured.
    """
    return {
        "int8": int8(recipe, folder),
        "c": c_code(recipe, folder),
        "processor": environment()["processor"],
        "gcc": subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip(),
    }


def int8(recipe: Recipe, folder: Path) -> Figures:
    """Bytes and first figure of the network with int8 weights."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "model.onnx")
        s2o.export(s2o.restore(folder / "model.onnx"), file, **recipe.export, weights="int8")
        figures = recipe.figures(s2o.load(file), shipped(folder))
        return {"bytes": file.stat().st_size, "figure": next(iter(figures.values()))}


def c_code(recipe: Recipe, folder: Path) -> Figures | None:
    """Bytes of the stripped example and median microseconds of a step; None if there is no C code for the network."""
    file = folder / "model.onnx"
    with tempfile.TemporaryDirectory() as name:
        try:
            example = build_example(file, Path(name, "package"))
        except (s2o.SpecError, s2o.NotStreamable):
            return None
        subprocess.run(["strip", example], check=True)
        size = example.stat().st_size
    x = np.concatenate([np.reshape(x, (len(x), -1)) for x in shipped(folder).sequences])
    x = x[: min(STEPS * s2o.load(file).model.contract.time_stride, NUMBERS // x.shape[1])]
    with c_steps(file, x) as run:
        run()  # once before, as `measure` does
        times: list[float] = []
        while sum(times) < SECONDS:
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
    return {"bytes": size, "us": 1e6 * statistics.median(times) / len(x)}


def shipped(folder: Path) -> s2o.SequenceDataset:
    """The part of the test data that the folder has."""
    return s2o.SequenceDataset.load(folder / read_figures(folder)["slice"]["file"])
