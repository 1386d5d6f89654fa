"""A foreign graph as it is rewritten: its nodes, those that are added, and its states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from seq2onnx.contract import ContractState
from seq2onnx.errors import ImportRefused
from seq2onnx.importing.onnx.graph_parts import rename, replace

MADE = "s2o_"
"""The prefix of the names of added tensors."""
MOST_STATES = 100
FAR = 2**62
"""A stop beyond the end of any axis."""


def label(name: str) -> str:
    """Return a name as the contract allows it."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "node"


class Rewriter:
    """Collects nodes, initializers and states.

    Attributes:
        opset: the version of the operators.
        prefix: what the names of added tensors begin with; another in each graph of a file.
        nodes: all nodes in order.
        initializers: those that are added.
        states: the states in the order of the nodes.
        aliases: tensors of the foreign graph that others stand for.
        last_steps: for outputs of recurrent operators, and what only moves them about, the new state that is their
            last step.
    """

    def __init__(self, opset: int, prefix: str = MADE) -> None:
        self.opset, self.prefix = opset, prefix
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.states: list[ContractState] = []
        self.aliases: dict[str, str] = {}
        self.last_steps: dict[str, str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Return the name of an initializer with this value."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"{self.prefix}constant_{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def op(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; return the output."""
        output = output or f"{self.prefix}{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def keep(self, node: NodeProto, **changed: Any) -> NodeProto:
        """Add a node of the foreign graph, with some attributes changed; None removes one."""
        copy = rename(node, self.aliases)
        kept = [entry for entry in copy.attribute if entry.name not in changed]
        made = [helper.make_attribute(name, value) for name, value in changed.items() if value is not None]
        replace(copy.attribute, kept + made)
        self.nodes.append(copy)
        return copy

    def alias(self, output: str, source: str) -> None:
        """Let `source` stand for a tensor of the foreign graph."""
        self.aliases[output] = self.aliases.get(source, source)

    def read(self, name: str) -> str:
        """Return what stands for a tensor of the foreign graph."""
        return self.aliases.get(name, name)

    def squeeze(self, x: str, axes: Sequence[int], output: str | None = None, op: str = "Squeeze") -> str:
        """Remove axes of size 1."""
        if self.opset < 13:
            return self.op(op, x, output=output, axes=list(axes))
        return self.op(op, x, self.constant(list(axes)), output=output)

    def unsqueeze(self, x: str, axes: Sequence[int], output: str | None = None) -> str:
        """Insert axes of size 1."""
        return self.squeeze(x, axes, output, "Unsqueeze")

    def cut(self, x: str, start: int, stop: int, axis: int, output: str | None = None) -> str:
        """Slice along one axis."""
        bounds = [self.constant([value]) for value in (start, stop, axis)]
        return self.op("Slice", x, *bounds, output=output)

    def size(self, x: str, axis: int) -> str:
        """Return the size of an axis, as an array of one number."""
        if self.opset >= 15:
            return self.op("Shape", x, start=axis, end=axis + 1)
        return self.op("Gather", self.op("Shape", x), self.constant([axis]), axis=0)

    def state(self, layer: str, kind: str, shape: Sequence[int], dtype: str = "float32") -> tuple[str, str]:
        """Add a state; return the tensors that are read and written."""
        if len(self.states) == MOST_STATES:
            raise ImportRefused(f"needs more than {MOST_STATES} states, which is the most that a file can have")
        stem = f"state_{len(self.states):02d}_{layer}_{kind}"
        names = [state.name for state in self.states if state.layer == layer and state.kind == kind]
        name = f"{kind}_{len(names)}" if names else kind
        self.states.append(ContractState(stem, f"new_{stem}", tuple(shape), dtype, kind, layer, name))
        return stem, f"new_{stem}"
