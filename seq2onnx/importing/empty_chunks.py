"""The guard for chunks of no steps: what an operator would fail at or get wrong there, one branch of an If goes around.

An If costs a small step about a fifth of its time, most of it for the nodes and outputs in its branches. So only what
needs it is in there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from seq2onnx.importing.graph_parts import reads, remove_unused
from seq2onnx.importing.rewriting import MADE, Rewriter
from seq2onnx.importing.step_rules import RULES, elementwise

FINE = {op for op, rule in RULES.items() if rule is elementwise} | {
    "LSTM",
    "MatMul",
    "Softmax",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""Operators that onnxruntime runs on no steps. It gives no steps then, but zeros as the final state of an LSTM; GRU
ends the process."""


def guard(
    nodes: Sequence[NodeProto],
    initializers: Iterable[TensorProto],
    outputs: Mapping[str, str],
    kept: Mapping[str, str],
    empty: Mapping[str, tuple[int, ...]],
    types: Mapping[str, int],
    opset: int,
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes and initializers of a file that takes chunks of no steps.

    Args:
        nodes: what computes the answers from x and the states, for chunks of one step or more.
        initializers: what the nodes read.
        outputs: for each output of the file the tensor of the nodes that holds it.
        kept: the outputs that stay what they were, each with the input that holds it.
        empty: the outputs that have a row for each step, each with the shape of a row.
        types: the element type of each output.
        opset: the version of the operators.
    """
    inside = _inside(nodes, {outputs[name] for name in kept})
    branch = [node for index, node in enumerate(nodes) if index in inside]
    rest = [node for index, node in enumerate(nodes) if index not in inside]
    made = {name for node in branch for name in node.output}
    guarded = [name for name, inner in outputs.items() if name in kept or inner in made]
    outer = Rewriter(opset, f"{MADE}file_")
    outer.nodes += rest
    shared = set().union(*map(reads, rest))
    own = [tensor for tensor in initializers if tensor.name not in shared]
    outer.initializers += [tensor for tensor in initializers if tensor.name in shared]
    if guarded:
        then = helper.make_graph(branch, "steps", [], _infos(types, {name: outputs[name] for name in guarded}), own)
        remove_unused(then)
        some = outer.op("Cast", outer.op("Size", "x"), to=TensorProto.BOOL)
        branches = {"then_branch": then, "else_branch": _no_steps(guarded, kept, empty, types, opset)}
        outer.nodes.append(helper.make_node("If", [some], guarded, name="steps", **branches))
    for name, inner in outputs.items():
        if name not in guarded:
            outer.op("Identity", inner, output=name)
    return outer.nodes, outer.initializers


def _inside(nodes: Sequence[NodeProto], results: Set[str]) -> set[int]:
    """Return the nodes that make one of these results, or are not FINE, or read what such a node gives."""
    found, made = set(), set[str]()
    for index, node in enumerate(nodes):
        if node.op_type not in FINE or made & reads(node) or results & {*node.output}:
            found.add(index)
            made.update(node.output)
    return found


def _no_steps(
    guarded: Sequence[str],
    kept: Mapping[str, str],
    empty: Mapping[str, tuple[int, ...]],
    types: Mapping[str, int],
    opset: int,
) -> GraphProto:
    """Return the branch for no steps: the states stay, and no step comes out."""
    graph, found = Rewriter(opset, f"{MADE}no_steps_"), {}
    for name in guarded:
        if name in kept:
            found[name] = graph.op("Identity", kept[name])
        else:
            sizes = [graph.size("x", 0), graph.size("x", 1), graph.constant(empty[name])]
            zero = numpy_helper.from_array(np.zeros(1, helper.tensor_dtype_to_np_dtype(types[name])), "zero")
            found[name] = graph.op("ConstantOfShape", graph.op("Concat", *sizes, axis=0), value=zero)
    return helper.make_graph(graph.nodes, "no_steps", [], _infos(types, found), graph.initializers)


def _infos(types: Mapping[str, int], tensors: Mapping[str, str]) -> list[ValueInfoProto]:
    # Sizes in an inner graph add nothing, and the name of a dynamic one would have to hold for all tensors.
    return [helper.make_tensor_value_info(inner, types[name], None) for name, inner in tensors.items()]
