"""Benchmark of the C code of the package `c`: against the floor, onnxruntime, RTNeural and an earlier version."""

from __future__ import annotations

import ctypes
import functools
import platform
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from bench_edge import bound
from bench_report import REPORT, Times, ratio

import seq2onnx as s2o
from seq2onnx.packaging.c.generator import Storage
from seq2onnx.packaging.c.package import step_source
from seq2onnx.packaging.source import Source
from seq2onnx.sequences import Array

Run = Callable[[int], Any]
MODELS = Path(__file__).resolve().parents[1] / "models"
NATIVE = ["-O3", "-march=native", "-ffp-contract=fast", "-std=gnu99"]
FLAGS = {"-O2": ["-O2", "-std=c99"], "-O3": ["-O3", "-std=c99"], "-Os": ["-Os", "-std=c99"], "native": NATIVE}
WIDE = ["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []
RTNEURAL = ["-std=c++17", "-O3", "-march=native", "-ffast-math", "-DRTNEURAL_DEFAULT_ALIGNMENT=32"]
RTNEURAL += ["-DEIGEN_STACK_ALLOCATION_LIMIT=0", "-I/usr/include/eigen3"]
BACKENDS = ("EIGEN", "XSIMD")
DIFFERENT, ROOM = 64, 4096
"""Different steps that are given in turn; numbers of a result, at most."""
SECONDS = 3e-3
"""What each alternative takes in a round, about."""

LOOP = """\
#include "NAME.h"
static NAME_stream stream;
void run(int steps, const TYPE *x, void *y) {
    for (int i = 0; i < steps; ++i) {
        NAME_step(&stream, x + (i & 63) * MACRO_STEPS * MACRO_FEATURES, y);
    }
}
"""
# The weights are an argument: the compiler knows nothing of an array that somebody else fills.
FLOOR = """\
void run(int steps, const float *weights, float *y) {
    for (int s = 0; s < steps; ++s) {
        float sum[128];
        for (int c = 0; c < 128; ++c) {
            sum[c] = y[c];
        }
        for (int i = 0; i + 128 <= COUNT; i += 128) {
            for (int c = 0; c < 128; ++c) {
                sum[c] += weights[i + c] * y[128 + (i / 128 & 63)];
            }
        }
        for (int c = 0; c < 128; ++c) {
            y[c] = sum[c];
        }
        __asm__ volatile("" ::: "memory");
    }
}
"""


def code() -> None:
    """A step in C: processor time of one thread, against the stream of the weights, onnxruntime and RTNeural."""
    for compiler in ("gcc", "g++"):
        print(f"  {_said([compiler, '--version'])}")
    print(f"  native: {' '.join(NATIVE)}; floor: {' '.join([*NATIVE, *WIDE])}")
    if REPORT.rtneural:
        (version,) = re.findall(r"project\(RTNeural VERSION ([\d.]+)", (REPORT.rtneural / "CMakeLists.txt").read_text())
        macros = ["g++", *RTNEURAL, "-x", "c++", "-dM", "-E", "-include", "Eigen/Core", "-include", "xsimd/xsimd.hpp"]
        defined = subprocess.run([*macros, "/dev/null"], capture_output=True, text=True, check=True).stdout
        parts = sorted(re.findall(r"((?:EIGEN|XSIMD)_(?:\w+_VERSION|VERSION_\w+)) (\d+)$", defined, re.MULTILINE))
        print(f"  RTNeural {version}, {', '.join(map(' '.join, parts))}: {' '.join(RTNEURAL)}")
    with tempfile.TemporaryDirectory() as name:
        for network, target in FLOORS.items():
            _one(network, Path(name, network), target)


FLOORS = {
    "LSTM 100": 1.4,
    "LSTM 256": 1.3,
    "GRU 64": 1.4,
    "4 × Conv1d 32": 1.3,
    "keyword": 1.6,
    "amplifier, LSTM 40": None,
    "10 × Conv1d 16, dilated": None,
    "LSTM 16": None,
    "LSTM 32": None,
    "LSTM 64": None,
}
"""The networks, and how many times the floor a step should take at most; None: it is not limited."""


def layers_of(network: str) -> list[Any]:
    """Return the layers of a network that is measured."""
    kind, *_, size = network.split()
    last = [s2o.FullyConnected(9), s2o.Softmax()]
    if kind in ("LSTM", "GRU"):
        return [s2o.SequenceInput(12), getattr(s2o, kind)(int(size), "last"), *last]
    if kind == "4":
        convs = [x for k in range(4) for x in (s2o.Conv1d(32, 3, padding="causal", dilation=2**k), s2o.ReLU())]
        return [s2o.SequenceInput(12), *convs, s2o.FullyConnected(9)]
    if kind == "10":
        stack = [x for k in range(10) for x in (s2o.Conv1d(16, 3, padding="causal", dilation=2**k), s2o.Tanh())]
        return [s2o.SequenceInput(1), *stack, s2o.FullyConnected(1)]
    return [s2o.SequenceInput(1), s2o.LSTM(40), s2o.FullyConnected(1)]


RTNEURAL_LAYERS = {
    "LSTM": "LSTMLayerT<float, 12, SIZE>, DenseT<float, SIZE, 9>, SoftmaxActivationT<float, 9>",
    "GRU": "GRULayerT<float, 12, SIZE>, DenseT<float, SIZE, 9>, SoftmaxActivationT<float, 9>",
    "4": ", ".join(f"Conv1DT<float, {32 if k else 12}, 32, 3, {2**k}>, ReLuActivationT<float, 32>" for k in range(4))
    + ", DenseT<float, 32, 9>",
    "amplifier,": "LSTMLayerT<float, 1, SIZE>, DenseT<float, SIZE, 1>",
    "10": ", ".join(f"Conv1DT<float, {16 if k else 1}, 16, 3, {2**k}>, TanhActivationT<float, 16>" for k in range(10))
    + ", DenseT<float, 16, 1>",
}


def _one(network: str, folder: Path, floor: float | None) -> None:
    """Measure one network, and record its ratios."""
    folder.mkdir()
    file = MODELS / network / "model.onnx"
    if not file.exists():
        torch.manual_seed(0)
        file = folder / "net.onnx"
        module = s2o.build(s2o.Network(layers_of(network), name="net")).eval()
        s2o.export(module, file, signature="stream", form="step")
    with step_source(Source.open(file)) as step:
        numbers = [i.dims for i in onnx.load(step.path).graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    count = sum(int(np.prod(dims)) for dims in numbers)
    runs: dict[str, Run] = {"floor": _floor(folder, count)}
    stored: dict[str, Storage | None] = {"": None, " int8": "int8"}
    for tag, weights in stored.items():
        s2o.package(file, "c", folder / f"c{tag}", stack=2**22, weights=weights)
        runs |= {f"{flag}{tag}": built(folder / f"c{tag}", flags) for flag, flags in FLAGS.items()}
    if REPORT.before and (REPORT.before / network).is_dir():
        runs |= {f"before {flag}": built(REPORT.before / network, flags) for flag, flags in FLAGS.items()}
    rtneural = dict[str, Run]()
    if REPORT.rtneural and network != "keyword":
        rtneural = {f"RTNeural {b}": _rtneural(network, folder, REPORT.rtneural, b) for b in BACKENDS}
    print(f"  {network}, {count:,} weights:")
    times = measured(network, runs | rtneural)
    if floor is not None:
        _ratio(network, "native", "floor", times, floor)
    if "before -O2" in times and network == "LSTM 100":
        for flag, target in {"-O2": 0.75, "-O3": 0.7}.items():
            _ratio(network, flag, f"before {flag}", times, target)
    if rtneural:
        best = min(rtneural, key=lambda name: statistics.median(times[name]))
        if network not in REPORTED:
            _ratio(network, "native", best, times, 1.0)
    if network == "10 × Conv1d 16, dilated":
        for flag, target in {"-O3": 2.0, "native": 0.6}.items():
            REPORT.add(f"{network}: {flag}, µs a sample", statistics.median(times[flag]) * 1e6, target)
    if network == "LSTM 100":
        x = np.random.default_rng(0).normal(size=12).astype(np.float32)
        steps = bound(file, x, 1000)
        two = {"native": runs["native"], "onnxruntime": lambda n: [steps() for _ in range(-(-n // 1000))]}
        pair = measured(f"{network} and onnxruntime", two, 1000)
        _ratio(network, "native", "onnxruntime", pair, 0.2)


REPORTED = ("LSTM 16", "LSTM 32", "LSTM 64", "10 × Conv1d 16, dilated")
"""Networks whose ratio to RTNeural has no limit."""


def _ratio(network: str, name: str, other: str, times: Mapping[str, list[float]], target: float) -> None:
    ratio(f"{network}: {name}", f"{network}: {other}", {f"{network}: {n}": t for n, t in times.items()}, target)


def built(package: Path, flags: list[str]) -> Run:
    """Compile a package for C; the function runs steps of it."""
    header = next(package.glob("*.h"))
    name, text = header.stem, header.read_text(encoding="utf-8")
    kind = "float" if f"{name}_stream *stream, const float *" in text else "int32_t"
    loop = LOOP.replace("NAME", name).replace("MACRO", name.upper()).replace("TYPE", kind)
    (package / "run.c").write_text(loop, encoding="utf-8")
    return _library(["gcc", *flags, f"{name}.c", "run.c"], package)


def _floor(folder: Path, count: int) -> Run:
    (folder / "floor.c").write_text(FLOOR, encoding="utf-8")
    weights = np.random.default_rng(0).normal(size=max(count, 128)).astype(np.float32)
    return _library(["gcc", *NATIVE, *WIDE, f"-DCOUNT={len(weights)}", "floor.c"], folder, weights)


def _rtneural(network: str, folder: Path, sources: Path, backend: str) -> Run:
    kind, *_, size = network.split()
    layers = RTNEURAL_LAYERS[kind].replace("SIZE", size)
    one = kind in ("amplifier,", "10")
    defines = {"LAYERS": layers, "COUNT": layers.count("T<"), "IN": 1 if one else 12, "OUT": 1 if one else 9}
    defines |= {f"RTNEURAL_USE_{backend}": 1}
    made = [*RTNEURAL, *(f"-D{key}={value}" for key, value in defines.items())]
    made += [f"-I{sources}", f"-I{sources / 'modules' / 'json'}"]
    file = Path(__file__).with_name("bench_rtneural.cpp")
    return _library(["g++", *made, str(file)], folder)


def _library(command: list[str], folder: Path, x: Array | None = None) -> Run:
    """Compile into a library; x are its numbers, random ones by default.

    It is linked without the flags: -ffast-math would switch denormal numbers off in the whole process.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        objects = Path(name)
        for source in [part for part in command if part.endswith((".c", ".cpp"))]:
            flags = [part for part in command if not part.endswith((".c", ".cpp"))]
            subprocess.run(
                [*flags, "-c", "-fPIC", source, "-o", objects / f"{Path(source).stem}.o"], cwd=folder, check=True
            )
        made = objects / "library.so"
        subprocess.run([command[0], "-shared", *objects.glob("*.o"), "-o", made, "-lm"], check=True)
        library = ctypes.CDLL(str(made))
    if x is None:
        x = np.random.default_rng(0).normal(size=DIFFERENT * 1024).astype(np.float32)
    y = np.zeros(ROOM, np.float32)
    return functools.partial(_call, library, x, y)


def _call(library: ctypes.CDLL, x: Array, y: Array, steps: int) -> None:
    library.run(steps, ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))


def measured(network: str, runs: Mapping[str, Run], least: int = 16, rounds: int = 31) -> Times:
    """Return the processor time of a step in each round, where all run in turns; print and keep the medians."""
    steps, times = dict.fromkeys(runs, least), {name: list[float]() for name in runs}
    for name, run in runs.items():
        while _seconds(run, steps[name]) < SECONDS:
            steps[name] *= 2
    for _ in range(max(3, rounds // 5) if REPORT.quick else rounds):
        for name, run in runs.items():
            times[name].append(_seconds(run, steps[name]) / steps[name])
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        print(f"    {name:<42} {seconds * 1e6:9.3f} µs  {seconds / next(iter(medians.values())):6.3f}", flush=True)
    REPORT.times.append({"part": f"{REPORT.part}: {network}", "medians in seconds": medians})
    return times


def _seconds(run: Run, steps: int) -> float:
    began = time.thread_time_ns()
    run(steps)
    return (time.thread_time_ns() - began) / 1e9


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
