"""The layers of a network as ONNX nodes, each after the layers that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from seq2onnx.layers import Signal
from seq2onnx.layers.calls import EmitCall
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Value
from seq2onnx.network import Network, NetworkState

EMISSION = 4
"""Raise this number with every change of the nodes that a network is exported as: the file records it, and `restore`
compares graphs only if it is the same."""

Weights = Mapping[str, Mapping[str, NDArray[Any]]]


class EmittedNetwork(NamedTuple):
    """The nodes of a network.

    Attributes:
        values: the output of each layer.
        new_states: the new states, in order.
        finite: the layers whose output is finite past the end of a row, whatever x holds there. Outputs of the others
            are masked where they leave the graph.
    """

    values: dict[str, Value]
    new_states: list[str]
    finite: set[str]


def emit_layers(
    graph: GraphBuilder,
    network: Network,
    weights: Weights,
    signals: Mapping[str, Signal],
    inputs: Mapping[str, str],
    lengths: str | None,
    states: Sequence[tuple[NetworkState, str]] | None,
) -> EmittedNetwork:
    """Add the nodes of every layer.

    `inputs` names the data of each input layer. `lengths` names the valid steps of each row; None: every row is valid
    to its end. `states` has each state with its name in the graph, in order; None: the file carries no states.
    """
    values: dict[str, Value] = {}
    new_states: list[str] = []
    finite: set[str] = set()
    for layer in network.layers:
        name, sources = layer.label, network.reads[layer.label]
        xs = tuple(values[source] for source in sources) or (Value(inputs[name], signals[name]),)
        steps = next((x.lengths for x in xs if x.signal.has_time), None) if sources else lengths
        own = None if states is None else {entry.state.name: held for entry, held in states if entry.layer == name}
        with graph.scope(name):
            y, steps, new = layer.emit(graph, EmitCall(xs, steps, own, weights.get(name, {})))
        values[name] = Value(y, signals[name], steps)
        new_states.extend(new[state] for state in own or ())
        if layer.is_finite_past_end or (sources and finite.issuperset(sources)) or not signals[name].has_time:
            finite.add(name)
    return EmittedNetwork(values, new_states, finite)
