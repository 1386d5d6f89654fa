"""The nodes of a foreign graph, one after another, as layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import NodeProto

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.joined_inputs import Input
from seq2onnx.importing.lifting.layer_node import Lifting, input_node, reason_of
from seq2onnx.importing.lifting.traced import TracedTensor, sequences
from seq2onnx.importing.lifting.windows import TooFewSteps
from seq2onnx.importing.onnx import (
    arithmetic as onnx_arithmetic,
    layers as onnx_layers,
    layout as onnx_layout,
    node_calls,
)
from seq2onnx.importing.onnx.graph_parts import nodes_behind, place, reads
from seq2onnx.importing.onnx.operators import lift
from seq2onnx.importing.onnx.tracing import RECURRENT, Trace
from seq2onnx.importing.refusals import NodeRefused
from seq2onnx.layers import SequenceInput

FILLED_BY = (onnx_arithmetic, onnx_layers, onnx_layout)
"""The modules whose import fills the table of operators."""


@dataclasses.dataclass(frozen=True)
class Walked:
    """Each tensor that depends on the sequences, or why it is no layer; those of other inputs alone; final states."""

    values: Mapping[str, TracedTensor | ImportRefused]
    foreign: Mapping[str, node_calls.SideInput]
    finals: frozenset[str]


def walk(trace: Trace, window: int | None = None, inputs: Sequence[Input] = ()) -> Walked:
    """Follow all nodes; `window` is how many steps they flatten. TooFewSteps: the run must be repeated with more."""
    graph, lifting = trace.model.graph, Lifting(times={trace.steps}, window=window)
    values: dict[str, TracedTensor | ImportRefused] = {trace.data: _sequences(trace, lifting, inputs)}
    foreign = node_calls.side_inputs(trace)
    finals: set[str] = set()
    for number, node in enumerate(graph.node):
        read = reads(node)
        if node.op_type in ("Shape", "Size") or not read & (values.keys() | foreign.keys()):
            continue
        outputs = list(filter(None, node.output))
        if not read & values.keys():
            foreign |= node_calls.on_side_inputs(node, foreign)
            continue
        values |= _results(trace, lifting, node, values, foreign, number)
        lifting.times.update(x.steps for x in map(values.get, outputs) if isinstance(x, TracedTensor) and x.has_time)
        node_calls.note_finals(node, values.keys(), finals)
    return Walked(values, foreign, frozenset(finals))


def _sequences(trace: Trace, lifting: Lifting, inputs: Sequence[Input]) -> TracedTensor:
    step = trace.step
    whole = SequenceInput("tokens" if step is None else step if len(step) > 1 else step[0])
    parts = [input_node(layer, lifting) for layer in [each.layer for each in inputs] or [whole]]
    return sequences(parts, trace.axes, trace.letters, step or (), trace.rows, trace.steps)


def _results(
    trace: Trace,
    lifting: Lifting,
    node: NodeProto,
    values: Mapping[str, TracedTensor | ImportRefused],
    foreign: Mapping[str, node_calls.SideInput],
    number: int,
) -> dict[str, TracedTensor | ImportRefused]:
    """Lift a node; a refusal is raised only if an answer needs the tensor."""
    lifted: dict[str, TracedTensor] = {}
    for name in filter(values.__contains__, node.input):
        x = values[name]
        if isinstance(x, ImportRefused):
            return dict.fromkeys(filter(None, node.output), x)
        lifted[name] = x
    named = [name for name in node.input if name in foreign and node.op_type not in RECURRENT]
    try:
        if named:
            raise _beside_the_data(foreign[named[0]])
        with lifting.at(_path(node)):
            found = lift(node_calls.call_of(trace, node, lifted, foreign))
    except TooFewSteps:
        raise
    except Exception as error:  # whatever a handler raises for a node that it does not expect
        found = [error] * len(node.output)
    results: dict[str, Any] = {name: x for name, x in zip(node.output, found, strict=False) if name}
    for name, x in results.items():
        if isinstance(x, TracedTensor) and x.shape != (shape := trace.values[name].shape):
            x = ImportRefused(f"gives the shape {list(shape)}, a layer {list(x.shape)}")
        if isinstance(x, Exception):
            behind = nodes_behind(trace.model.graph, node)
            results[name] = NodeRefused(f"{place(node)}: {reason_of(x)}", number, behind)
            results[name].__cause__ = x
    return results


def _beside_the_data(foreign: node_calls.SideInput) -> ImportRefused:
    name = repr(foreign.name)
    if foreign.lengths:
        return ImportRefused(
            f"calculates with the input {name}; lengths of rows can only go to recurrent operators. Export the network "
            f"without them (its layers take lengths anyway), or give a value, fixed={{{name}: …}}"
        )
    return ImportRefused(
        f"combines the data with the input {name}; give it a value, fixed={{{name}: …}}. If it is a state, add_states "
        f"takes it, with states={{{name}: …}}"
    )


def _path(node: NodeProto) -> str:
    """Return what layers are named after: the scope of a node, or its name."""
    parts = [part for part in (node.name or next(filter(None, node.output), "")).split("/") if part]
    if len(parts) > 1 and parts[-1].split("_")[0] == node.op_type:
        parts.pop()
    # torch writes a list and its elements: "blocks", "blocks.0".
    inner = [*parts[1:], ""]
    return "_".join(part for part, after in zip(parts, inner, strict=True) if not after.startswith(f"{part}."))
