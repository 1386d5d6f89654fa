"""C code against onnxruntime where a file is hostile, or numbers are at their limits."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import onnx
import pytest

import seq2onnx as s2o
from tests.c_laws import FLAGS, Compiled, has_the_laws
from tests.small_networks import exported

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc; tools/ci_setup.sh installs it")
FOR_LINUX = ["-O0", "-std=gnu17", "-Wall", "-Wextra", "-Werror"]
"""What Linux adds to C has macros and functions such as linux and y1."""
NAMES = [
    *("stream", "work", "work_float32", "x", "y", "i", "none", "state", "count", "class", "int", "9", "é", "x" * 300),
    *("net_step", "net_stream", "net/self_test", "net_net_step", "tangent", "is/finite", "add_product", "a b", "a-b"),
    *("NAN", "INFINITY", "INLINE", "ALIGNED", "PLACE", "NULL", "FLT/MAX", "M/PI", "int32_t", "float_t", "a/", "/a"),
    *("memcpy", "expf", "linux", "y1", "lgamma_r", "strtok/R", "*/", "??/", '"', "\\", "_", "__", "/", "A", "a"),
]


def inputs_of(code, calls=6):
    """Random numbers for each input of a few calls."""
    rng = np.random.default_rng(0)
    shapes = {entry.tensor: (1, *[code.steps] * entry.has_time, *entry.shape) for entry in code.model.inputs}
    return [{name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()} for _ in range(calls)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("flags", [FLAGS, FOR_LINUX], ids=["c99", "gnu17"])
def test_tensors_may_have_any_names(seed, flags, tmp_path):
    layers = [s2o.SequenceInput(3), s2o.Conv1d(3, 3, padding="causal"), s2o.GELU(), s2o.GRU(4), s2o.LayerNorm()]
    network = s2o.Network([*layers, s2o.GlobalAvgPool1d(), s2o.FullyConnected(2), s2o.Softmax()], name="net")
    exported(tmp_path, network, form="step")
    model = onnx.load(tmp_path / "model.onnx")
    kept = {entry.name for entry in (*model.graph.input, *model.graph.output)}
    free = [entry.name for entry in model.graph.initializer] + [n for node in model.graph.node for n in node.output]
    order = np.random.default_rng(seed).permutation(NAMES).tolist()
    new = dict(zip([name for name in free if name not in kept], [n for n in order if n not in kept], strict=False))
    for entry in model.graph.initializer:
        entry.name = new.get(entry.name, entry.name)
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "model.onnx")
    code = Compiled(tmp_path / "model.onnx", tmp_path / "package", flags)
    has_the_laws(code, inputs_of(code))


def test_several_inputs_and_outputs_have_names_of_their_own_and_an_example(tmp_path):
    inputs = [s2o.SequenceInput(2, name="in"), s2o.SequenceInput(3, name="IN"), s2o.SequenceInput(1, name="net_step")]
    layers = [s2o.Concat(inputs=["in", "IN", "net_step"]), s2o.LSTM(3, name="class"), s2o.GRU(2, name="CLASS")]
    exported(tmp_path, s2o.Network([*inputs, *layers], ["class", "CLASS"], name="net"))
    code = Compiled(tmp_path / "model.onnx", tmp_path / "package")
    has_the_laws(code, inputs_of(code))
    result = subprocess.run("make --quiet && ./example", shell=True, cwd=tmp_path / "package", capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")


NATIVE = ["-O3", "-march=native", "-ffp-contract=fast", "-std=gnu99", "-Wall", "-Wextra", "-Werror"]
BUILDS = {
    "size": ("gcc", ["-Os", *FLAGS[1:]]),
    "native": ("gcc", NATIVE),
    "libm": ("gcc", ["-O2", "-DNET_LIBM", *FLAGS[1:]]),
    "clang": ("clang", ["-O2", *FLAGS[1:]]),
    "clang native": ("clang", NATIVE),
    "clang traps": ("clang", ["-O2", "-fsanitize=undefined", "-fsanitize-trap=undefined", *FLAGS[1:]]),
}


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("build", BUILDS)
def test_every_compiler_and_flag_gives_the_same_numbers(build, weights, tmp_path):
    compiler, flags = BUILDS[build]
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    layers = [s2o.SequenceInput(3), s2o.Conv1d(20, 70, padding="causal"), s2o.LSTM(19), s2o.GRU(17), s2o.GELU()]
    network = s2o.Network([*layers, s2o.GlobalStdPool1d(), s2o.FullyConnected(2), s2o.Softmax()], name="net")
    exported(tmp_path, network, form="step")
    code = Compiled(tmp_path / "model.onnx", tmp_path / "package", flags, compiler, weights=weights)
    has_the_laws(code, inputs_of(code, 150), 1e-4 if weights == "float32" else 1e-2)


def test_the_header_is_one_of_cpp_too(tmp_path):
    layers = [s2o.SequenceInput(3, "zscore", name="class"), s2o.Conv1d(3, 3, padding="causal", name="new")]
    network = s2o.Network([*layers, s2o.LSTM(4, name="this"), s2o.FullyConnected(2)], name="template")
    exported(tmp_path, network, classes=['"', "??/"], channels=["int", "9", "*/"])
    s2o.package(tmp_path / "model.onnx", "c", tmp_path / "package")
    (header,) = (tmp_path / "package").glob("*.h")
    (tmp_path / "package" / "a.cpp").write_text(f'#include "{header.name}"\n')
    command = ["g++", "-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-c", "a.cpp"]
    assert subprocess.run(command, cwd=tmp_path / "package", check=False).returncode == 0
