"""Cause of a difference between a lifted module and its source: the first operation that depends on the steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from seq2onnx.importing.torch.graph import code_of, module_of
from seq2onnx.importing.torch.trace import ModuleTrace, trace

NUMBERS = ("add", "sub", "rsub", "mul", "div", "pow", "full", "scalar_tensor", "lift_fresh_copy", "clamp")
"""Operators whose numbers are no sizes of tensors."""


def first_difference(module: nn.Module, one: ModuleTrace, steps: int) -> str:
    """Describe the first operation that differs between a traced run and one of `steps` steps; "" if none does."""
    try:
        other = trace(module, one.arguments, one.rows, steps)
    except Exception:  # the comparison has failed already; this only looks for a better message
        return ""
    calls = ([node for node in run.program.graph.nodes if node.op == "call_function"] for run in (one, other))
    for a, b in zip(*calls, strict=False):
        if a.target != b.target:
            return f"{module_of(b)[0]}: calculates otherwise with {steps} steps than with {one.steps}{code_of(b)}"
        for x, y in zip(_numbers(a, one), _numbers(b, other), strict=False):
            if x != y:
                return (
                    f"{module_of(a)[0]}: calculates with {x:g} where there are {one.steps} steps and with {y:g} where "
                    f"there are {steps}; a stream does not know their number{code_of(a)}"
                )
    return ""


def _numbers(node: fx.Node, traced: ModuleTrace) -> list[Any]:
    """Return the numbers that an operation calculates with, those of stored tensors included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.name.removeprefix("aten::").rstrip("_") not in NUMBERS:
        return []
    constants = traced.program.graph_signature.inputs_to_lifted_tensor_constants
    found: list[Any] = []
    for leaf in pytree.tree_leaves((node.args, node.kwargs)):
        if isinstance(leaf, fx.Node) and leaf.name in constants:
            value = traced.program.constants[constants[leaf.name]]
            found += value.flatten().tolist()[:1] if isinstance(value, Tensor) else []
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            found.append(leaf)
    return found
