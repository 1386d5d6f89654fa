"""The order of a step: gates are cut apart early, windows lie in the stream, neighbours share a loop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from seq2onnx.packaging.c.elementwise import OPERATORS
from seq2onnx.packaging.c.graph import Graph, Node, Tensor
from seq2onnx.packaging.c.memory import C_TYPES, Buffer, View
from seq2onnx.packaging.c.program import Field, Program, StatePlace

VIEWS = frozenset(
    ["Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"]
)
"""Operators that need no code if strides can say what they do."""
RING = 1024
"""Numbers of a window from which on it is a ring: shorter ones are moved by a step each time."""
MOST_IN_LOOP = 40
"""Nodes of one loop: more would not fit into the registers of any processor."""


# --- gates ------------------------------------------------------------------------------------------------------------


def move_splits(graph: Graph) -> None:
    """Cut gates apart before the function that they share, so that one loop calculates a cell."""
    moved = True
    while moved:
        moved = False
        for split in [node for node in graph.nodes if node.op == "Split"]:
            node = graph.makers.get(split.inputs[0])
            if node is not None and _moves(graph, node, split):
                _move(graph, node, split)
                graph.forget_links()
                moved = True
                break


def _moves(graph: Graph, node: Node, split: Node) -> bool:
    whole = split.inputs[0]
    same = all(graph.shape(name) == graph.shape(whole) or _is_one(graph, name) for name in node.inputs if name)
    return node.op in OPERATORS and same and graph.is_read_once(whole)


def _is_one(graph: Graph, name: str) -> bool:
    return math.prod(graph.shape(name)) == 1


def _move(graph: Graph, node: Node, split: Node) -> None:
    axis = split.attributes.get("axis", 0) % len(graph.shape(split.inputs[0]))
    sizes = [graph.shape(output)[axis] for output in split.outputs]
    inputs: list[list[str]] = [[] for _ in split.outputs]
    made: list[Node] = []
    for entry in node.inputs:
        if not entry or _is_one(graph, entry):
            names = [entry] * len(sizes)
        elif entry in graph.constants:
            parts = np.split(graph.constants[entry], np.cumsum(sizes)[:-1], axis)
            names = [
                graph.add_constant(f"{output}/{entry}", part) for output, part in zip(split.outputs, parts, strict=True)
            ]
        else:
            names = [f"{output}/{entry}" for output in split.outputs]
            for name, output in zip(names, split.outputs, strict=True):
                graph.tensors[name] = Tensor(graph.shape(output), graph.dtype(entry))
            made.append(Node("Split", [entry, *split.inputs[1:]], names, split.attributes))
        for operands, name in zip(inputs, names, strict=True):
            operands.append(name)
    made += [Node(node.op, part, [output], node.attributes) for part, output in zip(inputs, split.outputs, strict=True)]
    at = graph.nodes.index(split)
    graph.nodes[at : at + 1] = made
    graph.nodes.remove(node)


# --- windows ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Window:
    """A state that is the end of what a Concat puts behind it.

    Attributes:
        state: the name of the state.
        concat, end: the node that joins the state and what is new, and the one that cuts the new state off.
        axis: the axis that grows.
        rows, new: rows of the whole, and how many of them are new.
        row: numbers of a row.
    """

    state: str
    concat: Node
    end: Node
    axis: int
    rows: int
    new: int
    row: int

    @property
    def is_ring(self) -> bool:
        """Whether its old rows stay where they are."""
        return self.rows * self.row >= RING and self.rows % self.new == 0 and self.rows > 5 * self.new


def find_windows(graph: Graph, states: Mapping[str, str]) -> list[Window]:
    """Return the windows of a graph; `states` has the name of each new state."""
    found = []
    for concat in [node for node in graph.nodes if node.op == "Concat"]:
        state, whole = concat.inputs[0], concat.outputs[0]
        shape = graph.shape(whole)
        axis = concat.attributes["axis"] % len(shape)
        ends = [n for n in graph.users.get(whole, []) if n.op == "Slice" and states.get(state) in n.outputs]
        if not ends or not graph.is_read_once(state) or math.prod(shape[:axis]) > 1:
            continue
        kept = graph.shape(state)[axis]
        if graph.shape(states[state]) != graph.shape(state) or not _cuts_end(graph, ends[0], axis, shape[axis] - kept):
            continue
        row = math.prod(shape[axis + 1 :])
        found.append(Window(state, concat, ends[0], axis, shape[axis], shape[axis] - kept, row))
    return found


def _cuts_end(graph: Graph, node: Node, axis: int, first: int) -> bool:
    """Whether a Slice keeps all rows from `first` on."""
    if len(node.inputs) < 4:
        return False
    starts, _, axes, *steps = (graph.values(name) for name in node.inputs[1:])
    rank = len(graph.shape(node.inputs[0]))
    rows = graph.shape(node.inputs[0])[axis]
    return [a % rank for a in axes] == [axis] and starts[0] % rows == first and steps in ([], [[1]])


def put_windows(program: Program) -> None:
    """Give each window its buffer in the stream."""
    graph = program.graph
    for window in find_windows(graph, program.states):
        whole = window.concat.outputs[0]
        shape, dtype = graph.shape(whole), graph.dtype(whole)
        field = program.names(window.state)
        reader = _reader_of_rows(graph, window)
        if window.is_ring and reader is not None:
            targets = _ring_of_rows(program, window, field, reader)
        elif window.is_ring:
            targets = _ring(program, window, field)
        else:
            kept = window.rows - window.new
            buffer = Buffer(f"stream->{field}", "stream", window.rows * window.row, dtype)
            note = f"{kept} earlier and {window.new} new rows of {window.row}"
            program.fields.append(Field(field, dtype, window.rows * window.row, note))
            size = f"{kept * window.row} * sizeof({C_TYPES[dtype]})"
            program.state_places[window.state] = StatePlace(buffer.name, buffer.name, kept * window.row, dtype)
            if kept:
                program.commits.append(f"memmove({buffer.name}, {buffer.name} + {window.new * window.row}, {size});")
            program.views[whole] = View.whole(buffer, shape)
            targets = [program.views[whole].cut(window.axis, kept, window.new)]
        graph.nodes.remove(window.end)
        graph.outputs.remove(program.states[window.state])
        window.concat.op, window.concat.inputs = "Store", window.concat.inputs[1:]
        window.concat.attributes = {"axis": window.axis, "targets": targets}
    graph.forget_links()


def _ring(program: Program, window: Window, field: str) -> list[View]:
    """Let a window be a ring that is written twice, so that it lies in one piece; return where its new rows go."""
    graph, row, whole = program.graph, window.row, window.concat.outputs[0]
    dtype, size, new = graph.dtype(whole), window.rows * window.row, window.new * window.row
    kind, turn = C_TYPES[dtype], program.names.new(f"{field}_turn")
    first, after = program.names.new(f"{field}_window"), program.names.new(f"{field}_new")
    program.fields.append(Field(field, dtype, 2 * size, f"a ring of {window.rows} rows of {row}, written twice"))
    program.fields.append(Field(turn, "int32", 0, f"where the ring begins, 0 to {window.rows // window.new - 1}"))
    program.prologue += [
        f"{kind} *const {after} = stream->{field} + {new} * stream->{turn};",
        f"const {kind} *const {first} = {after} + {new};",
    ]
    program.commits.append(f"stream->{turn} = (stream->{turn} + 1) % {window.rows // window.new};")
    program.views[whole] = View.whole(Buffer(first, "stream", size, dtype), graph.shape(whole))
    shape = [*graph.shape(whole)]
    shape[window.axis] = window.new
    program.state_places[window.state] = StatePlace(
        f"stream->{field} + {new} * (stream->{turn} + 1)", f"stream->{field} + {new}", size - new, dtype, turn
    )
    both = View.whole(Buffer(after, "stream", size + new, dtype), tuple(shape))
    return [both, dataclasses.replace(both, offset=size)]


MOST_ROWS = 16
"""Rows of a window that a step reads, up to which each has a line of its own."""


def _reader_of_rows(graph: Graph, window: Window) -> Node | None:
    """Return the node that reads a window if it is one that takes a few of its rows; the window is then no result."""
    whole = window.concat.outputs[0]
    readers = [node for node in graph.users[whole] if node is not window.end]
    if len(readers) != 1 or readers[0].op != "Gather" or whole in graph.outputs or window.new != 1:
        return None
    (reader,) = readers
    index = graph.constants.get(reader.inputs[1])
    axis = reader.attributes.get("axis", 0) % len(graph.shape(whole))
    is_few = index is not None and index.ndim == 1 and index.size <= MOST_ROWS
    return reader if is_few and axis == window.axis and reader.inputs[1] != whole else None


def _ring_of_rows(program: Program, window: Window, field: str, reader: Node) -> list[View]:
    """Let a window be a ring of which single rows are read; return where its new row goes."""
    graph, row, rows, whole = program.graph, window.row, window.rows, window.concat.outputs[0]
    dtype, turn = graph.dtype(whole), program.names.new(f"{field}_turn")
    name = f"stream->{field}"
    program.fields.append(Field(field, dtype, rows * row, f"a ring of {rows} rows of {row}"))
    program.fields.append(Field(turn, "int32", 0, f"the place of the new row, 0 to {rows - 1}"))
    program.commits.append(f"stream->{turn} = (stream->{turn} + 1) % {rows};")
    program.state_places[window.state] = StatePlace(
        f"{name} + {row} * (stream->{turn} + 1)", f"{name} + {row}", (rows - 1) * row, dtype, turn, name, row
    )
    program.views[whole] = View.whole(Buffer(name, "stream", rows * row, dtype), graph.shape(whole))
    places = [int(i) % rows for i in graph.values(reader.inputs[1])]
    reader.op = "Rows"
    starts = [f"{name} + {row} * ((stream->{turn} + {i + 1}) % {rows})" for i in places]
    reader.attributes = {"from": starts, "axis": window.axis}
    shape = [*graph.shape(whole)]
    shape[window.axis] = 1
    after = program.names.new(f"{field}_new")
    program.prologue.append(f"{C_TYPES[dtype]} *const {after} = {name} + {row} * stream->{turn};")
    return [View.whole(Buffer(after, "stream", row, dtype), tuple(shape))]


# --- places and order -------------------------------------------------------------------------------------------------


def put_places(program: Program) -> None:
    """Let what a Concat joins be written to its place, if nothing else decides where it is."""
    graph = program.graph
    for node in graph.nodes:
        whole = node.outputs[0]
        if node.op not in ("Concat", "Store") or len(node.attributes.get("targets", [1])) > 1:
            continue
        if any(user.op == "Rows" for user in graph.users.get(whole, [])):
            continue
        axis = node.attributes["axis"] % len(graph.shape(whole))
        first = graph.shape(whole)[axis] - sum(graph.shape(part)[axis] for part in node.inputs)
        for part in node.inputs:
            maker = graph.makers.get(part)
            is_free = part not in graph.outputs and part not in program.places and node.inputs.count(part) == 1
            if maker is not None and maker.op not in VIEWS | {"Concat", "Store"} and is_free:
                program.places[part] = (whole, axis, first)
            first += graph.shape(part)[axis]


def in_order(graph: Graph) -> Iterator[list[Node]]:
    """Yield the nodes in an order in which they can run; neighbours of one shape that can share a loop are together.

    The order is that of the graph, but loops wait until another node needs them, so that they grow.
    """
    waiting: dict[str, Node] = {}  # by their results

    def loops(target: str) -> Iterator[list[Node]]:
        """Yield the loops that make a tensor, in order."""
        while target in waiting:
            first = waiting[target]
            while makers := [waiting[name] for name in first.inputs if name in waiting]:
                first = makers[0]
            shape, group = graph.shape(first.outputs[0]), list[Node]()
            for node in list(waiting.values()):  # in the order of the graph: what a node reads comes before it
                is_ready = not any(name in waiting for name in node.inputs)
                if is_ready and graph.shape(node.outputs[0]) == shape and len(group) < MOST_IN_LOOP:
                    group.append(waiting.pop(node.outputs[0]))
            yield group

    for node in graph.nodes:
        if node.op in OPERATORS:
            waiting[node.outputs[0]] = node
            continue
        for name in node.inputs:
            yield from loops(name)
        yield [node]
    for name in list(waiting):
        yield from loops(name)
