"""Wraps operators that fail on empty chunks, or get them wrong, in an If node.

An If costs a small step about a fifth of its time, most of it for the nodes and outputs in its branches. So only what
needs it is in there. Answers that are computed from new states alone come after it. A chunk of no steps keeps the
states, so it does not change these answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from seq2onnx.importing.onnx.graph_parts import reads, remove_unused, rename
from seq2onnx.importing.states.rewriting import MADE, Rewriter
from seq2onnx.importing.states.step_rules import RULES, elementwise

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


def from_states(
    nodes: Sequence[NodeProto], inputs: Iterable[str], states: Set[str], answers: Iterable[str]
) -> dict[str, set[int]]:
    """Find the answers that are computed from new states alone.

    Args:
        nodes: what computes the answers.
        inputs: x and the states that are read.
        states: the tensors that hold the new states.
        answers: the tensors that hold answers without time.

    Returns:
        For each of these answers the indices of the nodes that compute it. No other node reads their results.
    """
    of_data, of_states, made_by = set(inputs), set(states), dict[str, int]()
    for index, node in enumerate(nodes):
        outputs = set(filter(None, node.output))
        if reads(node) & of_data:
            of_data |= outputs - states
        elif reads(node) & of_states and not outputs & states:
            of_states |= outputs
            made_by |= dict.fromkeys(outputs, index)

    def makers(names: Iterable[str]) -> set[int]:
        """The nodes between the new states and these tensors."""
        found, left = set[int](), list(names)
        while left:
            index = made_by.get(left.pop())
            if index is not None and index not in found:
                found.add(index)
                left += reads(nodes[index])
        return found

    others = set(range(len(nodes))) - {*made_by.values()}
    inside = makers(name for index in others for name in reads(nodes[index]))
    found = {answer: makers([answer]) for answer in answers if answer in of_states}
    while shared := [answer for answer, needed in found.items() if needed & inside]:
        inside.update(*map(found.pop, shared))
    return found


def guard(
    nodes: Sequence[NodeProto],
    initializers: Iterable[TensorProto],
    outputs: Mapping[str, str],
    kept: Mapping[str, str],
    empty: Mapping[str, tuple[int, ...] | None],
    types: Mapping[str, int],
    opset: int,
    after: Set[int],
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes and initializers of a file that takes chunks of no steps.

    Args:
        nodes: what computes the answers from x and the states, for chunks of one step or more.
        initializers: what the nodes read.
        outputs: for each output of the file the tensor of the nodes that holds it.
        kept: the outputs that stay what they were, each with the input that holds it.
        empty: the outputs that have a row for each step, each with the shape of a row; None: a number for each row of
            the batch, which is the count of such steps.
        types: the element type of each output.
        opset: the version of the operators.
        after: the nodes that compute answers from new states alone, see `from_states`.
    """
    inside = _inside(nodes, {outputs[name] for name in kept}) - after
    branch = [node for index, node in enumerate(nodes) if index in inside]
    rest = [node for index, node in enumerate(nodes) if index not in inside | after]
    new = {outputs[name]: name for name in kept}
    last = [rename(node, new) for index, node in enumerate(nodes) if index in after]
    outputs = {name: inner if name in kept else new.get(inner, inner) for name, inner in outputs.items()}
    made = {name for node in branch for name in node.output}
    guarded = [name for name, inner in outputs.items() if name in kept or inner in made]
    outer = Rewriter(opset, f"{MADE}file_")
    outer.nodes += rest
    shared = set().union(*map(reads, [*rest, *last]))
    own = [tensor for tensor in initializers if tensor.name not in shared]
    outer.initializers += [tensor for tensor in initializers if tensor.name in shared]
    if guarded:
        then = helper.make_graph(branch, "steps", [], _infos(types, {name: outputs[name] for name in guarded}), own)
        remove_unused(then)
        some = outer.op("Cast", outer.op("Size", "x"), to=TensorProto.BOOL)
        branches = {"then_branch": then, "else_branch": _no_steps(guarded, kept, empty, types, opset)}
        outer.nodes.append(helper.make_node("If", [some], guarded, name="steps", **branches))
    outer.nodes += last
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
    empty: Mapping[str, tuple[int, ...] | None],
    types: Mapping[str, int],
    opset: int,
) -> GraphProto:
    """Return the branch for no steps: the states stay, and no step comes out."""
    graph, found = Rewriter(opset, f"{MADE}no_steps_"), {}
    for name in guarded:
        if name in kept:
            found[name] = graph.op("Identity", kept[name])
        else:
            shape = empty[name]
            steps = [] if shape is None else [graph.size("x", 1), graph.constant(shape)]
            sizes = [graph.size("x", 0), *steps]
            zero = numpy_helper.from_array(np.zeros(1, helper.tensor_dtype_to_np_dtype(types[name])), "zero")
            found[name] = graph.op("ConstantOfShape", graph.op("Concat", *sizes, axis=0), value=zero)
    return helper.make_graph(graph.nodes, "no_steps", [], _infos(types, found), graph.initializers)


def _infos(types: Mapping[str, int], tensors: Mapping[str, str]) -> list[ValueInfoProto]:
    # Sizes in an inner graph add nothing, and the name of a dynamic one would have to hold for all tensors.
    return [helper.make_tensor_value_info(inner, types[name], None) for name, inner in tensors.items()]
