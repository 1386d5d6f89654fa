"""GraphBuilder: what layers add their ONNX nodes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seq2onnx.layers import Signal

Dimension = int | str
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 2  # the first whose LabelEncoder gives int64 for strings with any default


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor in the graph, by its name; the signal that it carries, and the name of its lengths, if it has any."""

    name: str
    signal: Signal
    lengths: str | None = None


class GraphBuilder:
    """An ONNX graph that grows node by node.

    The same node on the same inputs is made once: layers ask for what they need (a mask, a condition)
    and share it without knowing of each other. Every node costs a running host some 0.4 µs a step.
    """

    types: ClassVar[dict[str, int]] = {
        "float32": TensorProto.FLOAT,
        "int64": TensorProto.INT64,
        "int32": TensorProto.INT32,
        "bool": TensorProto.BOOL,
        "string": TensorProto.STRING,
    }

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.initializers: dict[str, NDArray[Any]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[Any, tuple[str, ...]] = {}
        self._constants: dict[Any, str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: dict[str, onnx.ValueInfoProto] = {}
        self._renamed: dict[str, str] = {}
        self._scope = self._prefix = ""
        # Every signal is one step long, as in the body of a closed loop: nothing guards against chunks of no steps.
        self.one_step = False
        # The input that says 1 in a row's last chunk, in files with lookahead.
        self.end: str | None = None

    @contextmanager
    def scope(self, layer: str) -> Iterator[None]:
        """Nodes and weights made within belong to that layer, and say so in their names."""
        self._scope = layer
        yield
        self._scope = ""

    def input(self, name: str, dtype: str, shape: Sequence[Dimension]) -> str:
        """An input of the graph; strings in `shape` are dynamic dimensions."""
        self._inputs.append(helper.make_tensor_value_info(name, self.types[dtype], list(shape)))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[Dimension]) -> None:
        """An output of the graph, always a tensor of its own, never another's alias."""
        value = self._renamed.get(value, value)
        if any(value in node.output for node in self._nodes) and value not in self._outputs:
            self._rename(value, name)
        else:
            self._nodes.append(helper.make_node("Identity", [value], [name], name=f"{name}/Identity"))
        self._outputs[name] = helper.make_tensor_value_info(name, self.types[dtype], list(shape))

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """An initializer of the layer in scope, `layer.name`: what was learned."""
        full, there = f"{self._scope}.{name}", self.initializers.get(f"{self._scope}.{name}")
        if there is not None and not (self._prefix and np.array_equal(there, array)):
            raise ValueError(f"two weights are called {full}")
        self.initializers[full] = np.ascontiguousarray(array)
        return full

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """An initializer that the operators need; equal ones are kept once."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self.initializers[self._constants[key]] = array
        return self._constants[key]

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The one result of a node."""
        return self.ops(op, *inputs, results=1, **attributes)[0]

    def ops(self, op: str, *inputs: str, results: int, **attributes: Any) -> list[str]:
        """The results of a node; those that nobody reads are left out of the file."""
        inputs = tuple(self._renamed.get(name, name) for name in inputs)
        key = (op, inputs, results, repr(sorted(attributes.items())))
        if key not in self._made:
            stem = f"{self._prefix}{self._scope}/{op}_{len(self._nodes)}"
            names = [stem if i == 0 else f"{stem}.{i}" for i in range(results)]
            self._nodes.append(helper.make_node(op, inputs, names, name=stem, **attributes))
            self._made[key] = tuple(names)
        return list(self._made[key])

    def choose(
        self, condition: str, yes: Sequence[tuple[str, ...]], no: Sequence[str], dtype: str = "float32"
    ) -> list[str]:
        """Where `condition` (one bool) holds the results of the nodes `yes`, (op, *inputs) each, else `no`."""
        stem = f"{self._prefix}{self._scope}/If_{len(self._nodes)}"
        branches = {}
        for branch, nodes in (("then", yes), ("else", [("Identity", value) for value in no])):
            names = [f"{stem}.{branch}.{i}" for i in range(len(nodes))]
            branches[f"{branch}_branch"] = helper.make_graph(
                [helper.make_node(op, inputs, [out]) for (op, *inputs), out in zip(nodes, names, strict=True)],
                f"{stem}.{branch}",
                [],
                [helper.make_tensor_value_info(name, self.types[dtype], None) for name in names],
            )
        results = [f"{stem}.{i}" for i in range(len(no))]
        self._nodes.append(helper.make_node("If", [condition], results, name=stem, **branches))
        return results

    def ints(self, *values: int) -> str:
        """A constant of int64 [n], as operators take sizes, axes and the like."""
        return self.constant(np.array(values))

    def number(self, value: int) -> str:
        """A constant int32 to calculate lengths with."""
        return self.constant(np.array(value, np.int32))

    def steps(self, x: str) -> str:
        """How many steps x [batch, time, …] has: int64 [1]."""
        return self.op("Shape", x, start=1, end=2)

    def cast(self, x: str, dtype: str) -> str:
        """x as another type."""
        return self.op("Cast", x, to=self.types[dtype])

    def range(self, count: str) -> str:
        """0, 1, … up to `count` (int64 [1]): int32 [count]."""
        numbers = self.op("Range", *(self.constant(np.array(0)), self.op("Squeeze", count), self.constant(np.array(1))))
        return self.cast(numbers, "int32")

    def mask(self, x: Value, lengths: str) -> str:
        """True at the steps that are there: [batch, time, 1, …] for x [batch, time, …]."""
        there = self.op("Less", self.range(self.steps(x.name)), self.op("Unsqueeze", lengths, self.ints(1)))
        if not x.signal.shape:
            return there
        return self.op("Unsqueeze", there, self.ints(*range(2, 2 + len(x.signal.shape))))

    def masked(self, x: Value, lengths: str | None, fill: float = 0.0) -> str:
        """x with `fill` at and past each row's length."""
        if lengths is None:
            return x.name
        value = self.constant(np.array(fill, x.signal.dtype))
        return self.op("Where", self.mask(x, lengths), x.name, value)

    def rows(self, x: str, offset: str, count: str) -> str:
        """`count` steps (int64 [1]) of x [batch, time, …], each row from its own offset (int32 [batch, 1]).

        What would lie past the end of x is its last step again.
        """
        last = self.op("Sub", self.cast(self.steps(x), "int32"), self.number(1))
        index = self.op("Min", self.op("Add", offset, self.range(count)), last)
        return self.op("GatherND", x, self.op("Unsqueeze", self.cast(index, "int64"), self.ints(2)), batch_dims=1)

    def pad_steps(self, x: str, left: int, right: int, dimensions: int = 3) -> str:
        """x [batch, time, …] with steps of zeros before and after."""
        if not left and not right:
            return x
        after = [0] * (dimensions - 2)
        return self.op("Pad", x, self.ints(0, left, *after, 0, right, *after))

    def first_steps(self, x: str, count: str) -> str:
        """The first `count` (int64 [1]) steps of x [batch, time, …]."""
        return self.op("Slice", x, self.ints(0), count, self.ints(1))

    def reduce(self, op: str, x: str, axis: int) -> str:
        """ReduceMax or ReduceMean over an axis, which is then gone."""
        if self.opset < 18:
            return self.op(op, x, axes=[axis], keepdims=0)
        return self.op(op, x, self.ints(axis), keepdims=0)

    def flat(self, x: Value) -> str:
        """x with the features of a step as one flat vector."""
        if len(x.signal.shape) == 1:
            return x.name
        return self.op("Reshape", x.name, self.ints(*[0] * (1 + x.signal.has_time), x.signal.size))

    def per_step(self, x: Value, make: Callable[[str], str], shape: tuple[int, ...]) -> str:
        """What `make` makes of x with its steps as rows of one batch, [batch · time, …] to [batch · time, *shape]."""
        if not x.signal.has_time:
            return make(x.name)
        y = make(self.op("Reshape", x.name, self.ints(-1, *x.signal.shape)))
        sizes = self.op("Concat", self.op("Shape", x.name, start=0, end=2), self.ints(*shape), axis=0)
        return self.op("Reshape", y, sizes, allowzero=1)

    def affine(self, x: str, ab: tuple[NDArray[np.float64], NDArray[np.float64]] | None) -> str:
        """(x − a) / b with constants; None: x."""
        if ab is None:
            return x
        offset, scale = (values.astype(np.float32) for values in ab)
        y = self.op("Sub", x, self.constant(offset))
        return self.op("Div", y, self.constant(scale)) if np.any(scale != 1) else y

    def inner(self, prefix: str) -> GraphBuilder:
        """A builder of a graph that a node here runs, such as the body of a Scan: see `body`.

        Its names begin with `prefix`; its weights and constants are those of this graph.
        """
        made = GraphBuilder(self.opset)
        made._prefix, made.initializers, made._constants = prefix, self.initializers, self._constants
        return made

    def unsqueezed(self, state: str, new: str) -> tuple[str, str | None]:
        """What a loop carries from step to step for a state that is read as `state` and left as `new`, and its axes.

        Where all that reads it is Unsqueeze, and it is left by a Squeeze of the same axes, these nodes are saved:
        the loop carries it as it is between them. Else as it is, without axes.
        """
        readers = [node for node in _with_subgraphs(self._nodes) if state in node.input]
        maker = next((node for node in self._nodes if new in node.output), None)
        if maker is None or maker.op_type != "Squeeze":
            return new, None
        if any(node.op_type != "Unsqueeze" or node.input[1] != maker.input[1] for node in readers):
            return new, None
        for node in readers:
            self._nodes.remove(node)
            self._rename(node.output[0], state)
        return maker.input[0], maker.input[1]

    def body(self, name: str) -> onnx.GraphProto:
        """The finished graph, for a node of the graph around it."""
        self._drop_unread()
        return helper.make_graph(self._nodes, name, self._inputs, list(self._outputs.values()))

    def model(self, name: str, metadata: dict[str, str], writer: tuple[str, str]) -> onnx.ModelProto:
        """The finished model, in the IR version that goes with the opset."""
        self._drop_unread()
        tensors = [numpy_helper.from_array(array, key) for key, array in self.initializers.items()]
        graph = helper.make_graph(self._nodes, name, self._inputs, list(self._outputs.values()), tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        if any(node.domain == ML_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
        model = helper.make_model(graph, opset_imports=opsets, producer_name=writer[0], producer_version=writer[1])
        model.ir_version = helper.find_min_ir_version_for(opsets)
        helper.set_model_props(model, metadata)
        return model

    def _rename(self, old: str, new: str) -> None:
        for node in _with_subgraphs(self._nodes):
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new
        self._renamed[old] = new

    def _drop_unread(self) -> None:
        """Leave out results that nobody reads, and then nodes and constants without any."""
        for node in reversed(list(self._nodes)):
            read = {name for other in _with_subgraphs(self._nodes) for name in other.input} | set(self._outputs)
            for i, name in enumerate(node.output):
                # onnxruntime does not open a Scan that lacks a result.
                if name not in read and (node.op_type != "Scan" or read.isdisjoint(node.output)):
                    node.output[i] = ""
            if not any(node.output):
                self._nodes.remove(node)
        read = {name for node in _with_subgraphs(self._nodes) for name in node.input}
        self.initializers = {name: array for name, array in self.initializers.items() if name in read}


def _with_subgraphs(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _with_subgraphs(attribute.g.node)
