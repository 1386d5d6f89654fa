"""GraphBuilder: the ONNX graph that layers add their nodes to. It needs no onnx: exporting/model_proto.py has that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.nodes import DATA_TYPES, Dimension, Graph, Node, TensorType
from seq2onnx.layers.signal import Signal, Value

END = 2**31 - 1  # of a Slice that takes everything to the end


class GraphBuilder:
    """An ONNX graph that grows node by node.

    A node with the same inputs and attributes as an earlier one is not added again. So layers share masks and
    conditions automatically. Each node costs onnxruntime about 0.4 µs per step.

    Attributes:
        opset: version of the ONNX operators.
        initializers: the weights and constants by name.
        one_step: every signal is exactly one step long, as in the body of a closed loop. Nodes that guard against
            chunks without steps are then left out.
        portable: the graph must be right in runtimes that ignore the lengths of recurrent operators, too.
        end: name of the input that is 1 in the last chunk of a row, in files with lookahead.
        steps_per_run: in a graph of fixed shapes, the input steps of each run, which has one row. All sizes are then
            constants, and layers add only plain arithmetic. None: batch and time are dynamic.
    """

    def __init__(self, opset: int = 17, steps_per_run: int | None = None) -> None:
        self.opset, self.steps_per_run = opset, steps_per_run
        self.initializers: dict[str, NDArray[Any]] = {}
        self.one_step = self.portable = False
        self.end: str | None = None
        self._nodes: list[Node] = []
        self._made: dict[Any, list[str]] = {}
        self._computed: set[str] = set()
        self._constants: dict[Any, str] = {}
        self._inputs: list[TensorType] = []
        self._outputs: list[TensorType] = []
        self._renamed: dict[str, str] = {}
        self._reshaped: dict[str, str] = {}
        self._scope = self._prefix = ""

    @contextmanager
    def scope(self, layer: str) -> Iterator[None]:
        """Put the name of a layer into the names of nodes and weights that are added within."""
        self._scope = layer
        yield
        self._scope = ""

    @property
    def layer(self) -> str:
        """The name of the layer in scope."""
        return self._scope

    def input(self, name: str, dtype: str, shape: Sequence[Dimension]) -> str:
        """Add an input to the graph. Text in `shape` names a dynamic dimension."""
        self._inputs.append(TensorType(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[Dimension]) -> None:
        """Make `value` an output of the graph. Each output is a tensor of its own, never an alias."""
        if value in self._computed and value not in self._renamed:
            self._renamed[value] = name
        else:
            self._nodes.append(Node("Identity", [value], [name], f"{name}/Identity"))
        self._outputs.append(TensorType(name, dtype, shape))

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Add a learned array of the layer in scope, as the initializer `layer.name`."""
        full = f"{self._scope}.{name}"
        known = self.initializers.get(full)
        if known is not None and not ((self._prefix or self.one_step) and np.array_equal(known, array)):
            raise ValueError(f"two weights are called {full}")
        self.initializers[full] = np.ascontiguousarray(array)
        return full

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """Add an initializer that is not learned. Equal ones are stored once."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self.initializers[self._constants[key]] = array
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """Add a constant int64 [n], the form in which operators take sizes and axes."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: int) -> str:
        """Add a constant int32, to calculate with lengths."""
        return self.constant(np.array(value, np.int32))

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its only result."""
        return self.ops(op, *inputs, results=1, **attributes)[0]

    def ops(self, op: str, *inputs: str, results: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node and return its results. Results that nothing reads are left out of the file."""
        key = (op, inputs, results, repr(sorted(attributes.items())))
        if key not in self._made:
            stem = f"{self._prefix}{self._scope}/{op}_{len(self._nodes)}"
            names = [stem if i == 0 else f"{stem}.{i}" for i in range(results)]
            self._made[key] = self._add(Node(op, list(inputs), names, stem, attributes, domain))
        return list(self._made[key])

    def choose(
        self, condition: str, yes: Sequence[tuple[str, ...]], no: Sequence[str], dtype: str = "float32"
    ) -> list[str]:
        """Add an If: where `condition` (one bool) holds, the results of nodes (op, *inputs), else the values `no`."""
        stem = f"{self._prefix}{self._scope}/If_{len(self._nodes)}"

        def branch(name: str, nodes: Iterable[tuple[str, ...]]) -> Graph:
            made = [Node(op, inputs, [f"{stem}.{name}.{i}"]) for i, (op, *inputs) in enumerate(nodes)]
            return Graph(made, [], [TensorType(node.outputs[0], dtype, None) for node in made], {})

        branches = {"then_branch": branch("then", yes), "else_branch": branch("else", [("Identity", v) for v in no])}
        return self._add(Node("If", [condition], [f"{stem}.{i}" for i in range(len(no))], stem, branches))

    def _add(self, node: Node) -> list[str]:
        self._nodes.append(node)
        self._computed.update(node.outputs)
        return node.outputs

    def cast(self, x: str, dtype: str) -> str:
        """Convert x to another type."""
        return self.op("Cast", x, to=DATA_TYPES[dtype])

    @property
    def is_fixed(self) -> bool:
        """Whether all shapes are constants."""
        return self.steps_per_run is not None

    def fixed_steps(self, signal: Signal) -> int:
        """Return the steps of a signal in each run of a graph of fixed shapes."""
        assert self.steps_per_run is not None
        return self.steps_per_run // signal.clock.stride

    def reshape(self, x: str, *sizes: int) -> str:
        """Give x a shape. Of several such nodes in a row, only the last remains."""
        source = self._reshaped.get(x, x)
        y = self.op("Reshape", source, self.ints(*sizes))
        self._reshaped[y] = source
        return y

    def steps(self, x: str) -> str:
        """Count the steps of x [batch, time, …]: int64 [1]."""
        return self.op("Shape", x, start=1, end=2)

    def row_steps(self, x: str, lengths: str | None) -> str:
        """Count the valid steps of each row of x: int32 [batch, 1], or [1] where all rows are valid to their end."""
        if lengths is None:
            return self.cast(self.steps(x), "int32")
        return self.op("Unsqueeze", lengths, self.ints(1))

    def rows(self, x: str) -> str:
        """Count the rows of x [batch, …]: int64 [1]."""
        return self.op("Shape", x, start=0, end=1)

    def range(self, count: str) -> str:
        """Count from 0 to `count` (int64 [1]) − 1: int32 [count]."""
        return self.cast(self._range64(count), "int32")

    def _range64(self, count: str) -> str:
        first, step = self.constant(np.array(0)), self.constant(np.array(1))
        return self.op("Range", first, self.op("Squeeze", count), step)

    def mask(self, x: Value, lengths: str) -> str:
        """Compute which steps are valid: bool [batch, time, 1, …] for x [batch, time, …]."""
        valid = self.op("Less", self.range(self.steps(x.name)), self.op("Unsqueeze", lengths, self.ints(1)))
        if not x.signal.shape:
            return valid
        return self.op("Unsqueeze", valid, self.ints(*range(2, 2 + len(x.signal.shape))))

    def masked(self, x: Value, lengths: str | None, fill: float = 0.0) -> str:
        """Replace the steps of x past each row's length by `fill`."""
        if lengths is None:
            return x.name
        return self.op("Where", self.mask(x, lengths), x.name, self.constant(np.array(fill, x.signal.dtype)))

    def gather_steps(self, x: str, offset: str, count: str) -> str:
        """Take `count` steps (int64 [1]) of x [batch, time, …], each row from its own offset (int32 [batch, 1]).

        Steps past the end of x repeat its last step.
        """
        known = self.initializers.get(count)
        if known is None:
            places = self.op("Unsqueeze", self._range64(count), self.ints(1))
        else:
            places = self.constant(np.arange(known.item())[:, None])
        start = self.op("Unsqueeze", self.cast(offset, "int64"), self.ints(2))
        last = self.op("Sub", self.steps(x), self.ints(1))
        return self.op("GatherND", x, self.op("Min", self.op("Add", start, places), last), batch_dims=1)

    def pad_steps(self, x: str, left: int, right: int, dimensions: int = 3) -> str:
        """Add steps of zeros before and after x [batch, time, …]."""
        if not left and not right:
            return x
        after = [0] * (dimensions - 2)
        return self.op("Pad", x, self.ints(0, left, *after, 0, right, *after))

    def first_steps(self, x: str, count: str | None) -> str:
        """Take the first `count` (int64 [1]) steps of x [batch, time, …]; None: all."""
        if count is None:
            return x
        return self.op("Slice", x, self.ints(0), count, self.ints(1))

    def last_steps(self, x: str, count: int) -> str:
        """Take the last `count` steps of x [batch, time, …]."""
        return self.op("Slice", x, self.ints(-count), self.ints(END), self.ints(1))

    def reduce(self, op: str, x: str, *axes: int, keep: bool = False) -> str:
        """Add a ReduceMax, ReduceMin or ReduceMean over axes, which are removed, or kept with size 1."""
        if self.opset < 18:
            return self.op(op, x, axes=[*axes], keepdims=int(keep))
        return self.op(op, x, self.ints(*axes), keepdims=int(keep))

    def flat(self, x: Value) -> str:
        """Flatten the features of each step of x into one vector."""
        return x.name if len(x.signal.shape) == 1 else self.step_shape(x.name, x.signal, x.signal.size)

    def step_shape(self, x: str, signal: Signal, *shape: int) -> str:
        """Give each step of x, whose steps are those of the signal, another shape."""
        if self.is_fixed:
            return self.reshape(x, 1, *[self.fixed_steps(signal)] * signal.has_time, *shape)
        return self.op("Reshape", x, self.ints(*[0] * (1 + signal.has_time), *shape))

    def per_step(self, x: Value, make: Callable[[str], str], shape: tuple[int, ...]) -> str:
        """Apply `make`, from [batch · time, …] to [batch · time, *shape], to all steps of x as one batch."""
        if not x.signal.has_time:
            return make(x.name)
        if self.is_fixed:
            steps = self.fixed_steps(x.signal)
            return self.reshape(make(self.reshape(x.name, steps, *x.signal.shape)), 1, steps, *shape)
        y = make(self.op("Reshape", x.name, self.ints(-1, *x.signal.shape)))
        sizes = self.op("Concat", self.op("Shape", x.name, start=0, end=2), self.ints(*shape), axis=0)
        return self.op("Reshape", y, sizes, allowzero=1)

    def affine(self, x: str, offset_scale: tuple[NDArray[np.float64], NDArray[np.float64]] | None) -> str:
        """Compute (x − offset) / scale; None: x."""
        if offset_scale is None:
            return x
        offset, scale = (values.astype(np.float32) for values in offset_scale)
        y = self.op("Sub", x, self.constant(offset))
        return self.op("Div", y, self.constant(scale)) if np.any(scale != 1) else y

    def inner(self, prefix: str) -> GraphBuilder:
        """Start the body of a node, such as a Scan. Its names begin with `prefix`; it shares weights and constants."""
        made = GraphBuilder(self.opset)
        made._prefix, made.initializers, made._constants = prefix, self.initializers, self._constants
        return made

    def unsqueezed(self, state: str, new: str) -> tuple[str, str | None]:
        """Remove the Unsqueeze and Squeeze around a state that a loop reads as `state` and computes as `new`.

        That is possible where only Unsqueeze nodes read it and a Squeeze with the same axes computes it. The loop then
        carries the unsqueezed form.

        Returns:
            The name of the tensor that the loop carries on, and the name of the axes; `new` and None where it is not
            possible.
        """
        readers = [node for node in self._nodes if state in node.reads()]
        maker = next((node for node in self._nodes if new in node.outputs), None)
        if maker is None or maker.op != "Squeeze":
            return new, None
        if any(node.op != "Unsqueeze" or node.inputs[1] != maker.inputs[1] for node in readers):
            return new, None
        for node in readers:
            self._nodes.remove(node)
            self._renamed[node.outputs[0]] = state
        return maker.inputs[0], maker.inputs[1]

    def body(self) -> Graph:
        """Finish a graph that a node of the graph around it runs."""
        return Graph(self._finished_nodes(), self._inputs, self._outputs, {})

    def finish(self) -> Graph:
        """Finish the graph: nodes and constants that nothing reads are left out."""
        nodes = self._finished_nodes()
        read = {name for node in nodes for name in node.reads()}
        kept = {name: array for name, array in self.initializers.items() if name in read}
        return Graph(nodes, self._inputs, self._outputs, kept)

    def _finished_nodes(self) -> list[Node]:
        """The nodes that something reads, with their final names."""
        for node in self._nodes:
            node.rename(self._final_name)
        uses = Counter(name for node in self._nodes for name in node.reads())
        uses.update(tensor.name for tensor in self._outputs)
        kept = []
        for node in reversed(self._nodes):
            used = [uses[name] > 0 for name in node.outputs]
            if not any(used):
                uses.subtract(node.reads())
                continue
            if node.op != "Scan":  # onnxruntime does not open a Scan that lacks a result
                node.outputs = [name if here else "" for name, here in zip(node.outputs, used, strict=True)]
            kept.append(node)
        return kept[::-1]

    def _final_name(self, name: str) -> str:
        while name in self._renamed:
            name = self._renamed[name]
        return name
