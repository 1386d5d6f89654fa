"""Cases: what a host runs, with the results of onnxruntime, and the two plain files in which hosts read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from seq2onnx.contract import END, LENGTHS
from seq2onnx.errors import SpecError
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.random_rows import random_sequences
from seq2onnx.sequences import Array

Tensors = dict[str, Array]
"""Arrays by the name of the tensor."""
Results = list[Tensors] | str
"""The results of the runs of a case, or what went wrong."""
_STEPS = 9
_TYPES = {"float32": np.float32, "int32": np.int32, "int64": np.int64}


@dataclasses.dataclass(frozen=True)
class Run:
    """The inputs of a run without the states, and the results of onnxruntime; NaN where any number will do."""

    inputs: Tensors
    expected: Tensors


@dataclasses.dataclass(frozen=True)
class Case:
    """Runs one after another. The states are zeros before the first, and go from each to the next."""

    name: str
    states: Tensors
    runs: list[Run]


def make_cases(model: Model, only_steps: bool = False) -> list[Case]:
    """Make cases: one row, a ragged batch with NaN as padding, single steps, and chunks, one without steps.

    With `only_steps`, a single stream runs step by step, as it does in a step file.
    """
    if any(entry.takes_words for entry in model.inputs):
        raise SpecError(f"{model.path}: takes words; hosts run files that take their numbers (export without words)")
    if only_steps or model.contract.form == "step":
        return [_case(model, "steps", [[model.contract.chunk_steps]] * 5)]
    steps = max(_STEPS * model.contract.time_stride, model.contract.min_length)
    cases = [_case(model, "one row", [[steps]])]
    if model.takes_lengths:
        cases.append(_case(model, "ragged batch", [[steps, 1, 0, steps - 2]]))
    if model.states:
        cases += [_case(model, "steps", [[1, 1]] * 5), _case(model, "chunks", [[3, 3], [0, 0], [1, 1], [5, 5]])]
    return cases


def _case(model: Model, name: str, chunks: Sequence[Sequence[int]]) -> Case:
    """Make a case; chunks: the valid steps of each row, for each run."""
    rng, rows = np.random.default_rng(0), len(chunks[0])
    start = {state.name: state.zeros(rows) for state in model.states}
    states, runs = start, []
    for number, lengths in enumerate(chunks):
        inputs: Tensors = {}
        sequences = random_sequences(model, rng, [max(lengths)] * rows)
        for entry in model.inputs:
            values = np.stack(sequences[entry.layer])
            if entry.has_time and not entry.is_tokens:
                values[np.arange(max(lengths)) >= np.array(lengths)[:, None]] = np.nan
            inputs[entry.tensor] = values
        if model.takes_lengths:
            inputs[LENGTHS] = np.array(lengths, np.int32)
        if model.lookahead:
            inputs[END] = np.full(rows, number == len(chunks) - 1, np.int32)
        names = [output.name for output in model.session.get_outputs()]
        found = dict(zip(names, model.session.run(names, inputs | states), strict=True))
        states = {state.name: found[state.new_name] for state in model.states}
        runs.append(Run(inputs, _expected(model, found, np.array(lengths))))
    return Case(name, start, runs)


def _expected(model: Model, found: Mapping[str, Array], lengths: Array) -> Tensors:
    """Return the results with NaN at steps past the end of each row, where a file may give any number."""
    expected = dict(found)
    for output in (*model.outputs, *model.activations.values()):
        if output.has_time and not model.closed_loop:
            valid = found[output.lengths_tensor] if output.lengths_tensor else lengths
            values = found[output.tensor].astype(np.float32)
            if model.contract.form != "step":
                values[np.arange(values.shape[1]) >= valid[:, None]] = np.nan
            expected[output.tensor] = values
    return expected


def write_cases(cases: Sequence[Case], folder: Path) -> None:
    """Write cases.txt and cases.bin.

    A line of cases.txt is `case NAME`, `run`, `state NAME TYPE OFFSET DIMENSIONS…`, `in NAME TYPE OFFSET DIMENSIONS…`
    or `out NAME`. OFFSET is where the numbers begin in cases.bin, in the order of bytes of this machine. `new_NAME` is
    the new value of a state.
    """
    lines, content = [], bytearray()
    for case in cases:
        lines.append(f"case {case.name.replace(' ', '_')}")
        lines += _tensor_lines("state", case.states, content)
        for run in case.runs:
            lines += ["run", *_tensor_lines("in", run.inputs, content), *(f"out {name}" for name in run.expected)]
    (folder / "cases.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    (folder / "cases.bin").write_bytes(content)


def read_cases(folder: Path) -> list[Case]:
    """Read cases.txt and cases.bin, for a host in Python. What is expected has names only."""
    content, cases = (folder / "cases.bin").read_bytes(), list[Case]()
    for text in (folder / "cases.txt").read_text(encoding="ascii").splitlines():
        word, *rest = text.split(" ")
        if word == "case":
            cases.append(Case(rest[0], {}, []))
        elif word == "run":
            cases[-1].runs.append(Run({}, {}))
        elif word == "out":
            cases[-1].runs[-1].expected[rest[0]] = np.empty(0)
        else:
            name, *place = rest
            (cases[-1].states if word == "state" else cases[-1].runs[-1].inputs)[name] = _tensor(content, *place)
    return cases


def write_results(results: Sequence[Results], folder: Path) -> None:
    """Write results.txt and results.bin, as `read_results` reads them."""
    lines, content = [], bytearray()
    for result in results:
        lines.append("case")
        if isinstance(result, str):
            lines.append(f"error {result}")
            continue
        for run in result:
            lines += ["run", *_tensor_lines("out", run, content)]
    (folder / "results.bin").write_bytes(content)
    (folder / "results.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")


def _tensor_lines(word: str, tensors: Tensors, content: bytearray) -> Iterator[str]:
    """Yield a line for each tensor, and add its numbers to the content of the other file."""
    for name, values in tensors.items():
        yield " ".join([word, name, values.dtype.name, str(len(content)), *map(str, values.shape)])
        content.extend(np.ascontiguousarray(values).tobytes())


def _tensor(content: bytes, kind: str, offset: str, *shape: str) -> Array:
    dimensions = tuple(map(int, shape))
    count = int(np.prod(dimensions, dtype=int))
    values = np.frombuffer(content, _TYPES[kind], count, int(offset)) if count else np.empty(0, _TYPES[kind])
    return values.reshape(dimensions)


def read_results(cases: Sequence[Case], folder: Path) -> list[Results]:
    """Read results.txt and results.bin: for each case the results of its runs, or what went wrong.

    A line of results.txt is `case`, `run`, `out NAME TYPE OFFSET DIMENSIONS…` or `error TEXT`.
    """
    content = (folder / "results.bin").read_bytes()
    results: list[Results] = []
    for text in (folder / "results.txt").read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = text.partition(" ")
        if word == "case":
            results.append([])
        elif word == "error":
            results[-1] = rest
        elif word == "run":
            assert isinstance(results[-1], list)
            results[-1].append({})
        elif isinstance(results[-1], list):
            name, *place = rest.split(" ")
            results[-1][-1][name] = _tensor(content, *place)
    return results + ["the host gave no result"] * (len(cases) - len(results))
