"""The layers of a network as nodes, each after those that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from seq2onnx.exporting.graph import GraphBuilder, Value
from seq2onnx.layers import Signal
from seq2onnx.network import Network

Weights = Mapping[str, Mapping[str, NDArray[Any]]]


class Emitted(NamedTuple):
    """What came out of each layer, the new states in order, and the layers whose results are finite past a row's end.

    Of the others it is not known: what stands in x there may be in them, and is masked where it would leave the graph.
    """

    values: dict[str, Value]
    new_states: list[str]
    finite: set[str]


def emit_layers(
    graph: GraphBuilder,
    network: Network,
    weights: Weights,
    signals: Mapping[str, Signal],
    entering: Mapping[str, str],
    lengths: str | None,
    states: Sequence[tuple[str, str]] | None,
) -> Emitted:
    """Add the nodes of every layer.

    Args:
        signals: what comes out of each layer
        entering: the name of each input layer's data
        lengths: the name of the valid steps of each row; None: every row is as long as x
        states: (layer, name) of each state, in order; None: nothing is carried in or out
    """
    values: dict[str, Value] = {}
    new_states: list[str] = []
    finite: set[str] = set()
    for layer in network.layers:
        name, sources = layer.label, network.reads[layer.label]
        xs = tuple(values[source] for source in sources) or (Value(entering[name], signals[name]),)
        steps = next((x.lengths for x in xs if x.signal.has_time), None) if sources else lengths
        own = None if states is None else tuple(state for owner, state in states if owner == name)
        with graph.scope(name):
            y, steps, new = layer.emit(graph, xs, steps, own, weights.get(name, {}))
        values[name] = Value(y, signals[name], steps)
        new_states.extend(new)
        if layer.masks or (sources and finite.issuperset(sources)) or not signals[name].has_time:
            finite.add(name)
    return Emitted(values, new_states, finite)
