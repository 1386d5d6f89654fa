"""From a graph to the parts of a C file: what each operator writes, the stream, the checks."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from seq2onnx.errors import SpecError
from seq2onnx.packaging.c import operators, plan, products
from seq2onnx.packaging.c.elementwise import OPERATORS
from seq2onnx.packaging.c.graph import Graph, Node
from seq2onnx.packaging.c.memory import C_TYPES, Buffer, Lines, View, copied, indented
from seq2onnx.packaging.c.program import Field, Program, layer_of
from seq2onnx.packaging.c.text import Names

FILES = Path(__file__).with_name("files")
Writer = Callable[[Program, Node], None]
WRITERS: dict[str, Writer] = {
    **dict.fromkeys(plan.VIEWS, operators.write_view),
    **dict.fromkeys(
        ("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"), operators.write_reduce
    ),
    "AveragePool": operators.write_pool,
    "Concat": operators.write_concat,
    "Conv": products.write_conv,
    "Gemm": products.write_gemm,
    "LayerNormalization": operators.write_layer_normalization,
    "MatMul": products.write_matmul,
    "MaxPool": operators.write_pool,
    "Pad": operators.write_pad,
    "Softmax": operators.write_softmax,
    "Store": operators.write_store,
}
"""What writes each operator that is no loop over numbers."""


@dataclasses.dataclass(frozen=True)
class Code:
    """The parts of a C file.

    Attributes:
        functions: what the step calls.
        arrays: the weights.
        fields: of the stream.
        body: the lines of a step before the check.
        check: C code that is 0 if the step is refused.
        commits: the lines after the check.
        work: bytes of the work array, which is on the stack.
    """

    functions: str
    arrays: str
    fields: list[Field]
    body: Lines
    check: str
    commits: Lines
    work: int


def generate(
    model: onnx.ModelProto,
    sizes: Mapping[str, tuple[int, ...]],
    arguments: dict[str, str],
    states: dict[str, str],
    checked: list[str],
    eight_bits: bool = False,
) -> Code:
    """Return the C code of one step.

    Args:
        model: a graph without batch: one row, a fixed number of steps.
        sizes: the shape of each input.
        arguments: how C names the inputs and outputs that are no states.
        states: the name of each new state by that of the state.
        checked: the inputs that must be finite.
        eight_bits: whether matrices become whole numbers of 8 bits; else they are as the file stores them.

    Raises:
        SpecError: the graph has an operator that C code does not have, or a size that only a step knows.
    """
    graph = Graph(model, sizes)
    unknown = sorted({node.op for node in graph.nodes} - WRITERS.keys() - OPERATORS)
    if unknown:
        raise SpecError(f"C code does not have the operators {', '.join(unknown)}")
    plan.move_splits(graph)
    library = _library()
    names = Names({*library, *RESERVED, *arguments.values()})
    program = Program(graph, names, arguments, states, eight_bits)
    for name in checked:
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
    kernels = [(FILES / f"{name}.c").read_text(encoding="utf-8") for name in program.kernels]
    calls = "\n".join([*body, *program.checks, *kernels])
    functions = [text for name, text in library.items() if re.search(rf"\b{name}\b", calls)]
    for _ in library:  # functions of functions
        calls = "\n".join([calls, *functions])
        functions = [text for name, text in library.items() if re.search(rf"\b{name}\b", calls)]
    return Code(
        functions="\n\n".join([*functions, *kernels]),
        arrays="\n".join(program.arrays.values()),
        fields=program.fields,
        body=body,
        check=" && ".join(program.checks) or "1",
        commits=program.commits,
        work=work,
    )


RESERVED = ("stream", "work", *(f"work_{dtype}" for dtype in C_TYPES), *"ijklmnpqrxy", "is_right", "NAN", "INFINITY")
"""Names that the code has of its own."""


def _library() -> dict[str, str]:
    """Return the small functions that expressions call, by name."""
    text = (FILES / "library.c").read_text(encoding="utf-8")
    return {re.findall(r"^(?:INLINE|static).*?(\w+)\(", part, re.MULTILINE)[0]: part for part in text.strip().split("\n\n")}


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


def _finish(program: Program) -> None:
    """Write the outputs where the caller expects them, and the new states where the next step does."""
    graph, news = program.graph, {new: state for state, new in program.states.items()}
    for name in graph.outputs:
        if name not in news:
            to = View.whole(Buffer(program.arguments[name], "argument", math.prod(graph.shape(name)), graph.dtype(name)), graph.shape(name))
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


def text_of(code: Code) -> str:
    """Return the lines of a step, indented."""
    return "\n".join(indented(code.body))
