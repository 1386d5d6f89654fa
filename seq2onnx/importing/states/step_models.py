"""Foreign files whose states are inputs and outputs already: their author says which, and the comparison shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from onnx import ModelProto, helper

from seq2onnx.contract import output_names
from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import FEATURES, Axes
from seq2onnx.importing.onnx.graph import opset
from seq2onnx.importing.onnx.graph_parts import reads, remove_unused, rename
from seq2onnx.importing.onnx.tracing import Trace, declared, dtype_of
from seq2onnx.importing.states.rewriting import MADE, Rewriter, label
from seq2onnx.importing.states.stateful_file import ELEMENTS, Body, read_x, to_foreign_input, write_answer

KIND = "own"
"""The kind of a state that the foreign file itself reads and writes."""


@dataclasses.dataclass(frozen=True)
class Carried:
    """A state of the foreign file.

    Attributes:
        input: the input that reads it.
        output: the output that continues it.
        batch: the axis that is the batch. None: it has none.
        shape: its shape without that axis.
        dtype: the name of its numpy type.
    """

    input: str
    output: str
    batch: int | None
    shape: tuple[int, ...]
    dtype: str


def check_states(model: ModelProto, states: Mapping[str, str]) -> None:
    """Check the names of states, and that every other input is the data.

    Raises:
        ImportRefused: a name is not in the file.
    """
    inputs, outputs = [e.name for e in model.graph.input], [e.name for e in model.graph.output]
    for name, new in states.items():
        if name not in inputs or new not in outputs:
            raise ImportRefused(
                f"states: expected an input and the output that continues it, got {name!r}: {new!r}; the file has the "
                f"inputs {', '.join(inputs)} and the outputs {', '.join(outputs)}"
            )
    if len(set(states.values())) < len(states):
        raise ImportRefused("states: two inputs are continued by one output")


def check_inputs(model: ModelProto, data: str, states: Mapping[str, str]) -> None:
    """Check that nothing is read beside the data and the states.

    Raises:
        ImportRefused: another input is read.
    """
    read = set().union(*map(reads, model.graph.node))
    for entry in model.graph.input:
        if entry.name in read - states.keys() - {data}:
            free = [each.name for each in model.graph.output if each.name not in states.values()]
            name, one_of = repr(entry.name), f", one of {', '.join(free)}" if free else ""
            raise ImportRefused(
                f"the input {name} is neither the data nor a state; give it a value, fixed={{{name}: …}}, or the "
                f"output that continues it, states={{{name}: …}}{one_of}"
            )


def carry_states(
    found: Trace, states: Mapping[str, str], names: Mapping[str, str]
) -> tuple[Body, bool, dict[str, Axes]]:
    """Wire states that are inputs and outputs to those of the contract; `names` has the layer of each answer.

    Returns:
        The graph, whether it takes one row of a batch at a time, and the axes of each answer.
    """
    by_step = "T" not in found.axes or (not found.free_steps and found.steps == 1)
    if not by_step and not found.free_steps:
        raise ImportRefused(
            f"takes chunks of exactly {found.steps} steps; if these are the features of one step, say so with axes=: B "
            "for the batch, C for the features, no T"
        )
    one_row = not (found.free_rows and "B" in found.axes)
    carried = [_carried(found, name, new, one_row) for name, new in states.items()]
    graph = Rewriter(opset(found.model))
    body = Body(graph, list(found.model.graph.initializer), found.step, "")
    for state in carried:
        if state.dtype not in ELEMENTS:
            raise ImportRefused(f"states: {state.input!r} is {state.dtype}; a state is float32, int32 or int64")
        old, _ = graph.state(label(state.input), KIND, state.shape, state.dtype)
        _to_source(graph, old, state)
    graph.nodes.extend(found.model.graph.node)
    for own, state in zip(graph.states, carried, strict=True):
        body.outputs[own.output] = _from_source(graph, state, own.output)
    signals = {name: _signal(found, name) for name in names}
    tensors = output_names(names.values())
    for name, layer in names.items():
        answer, tensor = write_answer(body, found, name, layer, signals[name])
        if by_step and len(answer.shape) > 1 and answer.shape[0] == 1 and "T" in found.axes:
            tensor, answer = graph.squeeze(tensor, [1]), dataclasses.replace(answer, shape=answer.shape[1:])
        body.answers.append(dataclasses.replace(answer, has_time=by_step or answer.has_time))
        body.outputs[tensors[layer]] = tensor
    (_each_step if by_step else read_x)(body, found)
    return body, one_row, signals


def _carried(found: Trace, name: str, new: str, one_row: bool) -> Carried:
    entry = next(entry for entry in found.model.graph.input if entry.name == name)
    shape, dtype = found.values[name].shape, str(dtype_of(entry))
    if found.values[new].shape != shape:
        raise ImportRefused(f"states: {name!r} has the shape {list(shape)} and {new!r} {list(found.values[new].shape)}")
    size = 1 if one_row else found.rows
    batch = [axis for axis, own in enumerate(shape) if own == size]
    if one_row and ("B" not in found.axes or not batch or len(shape) < 2):
        return Carried(name, new, None, shape or (1,), dtype)
    if not one_row and len(batch) != 1:
        raise ImportRefused(
            f"states: {name!r} {declared(entry)} has no axis of the batch, or more than one; export it with the batch "
            "as its only dynamic axis"
        )
    return Carried(name, new, batch[0], (*shape[: batch[0]], *shape[batch[0] + 1 :]) or (1,), dtype)


def _to_source(graph: Rewriter, name: str, state: Carried) -> None:
    """Bring a state of the contract, [batch, …], to the layout of the foreign input."""
    if state.batch is None:
        graph.squeeze(name, [0], output=state.input)
    else:
        order = [*range(1, state.batch + 1), 0, *range(state.batch + 1, len(state.shape) + 1)]
        graph.op("Transpose", name, output=state.input, perm=order)


def _from_source(graph: Rewriter, state: Carried, name: str) -> str:
    """Bring the output that continues a state to the layout of the contract."""
    if state.batch is None:
        return graph.unsqueeze(state.output, [0], output=name)
    order = [state.batch, *(axis for axis in range(len(state.shape) + 1) if axis != state.batch)]
    return graph.op("Transpose", state.output, output=name, perm=order)


def _signal(found: Trace, name: str) -> Axes:
    """Find the axes of an output: those whose sizes follow batch and time from run to run."""
    shape = found.values[name].shape
    if found.others is None:
        return Axes(("",) * len(shape), shape)
    other, data = found.others[name].shape, found.others[found.data].shape
    pairs = zip(found.sizes.items(), data, strict=True)
    sizes = {letter: (size, after) for (letter, size), after in pairs if letter not in FEATURES}
    axes = []
    for before, after in zip(shape, other, strict=True):
        letters = [letter for letter, pair in sizes.items() if pair == (before, after) and before != after]
        if before != after and not letters:
            raise ImportRefused(
                f"output {name}: its sizes {list(shape)} and {list(other)} follow neither batch nor time"
            )
        axes.append(letters[0] if letters else "")
    return Axes(tuple(axes), shape)


def _each_step(body: Body, found: Trace) -> None:
    """Make the nodes the body of a Scan over the steps of x."""
    graph, types = body.graph, body.types()
    step = Rewriter(graph.opset, f"{MADE}step_")
    to_foreign_input(step, found, f"{MADE}step_x", found.contract_axes.replace("T", ""))
    olds, news = [state.input for state in graph.states], [state.output for state in graph.states]
    renamed = {name: f"{MADE}step_{name}" for name in (*olds, *news)}
    outs = [name for name in body.outputs if name not in news]
    inner = {name: renamed.get(body.outputs[name], body.outputs[name]) for name in (*news, *outs)}
    inner_graph = helper.make_graph(
        [*step.nodes, *(rename(node, renamed) for node in graph.nodes)],
        "step",
        [helper.make_tensor_value_info(f"{MADE}step_{name}", types[name][0], None) for name in (*olds, "x")],
        [helper.make_tensor_value_info(inner[name], types[name][0], None) for name in (*news, *outs)],
        [*body.initializers, *graph.initializers, *step.initializers],
    )
    remove_unused(inner_graph)
    body.outputs = {name: name for name in news} | {name: f"{MADE}steps_{name}" for name in outs}
    scan: dict[str, Any] = {"num_scan_inputs": 1, "scan_input_axes": [1], "scan_output_axes": [1] * len(outs)}
    read, written = [*olds, "x"], list(body.outputs.values())
    graph.nodes[:] = [helper.make_node("Scan", read, written, name="each_step", body=inner_graph, **scan)]
    graph.initializers[:] = []
    body.initializers = []
