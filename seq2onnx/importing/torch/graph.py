"""The operations of a traced torch module, one after another, as layers."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting.layer_node import Lifting, barred, input_node, reason_of
from seq2onnx.importing.lifting.traced import TracedTensor, sequences
from seq2onnx.importing.lifting.windows import TooFewSteps
from seq2onnx.importing.torch import arithmetic as torch_arithmetic, layers as torch_layers, layout as torch_layout
from seq2onnx.importing.torch.operators import Operation, Ragged, lift
from seq2onnx.importing.torch.trace import ModuleTrace
from seq2onnx.layers import FeatureInput, SequenceInput
from seq2onnx.layers.signal import Signal

STATE = (
    "reads an argument that is neither the sequences nor their lengths; apart from these, only start states that go "
    "into a recurrent layer unchanged can be passed in"
)
WHOLE_NUMBERS = (
    "reads an argument of whole numbers or booleans that are not the lengths of the sequences; a network has no such "
    "input"
)

FILLED_BY = (torch_arithmetic, torch_layers, torch_layout)
"""The modules whose import fills the table of operators."""


class Walk:
    """Follows the operations of a traced module.

    `passed_on` are final states as recurrent operations return them, and arguments that no layer reads: a module may
    return them beside its answers.
    """

    def __init__(self, trace: ModuleTrace, layers: Sequence[SequenceInput | FeatureInput]) -> None:
        self.trace = trace
        self.passed_on: list[Any] = []
        self._values: dict[fx.Node, Any] = {}
        self._lifting = Lifting(times={trace.steps})
        self._inputs = [input_node(layer, self._lifting) for layer in layers]

    def run(self) -> Any:
        """Return what the module returns, nested as there, with a TracedTensor or a refusal in place of each tensor."""
        program = self.trace.program
        signature = program.graph_signature
        stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        stored |= signature.inputs_to_lifted_tensor_constants
        tensors = {**program.state_dict, **program.constants}
        leaves = iter(enumerate(self.trace.leaves))
        returned: Sequence[Any] = ()
        for node in program.graph.nodes:
            if node.op == "placeholder":
                if node.name in stored:
                    self._values[node] = tensors[stored[node.name]].detach().clone()
                else:
                    self._values[node] = self._argument(*next(leaves))
            elif node.op == "get_attr":
                self._values[node] = getattr(program.graph_module, str(node.target))
            elif node.op == "output":
                returned = fx.map_arg(node.args[0], self._values.__getitem__)
            else:
                self._values[node] = self._operate(node)
        spec = program.call_spec.out_spec
        assert spec is not None
        return torch.utils._pytree.tree_unflatten(list(returned), spec)

    def _argument(self, number: int, leaf: Any) -> Any:
        trace, found = self.trace, self.trace.arguments
        if number == found.first:
            return self._sequences()
        if isinstance(leaf, Tensor) and not leaf.is_floating_point() and tuple(leaf.shape) == (trace.rows,):
            return Ragged(trace.lengths.to(leaf))
        if isinstance(leaf, Tensor) and number in found.states:
            shape = tuple(leaf.shape)
            batch = 1 if leaf.ndim == 3 else 0
            axes = ["B" if i == batch and n == trace.rows > 1 else "" for i, n in enumerate(shape)]
            sizes = [1 if axis else n for axis, n in zip(axes, shape, strict=True)]
            part = barred(STATE, self._inputs[0], Signal((int(np.prod(sizes)),), has_time=False))
            return TracedTensor((part,), tuple(axes), np.arange(part.size).reshape(sizes), trace.rows, trace.steps)
        if isinstance(leaf, Tensor):  # its numbers in the example would become constants
            self.passed_on.append(leaf := ImportRefused(WHOLE_NUMBERS))
        return leaf

    def _sequences(self) -> TracedTensor:
        found, trace = self.trace.arguments, self.trace
        axes = tuple(letter if letter == "T" or (letter == "B" and found.batch) else "" for letter in found.axes)
        return sequences(self._inputs, found.axes, axes, found.step_shape, trace.rows, trace.steps)

    def _operate(self, node: fx.Node) -> Any:
        given: Any = fx.map_arg(node.args, self._values.__getitem__)
        keywords: Any = fx.map_arg(node.kwargs, self._values.__getitem__)
        if node.target is operator.getitem and not isinstance(given[0], ImportRefused):
            return given[0][given[1]]
        for leaf in torch.utils._pytree.tree_leaves((given, keywords)):
            if isinstance(leaf, ImportRefused):  # it is raised only if an answer needs it
                is_argument = any(leaf is other for other in self.passed_on)
                return ImportRefused(f"{module_of(node)[0]}: {leaf}{code_of(node)}") if is_argument else leaf
        module, path = module_of(node)
        try:
            with self._lifting.at(path):
                found = lift(Operation.of(node, given, keywords, self.trace.lengths))
        except TooFewSteps:
            raise
        except Exception as error:  # whatever a handler raises for arguments that it does not expect
            found = ImportRefused(f"{module}: {reason_of(error, '; write it in another way')}{code_of(node)}")
        for leaf in torch.utils._pytree.tree_leaves(found):
            if isinstance(leaf, TracedTensor) and leaf.has_time:
                self._lifting.times.add(leaf.steps)
        self._note_finals(node, given, found)
        self._note_mutation(node, found)
        return found

    def _note_finals(self, node: fx.Node, arguments: Sequence[Any], found: Any) -> None:
        """Remember final states, and those of several layers put together, which a module returns beside its answer."""
        name = str(node.target).partition(".")[2].partition(".")[0]  # "" for a function of Python
        if isinstance(found, tuple) and name in (*torch_layers.RECURRENT, "lstm_cell"):
            self.passed_on += found[1:]
        joins = isinstance(found, TracedTensor) and name in ("cat", "stack")
        if joins and all(any(part is other for other in self.passed_on) for part in arguments[0]):
            self.passed_on.append(found)

    def _note_mutation(self, node: fx.Node, found: Any) -> None:
        """An operation in place changes its first argument, under every name that this has."""
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.arguments:
            return
        alias = schema.arguments[0].alias_info
        if alias is None or not alias.is_write or not node.args or not isinstance(node.args[0], fx.Node):
            return
        old = self._values[node.args[0]]
        if isinstance(old, Tensor) and not isinstance(found, Tensor):
            raise ImportRefused(
                f"{module_of(node)[0]}: fills a tensor piece by piece, but not with all steps in order before it is "
                f"read; use torch.stack, or call nn.LSTM, nn.GRU or nn.RNN once with the whole sequence{code_of(node)}"
            )
        for other, value in self._values.items():
            if value is old:
                self._values[other] = found


def module_of(node: fx.Node) -> tuple[str, str]:
    """Return the module that an operation belongs to, and what its layers are to be named after."""
    stack = [
        entry for entry in (node.meta.get("nn_module_stack") or {}).values() if ".parametrizations" not in entry[0]
    ]
    path, kind = stack[-1] if stack else ("", "")
    name = kind.rpartition(".")[2]
    if not path:
        return name or "the module", ""
    is_layer = kind.startswith("torch.nn.") and not kind.startswith("torch.nn.modules.container")
    return f"{path} ({name})", path if is_layer else f"{path}.{node.name.rstrip('_0123456789')}"


def code_of(node: fx.Node) -> str:
    """Return the line of the user's code, for an error."""
    lines = str(node.meta.get("stack_trace") or "").strip().splitlines()
    frames = [(place, code.strip()) for place, code in itertools.pairwise(lines) if 'File "' in place]
    own = [code for place, code in frames if "/torch/" not in place]
    return f" [code: {own[-1]}]" if own else ""


def is_passed_on(value: Any, passed_on: Sequence[Any]) -> bool:
    """Whether a returned value is no answer: a final state, an argument as it is, or no tensor at all."""
    if any(value is other for other in passed_on):
        return True
    if isinstance(value, TracedTensor):
        return all(part.barred == STATE for part in value.parts)
    return not isinstance(value, ImportRefused)
