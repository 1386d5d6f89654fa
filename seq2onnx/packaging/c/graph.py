"""The graph of a step: every shape is a number, and what depends on constants alone is calculated."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Container, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TypeProto, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from seq2onnx.errors import SpecError
from seq2onnx.packaging.c.lowering import LOWERED
from seq2onnx.packaging.c.simpler import attributes_of

Array = NDArray[Any]


class Tensor(NamedTuple):
    """What a tensor is: its sizes, and the name of its type in numpy."""

    shape: tuple[int, ...]
    dtype: str


class Stored(NamedTuple):
    """A weight as the file has it: `small`, whole numbers of 8 bits, times `scale`; or float16, times 1."""

    small: Array
    scale: Array


@dataclasses.dataclass(eq=False)
class Node:
    """A node, with the values of its attributes."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


class Graph:
    """The nodes of a step, in an order in which they can run.

    Attributes:
        inputs: names, states too.
        outputs: names, new states too.
        nodes: what has to be calculated in each step.
        constants: arrays by name.
        stored: those of them that the file stores as 8 bits or as float16.
        tensors: what each tensor is.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        sizes: Mapping[str, tuple[int, ...]],
        outputs: Container[str],
        given: Mapping[str, Array],
    ) -> None:
        """Read a model.

        Args:
            model: the file.
            sizes: the shapes of its inputs.
            outputs: those of its outputs that are wanted.
            given: inputs that are the same in each step.

        Raises:
            SpecError: a shape depends on numbers that only a step knows, or an operator is not known.
        """
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=17)
        if self.opset < OLDEST:
            raise SpecError(
                f"its opset is {self.opset}; C code needs {OLDEST} or later: convert it with onnx.version_converter"
            )
        self._ir_version = model.ir_version
        self.constants: dict[str, Array] = {}
        self.stored: dict[str, Stored] = {}
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        for entry in model.graph.initializer:
            self.add_constant(entry.name, numpy_helper.to_array(entry))
        for name, array in given.items():
            self.add_constant(name, array)
        self.inputs = [entry.name for entry in model.graph.input if entry.name not in self.constants]
        self.outputs = [entry.name for entry in model.graph.output if entry.name in outputs]
        for entry in model.graph.input:
            if entry.name in self.inputs:
                dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
                self.tensors[entry.name] = Tensor(tuple(sizes[entry.name]), dtype.name)
        waiting = deque(model.graph.node)
        while waiting:
            waiting.extendleft(reversed(self._read(waiting.popleft())))
        self._drop_unused()

    def add_constant(self, name: str, array: Array) -> str:
        """Add an array, and return its name."""
        self.constants[name] = array
        self.tensors[name] = Tensor(array.shape, array.dtype.name)
        return name

    def values(self, name: str) -> list[int]:
        """Return whole numbers that a node needs when the code is made.

        Raises:
            SpecError: they are no constants.
        """
        if name not in self.constants:
            raise SpecError(
                f"the tensor {name} decides about sizes and is known in a step only; C code needs fixed sizes: make it "
                "a constant of the model, or package it for another target"
            )
        return [int(value) for value in np.ravel(self.constants[name])]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the sizes of a tensor."""
        return self.tensors[name].shape

    def dtype(self, name: str) -> str:
        """Return the type of a tensor, as numpy names it."""
        return self.tensors[name].dtype

    # --- reading ------------------------------------------------------------------------------------------------

    def _read(self, node: NodeProto) -> list[NodeProto]:
        """Take in a node, or return the nodes that stand for it."""
        if node.op_type in LOWERED and (made := LOWERED[node.op_type](self, node)) is not None:
            return made
        known = all(name in self.constants for name in node.input if name)
        if node.op_type == "Constant":
            (value,) = node.attribute
            given = helper.get_attribute_value(value)
            real = np.float32 if value.name.startswith("value_float") else np.int64
            array = numpy_helper.to_array(given) if value.name == "value" else np.array(given, real)
            self.add_constant(node.output[0], array)
        elif node.op_type in ("Shape", "Size"):
            sizes = np.array(self.shape(node.input[0]), np.int64)
            attributes = attributes_of(node)
            part = sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))]
            self.add_constant(node.output[0], part if node.op_type == "Shape" else np.array(sizes.prod()))
        elif known and node.domain in ("", "ai.onnx"):
            self._calculate(node)
        else:
            self._infer(node)
            self.nodes.append(Node(node.op_type, list(node.input), list(node.output), attributes_of(node)))
        return []

    def _calculate(self, node: NodeProto) -> None:
        """Calculate a node that depends on constants alone."""
        values = {name: self.constants[name] for name in node.input if name}
        entries = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in values.items()
        ]
        results = [helper.make_empty_tensor_value_info(name) for name in node.output]
        graph = helper.make_graph([node], "one", entries, results)
        opsets = [helper.make_opsetid("", self.opset)]
        found = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, values)
        for name, value in zip(node.output, found, strict=True):
            self.add_constant(name, np.asarray(value))
        self._keep_stored(node)

    def _keep_stored(self, node: NodeProto) -> None:
        """Remember a weight that is a Cast of float16, or of 8 bits times a scale."""
        if node.op_type == "Cast" and self.constants[node.input[0]].dtype in (np.int8, np.float16):
            self.stored[node.output[0]] = Stored(self.constants[node.input[0]], np.ones((), np.float32))
        for small, scale in (node.input, node.input[::-1]) if node.op_type == "Mul" else ():
            if small in self.stored and self.stored[small].small.dtype == np.int8:
                self.stored[node.output[0]] = Stored(self.stored[small].small, self.constants[scale])

    def _infer(self, node: NodeProto) -> None:
        """Find what the results of a node are."""
        try:
            schema = defs.get_schema(node.op_type, self.opset, node.domain)
            types = {name: _type(self.tensors[name]) for name in node.input if name}
            data = {
                name: numpy_helper.from_array(self.constants[name], name)
                for name in node.input
                if name in self.constants and self.constants[name].size <= SHORT
            }
            opsets = [helper.make_opsetid("", self.opset)]
            found = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=opsets, ir_version=self._ir_version
            )
        except (defs.SchemaError, shape_inference.InferenceError, KeyError) as error:
            raise SpecError(
                f"the operator {node.op_type} cannot be read: {error!s:.200}; check the model with onnx.checker, or "
                "package it for another target"
            ) from None
        for name in filter(None, node.output):
            kind = found[name].tensor_type
            if not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
                raise SpecError(
                    f"the result {name} of the operator {node.op_type} has a size that depends on the numbers of a "
                    "step; C code needs fixed sizes: make the model without it, or package it for another target"
                )
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            self.tensors[name] = Tensor(tuple(d.dim_value for d in kind.shape.dim), dtype.name)

    def _drop_unused(self) -> None:
        """Remove nodes whose results nobody reads."""
        needed, kept = set(self.outputs), list[Node]()
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]

    def to_model(self) -> onnx.ModelProto:
        """Return the graph as a model again, such as one whose constants have changed."""
        entries = [helper.make_tensor_value_info(name, *_types(self.tensors[name])) for name in self.inputs]
        results = [helper.make_tensor_value_info(name, *_types(self.tensors[name])) for name in self.outputs]
        read = {name for node in self.nodes for name in node.inputs} | {*self.outputs}
        constants = [numpy_helper.from_array(a, name) for name, a in self.constants.items() if name in read]
        nodes = [helper.make_node(n.op, n.inputs, n.outputs, **n.attributes) for n in self.nodes]
        graph = helper.make_graph(nodes, "step", entries, results, constants)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self._ir_version)

    # --- links, as soon as the nodes stay as they are -------------------------------------------------------------

    @cached_property
    def users(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def makers(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs}

    def is_read_once(self, name: str) -> bool:
        """Whether one node reads a tensor, once, and it is no output."""
        users = self.users.get(name, [])
        return len(users) == 1 and users[0].inputs.count(name) == 1 and name not in self.outputs

    def forget_links(self) -> None:
        """Let the links be made again after a change of nodes."""
        self.__dict__.pop("users", None)
        self.__dict__.pop("makers", None)


OLDEST = 11
"""The opset from which on Slice, Pad and Clip take their numbers as inputs."""
SHORT = 4096
"""Constants of so many numbers at most may decide about shapes."""


def _types(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    return helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), tensor.shape


def _type(tensor: Tensor) -> TypeProto:
    return helper.make_tensor_type_proto(*_types(tensor))
