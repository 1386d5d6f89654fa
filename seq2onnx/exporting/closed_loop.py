"""The closed loop: a network that continues from its own outputs, K steps in one run.

    y_1 = f(x)        the output for the last step of the history
    y_k = f(y_{k−1})  k = 2 … K

A Scan runs K − 1 steps of the network. The layers write its body for one step (`GraphBuilder.one_step`); it reads the
weights of the graph around it. In the form "portable" the nodes of the body are in the graph K − 1 times instead. The
states that come out are those after y_{K−1}: the next run's x begins with y_K, or with the true value in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2onnx.exporting.emission import Weights, emit_layers
from seq2onnx.exporting.options import ExportPlan
from seq2onnx.layers.graph import END, GraphBuilder
from seq2onnx.network import NetworkState


def emit_closed_loop(
    graph: GraphBuilder, plan: ExportPlan, weights: Weights, x: str, lengths: str | None
) -> tuple[str, list[str]]:
    """Add the loop after the history x; return y [batch, steps, …] and the new states.

    A row without steps keeps its state; its y is finite but undefined. In a file without states they start at zero.
    """
    network, steps = plan.network, plan.options.closed_loop
    assert steps is not None
    states, (source,), output = plan.loop_states, network.inputs, network.outputs[0]
    old = [state.input_name if plan.states is not None else _zeros(graph, x, state) for state in states]
    carried = list(zip(states, old, strict=True))
    history = emit_layers(graph, network, weights, network.signals, {source.label: x}, lengths, carried)

    # A step of zeros before the answers serves rows without steps as their last answer.
    answers = graph.pad_steps(history.values[output].name, 1, 0, 2 + len(network.signals[output].shape))
    if lengths is None:
        y = graph.op("Slice", answers, graph.ints(-1), graph.ints(END), graph.ints(1))
        seen = graph.cast(graph.steps(x), "bool")
    else:
        y = graph.gather_steps(answers, graph.op("Unsqueeze", lengths, graph.ints(1)), graph.ints(1))
        seen = graph.cast(lengths, "bool")
    if steps == 1:
        return y, history.new_states
    run = _write_out if graph.portable else _scan
    y, new_states = run(graph, plan, weights, y, history.new_states, steps)

    def kept(state: NetworkState, new: str, before: str) -> str:
        axes = graph.ints(*range(1, 1 + len(state.state.shape)))
        return graph.op("Where", seen if lengths is None else graph.op("Unsqueeze", seen, axes), new, before)

    return y, [kept(*row) for row in zip(states, new_states, old, strict=True)]


def _scan(
    graph: GraphBuilder, plan: ExportPlan, weights: Weights, first: str, starts: Sequence[str], steps: int
) -> tuple[str, list[str]]:
    """Add the steps after the first output [batch, 1, …]; return all outputs and the states before the last of them."""
    network, states = plan.network, plan.loop_states
    (source,), output = network.inputs, network.outputs[0]
    shape = network.signals[output].shape
    body = graph.inner("step/")
    body.one_step = True
    names = [f"step/{state.input_name}" for state in states]
    carried = list(zip(states, names, strict=True))
    emitted = emit_layers(body, network, weights, network.signals, {source.label: "step/x"}, None, carried)

    # The input of a step is a row of the answers; its output is the input of the next step.
    answer = body.op("Squeeze", "step/x", body.ints(1))
    body.input("step/x", "float32", ["batch", 1, *shape])
    body.output("step/y", emitted.values[output].name, "float32", ["batch", 1, *shape])
    first_states, squeezed_axes = [], []
    for state, name, new, start in zip(states, names, emitted.new_states, starts, strict=True):
        new, axes = body.unsqueezed(name, new)
        sizes: list[int | str] = ["batch", *state.state.shape]
        if axes is not None:
            for axis in graph.initializers[axes].tolist():
                sizes.insert(axis, 1)
            start = graph.op("Unsqueeze", start, axes)
        body.input(name, state.state.dtype, sizes)
        body.output(f"step/{state.output_name}", new, state.state.dtype, sizes)
        first_states.append(start)
        squeezed_axes.append(axes)
    body.input("step/tick", "float32", [])
    body.output("step/answer", answer, "float32", ["batch", *shape])

    ticks = graph.constant(np.zeros(steps - 1, np.float32))  # a Scan runs once for each entry of its input
    scan: dict[str, Any] = {"body": body.body(), "num_scan_inputs": 1, "scan_output_axes": [1]}
    results = graph.ops("Scan", first, *first_states, ticks, results=2 + len(first_states), **scan)
    new_states = [
        state if axes is None else graph.op("Squeeze", state, axes)
        for state, axes in zip(results[1:-1], squeezed_axes, strict=True)
    ]
    return graph.op("Concat", results[-1], results[0], axis=1), new_states


def _write_out(
    graph: GraphBuilder, plan: ExportPlan, weights: Weights, first: str, starts: Sequence[str], steps: int
) -> tuple[str, list[str]]:
    """Add the same as `_scan`, one step after the other."""
    network = plan.network
    (source,), output = network.inputs, network.outputs[0]
    answers, held = [first], list(starts)
    graph.one_step = True
    for _ in range(steps - 1):
        carried = list(zip(plan.loop_states, held, strict=True))
        emitted = emit_layers(graph, network, weights, network.signals, {source.label: answers[-1]}, None, carried)
        answers.append(emitted.values[output].name)
        held = emitted.new_states
    graph.one_step = False
    return graph.op("Concat", *answers, axis=1), held


def _zeros(graph: GraphBuilder, x: str, state: NetworkState) -> str:
    """Add a state of zeros, with as many rows as x."""
    sizes = graph.op("Concat", graph.rows(x), graph.ints(*state.state.shape), axis=0)
    return graph.op("Expand", graph.constant(np.zeros(1, state.state.dtype)), sizes)
