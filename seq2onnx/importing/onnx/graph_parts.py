"""The parts of an ONNX graph: what its nodes read, other names, unused nodes, constants, branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from seq2onnx.errors import ImportRefused

Array = NDArray[Any]
DOMAINS = ("", "ai.onnx")
"""The names of the default domain."""


def replace(field: Any, values: Iterable[Any]) -> None:
    """Replace the entries of a repeated field of protobuf."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node as Python values; texts are str."""
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in values.items()
    }


def place(node: NodeProto) -> str:
    """Name a node for people."""
    return f"{node.name or next(filter(None, node.output), '?')} ({node.op_type})"


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """Return the graphs in the attributes of a node."""
    return [graph for entry in node.attribute for graph in ([entry.g] if entry.HasField("g") else entry.graphs)]


def with_subgraphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the graphs in it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from with_subgraphs(inner)


def data_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Return the inputs that are no weights; in old files, weights are inputs, too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in weights]


def all_nodes(graph: GraphProto) -> list[NodeProto]:
    """Return the nodes of a graph and of the graphs in it."""
    return [node for part in with_subgraphs(graph) for node in part.node]


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every stored tensor of a graph and of the graphs in it."""
    for part in with_subgraphs(graph):
        yield from part.initializer
    for node in all_nodes(graph):
        for entry in node.attribute:
            yield from [entry.t] if entry.HasField("t") else entry.tensors


def reads(node: NodeProto) -> set[str]:
    """Return the names that a node reads, and those that the graphs in it take from outside."""
    found = set(filter(None, node.input))
    for graph in subgraphs(node):
        own = {entry.name for entry in (*graph.input, *graph.initializer)}
        for inner in graph.node:
            found |= reads(inner) - own
            own.update(inner.output)
        found |= {entry.name for entry in graph.output} - own
    return found


def nodes_behind(graph: GraphProto, node: NodeProto) -> tuple[int, int]:
    """Return how many nodes need what a node gives, and how many nodes the graph has."""
    found, count = set(filter(None, node.output)), 0
    for each in graph.node:
        if reads(each) & found:
            found.update(filter(None, each.output))
            count += 1
    return count, len(graph.node)


def all_names(graph: GraphProto) -> set[str]:
    """Return the names of all tensors of a graph and of the graphs in it."""
    parts = with_subgraphs(graph)
    found = {entry.name for part in parts for entry in (*part.input, *part.output, *part.initializer)}
    return found.union(*((*node.input, *node.output) for node in all_nodes(graph))) - {""}


def take_constants(graph: GraphProto) -> None:
    """Make initializers of Constant nodes."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in DOMAINS:
            graph.initializer.append(_constant(node))
        else:
            kept.append(node)
    replace(graph.node, kept)


_CONSTANTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def _constant(node: NodeProto) -> TensorProto:
    if len(node.attribute) != 1:
        raise ImportRefused(f"{place(node)}: a Constant with {len(node.attribute)} attributes; expected one")
    (entry,) = node.attribute
    if entry.type == AttributeProto.TENSOR:
        tensor: TensorProto = deepcopy(entry.t)
        tensor.name = node.output[0]
        return tensor
    if entry.name not in _CONSTANTS:
        raise ImportRefused(f"{place(node)}: a constant of texts or of sparse values")
    return numpy_helper.from_array(np.array(helper.get_attribute_value(entry), _CONSTANTS[entry.name]), node.output[0])


def remove_unused(graph: GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    needed = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(filter(None, node.output)):
            kept.append(node)
            needed |= reads(node)
    replace(graph.node, reversed(kept))
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])


def depends_on_numbers(graph: GraphProto, names: Iterable[str]) -> set[str]:
    """Return all tensors whose numbers depend on the numbers of these tensors, and not only on their shapes."""
    found = set(names)
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and reads(node) & found:
            found.update(filter(None, node.output))
    return found


STAYS = {
    *("Cast", "DequantizeLinear", "Flatten", "Identity", "Reshape"),
    *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
}
"""Operators whose result is not larger than what they read."""


def fold_constants(model: ModelProto, values: Mapping[str, Array]) -> ModelProto:
    """Return a copy in which what is computed from constants alone is a constant, but for operators of STAYS.

    `load` refuses files that compute other constants: they could be of any size.
    """
    copy = deepcopy(model)
    constants, kept = {tensor.name for tensor in copy.graph.initializer}, []
    for node in copy.graph.node:
        is_constant = reads(node) <= constants and all(name in values for name in node.output if name)
        if is_constant:
            constants.update(filter(None, node.output))
        if is_constant and node.op_type not in STAYS:
            for name in filter(None, node.output):
                copy.graph.initializer.append(numpy_helper.from_array(values[name], name))
        else:
            kept.append(node)
    replace(copy.graph.node, kept)
    remove_unused(copy.graph)
    return copy


def rename(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    """Return a copy of a node with other tensor names, also in the graphs in it."""
    copy = deepcopy(node)
    replace(copy.input, [names.get(name, name) for name in node.input])
    replace(copy.output, [names.get(name, name) for name in node.output])
    for graph in subgraphs(copy):
        rename_all(graph, names)
    return copy


def rename_all(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Give tensors of a graph, and of the graphs in it, other names."""
    replace(graph.node, [rename(inner, names) for inner in graph.node])
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = names.get(entry.name, entry.name)


def take_branch(graph: GraphProto, node: NodeProto, condition: bool) -> None:
    """Put the nodes of one branch of an If in its place."""
    branch = attributes(node)["then_branch" if condition else "else_branch"]
    outputs = dict(zip((entry.name for entry in branch.output), node.output, strict=True))
    inner = {name for each in branch.node for name in each.output if name} | {t.name for t in branch.initializer}
    names = {name: outputs.get(name, f"{node.output[0]}/{name}") for name in inner}
    nodes = [rename(each, names) for each in branch.node]
    nodes += [helper.make_node("Identity", [name], [out]) for name, out in outputs.items() if name not in inner]
    for tensor in branch.initializer:
        tensor.name = names[tensor.name]
        graph.initializer.append(tensor)
    every = list(graph.node)
    at = every.index(node)
    replace(graph.node, [*every[:at], *nodes, *every[at + 1 :]])
    take_constants(graph)
    remove_unused(graph)
