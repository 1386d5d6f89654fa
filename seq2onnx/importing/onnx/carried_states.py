"""Files whose states are inputs and outputs: the arguments of add_states that their names and shapes suggest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, ValueInfoProto, numpy_helper

from seq2onnx.importing.onnx.graph_parts import all_nodes, data_inputs, reads, tensors
from seq2onnx.importing.onnx.inputs import LAYOUT_OPS
from seq2onnx.importing.onnx.tracing import RECURRENT, declared, dtype_of

OLD_OR_NEW = {
    *("in", "input", "old", "prev", "previous", "past", "last", "init", "initial", "start", "current", "0"),
    *("out", "output", "new", "next", "present", "final", "updated", "n"),
}
"""Words that tell the two names of a state apart."""
MOST_ENTRIES = 100
"""The most inputs and outputs that are compared with each other: the file decides how many there are."""


def proposed(model: ModelProto, features: int | None, given: Mapping[str, str] | None = None) -> str:
    """Return the arguments that say which outputs continue which inputs; "" if no pair is missing in those `given`."""
    pairs = state_pairs(model)
    if not pairs.keys() - (given or {}).keys():
        return ""
    data = next(entry for entry in data_inputs(model) if entry.name not in pairs)
    arguments = [f"states={pairs}"]
    if fixed := [entry.name for entry in data_inputs(model) if entry.name not in {*pairs, data.name}]:
        numbers = compared_with(model, data.name)
        values = [f"{name!r}: {numbers.get(name, ['…'])[0]}" for name in fixed]
        arguments.append(f"fixed={{{', '.join(values)}}}")
    sizes = declared(data)
    if len(sizes) not in (1, 2, 3):
        arguments.append("axes=…")
    if sizes and sizes[-1] is None and features is None:
        arguments.append("features=… (how many numbers a step has; of sound, the samples of one run)")
    return ", ".join(arguments)


def are_only_starts(model: ModelProto) -> bool:
    """Whether the states of a file are only the first states of recurrent operators that run over a sequence."""
    pairs = state_pairs(model)
    data = next(entry for entry in data_inputs(model) if entry.name not in pairs)
    found = {*pairs}
    for node in model.graph.node:
        if node.op_type not in RECURRENT and reads(node) & found:
            if not reads(node) <= found:
                return False
            found.update(node.output)
    return len(declared(data)) != 2  # [batch, features] is one step


def state_pairs(model: ModelProto) -> dict[str, str]:
    """Return each input that an output seems to continue, with this output: by name, or as the only one of a shape.

    An input whose sizes before the features have the names of those of the data is a sequence beside it. A matrix
    beside data of any number of steps may be a vector for each sequence, so that its shape alone says nothing.
    """
    entries, pairs = data_inputs(model)[:MOST_ENTRIES], dict[str, str]()
    data, names = next(iter(entries), ValueInfoProto()), _names_of_sizes
    entries = [entry for entry in entries if entry is data or len(names(entry)) < 2 or names(entry) != names(data)]
    for key in (_stem, _sizes):
        old = [entry for entry in entries if entry.name not in pairs]
        new = [entry for entry in model.graph.output[:MOST_ENTRIES] if entry.name not in pairs.values()]
        if key is _sizes:  # the first is the data
            old = [entry for entry in old[1:] if len(declared(entry)) != 2 or declared(data).count(None) < 2]
        before, after = _single(old, key), _single(new, key)
        pairs |= {before[k].name: after[k].name for k in before.keys() & after.keys() if _fit(before[k], after[k])}
    if len(pairs) == len(entries) > 0:
        del pairs[entries[0].name]
    return {entry.name: pairs[entry.name] for entry in entries if entry.name in pairs}


def _names_of_sizes(entry: ValueInfoProto) -> list[str]:
    names = [dim.dim_param for dim in entry.type.tensor_type.shape.dim][:-1]
    return names if all(names) else []


def _single(entries: Iterable[ValueInfoProto], key: Callable[[ValueInfoProto], Any]) -> dict[Any, ValueInfoProto]:
    """Return the entries by their keys, without those that have no key or share it."""
    counts = Counter(map(key, entries := list(entries)))
    return {key(entry): entry for entry in entries if key(entry) and counts[key(entry)] == 1}


def _stem(entry: ValueInfoProto) -> str:
    """Return a name without what tells an old state from a new one: "h" of "h0", "hn", "h_in" and "next_h"."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", entry.name)]
    kept = [word for word in words if word not in OLD_OR_NEW]
    return "_".join(word.removesuffix("n") if len(word) == 2 else word for word in kept)


def _sizes(entry: ValueInfoProto) -> tuple[int | None, ...]:
    sizes = tuple(declared(entry))
    return sizes if len(sizes) > 1 and any(size and size > 1 for size in sizes) else ()


def _fit(old: ValueInfoProto, new: ValueInfoProto) -> bool:
    """Whether types and shapes are the same, as far as they are known."""
    types, sizes = [entry.type.tensor_type for entry in (old, new)], [declared(old), declared(new)]
    if types[0].elem_type != types[1].elem_type or not types[1].HasField("shape"):
        return bool(types[0].elem_type == types[1].elem_type)
    return len(sizes[0]) == len(sizes[1]) and all(a == b or None in (a, b) for a, b in zip(*sizes, strict=True))


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
