"""Bounds on the number of steps in a foreign graph: numbers that meet a size which grows with the sequence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from onnx import NodeProto, numpy_helper

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.equivalence import bends, longest_steps
from seq2onnx.importing.onnx.graph import open_session, run
from seq2onnx.importing.onnx.graph_parts import Array, depends_on_numbers, nodes_behind, place, reads, remove_unused
from seq2onnx.importing.onnx.node_calls import NO_END, axis_slices, call_of
from seq2onnx.importing.onnx.size_limits import check_sizes
from seq2onnx.importing.onnx.tracing import Trace, dtype_of, other_inputs, without_sizes
from seq2onnx.importing.refusals import NodeRefused

MOST_COMPARED = 64
"""Tensors with more numbers have some for each step."""
COMPARES = {"Min", "Max", "Clip", "Mod", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"}
REMEDY = "Longer sequences would give other results than the file; cut them before, and export the network without it"


def check_limits(trace: Trace) -> bool:
    """Refuse a bound on the number of steps.

    Returns whether the graph calculates the same with every length; otherwise only numbers can show it.
    """
    if not trace.free_steps:
        return False
    if found := next(_bounds_of_slices(trace), None):
        raise _refusal(trace, *found)
    graph = trace.model.graph
    data = depends_on_numbers(graph, [entry.name for entry in graph.input])
    sizes = {name: node for node in graph.node if not reads(node) & data for name in node.output if name}
    sizes |= {name: node for node in graph.node if node.op_type in ("Shape", "Size") for name in node.output}
    if not sizes:
        return True
    runs = _runs(trace, list(sizes))
    if len(runs) < 3:
        return False
    bent = {name for name in sizes if _is_bound(list(runs), [values[name] for values in runs.values()])}
    longest, complete = max(runs), True
    reached: set[str] = {name for node in graph.node if reads(node) & data for name in reads(node) & sizes.keys()}
    reached |= {entry.name for entry in graph.output} & sizes.keys()
    if bent & reached:
        before = _behind(sizes, bent & reached)
        name = next(name for name in sizes if name in bent & before)
        raise _refusal(trace, sizes[name], _number(trace, sizes, name, runs[longest][name]))
    for name in _behind(sizes, reached):
        far = _far_constant(trace, sizes[name], longest, runs)
        if far is not None:
            raise _refusal(trace, sizes[name], far)
    for name in reached:
        complete &= _is_settled([values[name] for values in runs.values()])
    return complete


def _refusal(trace: Trace, node: NodeProto, number: int) -> ImportRefused:
    text = f"{place(node)}: {number} is a bound on the number of steps. {REMEDY}"
    graph = trace.model.graph
    return NodeRefused(text, len(graph.node), nodes_behind(graph, node))


def _bounds_of_slices(trace: Trace) -> Iterator[tuple[NodeProto, int]]:
    """Find slices with a number beyond the size of an axis that grows."""
    for node in trace.model.graph.node:
        if node.op_type != "Slice" or trace.others is None:
            continue
        for each in axis_slices(call_of(trace, node, {})):
            if each.other is not None and each.size != each.other.size:
                least = min(each.size, each.other.size)
                bounds = (each.same_start_from_end, each.same_stop)
                yield from ((node, bound) for bound in bounds if bound is not None and bound > least)


def _runs(trace: Trace, names: list[str]) -> dict[int, Mapping[str, Array]]:
    """Compute what depends on sizes alone, for several numbers of steps up to the longest that the graph takes."""
    part = without_sizes(trace.model, names)
    remove_unused(part.graph)
    entry = next(entry for entry in trace.model.graph.input if entry.name == trace.data)
    sizes = trace.sizes
    session, found = open_session(part, optimized=False), {}
    longest = longest_steps(math.prod(size for letter, size in sizes.items() if letter != "T"))
    lengths, taken = [trace.steps], {entry.name for entry in part.graph.input}
    while longest > 2 * trace.steps and len(lengths) == 1:
        for steps in (trace.steps, longest // 3, longest):
            shape = tuple((sizes | {"T": steps})[letter] for letter in trace.axes)
            feeds = {trace.data: np.zeros(shape, dtype_of(entry))}
            feeds |= other_inputs(trace.model.graph, trace.data, sizes.get("B", 1), steps)
            feeds = {name: value for name, value in feeds.items() if name in taken}
            try:
                check_sizes(part, feeds)
                found[steps] = run(session, feeds)
            except ImportRefused:
                found.pop(steps, None)
                break
        lengths = list(found)
        longest //= 2
    return {steps: found[steps] for steps in sorted(found)}


def _is_bound(lengths: list[int], values: list[Array]) -> bool:
    """Whether a tensor follows the number of steps otherwise at the end."""
    shapes = [value.shape for value in values]
    if len({len(shape) for shape in shapes}) > 1 or (values[0].ndim and bends(lengths, shapes)):
        return True
    if len(set(shapes)) > 1 or values[0].size > MOST_COMPARED or not values[0].size:
        return False
    if values[0].dtype == bool:
        return len({value.tobytes() for value in values}) > 1
    return values[0].dtype.kind in "iuf" and bends(lengths, values)


def _is_settled(values: list[Array]) -> bool:
    """Whether numbers stay the same, or are few sizes; those for each step must be one number."""
    if len({value.shape for value in values}) == 1:
        same = all(np.array_equal(value, values[0]) for value in values)
        return same or (values[0].size <= MOST_COMPARED and values[0].dtype.kind in "iu")
    return len({number for value in values for number in np.unique(value).tolist()[:2]}) <= 1


def _behind(sizes: Mapping[str, NodeProto], names: set[str]) -> set[str]:
    """Return all that these tensors are computed from."""
    found, waiting = set(names), list(names)
    while waiting:
        for name in reads(sizes[waiting.pop()]) & sizes.keys() - found:
            found.add(name)
            waiting.append(name)
    return found


def _constants(trace: Trace, node: NodeProto) -> list[int]:
    stored = {tensor.name: tensor for tensor in trace.model.graph.initializer}
    arrays = [numpy_helper.to_array(stored[name]) for name in node.input if name in stored]
    return [int(n) for array in arrays if array.dtype.kind in "iuf" and array.size <= 8 for n in array.ravel()]


def _number(trace: Trace, sizes: Mapping[str, NodeProto], name: str, value: Array) -> int:
    """Return the number that is the bound: one that the node or what is before it has, or else what it gives."""
    for nodes in ([sizes[name]], [sizes[each] for each in _behind(sizes, {name})]):
        if own := [abs(n) for node in nodes for n in _constants(trace, node) if 1 < abs(n) < NO_END]:
            return max(own)
    return int(np.ravel(value)[0]) if value.size else 0


def _far_constant(trace: Trace, node: NodeProto, longest: int, runs: Mapping[int, Mapping[str, Array]]) -> int | None:
    """Return a number that a size is compared with, and that no run is long enough to reach."""
    if node.op_type not in COMPARES:
        return None
    last, *_, first = (runs[steps] for steps in (max(runs), min(runs)))
    if not any(name in last and not np.array_equal(last[name], first[name]) for name in node.input):
        return None
    return next((abs(n) for n in _constants(trace, node) if longest < abs(n) < NO_END), None)
