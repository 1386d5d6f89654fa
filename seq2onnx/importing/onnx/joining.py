"""Files with several sequences, or with vectors of whole sequences, as graphs of one input."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, ModelProto, helper, numpy_helper

from seq2onnx.importing.joined_inputs import Input, features
from seq2onnx.importing.lifting.assembly import legal
from seq2onnx.importing.onnx import carried_states
from seq2onnx.importing.onnx.graph_parts import reads, replace
from seq2onnx.importing.onnx.inputs import LAYOUT_OPS
from seq2onnx.importing.onnx.tracing import RECURRENT, declared, dtype_of

JOINED = "joined inputs"
FIRST_STATE = 5
"""The place of the first state among the inputs of a recurrent operator."""


def join_inputs(model: ModelProto, data: str, axes: str) -> tuple[ModelProto, list[Input]]:
    """Replace the data and further inputs of numbers by one input, whose features are those of all.

    A vector [batch, features] is what the last step has. Start states of recurrent operators stay as they are.

    Returns:
        The graph, and its inputs before; the same graph and none if there is one input of data alone.
    """
    if sorted(axes) != sorted("BTC"):
        return model, []
    copy, time, channels = ModelProto(), axes.index("T"), axes.index("C")
    copy.CopyFrom(model)
    others = further_inputs(model, data)
    entries = [entry for entry in copy.graph.input if entry.name == data or entry.name in others]
    sizes = [declared(entry)[channels if len(declared(entry)) == 3 else 1] for entry in entries]
    if len(entries) == 1 or None in sizes:
        return model, []
    parts = [
        Input(legal(entry.name), size or 0, len(declared(entry)) == 3)
        for entry, size in zip(entries, sizes, strict=True)
    ]
    whole = next(entry for entry in entries if entry.name == data)
    nodes = []
    for entry, (part, place) in zip(entries, features(parts), strict=True):
        steps = entry.name if part.has_time else f"{entry.name} at each step"
        bounds = {f"{entry.name} {key}": [value] for key, value in (("from", place.start), ("to", place.stop))}
        for name, values in {**bounds, f"{entry.name} axis": [channels]}.items():
            copy.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
        nodes.append(helper.make_node("Slice", [JOINED, *bounds, f"{entry.name} axis"], [steps]))
        if not part.has_time:
            last = f"{entry.name} last"
            copy.graph.initializer.append(numpy_helper.from_array(np.array(-1), last))
            nodes.append(helper.make_node("Gather", [steps, last], [entry.name], axis=time))
    replace(copy.graph.node, [*nodes, *copy.graph.node])
    joined = type(whole)()
    joined.CopyFrom(whole)
    joined.name = JOINED
    joined.type.tensor_type.shape.dim[channels].dim_value = sum(part.size for part in parts)
    replace(copy.graph.input, [joined, *(entry for entry in copy.graph.input if entry not in entries)])
    return copy, parts


def further_inputs(model: ModelProto, data: str) -> list[str]:
    """Return the inputs of numbers beside the data that are no states."""
    states = carried_states.state_pairs(model)
    numbers = [entry for entry in model.graph.input if dtype_of(entry) == np.float32 and len(declared(entry)) in (2, 3)]
    known = {data, *states}
    return [entry.name for entry in numbers if entry.name not in known and not _is_start(model.graph, entry.name)]


def _is_start(graph: GraphProto, name: str) -> bool:
    """Whether an input only goes into recurrent operators, as a state that they start from."""
    same = {name}
    for node in graph.node:
        if not reads(node) & same:
            continue
        if node.op_type in {*LAYOUT_OPS, "Gather", "Slice", "Split", "Expand"}:
            same.update(node.output)
        elif node.op_type not in RECURRENT or {*node.input[:FIRST_STATE]} & same:
            return False
    return True
