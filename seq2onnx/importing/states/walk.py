"""The walk over a foreign graph: operators that join steps get states; all others must act on each step alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import NodeProto

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes, AxesRefused, RowsJoined
from seq2onnx.importing.lifting.layer_node import reason_of
from seq2onnx.importing.onnx import node_calls
from seq2onnx.importing.onnx.graph import opset
from seq2onnx.importing.onnx.graph_parts import DOMAINS, nodes_behind, place, reads
from seq2onnx.importing.onnx.tracing import RECURRENT, Trace
from seq2onnx.importing.refusals import NodeRefused
from seq2onnx.importing.states import layout_nodes, windows
from seq2onnx.importing.states.recurrence import recurrent
from seq2onnx.importing.states.rewriting import Rewriter
from seq2onnx.importing.states.step_rules import RULES, elementwise


def give_states(trace: Trace) -> tuple[Rewriter, dict[str, Axes], set[str]]:
    """Rewrite a graph so that its states are inputs and outputs.

    Returns:
        The rewritten nodes, the axes of each tensor that carries data, and those that are final states of recurrent
        operators.

    Raises:
        ImportRefused: a node joins steps in another way than recurrent operators and windows do, or joins rows.
    """

    def refuse(error: Exception, node: NodeProto, graph: Rewriter) -> None:
        behind = nodes_behind(trace.model.graph, node)
        raise NodeRefused(f"{place(node)}: {reason_of(error)}", len(graph.nodes), behind) from None

    return _walk(trace, refuse)


def doubts(trace: Trace) -> tuple[bool, bool]:
    """Return whether any node of a graph shows that the axes of its input are others, and whether any joins rows.

    After a node that is refused for another reason, tensors of the same shape are taken to have the same axes.
    """
    found: list[Exception] = []
    _walk(trace, lambda error, node, graph: found.append(error))
    contradicted, joined = (any(isinstance(error, kind) for error in found) for kind in (AxesRefused, RowsJoined))
    return contradicted, joined


def _walk(
    trace: Trace, refuse: Callable[[Exception, NodeProto, Rewriter], None]
) -> tuple[Rewriter, dict[str, Axes], set[str]]:
    graph = Rewriter(opset(trace.model))
    finals: set[str] = set()
    signals: dict[str, Axes] = {trace.data: Axes(trace.letters, trace.values[trace.data].shape)}
    foreign = node_calls.side_inputs(trace)
    for node in trace.model.graph.node:
        if not reads(node) & signals.keys():
            foreign |= node_calls.on_side_inputs(node, foreign)
            graph.keep(node)
            continue
        if node.op_type in ("Shape", "Size"):
            graph.keep(node)
            continue
        try:
            results: Sequence[Axes | None] = _visit(graph, trace, node, signals, foreign)
        except Exception as error:  # whatever a rule raises for a node that it does not expect
            refuse(error, node, graph)
            read = [signals[name] for name in node.input if name in signals]
            shapes = [getattr(trace.values.get(name), "shape", None) for name in node.output]
            results = [next((x for x in read if x.shape == shape), None) for shape in shapes]
        found = {name: x for name, x in zip(node.output, results, strict=False) if name and x}
        node_calls.note_finals(node, signals.keys(), finals)
        if node.op_type in node_calls.MOVES and (state := graph.last_steps.get(node.input[0])):
            graph.last_steps |= {name: state for name, x in found.items() if _has_one_axis_of_features(x)}
        signals |= found
    return graph, signals, finals


def _has_one_axis_of_features(x: Axes) -> bool:
    return sum(not letter and size > 1 for letter, size in zip(x.axes, x.shape, strict=True)) <= 1


def _visit(
    graph: Rewriter, trace: Trace, node: Any, signals: Mapping[str, Axes], foreign: Mapping[str, node_calls.SideInput]
) -> list[Axes]:
    op = node.op_type
    node_calls.check_not_dynamic(node)
    if node.domain not in DOMAINS:
        raise ImportRefused(f"is an unsupported operator of {node.domain}: it is not known to act on each step alone")
    for name in (*node.output, *node.input):
        if name and name not in trace.values:
            raise ImportRefused(f"has {name!r}, which is no tensor")
    call: node_calls.Call = node_calls.call_of(trace, node, signals, foreign)
    if op in RECURRENT:
        return recurrent(graph, call)
    if named := [foreign[name].name for name in node.input if name in foreign]:
        raise ImportRefused(
            f"combines the data with the input {named[0]!r}; give it a value, fixed={{{named[0]!r}: …}}, or if it is a "
            f"state, the output that continues it, states={{{named[0]!r}: …}}"
        )
    if op in HANDLERS:
        return HANDLERS[op](graph, call)
    if op not in RULES:
        raise ImportRefused(
            "is an unsupported operator: it is not known to act on each step alone, so it cannot be given states"
        )
    results = RULES[op](call)
    if len(results) < sum(bool(name) for name in node.output):
        raise ImportRefused("gives more results than one")
    graph.keep(node)
    return results


def _zeros_to_zeros(graph: Rewriter, call: node_calls.Call) -> list[Axes]:
    """An activation after padding: of zeros it makes zeros."""
    results = [call.x] if call.node.op_type == "Identity" or not call.x.fill else elementwise(call)
    graph.keep(call.node)
    return results


HANDLERS = {
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), windows.pooling),
    **dict.fromkeys(("Flatten", "Reshape"), layout_nodes.reshape_node),
    **dict.fromkeys(("Identity", "LeakyRelu", "Relu", "Tanh"), _zeros_to_zeros),
    "Conv": windows.convolution,
    "Expand": layout_nodes.expand_node,
    "Gather": layout_nodes.gather_node,
    "Pad": layout_nodes.pad_node,
    "Slice": layout_nodes.slice_node,
    "Squeeze": layout_nodes.squeeze_node,
    "Tile": layout_nodes.tile_node,
}
"""The operators whose nodes may have to change."""
