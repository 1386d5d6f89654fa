"""Rules for the contents of a foreign ONNX file, checked before anything opens it: no other files, and no bombs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from seq2onnx.errors import ModelFileError
from seq2onnx.importing.onnx.graph_parts import DOMAINS, place
from seq2onnx.limits import UNPACKED_BYTES, UNPACKED_PER_BYTE

MOST_STORED = 2**28
"""The most numbers of a stored tensor. What the graph computes has a limit of its own, in size_limits.py."""
MOST_NODES = 20_000
"""The most nodes, with functions written out where they are called. Functions that call others twice double them."""
MOST_DEPTH = 32
"""The most levels of functions and inner graphs: onnx and onnxruntime call themselves for each."""
MOST_ENTRIES = 1000
"""The most numbers or texts in a list that an operator has as an attribute: axes, sizes, activations."""
NAMED = (onnx.AttributeProto, onnx.FunctionProto, onnx.GraphProto, NodeProto, TensorProto, onnx.ValueInfoProto)


def check_contents(model: ModelProto) -> None:
    """Raise ModelFileError for a file that is damaged, reads other files, or would become too large."""
    for message in _messages(model):
        if isinstance(message, NAMED):
            _check_names(message)
        if isinstance(message, NodeProto) and message.op_type != "Constant" and message.domain in DOMAINS:
            _check_lists(message)
        if isinstance(message, onnx.SparseTensorProto):
            raise ModelFileError("has sparse weights; export it with dense ones")
        if isinstance(message, TensorProto):
            _check_tensor(message)
    if model.training_info:
        raise ModelFileError("has a training graph; export it for inference")
    _check_size(model)


def _messages(model: ModelProto) -> Iterator[Any]:
    """Yield every message of protobuf in a model: no list of the places of tensors can be complete."""
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else value


def _check_names(message: Any) -> None:
    for field, value in message.ListFields():
        if field.type != field.TYPE_STRING or field.name == "doc_string":
            continue
        # protobuf gives texts that are not UTF-8 as bytes.
        if any(isinstance(text, bytes) for text in ([value] if isinstance(value, str | bytes) else value)):
            raise ModelFileError("is damaged: it has names that are not UTF-8")


def _check_lists(node: NodeProto) -> None:
    for entry in node.attribute:
        if (count := len(entry.ints) + len(entry.floats) + len(entry.strings)) > MOST_ENTRIES:
            raise ModelFileError(
                f"{place(node):.100}: has {count:,} numbers as its {entry.name:.60}; at most {MOST_ENTRIES:,} can be"
            )


def _check_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ModelFileError(
            f"its weights {tensor.name!r:.60} are in another file, which is not read; write one file with "
            "onnx.save(onnx.load(path), 'whole.onnx')"
        )
    if np.prod(tensor.dims, dtype=float) > MOST_STORED:
        raise ModelFileError(f"declares weights {tensor.name!r:.60} of the shape {list(tensor.dims)!r:.60}")


Name = tuple[str, ...]
"""The domain and the name of a function; () is the graph."""


class _Body(NamedTuple):
    """A graph or function with its inner graphs: nodes, bytes and levels; how often it calls which from which level."""

    sizes: tuple[int, int, int]
    calls: Counter[tuple[Name, int]]


def _check_size(model: ModelProto) -> None:
    """Check how large a model is with its functions written out, without doing it."""
    bodies: dict[Name, list[_Body]] = {}  # overloads have one name
    names = {_name(function.domain, function.name) for function in model.functions}
    for function in model.functions:
        bodies.setdefault(_name(function.domain, function.name), []).append(_body(function.node, names))
    bodies[()] = [_body(model.graph.node, names)]
    calls = {name: {called for body in found for called, _ in body.calls} for name, found in bodies.items()}
    try:
        order = [*TopologicalSorter(calls).static_order()]
    except CycleError as error:
        raise ModelFileError(f"its function {error.args[1][0][1]!r:.60} calls itself") from None
    limits = (
        (MOST_NODES, "nodes"),
        (UNPACKED_BYTES + UNPACKED_PER_BYTE * model.ByteSize(), "bytes of nodes"),
        (MOST_DEPTH, "levels of functions and inner graphs"),
    )
    sizes: dict[Name, tuple[int, ...]] = {}
    for name in order:
        written_out = [_written_out(body, sizes) for body in bodies[name]]
        sizes[name] = tuple(map(max, zip(*written_out, strict=True)))
        for size, (most, unit) in zip(sizes[name], limits, strict=True):
            if size > most:
                where = f"its function {name[1]!r:.60}" if name else "its graph"
                raise ModelFileError(
                    f"{where} has more than {most:,} {unit}, together with the functions that it calls; make it smaller"
                )


def _written_out(body: _Body, sizes: Mapping[Name, tuple[int, ...]]) -> tuple[int, int, int]:
    nodes, size, depth = body.sizes
    for (name, level), count in body.calls.items():
        nodes, size = nodes + count * sizes[name][0], size + count * sizes[name][1]
        depth = max(depth, level + sizes[name][2])
    return nodes, size, depth


def _name(domain: str, name: str) -> Name:
    return ("" if domain in DOMAINS else domain, name)


def _body(nodes: Iterable[NodeProto], functions: set[Name]) -> _Body:
    count, size, depth = 0, 0, 1
    calls: Counter[tuple[Name, int]] = Counter()
    waiting = [(node, 1) for node in nodes]
    while waiting:
        node, level = waiting.pop()
        count, depth = count + 1, max(depth, level)
        size += node.ByteSize() if level == 1 else 0
        if (name := _name(node.domain, node.op_type)) in functions:
            calls[name, level] += 1
        for entry in node.attribute:
            for graph in (entry.g, *entry.graphs) if entry.HasField("g") else entry.graphs:
                waiting += [(inner, level + 1) for inner in graph.node]
    return _Body((count, size, depth), calls)
