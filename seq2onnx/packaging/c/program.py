"""The statements of a step, and the memory that they use."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.packaging.c.graph import Graph, Node
from seq2onnx.packaging.c.memory import C_TYPES, Buffer, Lines, Shape, View, copied, dense, place
from seq2onnx.packaging.c.text import Names, number, rows_of


@dataclasses.dataclass(frozen=True)
class Statement:
    """Lines of C that belong to a layer, with the buffers that they read and write."""

    layer: str
    lines: Lines
    buffers: list[Buffer]


@dataclasses.dataclass(frozen=True)
class StatePlace:
    """Where the numbers of a state are between two steps.

    Attributes:
        pointer: to the first, in C.
        written: to the first in a stream that begins with this state.
        count, dtype: how many they are, and their type.
        turn: the field that says where a ring begins; "": it is no ring.
        ring, row: the ring, and the numbers of a row, if the state goes on at its start.
    """

    pointer: str
    written: str
    count: int
    dtype: str
    turn: str = ""
    ring: str = ""
    row: int = 0

    def reading(self, to: str) -> Lines:
        """Return lines that copy the state."""
        size = f"sizeof({C_TYPES[self.dtype]})"
        if not self.ring:
            return [f"memcpy({to}, {self.pointer}, {self.count} * {size});"]
        first = f"{self.row} * (size_t)({self.count // self.row} - stream->{self.turn}) * {size}"
        second = f"{self.row} * (size_t)stream->{self.turn} * {size}"
        return [f"memcpy({to}, {self.pointer}, {first});", f"memcpy((char *)({to}) + {first}, {self.ring}, {second});"]


@dataclasses.dataclass(frozen=True)
class Field:
    """A part of a stream.

    Attributes:
        name: in C.
        dtype: of its numbers.
        size: how many numbers it has.
        note: what a comment says of it.
    """

    name: str
    dtype: str
    size: int
    note: str

    @property
    def declaration(self) -> str:
        """The field in the struct."""
        return f"{C_TYPES[self.dtype]} {self.name}" + (f"[{self.size}];" if self.size else ";")

    @property
    def bytes(self) -> int:
        """Its size, without what aligns it."""
        return max(self.size, 1) * np.dtype(self.dtype).itemsize


class Program:
    """What the code of a graph is put together from.

    Attributes:
        views: where each tensor is, as soon as that is known.
        places: tensors that are written to their part of another: the whole, the axis and the first entry.
        statements: in the order of the code.
        fields: of the stream.
        state_places: where each state is.
        prologue, commits: lines before the statements, and after the check of the new states.
        checks: C code that is 0 if a number is not finite, or a number of a token is none.
        arrays: definitions of constants by name.
        kernels: the files of C that the statements call.
    """

    def __init__(self, graph: Graph, names: Names, arguments: dict[str, str], states: dict[str, str]) -> None:
        """Start without statements.

        Args:
            graph: the graph.
            names: for C.
            arguments: how C names the inputs and outputs that are no states.
            states: the name of each new state by that of the state.
        """
        self.graph, self.names, self.states = graph, names, states
        self.views: dict[str, View] = {}
        self.places: dict[str, tuple[str, int, int]] = {}
        self.statements: list[Statement] = []
        self.fields: list[Field] = []
        self.state_places: dict[str, StatePlace] = {}
        self.prologue: Lines = []
        self.commits: Lines = []
        self.checks: list[str] = []
        self.arrays: dict[str, str] = {}
        self.bytes_of_arrays = 0
        self.kernels: dict[str, None] = {}
        self._buffers: list[Buffer] = []
        self.arguments = arguments
        self.layer = ""
        for name in arguments.keys() & {*graph.inputs}:
            self.views[name] = self.argument(name)

    def argument(self, name: str) -> View:
        """Return the array of the caller for an input or output."""
        shape = self.graph.shape(name)
        return View.whole(Buffer(self.arguments[name], "argument", math.prod(shape), self.graph.dtype(name)), shape)

    # --- where tensors are --------------------------------------------------------------------------------------

    def view(self, name: str) -> View:
        """Return where a tensor is; a constant gets its array."""
        if name not in self.views:
            array = self.graph.constants[name]
            self.views[name] = View.whole(self.array(name, array), array.shape)
        return self.views[name]

    def result(self, name: str, strides: Shape | None = None) -> View:
        """Return the room for a result; `strides` are used if nothing else decides where its numbers lie."""
        if name in self.views:
            return self.views[name]
        shape = self.graph.shape(name)
        if name in self.places:
            whole, axis, first = self.places[name]
            view = self.result(whole).cut(axis, first, shape[axis])
        elif name in self.arguments:
            view = self.argument(name)
        else:
            view = dataclasses.replace(self.room(name, shape, self.graph.dtype(name)), strides=strides or dense(shape))
        self.views[name] = view
        return view

    def room(self, name: str, shape: Shape, dtype: str) -> View:
        """Return a part of the work array."""
        buffer = Buffer(self.names.new(name), "work", math.prod(shape), dtype)
        self._buffers.append(buffer)
        return View.whole(buffer, shape)

    def array(self, name: str, values: NDArray[Any]) -> Buffer:
        """Return an array of constants."""
        c = self.names(name)
        dtype = values.dtype.name
        if c not in self.arrays:
            texts = rows_of(number(value, dtype) for value in values.flat)
            sizes = " × ".join(map(str, values.shape)) or "1"
            declared = f"static const {C_TYPES[dtype]} {c}[{max(values.size, 1)}]"
            self.bytes_of_arrays += values.nbytes
            self.arrays[c] = f"{declared} ALIGNED = {{ /* {sizes} */\n{texts or '    0'}}};\n"
        return Buffer(c, "constant", values.size, dtype)

    # --- statements ---------------------------------------------------------------------------------------------

    def say(self, lines: Sequence[str], reads: Iterable[View], writes: Iterable[View]) -> None:
        """Add lines of C."""
        if lines:
            self.statements.append(Statement(self.layer, list(lines), [v.buffer for v in (*reads, *writes)]))

    def copy(self, source: View, to: View) -> None:
        """Add lines that copy an array."""
        self.say(copied(source, to), [source], [to])

    def kept(self, view: View, name: str) -> View:
        """Return a copy of an array."""
        copy = self.room(name, view.shape, view.buffer.dtype)
        self.copy(view, copy)
        return copy

    def check_finite(self, view: View) -> None:
        """Let a step be refused if a number is not finite."""
        if view.buffer.dtype in ("float32", "float64"):
            ending = "_double" if view.buffer.dtype == "float64" else ""
            whole = view if view.is_dense else self.kept(view, "checked")
            self.checks.append(f"is_finite{ending}({whole.pointer}, {math.prod(view.shape)})")
            self.keep(whole)

    def keep(self, view: View) -> None:
        """Let an array be in use until the end of the step."""
        view.buffer.last = FOREVER
        view.buffer.first = len(self.statements) if view.buffer.first < 0 else view.buffer.first

    # --- text ---------------------------------------------------------------------------------------------------

    def body(self) -> tuple[Lines, int]:
        """Return the lines of a step, and the bytes of its work arrays."""
        for at, statement in enumerate(self.statements):
            for buffer in statement.buffers:
                buffer.first = at if buffer.first < 0 else min(buffer.first, at)
                buffer.last = max(buffer.last, at)
        lines, size = list[str](), 0
        used = [buffer for buffer in self._buffers if buffer.first >= 0]
        for dtype in dict.fromkeys(buffer.dtype for buffer in used):
            of_type = [buffer for buffer in used if buffer.dtype == dtype]
            count = place(of_type)
            size += count * np.dtype(dtype).itemsize
            work = "work" if dtype == "float32" else f"work_{dtype}"
            lines.append(f"{C_TYPES[dtype]} {work}[{count}] ALIGNED;")
            for buffer in of_type:
                start = f"{work} + {buffer.offset}" if buffer.offset else work
                lines.append(f"{C_TYPES[dtype]} *const {buffer.name} = {start};")
        lines += self.prologue
        layer = ""
        for statement in self.statements:
            if statement.layer not in (layer, ""):
                layer = statement.layer
                lines += ["", f"/* {layer} */"]
            lines += statement.lines
        return lines, size


FOREVER = 2**31


def layer_of(node: Node, names: Names) -> str:
    """Return the name of the layer that a node belongs to, as a name of C; "" if it has none."""
    stem = node.outputs[0].split("/")[0]
    stem = re.sub(r"^new_state_\d+_", "", stem)
    return re.sub(r"\W", "_", stem, flags=re.ASCII)
