"""What a foreign ONNX file says about itself: its inputs, outputs, states, operators and weights. Nothing runs."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, ValueInfoProto, helper, numpy_helper

from seq2onnx.importing.onnx.graph import opset
from seq2onnx.importing.onnx.graph_parts import DOMAINS, all_nodes, tensors
from seq2onnx.importing.onnx.inputs import LAYOUT_OPS
from seq2onnx.importing.onnx.tracing import declared, dtype_of

LETTERS = {"batch": "B", "time": "T", "seq": "T", "step": "T", "frame": "T", "len": "T", "feat": "C", "channel": "C"}
"""What the name of a size says about its axis, by a part of the name."""
MOST_ENTRIES = 100
"""The most inputs and outputs that are compared with each other: the file decides how many there are."""


def writer(model: ModelProto) -> str:
    """Return the program that wrote a file, as it says, and the versions of the operators."""
    program = " ".join(filter(None, (model.producer_name, model.producer_version))) or "a program that it does not name"
    more = [f"{entry.domain} {entry.version}" for entry in model.opset_import if entry.domain not in DOMAINS]
    return f"written by {program:.100}; opset {', '.join([str(opset(model)), *more]):.200}"


def data_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Return the inputs that are no weights; in old files, weights are inputs, too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in weights]


def type_and_shape(entry: ValueInfoProto) -> tuple[str, str]:
    """Return the type and the shape of an input or output as a file declares them."""
    if not entry.type.HasField("tensor_type"):
        return "no tensor", ""
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        return _type(tensor.elem_type), "not declared"
    sizes = zip(tensor.shape.dim, declared(entry), strict=True)
    return _type(tensor.elem_type), f"[{', '.join(dim.dim_param or str(size or '?') for dim, size in sizes)}]"


def axis_letters(entry: ValueInfoProto) -> list[str]:
    """Return what the names of its sizes say about the axes of an input: B, T, C, or "?"."""
    names = [dim.dim_param.lower() for dim in entry.type.tensor_type.shape.dim]
    return [next((letter for part, letter in LETTERS.items() if part in name), "?") for name in names]


def state_pairs(model: ModelProto) -> dict[str, str]:
    """Pair inputs with outputs of the same type and shape: states that a file takes and gives.

    The first input of two or more axes without such an output is the data, else the first of all. Of several outputs,
    that with the most similar name continues an input.
    """
    entries, free = data_inputs(model)[:MOST_ENTRIES], model.graph.output[:MOST_ENTRIES]
    fitting = {entry.name: [output for output in free if _fits(entry, output)] for entry in entries}
    wide = [entry for entry in entries if len(entry.type.tensor_type.shape.dim) > 1]
    data = next((entry for entry in wide if not fitting[entry.name]), next(iter(wide), None))
    pairs: dict[str, str] = {}
    for entry in wide:
        found = [output.name for output in fitting[entry.name] if output.name not in pairs.values()]
        if entry is not data and found:
            similar = [difflib.SequenceMatcher(None, entry.name[:100], name[:100]).ratio() for name in found]
            pairs[entry.name] = found[similar.index(max(similar))]
    return pairs


def _fits(entry: ValueInfoProto, output: ValueInfoProto) -> bool:
    before, after = entry.type.tensor_type, output.type.tensor_type
    same_kind = before.elem_type == after.elem_type and 2 <= len(before.shape.dim) == len(after.shape.dim)
    # Exporters seldom know the sizes of outputs; if they do, the input has the same.
    return same_kind and all(b in (a, None) for a, b in zip(declared(entry), declared(output), strict=True))


def compared_with(model: ModelProto, data: str) -> dict[str, list[Any]]:
    """Return the numbers with which the nodes Equal of a graph compare its inputs of one number, but for the data."""
    graph: GraphProto = model.graph
    known = {tensor.name: tensor for tensor in tensors(graph)}
    constants = [node for node in all_nodes(graph) if node.op_type == "Constant"]
    known |= {node.output[0]: entry.t for node in constants for entry in node.attribute if entry.HasField("t")}
    found: dict[str, list[Any]] = {}
    for entry in data_inputs(model)[:MOST_ENTRIES]:
        shape = [size or 2 for size in declared(entry)]
        if entry.name == data or np.prod(shape) > 1:
            continue
        same, nodes = {entry.name}, []
        for node in all_nodes(graph):
            if node.op_type in {*LAYOUT_OPS, "Gather"} and node.input[0] in same:
                same.update(node.output)
            elif node.op_type == "Equal" and same & {*node.input}:
                nodes.append(node)
        others = [known[name] for node in nodes for name in node.input if name in known]
        arrays = [numpy_helper.to_array(tensor) for tensor in others if np.prod(tensor.dims) == 1]
        if arrays and dtype_of(entry).kind in "iuf":
            numbers = sorted({array.item() for array in arrays})
            found[entry.name] = [np.full(shape, number).tolist() for number in numbers]
    return found


def operators(model: ModelProto) -> list[tuple[str, int]]:
    """Return the operators with the number of their nodes, also in inner graphs and functions, the most frequent first.

    Constants are weights.
    """
    nodes = [*all_nodes(model.graph), *(node for function in model.functions for node in function.node)]
    names = [node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}" for node in nodes]
    return sorted(
        Counter(name for name in names if name != "Constant").items(), key=lambda entry: (-entry[1], entry[0])
    )


def weights(model: ModelProto) -> list[tuple[str, int, int, int]]:
    """Return for each type of stored tensors how many there are, how many numbers they have, and how many bytes."""
    counts: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for tensor in tensors(model.graph):
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        counts.setdefault(_type(tensor.data_type), []).append(int(np.prod(tensor.dims, dtype=int)))
        sizes[_type(tensor.data_type)] = dtype.itemsize
    return [(kind, len(found), sum(found), sum(found) * sizes[kind]) for kind, found in sorted(counts.items())]


def _type(element: int) -> str:
    dtype = helper.tensor_dtype_to_np_dtype(element)
    return "text" if dtype.kind == "O" else str(dtype)
