"""Write a graph with states as a file of the contract: its tensors, the guard for chunks of no steps, the metadata."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from seq2onnx import __version__
from seq2onnx.contract import Contract, ContractState, lengths_name, output_names
from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes
from seq2onnx.importing.onnx.graph_parts import all_names, remove_unused, rename, rename_all, tensors as tensors_of
from seq2onnx.importing.onnx.source_runs import FileOutput
from seq2onnx.importing.onnx.tracing import Trace
from seq2onnx.importing.states.empty_chunks import from_states, guard
from seq2onnx.importing.states.rewriting import MADE, Rewriter, label

LAST = "last"
"""The kind of a state that is the last answer."""
ELEMENTS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}


@dataclasses.dataclass
class Body:
    """A graph in the making, which reads x and the states of the contract and computes the answers.

    Attributes:
        graph: its nodes, added initializers and states.
        initializers: those of the foreign graph.
        step: the shape of a step of x. None: tokens.
        layer: the name of the input.
        answers: what it computes.
        outputs: for each output of the contract the tensor that holds it; where the steps of an answer are not those
            of x, also of their number.
        tokens: how many different tokens there are.
    """

    graph: Rewriter
    initializers: Sequence[TensorProto]
    step: tuple[int, ...] | None
    layer: str
    answers: list[FileOutput] = dataclasses.field(default_factory=list)
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    tokens: int | None = None

    def types(self) -> dict[str, tuple[int, list[int | str]]]:
        """Return the element type and the shape of each input and output of the contract."""
        tensors = output_names(answer.layer for answer in self.answers)
        found: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.INT64, ["batch", "time"])}
        if self.step is not None:
            found["x"] = (TensorProto.FLOAT, ["batch", "time", *self.step])
        for answer in self.answers:
            time = ["time"] if answer.has_time else []
            found[tensors[answer.layer]] = (ELEMENTS[answer.dtype], ["batch", *time, *answer.shape])
            if (lengths := lengths_name(tensors[answer.layer])) in self.outputs:
                found[lengths] = (TensorProto.INT32, ["batch"])
        for state in self.graph.states:
            for name in (state.input, state.output):
                found[name] = (ELEMENTS[state.dtype], ["batch", *state.shape])
        return found

    @property
    def inputs(self) -> list[str]:
        """The inputs of the contract."""
        return ["x", *(state.input for state in self.graph.states)]


def read_x(body: Body, trace: Trace) -> None:
    """Put nodes before all others that bring x of the contract to the layout of the foreign input."""
    before = Rewriter(body.graph.opset, f"{MADE}before_")
    to_foreign_input(before, trace, "x", trace.contract_axes, f"{MADE}x_")
    body.graph.nodes[:0] = before.nodes
    body.graph.initializers += before.initializers


def to_foreign_input(graph: Rewriter, trace: Trace, name: str, letters: str, stem: str = "") -> None:
    """Bring a tensor with these axes to the layout of the foreign input; `stem` begins the names of what is added."""

    def named(what: str) -> str | None:
        return f"{stem}{what}" if stem else None

    for letter in "CB":
        if letter in letters and letter not in trace.axes:
            at, letters = letters.index(letter), letters.replace(letter, "")
            name = graph.squeeze(name, [at], output=named(letters))
    if "T" in trace.axes and "T" not in letters:
        name, letters = graph.unsqueeze(name, [len(letters)]), f"{letters}T"
    order = [letters.index(letter) for letter in trace.axes]
    if order != sorted(order):
        name = graph.op("Transpose", name, output=named(trace.axes), perm=order)
    if trace.values[trace.data].dtype == np.int32:
        name = graph.op("Cast", name, output=named("int32"), to=TensorProto.INT32)
    graph.op("Identity", name, output=trace.data)


def write_answer(body: Body, trace: Trace, name: str, layer: str, signal: Axes) -> tuple[FileOutput, str]:
    """Bring an output to the layout of the contract; return it and the tensor that holds it."""
    graph, axes, shape = body.graph, list(signal.axes), list(signal.shape)
    if any(signal.pads):
        before, after = signal.pads
        raise ImportRefused(f"output {name}: has {before} steps before the first and {after} after the last one")
    found = graph.read(name)
    merged = next((axis for axis, letter in enumerate(axes) if len(letter) > 1), None)
    if merged is not None:
        sizes = {"B": lambda: graph.size("x", 0), "T": lambda: graph.size("x", 1)}
        parts = [graph.constant([size]) for size in shape]
        parts[merged : merged + 1] = [sizes[letter]() for letter in axes[merged]]
        found = graph.op("Reshape", found, graph.op("Concat", *parts, axis=0))
        count = {"B": trace.rows, "T": trace.steps}
        shape[merged : merged + 1] = [count[letter] for letter in axes[merged]]
        axes[merged : merged + 1] = list(axes[merged])
    has_time = "T" in axes
    if "B" not in axes:
        if "B" in trace.axes and trace.rows == 1 and ("", 1) in zip(axes, shape, strict=True):
            axes[list(zip(axes, shape, strict=True)).index(("", 1))] = "B"  # a fixed batch of 1
        elif trace.rows > 1 and "B" in trace.axes:
            raise ImportRefused(f"output {name}: does not depend on the data of its own row")
        else:
            found, axes, shape = graph.unsqueeze(found, [0]), ["B", *axes], [1, *shape]
    order = [axes.index("B"), *([axes.index("T")] if has_time else [])]
    order += [axis for axis, letter in enumerate(axes) if not letter]
    if order != sorted(order):
        found = graph.op("Transpose", found, perm=order)
    features = tuple(shape[axis] for axis in order[1 + has_time :])
    if not features:
        found, features = graph.unsqueeze(found, [1 + has_time]), (1,)
    kind = trace.values[name].dtype
    dtype = "float32" if kind.kind == "f" else "int64"
    if kind != dtype:
        found = graph.op("Cast", found, to=ELEMENTS[dtype])
    if found in (trace.data, *body.outputs.values()):
        found = graph.op("Identity", found)  # an output of its own
    return FileOutput(name, layer, features, has_time, dtype), found


def finish(body: Body, source: ModelProto, one_row: bool) -> ModelProto:
    """Return the file; `one_row`: the graph runs one row of a batch at a time."""
    body, last, after = _with_last_answers(body, one_row)
    graph, types = body.graph, body.types()
    tensors = output_names(answer.layer for answer in body.answers)
    # The names of the contract belong to the inputs and outputs of the whole file.
    names = {name: f"{MADE}{name}" for name in types if name not in body.inputs}
    nodes = [rename(node, names) for node in graph.nodes]
    outputs = {name: names.get(inner, inner) for name, inner in body.outputs.items()}
    initializers = [*body.initializers, *graph.initializers]
    if one_row:
        nodes, outputs = _each_row(body, nodes, outputs, initializers)
        initializers = []
    kept = {state.output: state.input for state in graph.states if state.output in outputs}
    kept |= {name: state.input for name, state in last.items()}
    empty: dict[str, tuple[int, ...] | None] = dict.fromkeys(map(lengths_name, tensors.values()))
    empty |= {tensors[answer.layer]: answer.shape for answer in body.answers if answer.has_time}
    elements = {name: element for name, (element, _) in types.items()}
    nodes, initializers = guard(nodes, initializers, outputs, kept, empty, elements, graph.opset, after)
    nodes += [helper.make_node("Identity", [name], [state.output], state.output) for name, state in last.items()]
    infos = {name: helper.make_tensor_value_info(name, *of) for name, of in types.items()}
    read, written = ([infos[name] for name in types if (name in body.inputs) == is_read] for is_read in (True, False))
    whole = helper.make_graph(nodes, source.graph.name or "network", read, written, initializers)
    remove_unused(whole)
    for tensor in tensors_of(whole):
        if not tensor.HasField("raw_data"):  # `load` checks the bytes of all weights
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    version: dict[str, Any] = {"ir_version": source.ir_version, "producer_version": __version__}
    model = helper.make_model(whole, opset_imports=list(source.opset_import), producer_name="seq2onnx", **version)
    contract = Contract(
        inputs=[body.layer],
        outputs=[answer.layer for answer in body.answers],
        tokens=body.tokens,
        signature="stream",
        states=tuple(graph.states),
        writer=f"seq2onnx {__version__}",
    )
    helper.set_model_props(model, contract.properties())
    return model


def _with_last_answers(body: Body, one_row: bool) -> tuple[Body, dict[str, ContractState], set[int]]:
    """Keep answers without time as states, for chunks of no steps, but for those that new states alone give.

    Returns:
        A copy of the graph with these states; the state of each of these outputs; and the indices of the nodes that
        compute the other answers from new states.
    """
    graph = copy.copy(body.graph)
    outputs = body.outputs | {s.output: s.output for s in graph.states if s.output not in body.outputs}
    tensors = output_names(answer.layer for answer in body.answers)
    answers = {tensors[answer.layer]: answer for answer in body.answers if not answer.has_time}
    found: dict[str, set[int]] = {}
    if not one_row:
        states = {outputs[state.output] for state in graph.states}
        found = from_states(graph.nodes, body.inputs, states, [outputs[name] for name in answers])
    graph.states, last = [*graph.states], {}
    for name, answer in answers.items():
        if outputs[name] not in found:
            graph.state(answer.layer, LAST, answer.shape, answer.dtype)
            last[name] = graph.states[-1]
    return dataclasses.replace(body, graph=graph, outputs=outputs), last, set[int]().union(*found.values())


def _each_row(
    body: Body, nodes: Sequence[NodeProto], outputs: Mapping[str, str], initializers: Sequence[TensorProto]
) -> tuple[list[NodeProto], dict[str, str]]:
    """Return a Scan over the rows of a batch, for a graph that takes one row."""
    types, row = body.types(), Rewriter(body.graph.opset, f"{MADE}row_")
    names = {name: f"{MADE}one_{name}" for name in body.inputs}
    for name in body.inputs:
        row.unsqueeze(f"{MADE}in_{name}", [0], output=names[name])
    row.nodes.extend(rename(node, names) for node in nodes)
    for name, inner in outputs.items():
        row.squeeze(inner, [0], output=f"{MADE}out_{name}")
    inputs, results = (
        [helper.make_tensor_value_info(f"{MADE}{side}_{name}", types[name][0], None) for name in of]
        for side, of in (("in", body.inputs), ("out", outputs))
    )
    inner_graph = helper.make_graph(row.nodes, "row", inputs, results, [*initializers, *row.initializers])
    remove_unused(inner_graph)
    after = {name: f"{MADE}all_{name}" for name in outputs}
    scan: dict[str, Any] = {"name": "rows", "body": inner_graph, "num_scan_inputs": len(body.inputs)}
    return [helper.make_node("Scan", body.inputs, list(after.values()), **scan)], after


def unique_labels(names: Sequence[str]) -> list[str]:
    """Return the names as the contract allows them, each once."""
    found: list[str] = []
    for name in names:
        made, count = label(name), 2
        while made in found or made.endswith("_lengths"):
            made, count = f"{label(name).removesuffix('_lengths')}_{count}", count + 1
        found.append(made)
    return found


def free_names(model: ModelProto) -> dict[str, str]:
    """Rename tensors of a foreign graph that have names of the contract, or of added tensors.

    Returns:
        The old name of each that was renamed.
    """
    graph = model.graph
    every = all_names(graph)
    reserved = ("x", "y", "lengths", "end")
    prefixes = ("x_", "y_", "state_", "new_state_", "act_", MADE)
    names = {}
    for name in sorted(every):
        if name in reserved or name.startswith(prefixes):
            new = f"source_{name}"
            while new in every:
                new += "_"
            names[name] = new
            every.add(new)
    rename_all(graph, names)
    return {new: old for old, new in names.items()}
