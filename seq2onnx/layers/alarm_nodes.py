"""Alarm as ONNX nodes.

What was true last is found without a loop. Before each row stands a step that is always marked. All rows are one after
the other; a running count of the marked steps numbers them. A table has the position of each marked step at its number,
and the running count at a step is the number of the last one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.calls import EmitCall
from seq2onnx.layers.graph import END, GraphBuilder

Limits = NDArray[np.float32]


def emit_chunk(
    graph: GraphBuilder,
    call: EmitCall,
    high: Limits,
    low: Limits,
    can: NDArray[np.bool_] | None,
    patience: int,
    hold: int,
    is_event: bool,
) -> tuple[str, dict[str, str]]:
    """Compute y [B, T, K], and the new states, from any number of steps.

    Args:
        graph: the graph.
        call: the input and the states.
        high: the threshold, of all classes or of each.
        low: the release.
        can: which classes can have an alarm; None: all.
        patience: see Alarm.
        hold: see Alarm.
        is_event: whether y is 1 only where an alarm begins.
    """
    op, ints, number, states = graph.op, graph.ints, graph.number, call.states or {}
    high, low = (np.reshape(limit, (-1, 1)) for limit in (high, low))
    x = op("Transpose", call.x.name, perm=[0, 2, 1])
    above = graph.cast(op("GreaterOrEqual", x, graph.constant(high)), "int32")
    below = graph.cast(op("Less", x, graph.constant(low)), "int32")
    if can is not None:
        factors = graph.constant(can.astype(np.int32)[:, None])
        above, below = (op("Mul", flags, factors) for flags in (above, below))
    every: dict[str, str] = {}

    def full(flags: str, name: str, most: int) -> str:
        every[name] = found = _count(graph, flags, states.get(name), most)
        return graph.cast(op("Equal", _from_second(graph, found), number(most)), "int32")

    if patience > 1:
        above = full(above, "run", patience)
    if hold:
        below = full(below, "low", hold + 1)
    undecided = op("Sub", number(1), op("Add", above, below))
    marks = _Marks(graph, undecided)
    if states:
        values = op("Concat", op("Unsqueeze", states["on"], ints(2)), above, axis=2)
    else:
        values = _with_first(graph, above)
    every["on"] = on = marks.last(op("Reshape", values, ints(-1)))
    y = _from_second(graph, on)
    if is_event:
        y = op("Greater", y, op("Slice", on, ints(0), ints(-1), ints(2)))
    y = op("Transpose", graph.cast(y, "float32"), perm=[0, 2, 1])
    return y, {name: _at_end(graph, every[name], call.lengths) for name in states}


class _Marks:
    """The marked steps of all rows. `unmarked` [B, K, T] is 0 where a step is marked, and 1 elsewhere."""

    def __init__(self, graph: GraphBuilder, unmarked: str) -> None:
        self.graph, op = graph, graph.op
        with_first = _with_first(graph, unmarked)
        self.shape = op("Shape", with_first, start=0, end=3)
        marks = op("Sub", graph.number(1), op("Reshape", with_first, graph.ints(-1)))
        self.count = op("CumSum", marks, graph.constant(np.array(0)))
        # Steps without a mark go to the place 0 of the table, which nothing reads.
        self.places = op("Mul", marks, self.count)
        self.table = op("Pad", marks, graph.ints(0, 1))
        self.positions = graph.range(op("Shape", marks, start=0, end=1))

    def last(self, values: str) -> str:
        """Of `values`, flat, the one at the last marked step: [B, K, T + 1]."""
        table = self.graph.op("ScatterElements", self.table, self.places, values)
        return self.graph.op("Reshape", self.graph.op("Gather", table, self.count), self.shape)

    def steps_since(self) -> str:
        """How many steps ago the last marked step was: [B, K, T + 1]."""
        op = self.graph.op
        return op("Sub", op("Reshape", self.positions, self.shape), self.last(self.positions))


def _count(graph: GraphBuilder, flags: str, before: str | None, most: int) -> str:
    """How many steps in a row were flagged, at most `most`, before the first and after each step: [B, K, T + 1]."""
    op = graph.op
    count = _Marks(graph, flags).steps_since()
    if before is not None:
        steps = graph.range(op("Shape", count, start=2, end=3))
        earlier = op("Where", op("Equal", count, steps), op("Unsqueeze", before, graph.ints(2)), graph.number(0))
        count = op("Add", count, earlier)
    return op("Min", count, graph.number(most))


def _with_first(graph: GraphBuilder, x: str) -> str:
    """Put a step of zeros before [B, K, T]."""
    return graph.op("Pad", x, graph.ints(0, 0, 1, 0, 0, 0))


def _from_second(graph: GraphBuilder, x: str) -> str:
    """Leave out the first step of [B, K, T + 1]."""
    return graph.op("Slice", x, graph.ints(1), graph.ints(END), graph.ints(2))


def _at_end(graph: GraphBuilder, x: str, lengths: str | None) -> str:
    """Take the last valid step of each row of [B, K, T + 1]: [B, K]."""
    op, ints = graph.op, graph.ints
    if lengths is None:
        return op("Squeeze", op("Slice", x, ints(-1), ints(END), ints(2)), ints(2))
    ends = graph.cast(op("Unsqueeze", lengths, ints(1)), "int64")
    return op("GatherND", op("Transpose", x, perm=[0, 2, 1]), ends, batch_dims=1)


def emit_fixed(
    graph: GraphBuilder,
    call: EmitCall,
    high: Limits,
    low: Limits,
    can: NDArray[np.bool_] | None,
    patience: int,
    hold: int,
    is_event: bool,
) -> tuple[str, dict[str, str]]:
    """Compute the same in a step file, step by step; the arguments are those of `emit_chunk`."""
    op, number = graph.op, graph.number
    assert call.states is not None
    held, size, ys = dict(call.states), call.x.signal.size, []
    count = graph.fixed_steps(call.x.signal)
    for step in range(count):
        x = call.x.name
        if count > 1:
            x = op("Slice", x, graph.ints(step), graph.ints(step + 1), graph.ints(1))
        x = graph.reshape(x, 1, size)
        limit = graph.constant(high)
        # At most one of the two holds, and neither if x is NaN. Some programs lack GreaterOrEqual.
        parts = (graph.cast(op(name, x, limit), "int32") for name in ("Greater", "Equal"))
        above, below = op("Add", *parts), graph.cast(op("Greater", graph.constant(low), x), "int32")
        if can is not None:
            factors = graph.constant(can.astype(np.int32))
            above, below = (op("Mul", flags, factors) for flags in (above, below))
        for name, most in (("run", patience), ("low", hold + 1)):
            if name in held:
                flags = above if name == "run" else below
                grown = op("Min", op("Add", held[name], number(1)), number(most))
                held[name] = op("Mul", grown, flags)
                flags = graph.cast(op("Equal", held[name], number(most)), "int32")
                above, below = (flags, below) if name == "run" else (above, flags)
        on = op("Max", above, op("Mul", held["on"], op("Sub", number(1), below)))
        y = op("Mul", on, op("Sub", number(1), held["on"])) if is_event else on
        held["on"] = on
        ys.append(graph.reshape(graph.cast(y, "float32"), 1, 1, size))
    return ys[0] if count == 1 else op("Concat", *ys, axis=1), held
