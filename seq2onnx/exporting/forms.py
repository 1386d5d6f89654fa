"""The forms of a file: how the graph of a network is written. Each form has a row in FORMS."""

from __future__ import annotations

from collections.abc import Callable

from seq2onnx.contract import END, LENGTHS, input_names, lengths_name
from seq2onnx.errors import SpecError
from seq2onnx.exporting.closed_loop import emit_closed_loop
from seq2onnx.exporting.emission import Weights, emit_layers
from seq2onnx.exporting.options import ExportPlan
from seq2onnx.exporting.words import emit_look_up
from seq2onnx.layers import Signal
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.nodes import Graph

NOT_ARITHMETIC = frozenset(
    ("If", "Scan", "Loop", "LSTM", "GRU", "RNN", "Shape", "Range", "Pad", "CumSum", "GatherND", "LayerNormalization")
)
"""Operators that step files do not have, because other programs than onnxruntime lack them or need fixed sizes."""


def emit_dynamic(plan: ExportPlan, weights: Weights) -> GraphBuilder:
    """Write a graph with dynamic batch and time axes: the inputs, all layers, and the outputs.

    The form "portable" has the same inputs and outputs; the layers read from the graph that they must write it.
    """
    network, options, signals = plan.network, plan.options, plan.signals
    graph = GraphBuilder(options.opset)
    graph.portable = options.form == "portable"
    inputs = {}
    for label, name in input_names(layer.label for layer in network.inputs).items():
        dtype = signals[label].dtype if plan.words is None else "string"
        inputs[label] = graph.input(name, dtype, _shape(graph, label, signals[label]))
        if plan.words is not None:
            inputs[label] = emit_look_up(graph, label, inputs[label], plan.words)
    lengths = None if options.signature == "stream" else graph.input(LENGTHS, "int32", ["batch"])
    if options.lookahead:
        graph.end = graph.input(END, "int32", ["batch"])
    return _emit_network(graph, plan, weights, inputs, lengths)


def _emit_network(
    graph: GraphBuilder, plan: ExportPlan, weights: Weights, inputs: dict[str, str], lengths: str | None
) -> GraphBuilder:
    """Add the states, all layers or the closed loop, and the outputs."""
    for entry in plan.states or ():
        graph.input(entry.input_name, entry.state.dtype, [_rows(graph), *entry.state.shape])
    if plan.options.closed_loop is None:
        new_states = _emit_layers(graph, plan, weights, inputs, lengths)
    else:
        (x,), output = inputs.values(), plan.network.outputs[0]
        y, new_states = emit_closed_loop(graph, plan, weights, x, lengths)
        graph.output("y", y, "float32", ["batch", plan.options.closed_loop, *plan.signals[output].shape])
    for entry, value in zip(plan.states or (), new_states if plan.states else (), strict=True):
        graph.output(entry.output_name, value, entry.state.dtype, [_rows(graph), *entry.state.shape])
    return graph


def _emit_layers(
    graph: GraphBuilder, plan: ExportPlan, weights: Weights, inputs: dict[str, str], lengths: str | None
) -> list[str]:
    """Add all layers, and the outputs of the network; return the new states."""
    states = None if plan.states is None else [(entry, entry.input_name) for entry in plan.states]
    emitted = emit_layers(graph, plan.network, weights, plan.signals, inputs, lengths, states)
    for label, output in plan.output_names:
        value, signal = emitted.values[label], plan.signals[label]
        steps, name = value.lengths, value.name
        if signal.has_time and steps and label not in emitted.finite:
            name = graph.masked(value, steps)
        if plan.options.lookahead and signal.has_time and steps is None:  # as long as x in every row
            steps = graph.op("Expand", graph.cast(graph.steps(value.name), "int32"), graph.rows(value.name))
        graph.output(output, name, signal.dtype, _shape(graph, label, signal))
        if signal.has_time and (signal.clock.windows or plan.options.lookahead) and steps:
            graph.output(lengths_name(output), steps, "int32", ["batch"])
    return emitted.new_states


def _rows(graph: GraphBuilder) -> int | str:
    return 1 if graph.is_fixed else "batch"


def _shape(graph: GraphBuilder, label: str, signal: Signal) -> list[int | str]:
    """Return the shape of a layer's output. A time axis that differs from that of the inputs has its own name."""
    time: int | str = f"time_{label}" if signal.clock.windows or signal.clock.delay else "time"
    if graph.is_fixed:
        time = graph.fixed_steps(signal)
    return [_rows(graph), *([time] if signal.has_time else []), *signal.shape]


def emit_step(plan: ExportPlan, weights: Weights) -> GraphBuilder:
    """Write plain arithmetic on fixed shapes, for one row and the fewest steps that give a result of every layer."""
    graph = GraphBuilder(plan.options.opset, plan.steps_per_run)
    names, signals = input_names(layer.label for layer in plan.network.inputs), plan.signals
    inputs = {
        label: graph.input(name, signals[label].dtype, _shape(graph, label, signals[label]))
        for label, name in names.items()
    }
    return _emit_network(graph, plan, weights, inputs, None)


def emit(plan: ExportPlan, weights: Weights) -> Graph:
    """Write the graph in the form that the options name.

    Raises:
        SpecError: there is no such form, or a layer adds an operator that the form cannot have.
    """
    if plan.options.form not in FORMS:
        raise SpecError(f"form: must be one of {', '.join(FORMS)}, got {plan.options.form!r}")
    graph = FORMS[plan.options.form](plan, weights).finish()
    if plan.options.form == "step" and (refused := {node.op: node for node in graph.nodes}.keys() & NOT_ARITHMETIC):
        node = next(node for node in graph.nodes if node.op in refused)
        raise SpecError(
            f"{node.name.split('/')[0]}: adds the operator {node.op}, which a step file cannot have; in `emit`, add "
            "plain arithmetic where graph.is_fixed holds"
        )
    return graph


FORMS: dict[str, Callable[[ExportPlan, Weights], GraphBuilder]] = {
    "dynamic": emit_dynamic,
    "step": emit_step,
    "portable": emit_dynamic,
}
"""The function that writes the graph in each form. contract.FORMS lists those that the runtime runs."""
