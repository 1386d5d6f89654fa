"""Operations of a traced torch module, and the table of what each operator becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting.layer_node import Array, filling
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.lifting.windows import TooFewSteps


@dataclasses.dataclass(frozen=True)
class Ragged:
    """A tensor that depends on the lengths of the rows and not on the sequences, for the lengths of the traced run."""

    value: Tensor


@dataclasses.dataclass(frozen=True)
class Operation:
    """A call of an operator: its arguments by the names of its schema, with the defaults, and as they were given.

    `result` is what it returned in the traced run, as tensors without numbers; `lengths` are those of the rows.
    """

    name: str
    target: Any
    arguments: dict[str, Any]
    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    result: Any
    lengths: Tensor

    @classmethod
    def of(cls, node: fx.Node, positional: tuple[Any, ...], keywords: dict[str, Any], lengths: Tensor) -> Operation:
        """Read a node of a graph, with the values of its arguments."""
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            raise ImportRefused(f"the operation {node.target} has no layer")
        arguments = {a.name: a.default_value if a.has_default_value() else None for a in schema.arguments}
        arguments |= dict(zip(arguments, positional, strict=False)) | keywords
        name = schema.name.removeprefix("aten::")
        return cls(name, node.target, arguments, positional, keywords, node.meta.get("val"), lengths)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, or the default where the operator does not have it."""
        return self.arguments.get(name, default)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(self.result.shape)

    def on(self, x: Array, **changes: Any) -> Array:
        """Run the operator on an array in place of its first argument."""
        weight = next((t for t in pytree.tree_leaves(self.arguments) if isinstance(t, Tensor)), torch.zeros(()))
        arguments = {**self.arguments, **changes}
        first = next(iter(arguments))
        arguments[first] = torch.from_numpy(x).to(weight)
        found: Array = self.target(**arguments).cpu().numpy()
        return found


Handler = Callable[[Operation], Any]
OPERATORS: dict[str, Handler] = {}
"""For each operator what it becomes: a TracedTensor, or several."""
operators = filling(OPERATORS)

REASONS = {
    "scaled_dot_product_attention": "is attention over all time, which no layer does",
    "_native_multi_head_attention": "is attention over all time, which no layer does",
    "_transformer_encoder_layer_fwd": "is attention over all time, which no layer does",
    "bmm": "multiplies two calculated matrices, as attention does",
    "matmul": "multiplies two calculated matrices, as attention does",
    "cumsum": "sums over all steps so far, for which there is no layer",
    "roll": "rotates a tensor; a step would come from the other end",
}
REASONS |= dict.fromkeys(
    ("gt", "lt", "ge", "le", "eq", "ne", "logical_not", "isnan", "sign"),
    "compares numbers, for which there is no layer; a mask can only be that of the lengths",
)
SHAPE_ONLY = ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty")


ADD_STATES = "; or export the module with torch.onnx.export and give the file to add_states, which keeps the operator"
ON_FEATURES = {"argmax", "argmin", "cumsum", "logsumexp", "prod", "topk"}
"""Operators over axes `dim` that add_states keeps where these are features; it keeps all functions of each number."""


def _acts_on_each_step(op: Operation, leaves: Sequence[Any]) -> bool:
    """Whether add_states keeps an operator, if nothing else in the network joins steps."""
    xs = [leaf for leaf in leaves if isinstance(leaf, TracedTensor)]
    whole = all(x.has_time == xs[0].has_time and not any(x.pads) for x in xs)
    if not whole or any(isinstance(leaf, Ragged) for leaf in leaves):
        return False
    if torch.Tag.pointwise in getattr(op.target, "tags", ()):
        letters = xs[0].axes[::-1]
        constants = [leaf.shape[::-1] for leaf in leaves if isinstance(leaf, Tensor)]
        return all(size == 1 or not letter for shape in constants for size, letter in zip(shape, letters, strict=False))
    dims = op.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    return op.name in ON_FEATURES and bool(dims) and not any(xs[0].axes[dim] for dim in dims)


def lift(op: Operation) -> Any:
    """Return the results of an operation: TracedTensor where they depend on the sequences, otherwise torch's own."""
    leaves = pytree.tree_leaves((op.positional, op.keywords))
    if any(isinstance(leaf, TracedTensor) for leaf in leaves):
        if op.name in SHAPE_ONLY:
            return op.target(torch.zeros(op["self"].shape), *op.positional[1:], **op.keywords)
        handler = OPERATORS.get(op.name) or OPERATORS.get(op.name.rstrip("_"))
        try:
            if handler is None:
                reason = REASONS.get(op.name, f"the operation {op.name} has no layer")
                raise ImportRefused(f"{reason}; see the list of layers, or choose other answers with output=")
            return handler(op)
        except TooFewSteps:
            raise
        except ImportRefused as error:
            raise ImportRefused(f"{error}{ADD_STATES if _acts_on_each_step(op, leaves) else ''}") from None
    if torch.Tag.nondeterministic_seeded in getattr(op.target, "tags", ()):
        raise ImportRefused(f"draws random numbers in each call ({op.name}); use zeros, or a stored tensor")
    ragged = any(isinstance(leaf, Ragged) for leaf in leaves)
    positional, keywords = pytree.tree_map(
        lambda leaf: leaf.value if isinstance(leaf, Ragged) else leaf, (op.positional, op.keywords)
    )
    found = op.target(*positional, **keywords)
    if ragged and isinstance(found, int | float):
        raise ImportRefused(
            "makes a size, or a number of Python, of the lengths of the sequences; only lengths.max() can be one"
        )
    return pytree.tree_map(lambda leaf: Ragged(leaf) if isinstance(leaf, Tensor) else leaf, found) if ragged else found


def array(value: Tensor | float) -> Array:
    """Convert a constant to numpy."""
    found: Array = np.asarray(value.detach().cpu().double().numpy() if isinstance(value, Tensor) else value)
    return found


def refuse_random(op: Operation) -> None:
    """Refuse dropout that is active in eval mode."""
    raise ImportRefused(
        f"drops random numbers in eval mode, too ({op.name}); pass training=self.training, or use nn.Dropout"
    )
