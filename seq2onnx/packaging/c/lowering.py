"""Nodes that stand for others: recurrent operators, branches and loops of files that add_states made.

A recurrent operator becomes the products and functions of its equations for each of its steps; the gates have ONNX's
order: i, o, f, c of an LSTM, and z, r, h of a GRU. A branch whose condition is known is taken. A Scan is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from seq2onnx.errors import SpecError
from seq2onnx.packaging.c.refusals import not_in_c
from seq2onnx.packaging.c.simpler import Nodes, attributes_of, batch_normalization, gemm, global_pool, pad

if TYPE_CHECKING:
    from seq2onnx.packaging.c.graph import Graph

MOST_STEPS = 64
"""Steps of a recurrent operator or a Scan in one call: each is written out."""


_Values = Mapping[str, Any]
"""The weights of one direction: w [inputs, gates], r [hidden, gates], b [2 · gates]."""


def _too_long(node: NodeProto, steps: int) -> str:
    return (
        f"a node {node.op_type} has {steps} steps in each call; C code writes out at most {MOST_STEPS}: make the model "
        "with fewer steps in a call, or package it for another target"
    )


def recurrent(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """Return the equations of an LSTM, a GRU or an RNN, step by step."""
    nodes, attributes = Nodes(graph, node), attributes_of(node)
    x, weights, matrix, bias, lengths, start_h, start_c, peephole = [*node.input, *[""] * 8][:8]
    if attributes.get("layout", 0) or attributes.get("clip") or attributes.get("input_forget") or peephole:
        raise not_in_c(f"a node {node.op_type} has layout, clip, input_forget or peepholes")
    for name in filter(None, (weights, matrix, bias)):
        if name not in graph.constants:
            raise SpecError(
                f"the weights {name} of a node {node.op_type} are calculated or given in each step; C code needs "
                "constants: store them in the model"
            )
    steps, rows, _ = graph.shape(x)
    if steps > MOST_STEPS:
        raise SpecError(_too_long(node, steps))
    if lengths and (lengths not in graph.constants or set(graph.values(lengths)) != {steps}):
        raise not_in_c(f"a node {node.op_type} has lengths other than its number of steps")
    size = graph.shape(matrix)[-1]
    direction = attributes.get("direction", b"forward").decode()
    functions = [text.decode() for text in attributes.get("activations", ())]
    functions = functions or list(_FUNCTIONS[node.op_type]) * (2 if direction == "bidirectional" else 1)
    if set(functions) - {"Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign"} or attributes.get("activation_alpha"):
        raise not_in_c(f"a node {node.op_type} has the activations {', '.join(functions)}")
    per = len(functions) // (2 if direction == "bidirectional" else 1)
    late = bool(attributes.get("linear_before_reset", 0))
    made: list[list[str]] = []  # of each direction: the results of its steps, in time
    ends: list[list[str]] = []
    for d in range(graph.shape(weights)[0]):
        gates = graph.constants[weights].shape[1]
        values = {
            "w": nodes.constant(np.ascontiguousarray(graph.constants[weights][d].T)),
            "r": graph.constants[matrix][d].T,
            "b": graph.constants[bias][d] if bias else np.zeros(2 * gates, np.float32),
        }
        state = [_part(nodes, start, d, rows, size) for start in (start_h, start_c)[: 1 + (node.op_type == "LSTM")]]
        backward = d == 1 or direction == "reverse"
        results: list[str] = []
        for t in reversed(range(steps)) if backward else range(steps):
            row = nodes.add("Gather", x, nodes.constant(np.array(t)), axis=0)
            state = _EQUATIONS[node.op_type](nodes, row, state, values, functions[d * per : (d + 1) * per], late)
            results.append(state[0])
        made.append(results[::-1] if backward else results)
        ends.append(state)
    outputs = [*node.output, "", ""]
    if outputs[0]:
        time = [[nodes.with_axes(results[t], [0, 1]) for results in made] for t in range(steps)]
        rows_of_time = [nodes.add("Concat", *parts, axis=1) for parts in time]
        nodes.add("Concat", *rows_of_time, to=outputs[0], axis=0)
    for k, output in enumerate(outputs[1:3]):
        if output:
            last = [nodes.with_axes(end[k], [0]) for end in ends]
            nodes.add("Concat", *last, to=output, axis=0)
    return nodes


def _part(nodes: Nodes, start: str, direction: int, rows: int, size: int) -> str:
    """Return the start of a direction, zeros where a node has none."""
    if not start:
        return nodes.constant(np.zeros((rows, size), np.float32))
    return nodes.add("Gather", start, nodes.constant(np.array(direction)), axis=0)


def _lstm(nodes: Nodes, x: str, state: list[str], values: _Values, functions: list[str], late: bool) -> list[str]:
    h, c = state
    size = len(values["r"])
    both = nodes.constant(values["b"][: 4 * size] + values["b"][4 * size :])
    sums = nodes.add("Gemm", h, nodes.constant(values["r"]), nodes.add("Gemm", x, values["w"], both))
    i, o, f, g = nodes.split(sums, 4, size)
    gate, cell, out = functions
    i, o, f = (nodes.add(gate, name) for name in (i, o, f))
    c = nodes.add("Add", nodes.add("Mul", f, c), nodes.add("Mul", i, nodes.add(cell, g)))
    return [nodes.add("Mul", o, nodes.add(out, c)), c]


def _gru(nodes: Nodes, x: str, state: list[str], values: _Values, functions: list[str], late: bool) -> list[str]:
    (h,), (size, _), (gate, cell) = state, values["r"].shape, functions
    inner, outer = values["b"][3 * size :], values["b"][: 3 * size]
    sums = nodes.split(nodes.add("Gemm", x, values["w"], nodes.constant(outer)), 3, size)
    if late:
        own = nodes.split(nodes.add("Gemm", h, nodes.constant(values["r"]), nodes.constant(inner)), 3, size)
        z, r = (nodes.add(gate, nodes.add("Add", a, b)) for a, b in zip(sums[:2], own[:2], strict=True))
        candidate = nodes.add("Add", sums[2], nodes.add("Mul", r, own[2]))
    else:
        matrices = [nodes.constant(np.ascontiguousarray(values["r"][:, k * size : (k + 1) * size])) for k in range(3)]
        biases = [nodes.constant(inner[k * size : (k + 1) * size]) for k in range(3)]
        own = [nodes.add("Gemm", h, matrices[k], biases[k]) for k in range(2)]
        z, r = (nodes.add(gate, nodes.add("Add", a, b)) for a, b in zip(sums[:2], own, strict=True))
        candidate = nodes.add("Add", sums[2], nodes.add("Gemm", nodes.add("Mul", r, h), matrices[2], biases[2]))
    new = nodes.add(cell, candidate)
    return [nodes.add("Add", new, nodes.add("Mul", z, nodes.add("Sub", h, new)))]


def _rnn(nodes: Nodes, x: str, state: list[str], values: _Values, functions: list[str], late: bool) -> list[str]:
    (h,), (function,), size = state, functions, len(values["r"])
    both = nodes.constant(values["b"][:size] + values["b"][size:])
    return [
        nodes.add(function, nodes.add("Gemm", h, nodes.constant(values["r"]), nodes.add("Gemm", x, values["w"], both)))
    ]


_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_EQUATIONS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def branch(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """Return the nodes of the branch that a constant chooses."""
    if node.input[0] not in graph.constants:
        raise not_in_c("an If has a condition that only a step knows")
    attributes = attributes_of(node)
    taken = attributes["then_branch" if bool(np.ravel(graph.constants[node.input[0]])[0]) else "else_branch"]
    return _inlined(graph, taken, {}, list(node.output), Nodes(graph, node).name())


def scan(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """Return the body of a Scan for each of its steps."""
    nodes, attributes = Nodes(graph, node), attributes_of(node)
    body, count = attributes["body"], attributes["num_scan_inputs"]
    carried, given = list(node.input[:-count]), list(node.input[-count:])
    axes = attributes.get("scan_input_axes", [0] * count)
    steps = graph.shape(given[0])[axes[0]]
    if steps > MOST_STEPS:
        raise SpecError(_too_long(node, steps))
    if any(attributes.get("scan_input_directions", ())) or any(attributes.get("scan_output_directions", ())):
        raise not_in_c("a Scan runs backward")
    results: list[list[str]] = []
    for t in range(steps):
        parts = [
            nodes.add("Gather", x, nodes.constant(np.array(t)), axis=axis) for x, axis in zip(given, axes, strict=True)
        ]
        outputs = [nodes.name() + f".{k}" for k in range(len(body.output))]
        entries = dict(zip((entry.name for entry in body.input), [*carried, *parts], strict=True))
        nodes += _inlined(graph, body, entries, outputs, f"{nodes.stem}/{t}")
        carried = outputs[: len(carried)]
        results.append(outputs[len(carried) :])
    for name, output in zip(carried, node.output, strict=False):
        nodes.add("Identity", name, to=output)
    out_axes = attributes.get("scan_output_axes", [0] * len(results[0]))
    for k, output in enumerate(node.output[len(carried) :]):
        rows = [nodes.with_axes(row[k], [out_axes[k]]) for row in results]
        nodes.add("Concat", *rows, to=output, axis=out_axes[k])
    return nodes


def _inlined(graph: Graph, body: GraphProto, names: dict[str, str], outputs: list[str], stem: str) -> list[NodeProto]:
    """Return the nodes of an inner graph with names of their own; its results are named `outputs`."""
    for entry in body.initializer:
        names[entry.name] = graph.add_constant(f"{stem}/{entry.name}", numpy_helper.to_array(entry))
    made: list[NodeProto] = []
    for node in body.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name, name) for name in node.input]
        for name in filter(None, node.output):
            names[name] = f"{stem}/{name}"
        copy.output[:] = [names[name] if name else "" for name in node.output]
        for attribute in copy.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
        made.append(copy)
    ends = [names.get(entry.name, entry.name) for entry in body.output]
    return made + [helper.make_node("Identity", [end], [output]) for end, output in zip(ends, outputs, strict=True)]


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Let an inner graph read the new names of what is outside; its own names hide others."""
    own = {entry.name for entry in (*graph.input, *graph.initializer)} | {name for n in graph.node for name in n.output}
    outer = {name: new for name, new in names.items() if name not in own}
    for node in graph.node:
        node.input[:] = [outer.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, outer)
    for entry in graph.output:
        entry.name = outer.get(entry.name, entry.name)


LOWERED: dict[str, Callable[[Graph, NodeProto], list[NodeProto] | None]] = {
    "BatchNormalization": batch_normalization,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "If": branch,
    "Pad": pad,
    "Scan": scan,
}
"""What stands for each of these operators; None where a node stays as it is."""
