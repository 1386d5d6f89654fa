"""What a foreign ONNX file says about itself: its inputs, outputs, states, operators and weights. Nothing runs."""

from __future__ import annotations

from collections import Counter

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from seq2onnx.importing.onnx.graph import opset
from seq2onnx.importing.onnx.graph_parts import DOMAINS, all_nodes, tensors
from seq2onnx.importing.onnx.tracing import declared

LETTERS = {"batch": "B", "time": "T", "seq": "T", "step": "T", "frame": "T", "len": "T", "feat": "C", "channel": "C"}
"""What the name of a size says about its axis, by a part of the name."""


def writer(model: ModelProto) -> str:
    """Return the program that wrote a file, as it says, and the versions of the operators."""
    program = " ".join(filter(None, (model.producer_name, model.producer_version))) or "a program that it does not name"
    more = [f"{entry.domain} {entry.version}" for entry in model.opset_import if entry.domain not in DOMAINS]
    return f"written by {program:.100}; opset {', '.join([str(opset(model)), *more]):.200}"


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
