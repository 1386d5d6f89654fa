"""The table of what each operator of a foreign ONNX graph becomes when it is lifted to layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import helper

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes
from seq2onnx.importing.lifting.layer_node import Array, filling
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.onnx.graph import open_session, run
from seq2onnx.importing.onnx.graph_parts import DOMAINS
from seq2onnx.importing.onnx.node_calls import NodeCall, check_not_dynamic, same
from seq2onnx.importing.states.step_rules import RULES

ADD_STATES = "add_states keeps the operator, and gives the file states if it takes the rest of it"


LiftCall = NodeCall[TracedTensor]
Handler = Callable[[LiftCall], Any]
OPERATORS: dict[str, Handler] = {}
"""For each operator what it becomes: a TracedTensor, or several. Names of other domains than ONNX's begin with them."""
operators = filling(OPERATORS)

REASONS = dict.fromkeys(
    ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor", "Where", "IsNaN", "Sign"),
    "compares numbers, or chooses between them, for which there is no layer",
)
REASONS |= {
    "ArgMax": "gives the number of the largest feature; choose other outputs with outputs=, and `classify` gives it",
    "ArgMin": "gives the number of the smallest feature; choose other outputs with outputs=",
    "Attention": "is attention over all time, which no layer does",
    "CumSum": "sums over all steps so far, for which there is no layer",
    "ReverseSequence": "reverses time, which a stream cannot; for a backward direction use a bidirectional operator",
}


def lift(call: LiftCall) -> Sequence[Any]:
    """Return the results of a node."""
    op, domain = call.node.op_type, call.node.domain
    check_not_dynamic(call.node)
    handler = OPERATORS.get(op if domain in DOMAINS else f"{domain}.{op}")
    if handler is None and domain not in DOMAINS:
        raise ImportRefused(f"is an operator of {domain}, which has no layer")
    if handler is None:
        reason = REASONS.get(op, f"the operator {op} has no layer")
        raise ImportRefused(f"{reason}; {ADD_STATES}" if _acts_on_each_step(call) else reason)
    try:
        found = handler(call)
    except ImportRefused as error:
        if type(error) is not ImportRefused or ADD_STATES in str(error) or not _acts_on_each_step(call):
            raise
        raise ImportRefused(f"{error}; {ADD_STATES}") from None
    return found if isinstance(found, list | tuple) else [found]


def _acts_on_each_step(call: LiftCall) -> bool:
    """Whether add_states keeps the operator."""
    signals = [x and Axes(x.axes, x.shape, x.pads) for x in call.signals]
    if call.foreign.keys() & {*call.node.input} or call.node.op_type not in RULES:
        return False
    try:
        RULES[call.node.op_type](NodeCall(**vars(call) | {"signals": signals}))
    except Exception:  # whatever a rule raises for a node that it does not expect
        return False
    return True


def constant(call: LiftCall, index: int) -> Array:
    """Return an input that must not depend on the data or on the sizes of batch and time, such as weights."""
    numbers = call.numbers[index] if call.has(index) else None
    if numbers is None:
        raise ImportRefused("takes its weights from the data")
    same(numbers, call.others[index])
    return numbers.astype(float) if numbers.dtype.kind == "f" else numbers


def optional(call: LiftCall, index: int) -> Array | None:
    """Return such an input, or None where it is left out."""
    return constant(call, index) if call.has(index) else None


def on_array(call: LiftCall, array: Array, **changed: Any) -> Array:
    """Run a node on an array in place of its first input, with some attributes changed."""
    names = ["x", *call.node.input[1:]]
    kept = {name: value for name, value in call.attributes.items() if name not in changed} | changed
    node = helper.make_node(call.node.op_type, names, ["y"], **kept)
    arrays = {"x": array.astype(np.float32)}
    arrays |= {name: numbers for name, numbers in zip(names[1:], call.numbers[1:], strict=True) if numbers is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in arrays.items()
    ]
    graph = helper.make_graph([node], "one", inputs, [helper.make_tensor_value_info("y", 1, None)])
    imports = list(call.trace.model.opset_import)
    model = helper.make_model(graph, opset_imports=imports, ir_version=call.trace.model.ir_version)
    return run(open_session(model), arrays)["y"]
