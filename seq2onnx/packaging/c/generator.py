"""From a graph to the parts of a C file: what each operator writes, the stream, the checks."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import onnx

from seq2onnx.errors import SpecError
from seq2onnx.packaging.c import operators, plan, products, views
from seq2onnx.packaging.c.eight_bits import to_eight_bits
from seq2onnx.packaging.c.elementwise import OPERATORS
from seq2onnx.packaging.c.graph import Array, Graph, Node
from seq2onnx.packaging.c.memory import C_TYPES, Buffer, Lines, View, copied
from seq2onnx.packaging.c.program import Field, Program, StatePlace, layer_of
from seq2onnx.packaging.c.text import Names

FILES = Path(__file__).with_name("files")
Storage = Literal["float32", "int8"]
Writer = Callable[[Program, Node], None]
WRITERS: dict[str, Writer] = {
    **dict.fromkeys(plan.VIEWS, views.write_view),
    **dict.fromkeys(
        ("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"), operators.write_reduce
    ),
    "AveragePool": operators.write_pool,
    "Concat": views.write_concat,
    "Conv": products.write_conv,
    "Gemm": products.write_gemm,
    "LayerNormalization": operators.write_layer_normalization,
    "MatMul": products.write_matmul,
    "MaxPool": operators.write_pool,
    "Pad": operators.write_pad,
    "Rows": views.write_rows,
    "Softmax": operators.write_softmax,
    "Store": views.write_store,
}
"""What writes each operator that is no loop over numbers."""


@dataclasses.dataclass(frozen=True)
class Code:
    """The parts of a C file.

    Attributes:
        functions: what the step calls.
        arrays: the weights.
        fields: of the stream.
        states: where each state is, in the order of the file.
        body: the lines of a step before the check.
        check: C code that is 0 if the step is refused.
        commits: the lines after the check.
        work: bytes of the work array, which is on the stack.
        weights: bytes of the weights.
        rounded: the model with the weights that the code has, if they became 8 bits; None: they are those of the file.
    """

    functions: str
    arrays: str
    fields: list[Field]
    states: list[StatePlace]
    body: Lines
    check: str
    commits: Lines
    work: int
    weights: int
    rounded: onnx.ModelProto | None


@dataclasses.dataclass(frozen=True)
class StepModel:
    """A model of one row, with what its names mean.

    Attributes:
        proto: the model.
        sizes: the shape of each input.
        given: inputs that are the same in each step.
        arguments: how C names the inputs and outputs that are no states.
        states: the name of each new state by that of the state.
        checked: the inputs that must be finite.
        name: of the network in C.
    """

    proto: onnx.ModelProto
    sizes: Mapping[str, tuple[int, ...]]
    given: Mapping[str, Array]
    arguments: dict[str, str]
    states: dict[str, str]
    checked: list[str]
    name: str = "net"


def generate(model: StepModel, storage: Storage | None = None) -> Code:
    """Return the C code of one step.

    Args:
        model: the model.
        storage: how the code has the matrices; None: as the file stores them.

    Raises:
        SpecError: the graph has an operator that C code does not have, or a size that only a step knows.
    """
    outputs = {*model.arguments, *model.states.values()}
    graph = Graph(model.proto, model.sizes, outputs, model.given)
    if storage == "float32":
        graph.stored.clear()
    if storage == "int8":
        to_eight_bits(graph)
    rounded = graph.to_model() if storage == "int8" else None
    unknown = sorted({node.op for node in graph.nodes} - WRITERS.keys() - OPERATORS)
    if unknown:
        raise SpecError(
            f"C code does not have the operators {', '.join(unknown)}; make the model without them, or package it for "
            "another target"
        )
    plan.move_splits(graph)
    library = _library()
    names = Names({*library, *RESERVED, *model.arguments.values()}, f"{model.name}_")
    program = Program(graph, names, model.arguments, model.states)
    for name in model.checked:
        program.check_finite(program.view(name))
    _put_states(program)
    plan.put_windows(program)
    plan.put_places(program)
    for group in plan.in_order(graph):
        program.layer = layer_of(group[0], names)
        if group[0].op in OPERATORS:
            operators.write_loop(program, group)
        else:
            WRITERS[group[0].op](program, group[0])
    program.layer = ""
    _finish(program)
    if not program.fields:
        program.fields.append(Field("none", "int32", 0, "this network has no states"))
        program.prologue.append("(void)stream;")
    body, work = program.body()
    words = {*re.findall(r"\w+", "\n".join([*body, *program.checks]))}
    body += [f"(void){name};" for name in model.arguments.values() if name not in words]
    kernels = [(FILES / f"{name}.c").read_text(encoding="utf-8") for name in program.kernels]
    functions = _called(library, [*body, *program.checks, *kernels])
    return Code(
        functions="\n\n".join([*functions, *kernels]),
        arrays="\n".join(program.arrays.values()),
        fields=program.fields,
        states=[program.state_places[state] for state in model.states],
        body=body,
        check=" &&\n          ".join(program.checks) or "1",
        commits=program.commits,
        work=work,
        weights=program.bytes_of_arrays,
        rounded=rounded,
    )


RESERVED = (
    *(f"work_{dtype}" for dtype in C_TYPES),
    *("add_product", "add_product_int8", "add_columns", "add_four", "add_rows"),
)
"""Names that the code has of its own."""


def _library() -> dict[str, str]:
    """Return the small functions that expressions call, by name."""
    text = (FILES / "library.c").read_text(encoding="utf-8")
    return {
        re.findall(r"^(?:INLINE|static).*?(\w+)\(", part, re.MULTILINE)[0]: part for part in text.strip().split("\n\n")
    }


def _called(library: Mapping[str, str], texts: Iterable[str]) -> list[str]:
    """Return the functions that texts call, and those that these call, in the order of the library."""
    waiting, called = list(texts), set[str]()
    while waiting:
        new = library.keys() & set(re.findall(r"\w+", waiting.pop())) - called
        called |= new
        waiting += [library[name] for name in new]
    return [text for name, text in library.items() if name in called]


def _put_states(program: Program) -> None:
    """Let each state be a part of the stream."""
    graph = program.graph
    windows = {window.state for window in plan.find_windows(graph, program.states)}
    for state in program.states:
        if state not in windows:
            shape, dtype = graph.shape(state), graph.dtype(state)
            field = program.names.new(re.sub(r"^state_\d+_", "", state))
            program.fields.append(Field(field, dtype, math.prod(shape), " × ".join(map(str, shape))))
            buffer = Buffer(f"stream->{field}", "stream", math.prod(shape), dtype)
            program.views[state] = View.whole(buffer, shape)
            program.state_places[state] = StatePlace(buffer.name, buffer.name, math.prod(shape), dtype)


def _finish(program: Program) -> None:
    """Write the outputs where the caller expects them, and the new states where the next step does."""
    graph, news = program.graph, {new: state for state, new in program.states.items()}
    for name in graph.outputs:
        if name not in news:
            to = program.argument(name)
            if program.view(name).buffer.name != to.buffer.name:
                program.copy(program.view(name), to)
            continue
        view, to = program.view(name), program.views[news[name]]
        if view == to:
            continue
        if view.buffer.kind == "stream":  # another state, or a part of a window: it changes when states are committed
            view = program.kept(view, f"{name}/kept")
        program.check_finite(view)
        program.keep(view)
        program.commits += copied(view, to)
