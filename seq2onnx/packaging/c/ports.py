"""The inputs and outputs of a step as C has them, and the sample that the self test runs."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.contract import LENGTHS, Contract
from seq2onnx.packaging.c.memory import C_TYPES
from seq2onnx.packaging.c.text import number, once, rows_of
from seq2onnx.packaging.source import Source
from seq2onnx.runtime.model import Model
from seq2onnx.runtime.random_rows import random_sequences
from seq2onnx.texts import identifier

if TYPE_CHECKING:
    from onnx import ModelProto

SELF_TEST_CALLS, ERROR_CALLS = 5, 64
TOLERANCE, ROUNDED_TOLERANCE = 1e-4, 2e-3
"""How much a number of the self test may differ, relative to max(1, number). With 8 bits, each product rounds x."""


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        tensor: its name in the file.
        name: of the argument.
        of_several: what names of its own begin with where there are several inputs or outputs; "" for the only one.
        steps: how many steps or results a call has.
        size: numbers of each.
        dtype: their type, as numpy names it.
        is_input: whether it is an input.
        channels: the names of its numbers; None: they have none.
        may_lack: whether NaN is a missing value.
        statistics: mean, std, min and max of each number in the training data, as far as the file has them.
    """

    tensor: str
    name: str
    of_several: str
    steps: int
    size: int
    dtype: str
    is_input: bool
    channels: tuple[str, ...] | None = None
    may_lack: bool = False
    statistics: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)

    @property
    def is_real(self) -> bool:
        """Whether its numbers have a fraction."""
        return self.dtype == "float32"

    @property
    def c_type(self) -> str:
        """The type of its numbers in C."""
        return C_TYPES[self.dtype]

    @property
    def declaration(self) -> str:
        """The parameter in the header."""
        return f"{'const ' * self.is_input}{self.c_type} *{self.name}"

    @property
    def definition(self) -> str:
        """The parameter in the definition."""
        return f"{'const ' * self.is_input}{self.c_type} *restrict {self.name}"

    @property
    def numbers(self) -> int:
        """Numbers of a call."""
        return self.steps * self.size

    @property
    def counts(self) -> str:
        """Its sizes in words of C."""
        return f"{self.steps} * {self.size}" if self.steps > 1 else str(self.size)

    @property
    def refused_value(self) -> str:
        """What a step that is refused gives."""
        return "NAN" if self.is_real else "-1"

    def refused(self) -> list[str]:
        """Return lines that write what a step that is refused gives."""
        return [
            f"        for (int i = 0; i < {self.numbers}; ++i) {{",
            f"            {self.name}[i] = {self.refused_value};",
            "        }",
        ]

    def sizes(self, macro: str) -> list[str]:
        """Return the macros of its sizes."""
        macro += f"_{self.of_several}".upper().rstrip("_")
        if self.is_input:
            return [
                f"#define {macro}_FEATURES {self.size} /* numbers of a step */",
                f"#define {macro}_STEPS {self.steps} /* steps that each call takes */",
            ]
        return [
            f"#define {macro}_RESULTS {self.steps} /* results that each call gives */",
            f"#define {macro}_OUTPUTS {self.size} /* numbers of a result */",
        ]

    def facts(self, macro: str) -> list[str]:
        """Return the names of its numbers, and what the training data was like."""
        macro += f"_{self.of_several}".upper().rstrip("_")
        lines: list[str] = []
        if self.channels:
            names = _unique(self.channels)
            lines.append("enum { /* the numbers of a step */")
            lines += [f"    {macro}_IN_{name} = {k}," for k, name in enumerate(names)]
            lines.append("};")
        for word, values in self.statistics.items():
            lines.append(f"#define {macro}_{word.upper()} {{{', '.join(number(v, 'float32') for v in values)}}}")
        return lines


def _unique(channels: tuple[str, ...]) -> list[str]:
    """Return channels as parts of identifiers, each once."""
    made: list[str] = []
    for channel in channels:
        stem = re.sub(r"\W", "_", channel, flags=re.ASCII) or "_"
        made.append(once(f"C_{stem}" if stem[0].isdigit() else stem, made))
    return made


def ports_of(step: Source) -> tuple[list[Port], list[Port]]:
    """Return the inputs and outputs of a file of one row, in the order of the contract."""
    model = step.model
    steps = model.contract.chunk_steps
    inputs, outputs = [], []
    several = len(model.inputs) > 1 or len(model.outputs) > 1
    own = _own_names([*(entry.layer for entry in model.inputs), *(output.layer for output in model.outputs)])
    for entry in model.inputs:
        name = own[entry.layer]
        inputs.append(
            Port(
                entry.tensor,
                f"x_{name}" if several else "x",
                f"{name}_" if several else "",
                steps if entry.has_time else 1,
                math.prod(entry.shape),
                "int64" if entry.is_tokens else "float32",
                True,
                tuple(entry.channels) if entry.channels else None,
                entry.missing,
                _statistics(model.contract, entry.layer, entry.shape),
            )
        )
    shapes = {output.name: output.shape for output in model.session.get_outputs()}
    for output in model.outputs:
        name = own[output.layer]
        size = shapes[output.tensor][1] if output.has_time else 1
        results = size if isinstance(size, int) else steps
        inputs_of = (f"y_{name}", f"{name}_") if several else ("y", "")
        outputs.append(Port(output.tensor, *inputs_of, results, math.prod(output.shape), output.dtype.name, False))
    return inputs, outputs


def _own_names(layers: Iterable[str]) -> dict[str, str]:
    """Return a part of identifiers for each layer; macros, in capitals, are different too."""
    names: dict[str, str] = {}
    for layer in dict.fromkeys(layers):
        stem = identifier(layer)
        names[layer] = stem + once(stem.lower(), [name.lower() for name in names.values()])[len(stem) :]
    return names


def _statistics(contract: Contract, layer: str, shape: tuple[int, ...]) -> dict[str, list[float]]:
    """Return what the training data was like: a number for each channel of a step."""
    if len(shape) != 1:
        return {}
    trained = contract.data_info.training_statistics
    if trained is not None and layer in trained.inputs:
        found = vars(trained.inputs[layer])
    else:  # files of older versions have those of the normalization alone
        found = contract.layers.get(layer, ("", {}))[1].get("statistics") or {}
    kept = {name: np.ravel(found[name]) for name in ("mean", "std", "min", "max") if name in found}
    return {
        name: np.broadcast_to(values, shape).tolist() for name, values in kept.items() if len(values) in (1, *shape)
    }


def self_test_texts(step: Source, inputs: list[Port], outputs: list[Port], error: float | None) -> dict[str, str]:
    """Return what self_test.c leaves open: some calls with the results of onnxruntime."""
    given, found = _runs(step.model, step.model.session, SELF_TEST_CALLS)
    is_rounded = error is not None or step.model.contract.weights == "int8"
    tolerance = max(ROUNDED_TOLERANCE, 4 * (error or 0)) if is_rounded else TOLERANCE
    samples, room, comparisons = [], [], []
    for port, kept in [*((port, given) for port in inputs), *((port, found) for port in outputs)]:
        values = np.ravel(np.stack([run[port.tensor] for run in kept]))
        name = f"{'sample' if port.is_input else 'expected'}_{port.name}"
        samples.append(f"static const {port.c_type} {name}[CALLS][{port.numbers}] = {{\n{_calls(port, values)}}};\n")
    for port in outputs:
        room.append(f"    static {port.c_type} {port.name}[{port.numbers}];")
        comparisons += [
            f"        for (int i = 0; i < {port.numbers}; ++i) {{",
            f"            const double expected = (double)expected_{port.name}[call][i];",
            f"            const double error = fabs((double){port.name}[i] - expected);",
            "            if (!(error <= TOLERANCE * (fabs(expected) > 1.0 ? fabs(expected) : 1.0))) {",
            "                return call + 1;",
            "            }",
            "        }",
        ]
    names = [f"sample_{port.name}[call]" for port in inputs] + [port.name for port in outputs]
    return {
        "CALLS": str(SELF_TEST_CALLS),
        "TOLERANCE": f"{tolerance:.1e}",
        "SAMPLES": "\n".join(samples),
        "ROOM": "\n".join(room),
        "PASSED": ", ".join(names),
        "PASSED_NAMES": ", ".join(port.name for port in (*inputs, *outputs)),
        "COMPARISONS": "\n".join(comparisons),
    }


def _calls(port: Port, values: NDArray[Any]) -> str:
    """Return the numbers of each call in braces."""
    calls = values.reshape(SELF_TEST_CALLS, -1)
    return "\n".join(f"    {{\n{rows_of(number(value, port.dtype) for value in call)}}}," for call in calls) + "\n"


Tensors = dict[str, NDArray[Any]]


def _runs(model: Model, session: Any, calls: int) -> tuple[list[Tensors], list[Tensors]]:
    """Run a stream of random steps in onnxruntime; return what it got and what it gave in each call."""
    steps = model.contract.chunk_steps
    rows = random_sequences(model, np.random.default_rng(0), [steps * calls])
    states = {state.name: state.zeros(1) for state in model.states}
    takes = {entry.name for entry in session.get_inputs()}
    lengths = {LENGTHS: np.array([steps], np.int32)} if LENGTHS in takes else {}
    names = [output.name for output in session.get_outputs()]
    given, found = [], []
    for call in range(calls):
        feeds = {}
        for entry in model.inputs:
            (row,) = rows[entry.layer]
            part = row[call * steps : (call + 1) * steps] if entry.has_time else row
            feeds[entry.tensor] = (part.round(4) if part.dtype == np.float32 else part)[None]
        results = dict(zip(names, session.run(names, feeds | states | lengths), strict=True))
        states = {state.name: results[state.new_name] for state in model.states}
        given.append(feeds)
        found.append(results)
    return given, found


def largest_error(step: Source, rounded: ModelProto) -> float:
    """Return how much the results of a file with rounded weights differ, relative to max(1, result)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(rounded.SerializeToString(), providers=["CPUExecutionProvider"])
    _, exact = _runs(step.model, step.model.session, ERROR_CALLS)
    _, found = _runs(step.model, session, ERROR_CALLS)
    errors = [
        np.abs(run[output.tensor] - other[output.tensor]) / np.maximum(1, np.abs(run[output.tensor]))
        for run, other in zip(exact, found, strict=True)
        for output in step.model.outputs
    ]
    return max(float(error.max(initial=0)) for error in errors)
