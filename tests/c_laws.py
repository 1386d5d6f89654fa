"""The laws of C code: the numbers, the states and the refusals of the step file that it is made of."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import seq2onnx as s2o
from seq2onnx.contract import LENGTHS
from seq2onnx.packaging import Source
from tests.comparison import close
from tests.laws import Subject
from tests.step_laws import step_model

TOLERANCE = 1e-4
CALLS = 6
STACK = 2**22
FLAGS = ["-O0", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror"]
Arrays = Mapping[str, np.ndarray]


class Compiled:
    """The C code of a file, called from Python as firmware would call it.

    Attributes:
        model: the file, as `load` describes it.
        session: the file in onnxruntime.
        header: the text of NAME.h.
    """

    def __init__(self, path: Path, folder: Path, flags: Sequence[str] = FLAGS, compiler: str = "gcc", **options: Any):
        """Package a file that keeps its states in the form "step", and compile it."""
        source = Source.open(path)
        s2o.package(path, "c", folder, **{"stack": STACK, **options})
        self.name, self.model, self.session = source.name, source.model, onnxruntime.InferenceSession(path)
        self.header = (folder / f"{self.name}.h").read_text()
        bytes_of = f"int bytes(void);\nint bytes(void) {{ return (int)sizeof({self.name}_stream); }}\n"
        (folder / "bytes.c").write_text(f'#include "{self.name}.h"\n{bytes_of}')
        files = [f"{self.name}.c", f"{self.name}_self_test.c", "bytes.c"]
        command = [compiler, *flags, "-shared", "-fPIC", *files, "-o", "code.so", "-lm"]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert made.returncode == 0, f"{compiler}: {made.stderr[:2000]}"
        self.library = ctypes.CDLL(str(folder / "code.so"))
        self.outputs = {entry.name: entry for entry in self.session.get_outputs()}
        self.steps = self.model.contract.chunk_steps

    def stream(self) -> Any:
        """Return a stream at its start."""
        stream = ctypes.create_string_buffer(self.library.bytes())
        self.call("reset", stream)
        return stream

    def call(self, what: str, *arguments: Any) -> int:
        """Call NAME_…, with pointers to arrays."""
        passed = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
        return int(self.library[f"{self.name}_{what}"](*passed))

    def step(self, stream: Any, feeds: Arrays) -> tuple[int, dict[str, np.ndarray]]:
        """Run a call; return its code and the outputs, filled with 7 before."""
        given = [np.ascontiguousarray(feeds[entry.tensor]) for entry in self.model.inputs]
        y = {o.tensor: np.full(self.sizes(o.tensor), 7, o.dtype) for o in self.model.outputs}
        return self.call("step", stream, *given, *y.values()), y

    def sizes(self, output: str) -> list[int]:
        """Return the shape of an output."""
        return [size if isinstance(size, int) else self.steps for size in (1, *self.outputs[output].shape[1:])]

    def state(self, stream: Any) -> np.ndarray:
        """Return what NAME_get_state writes."""
        (count,) = re.findall(r"_STATE (\d+)", self.header)
        state = np.full(int(count) + 1, 7, np.float32)
        self.call("get_state", stream, state)
        assert state[-1] == 7, "get_state wrote more than NAME_STATE numbers"
        return state[:-1]

    def flat(self, states: Arrays) -> np.ndarray:
        """Return states of the file as NAME_get_state has them."""
        parts = [np.ravel(states[state.name]).view(np.float32) for state in self.model.states]
        return np.concatenate([*parts, np.zeros(0, np.float32)])

    def zeros(self) -> dict[str, np.ndarray]:
        """Return the states of a start."""
        return {state.name: state.zeros(1) for state in self.model.states}

    def onnxruntime(self, feeds: Arrays, states: Arrays) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return outputs and new states of the file."""
        more = {LENGTHS: np.array([self.steps], np.int32)} if self.model.takes_lengths else {}
        found = dict(zip(self.outputs, self.session.run(None, {**feeds, **states, **more}), strict=True))
        return found, {state.name: found[state.new_name] for state in self.model.states}


def has_the_laws(code: Compiled, feeds: Sequence[Arrays], tolerance: float = TOLERANCE) -> None:
    """Check all of them with the inputs of some calls."""
    assert code.call("self_test") == 0
    gives_the_same_numbers(code, feeds, tolerance)
    refuses_what_is_not_finite(code, feeds[0])
    runs_blocks(code, feeds)


def gives_the_same_numbers(code: Compiled, feeds: Sequence[Arrays], tolerance: float = TOLERANCE) -> None:
    """A stream, and one that takes on its states from onnxruntime before each call, give what onnxruntime gives."""
    stream, taken, states = code.stream(), code.stream(), code.zeros()
    for number, x in enumerate(feeds):
        code.call("set_state", taken, code.flat(states))
        same_state(code, code.state(taken), states, 0, f"set and read before call {number}")
        found, states = code.onnxruntime(x, states)
        for one, what in ((stream, "a stream"), (taken, "a stream that was set")):
            result, y = code.step(one, x)
            assert result == 0, f"{what} refused call {number}"
            for name, values in y.items():
                close(values, found[name], tolerance, f"{name} of {what} in call {number}")
            same_state(code, code.state(one), states, tolerance, f"{what} after call {number}")


def same_state(code: Compiled, found: np.ndarray, states: Arrays, tolerance: float, what: str) -> None:
    """Compare state by state, whole numbers as such."""
    at = 0
    for state in code.model.states:
        expected = states[state.name]
        count = expected.nbytes // 4
        close(found[at : at + count].view(expected.dtype).reshape(expected.shape), expected, tolerance, what)
        at += count
    assert at == len(found), f"{what}: {len(found)} numbers, expected {at}"


def refuses_what_is_not_finite(code: Compiled, x: Arrays) -> None:
    """NaN, infinity or a number that no token has: the results are NaN or -1, and the stream stays as it was."""
    stream = code.stream()
    code.step(stream, x)
    before = bytes(stream)
    for entry in code.model.inputs:
        for bad in () if entry.missing or entry.is_tokens else (np.nan, np.inf, -np.inf):
            for place in (0, -1):
                wrong = dict(x)
                wrong[entry.tensor] = np.array(x[entry.tensor])
                wrong[entry.tensor].flat[place] = bad
                result, y = code.step(stream, wrong)
                assert result == 1, f"{bad} in {entry.tensor} was not refused"
                for name, values in y.items():
                    right = np.isnan(values) if values.dtype.kind == "f" else values == -1
                    assert right.all(), f"{name} of a refused call is {values.flat[0]}"
                assert code.step(restored(code, stream), x)[0] == 0
    held = restored(code, stream)
    first = code.stream()
    first[:] = before
    for (name, found), expected in zip(code.step(held, x)[1].items(), code.step(first, x)[1].values(), strict=True):
        close(found, expected, 0, f"{name} after refused calls")


def restored(code: Compiled, stream: Any) -> Any:
    """Return a copy of a stream."""
    copy = code.stream()
    copy[:] = bytes(stream)
    return copy


def runs_blocks(code: Compiled, feeds: Sequence[Arrays]) -> None:
    """NAME_block gives what its calls of NAME_step give, and says how many were refused."""
    if f" {code.name}_block(" not in code.header:
        assert len(code.model.inputs) + len(code.model.outputs) > 2
        return
    (entry,), (output,) = code.model.inputs, code.model.outputs
    given = [np.array(x[entry.tensor]) for x in feeds]
    if given[0].dtype == np.float32 and not entry.missing:
        given[2].flat[0] = np.nan
    x, stream = np.ascontiguousarray(np.stack(given)), code.stream()
    y = np.full((len(x), *code.sizes(output.tensor)), 7, output.dtype)
    refused, one = code.call("block", code_stream := code.stream(), x, len(x), y), 0
    for k, values in enumerate(given):
        result, expected = code.step(stream, {entry.tensor: values})
        one += result
        assert np.array_equal(y[k], expected[output.tensor], equal_nan=output.dtype.kind == "f")
    assert refused == one
    assert np.array_equal(code.state(code_stream), code.state(stream))


def all_of_them(subject: Subject, folder: Path) -> None:
    """Every law of the C code of a network that has a step file."""
    folder.mkdir(exist_ok=True)
    (folder / "step.onnx").write_bytes(step_model(subject).SerializeToString())
    code = Compiled(folder / "step.onnx", folder / "package")
    tensors = {entry.layer: entry.tensor for entry in code.model.inputs}
    calls = [subject.x(1, code.steps) for _ in range(CALLS)]
    has_the_laws(code, [{tensors[layer]: array for layer, array in x.items()} for x in calls])
