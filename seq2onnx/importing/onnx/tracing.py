"""Runs of a foreign graph in onnxruntime with every tensor looked at, in sizes that the file does not name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import FEATURES, step_letters
from seq2onnx.importing.equivalence import longest_steps
from seq2onnx.importing.onnx import graph_parts
from seq2onnx.importing.onnx.graph import RunFailed, open_session, run
from seq2onnx.importing.onnx.graph_parts import Array, depends_on_numbers, nodes_behind, place, remove_unused, replace
from seq2onnx.importing.onnx.size_limits import MOST_COMPUTED, check_sizes
from seq2onnx.importing.refusals import NodeRefused

PRIMES = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
"""Sizes of batch and time: those that are a size of nothing else in the file are taken."""
LONG = 1021
"""The length of a traced run where windows without padding need more steps."""
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
RECURRENT = {"LSTM": 2, "GRU": 1, "RNN": 1}
"""The recurrent operators, and how many states each has."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """A run of a foreign graph, without If, for random data: every tensor, and the sizes of batch and time.

    `axes` are the letters of the input `data`. Where a size is free, the graph runs with others, too; `others` is every
    tensor of such a run (None: the sizes are fixed).
    """

    model: ModelProto
    data: str
    axes: str
    rows: int
    steps: int
    free_rows: bool
    free_steps: bool
    values: Mapping[str, Array]
    others: Mapping[str, Array] | None

    @property
    def letters(self) -> tuple[str, ...]:
        """What each axis of the input is: "B", "T" or "" (features, and a fixed batch of 1, which looks the same)."""
        return tuple("" if each in FEATURES or (each == "B" and self.rows == 1) else each for each in self.axes)

    @property
    def sizes(self) -> dict[str, int]:
        """The size of the input along each of its axes."""
        return dict(zip(self.axes, self.values[self.data].shape, strict=True))

    @property
    def step(self) -> tuple[int, ...] | None:
        """The shape of a step of the input, the axes C, H and W in this order. None: tokens."""
        shape = tuple(self.sizes[letter] for letter in step_letters(self.axes))
        if self.values[self.data].dtype.kind not in "iu":
            return shape or (1,)
        if shape:
            raise ImportRefused("takes whole numbers with features; tokens are one number a step, axes='BT'")
        return None

    @property
    def contract_axes(self) -> str:
        """The axes of x in the contract: batch, time, and those of a step."""
        return "BT" if self.step is None else f"BT{step_letters(self.axes) or 'C'}"


def declared(entry: ValueInfoProto) -> list[int | None]:
    """Return the sizes that an input or output declares; None: any."""
    # Some exporters write 0 or -1 where they mean any.
    return [d.dim_value if d.dim_value > 0 else None for d in entry.type.tensor_type.shape.dim]


def dtype_of(entry: ValueInfoProto) -> np.dtype[Any]:
    """Return the numpy type of an input or output."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type))


def without_sizes(model: ModelProto, outputs: Iterable[str] | None = None) -> ModelProto:
    """Return a copy whose inputs and outputs declare no sizes; `outputs` are its outputs, else the same."""
    copy = deepcopy(model)
    for entry in copy.graph.input:
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            dim.dim_param = f"{entry.name}_{axis}"
    names = [entry.name for entry in copy.graph.output] if outputs is None else outputs
    replace(copy.graph.output, [ValueInfoProto(name=name) for name in names])
    return copy


def without_starts(model: ModelProto) -> ModelProto:
    """Return a copy in which recurrent operators start from zeros, where they start from numbers that are not data.

    Exporters write these numbers for one batch size. Without them, the graph takes any.
    """
    copy = deepcopy(model)
    data = depends_on_numbers(copy.graph, [entry.name for entry in copy.graph.input])
    for node in copy.graph.node:
        for index in range(5, 5 + RECURRENT.get(node.op_type, 0)):
            if len(node.input) > index and node.input[index] not in data:
                node.input[index] = ""
    return copy


def traces(
    model: ModelProto,
    data: str,
    axes: str,
    features: int | None,
    draw: Draw,
    *,
    long: bool = False,
    window: int | None = None,
) -> Iterator[Trace]:
    """Run a graph with every tensor exposed, first with sizes that it does not name, then with those that it declares.

    The branches of If are taken where their condition depends on shapes alone. `features` is the size of the axis C, if
    the file does not say it. `long` leaves out the runs of a few steps. With a `window`, each run has the steps that
    the file declares, or so many. If no run succeeds, the graph is refused.
    """
    entry = next(entry for entry in model.graph.input if entry.name == data)
    sizes = declared(entry)
    if len(sizes) != len(axes):
        raise ImportRefused(f"axes: {axes!r} names {len(axes)} axes, the input {data} has {len(sizes)}: {sizes}")
    free = _unnamed_sizes(model.graph)
    rows, other_rows, steps, other_steps = free[:4]
    of = dict(zip(axes, sizes, strict=True))
    batch, time = of.get("B", 1), of.get("T") or window
    step = {letter: of[letter] for letter in step_letters(axes)}
    step |= {} if features is None or "C" not in axes else {"C": features}
    if unknown := [letter for letter, size in step.items() if size is None]:
        remedy = "give features=" if unknown == ["C"] else f"export it with the size of {', '.join(unknown)}"
        raise ImportRefused(f"the input {data} {sizes} does not say how many features a step has; {remedy}")
    failed, done = "", False
    for free_rows, free_steps, many in ((1, 1, 0), (1, 1, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (0, 0, 0)):
        if (free_steps if window else time is None and not free_steps) or (free_rows and "B" not in axes):
            continue
        if not free_rows and batch is None and done:
            continue
        if (many and done) or (long and not many):
            continue
        b, t = rows if free_rows else batch or 1, (LONG if many else steps) if free_steps else time or 1
        sizes_of_runs: list[dict[str, Any]] = [{"B": b, "T": t, **step}]
        if free_rows or free_steps:
            other = {"B": other_rows if free_rows else b, "T": t + other_steps - steps if free_steps else t}
            sizes_of_runs.append(other | step)
        try:
            plain, values, *others = _runs(model, data, axes, sizes_of_runs, draw)
        except RunFailed as error:
            failed = failed or str(error)
            continue
        done = True
        plain = graph_parts.fold_constants(plain, values)
        yield Trace(plain, data, axes, b, t, bool(free_rows), bool(free_steps), values, others[0] if others else None)
    if not done:
        raise ImportRefused(f"onnxruntime does not run the file with the input {data} read as {axes}: {failed}")


def _runs(model: ModelProto, data: str, axes: str, sizes: Sequence[Mapping[str, int]], draw: Draw) -> list[Any]:
    """Run the graph with each of these sizes; return the graph without If, and all tensors of each run."""
    entry = next(entry for entry in model.graph.input if entry.name == data)
    feeds = []
    for each in sizes:
        shape = tuple(each[letter] for letter in axes)
        if math.prod(shape) > MOST_COMPUTED:
            raise RunFailed(f"{list(shape)} are more numbers than the {MOST_COMPUTED:,} that are allowed")
        x = draw(np.random.default_rng(0), shape).astype(dtype_of(entry))
        feeds.append({data: x} | other_inputs(model.graph, data, each["B"], each["T"]))
    while node := next((node for node in model.graph.node if node.op_type == "If"), None):
        model = _with_branch(model, node, data, _more_steps(model, data, axes, feeds) if len(feeds) > 1 else feeds)
    exposed = without_sizes(without_starts(model), [name for node in model.graph.node for name in node.output if name])
    for given in feeds:
        check_sizes(exposed, given)
    session = open_session(exposed, optimized=False)
    return [model, *(_run(model, session, given) for given in feeds)]


def _more_steps(
    model: ModelProto, data: str, axes: str, feeds: Sequence[Mapping[str, Array]]
) -> list[Mapping[str, Array]]:
    """Add inputs with as many steps as the comparison has, if the number of steps is free."""
    shape, other = (dict(zip(axes, given[data].shape, strict=True)) for given in feeds)
    if "T" not in shape or shape["T"] == other["T"]:
        return list(feeds)
    rest = math.prod(size for letter, size in shape.items() if letter != "T")
    shape["T"] = max(other["T"], longest_steps(rest))
    x = np.zeros([shape[letter] for letter in axes], feeds[0][data].dtype)
    return [*feeds, {data: x} | other_inputs(model.graph, data, shape.get("B", 1), shape["T"])]


def _with_branch(model: ModelProto, node: NodeProto, data: str, feeds: Sequence[Mapping[str, Array]]) -> ModelProto:
    """Return the graph with one branch of an If in its place, if the condition is the same for all inputs."""
    behind = nodes_behind(model.graph, node)
    names = [
        entry.name for entry in model.graph.input if node.input[0] in depends_on_numbers(model.graph, [entry.name])
    ]
    if names and data not in names:
        text = f"chooses what is computed by the input {names[0]!r}; give it a value, fixed={{{names[0]!r}: …}}"
        raise NodeRefused(f"{place(node)}: {text}", 0, behind)
    if names:
        text = "what is computed depends on the data; a stream cannot follow that"
        raise NodeRefused(f"{place(node)}: {text}", 0, behind)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if node.input[0] in constants:
        conditions = [bool(numpy_helper.to_array(constants[node.input[0]]).ravel()[0])]
    else:
        part = without_sizes(model, [node.input[0]])
        remove_unused(part.graph)
        conditions = []
        for given in feeds:
            try:
                check_sizes(part, given)
                found = run(open_session(part, optimized=False), given)[node.input[0]]
            except ImportRefused:
                if not conditions:
                    raise
                continue
            conditions.append(bool(found.ravel()[0]))
        if len(set(conditions)) > 1:
            numbers = [numpy_helper.to_array(tensor) for tensor in part.graph.initializer]
            known = sorted({int(n) for array in numbers if array.size == 1 for n in array.ravel() if n > 1})
            compared = f" with {', '.join(map(str, known))}" if known else ""
            raise NodeRefused(
                f"{place(node)}: compares the number of steps or rows{compared}, and calculates otherwise with more; a "
                "stream does not know it. Cut sequences before the network",
                0,
                behind,
            )
    taken = deepcopy(model)
    inner = next(each for each in taken.graph.node if each.output == node.output)
    graph_parts.take_branch(taken.graph, inner, conditions[0])
    return taken


def _run(model: ModelProto, session: onnxruntime.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    values = {name: value for name, value in run(session, feeds).items() if isinstance(value, np.ndarray)}
    return dict(feeds) | {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} | values


def other_inputs(graph: GraphProto, data: str, rows: int, steps: int, states: Collection[str] = ()) -> dict[str, Array]:
    """Return the other inputs at the start: lengths, for whole numbers that are no state; else zeros."""
    feeds = {}
    for entry in graph.input:
        if entry.name != data:
            sizes = declared(entry)
            # A state of one row for each direction or layer, [n, batch, hidden], may declare a batch of 1.
            shape = [rows if n is None or (n == 1 and axis == len(sizes) - 2) else n for axis, n in enumerate(sizes)]
            dtype = dtype_of(entry)
            is_length = dtype.kind in "iu" and entry.name not in states
            feeds[entry.name] = np.full(shape, steps if is_length else 0, dtype)
    return feeds


def _unnamed_sizes(graph: GraphProto) -> list[int]:
    """Return primes that are no size, and no whole number, anywhere in the graph."""
    named = {size for entry in (*graph.input, *graph.output) for size in declared(entry)}
    for tensor in graph_parts.tensors(graph):
        named.update(tensor.dims)
        if tensor.data_type == 7 and np.prod(tensor.dims, dtype=int) <= 64:
            named.update(numpy_helper.to_array(tensor).ravel().tolist())
    for node in graph.node:
        named.update(value for value in graph_parts.attributes(node).values() if isinstance(value, int))
    return [prime for prime in PRIMES if prime not in named][:4] or list(PRIMES[:4])
