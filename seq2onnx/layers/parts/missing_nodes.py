"""Missing as ONNX nodes.

The last value that was there is found without a loop. Before each row stands its state, which is always there. A
running count numbers the values of a channel that are there, a table has each of them at its number, and the count at a
step is the number of the last one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.calls import EmitCall
from seq2onnx.layers.graph import END, GraphBuilder

LARGEST = float(np.finfo(np.float32).max)
"""A value is there if its magnitude is below this: NaN and infinity are not."""


def emit_chunk(
    graph: GraphBuilder, call: EmitCall, is_held: bool, mark: str, limit: NDArray[Any]
) -> tuple[str, dict[str, str]]:
    """Compute y, and the new states, from any number of steps.

    `is_held`: whether missing values repeat the last one; see Missing for `mark` and `limit`, which is int32.
    """
    op, ints, states, x = graph.op, graph.ints, call.states or {}, call.x.name
    if not is_held and mark != "since":
        there = _there(graph, x)
        return _joined(graph, _filled(graph, there, x), _marks(graph, there) if mark == "missing" else None), {}
    if "last" in states:
        x = op("Concat", op("Unsqueeze", states["last"], ints(1)), x, axis=1)
    else:
        x = graph.pad_steps(x, 1, 0)
    there = _there(graph, x)
    ones = graph.cast(there, "int32")
    count = op("CumSum", ones, graph.constant(np.array(1)))
    places = op("Mul", ones, count)  # missing values go to the place 0 of the table, which nothing reads

    def last(values: str) -> str:
        table = op("ScatterElements", graph.pad_steps(values, 0, 1), places, values, axis=1)
        return op("GatherElements", table, count, axis=1)

    def from_second(every: str) -> str:
        return op("Slice", every, ints(1), ints(END), ints(1))

    marks, kept = None, {}
    if is_held:
        kept["last"] = last(x)
        y = from_second(kept["last"])
    else:
        y = _filled(graph, from_second(there), from_second(x))
    if mark == "missing":
        marks = _marks(graph, from_second(there))
    elif mark == "since":
        gaps = op("CumSum", op("Sub", graph.number(1), ones), graph.constant(np.array(1)))
        since = op("Sub", gaps, last(gaps))
        if "since" in states:
            earlier = op("Unsqueeze", states["since"], ints(1))
            is_first = op("Equal", count, graph.number(1))  # nothing was there but the state
            since = op("Add", since, op("Where", is_first, earlier, graph.number(0)))
        kept["since"] = op("Min", since, graph.constant(limit))
        marks = _share(graph, from_second(kept["since"]), limit)
    return _joined(graph, y, marks), {name: _at_end(graph, kept[name], call.lengths) for name in states}


def emit_fixed(
    graph: GraphBuilder, call: EmitCall, is_held: bool, mark: str, limit: NDArray[Any]
) -> tuple[str, dict[str, str]]:
    """Compute the same step by step, in a graph that knows how many there are; the arguments are as in `emit_chunk`."""
    op, ints, number = graph.op, graph.ints, graph.number
    held = {name: op("Unsqueeze", state, ints(1)) for name, state in (call.states or {}).items()}
    steps, ys = graph.fixed_steps(call.x.signal) if graph.is_fixed else 1, []
    for step in range(steps):
        x = call.x.name if steps == 1 else op("Slice", call.x.name, ints(step), ints(step + 1), ints(1))
        there, marks = _there(graph, x), None
        y = op("Where", there, x, held["last"]) if is_held else _filled(graph, there, x)
        if is_held:
            held["last"] = y
        if mark == "missing":
            marks = _marks(graph, there)
        elif mark == "since":
            grown = op("Min", op("Add", held["since"], number(1)), graph.constant(limit))
            held["since"] = op("Where", there, number(0), grown)
            marks = _share(graph, held["since"], limit)
        ys.append(_joined(graph, y, marks))
    y = ys[0] if steps == 1 else op("Concat", *ys, axis=1)
    return y, {name: op("Squeeze", state, ints(1)) for name, state in held.items()}


def _there(graph: GraphBuilder, x: str) -> str:
    """Which values are there. It must be Less: Greater with NaN is true in OpenVINO."""
    return graph.op("Less", graph.op("Abs", x), graph.constant(np.float32(LARGEST)))


def _filled(graph: GraphBuilder, there: str, x: str) -> str:
    return graph.op("Where", there, x, graph.constant(np.float32(0)))


def _marks(graph: GraphBuilder, there: str) -> str:
    return graph.op("Where", there, graph.constant(np.float32(0)), graph.constant(np.float32(1)))


def _share(graph: GraphBuilder, since: str, limit: NDArray[Any]) -> str:
    return graph.op("Div", graph.cast(since, "float32"), graph.constant(limit.astype(np.float32)))


def _joined(graph: GraphBuilder, y: str, marks: str | None) -> str:
    return y if marks is None else graph.op("Concat", y, marks, axis=2)


def _at_end(graph: GraphBuilder, every: str, lengths: str | None) -> str:
    """Take the last valid step of each row of [B, T + 1, C]: [B, C]."""
    op, ints = graph.op, graph.ints
    if lengths is None:
        return op("Squeeze", op("Slice", every, ints(-1), ints(END), ints(1)), ints(1))
    ends = graph.cast(op("Unsqueeze", lengths, ints(1)), "int64")
    return op("GatherND", every, ends, batch_dims=1)
