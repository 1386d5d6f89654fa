"""Alarm as ONNX nodes.

What was true last is found without a loop. Before each row stands a step that is always marked. All rows are one after
the other; a running count of the marked steps numbers them. A table has the value of each marked step at its number,
and the running count at a step is the number of the last one.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.calls import EmitCall
from seq2onnx.layers.graph import END, GraphBuilder

Limits = NDArray[np.float32]
LOWEST = float(np.finfo(np.float32).min)
"""Below each threshold and release."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """When alarms begin and end.

    high, low: the threshold and the release, of all classes [] or of each [K]
    can: which classes can have an alarm [K]; None: all
    patience, hold: see Alarm
    is_event: whether y is 1 only where an alarm begins
    """

    high: Limits
    low: Limits
    can: NDArray[np.bool_] | None
    patience: int
    hold: int
    is_event: bool


def emit_warm_up(graph: GraphBuilder, call: EmitCall, warm_up: int) -> tuple[EmitCall, dict[str, str]]:
    """Return the call with the lowest number in the first steps of each row, and the new state."""
    op, number, x = graph.op, graph.number, call.x
    if graph.is_fixed:
        steps = graph.fixed_steps(x.signal)
        places = graph.constant(np.arange(steps, dtype=np.int32)[None])
        fresh = graph.constant(np.full((1, 1), steps, np.int32))
    else:
        places, fresh = graph.range(graph.steps(x.name)), graph.row_steps(x.name, call.lengths)
    if call.states:
        places, fresh = (op("Add", call.states["count"], counted) for counted in (places, fresh))
    is_late = op("Unsqueeze", op("Greater", places, number(warm_up - 1)), graph.ints(-1))
    quiet = op("Where", is_late, x.name, graph.constant(np.float32(LOWEST)))
    return call._replace(xs=(dataclasses.replace(x, name=quiet),)), {"count": op("Min", fresh, number(warm_up))}


def emit_chunk(graph: GraphBuilder, call: EmitCall, rule: Rule) -> tuple[str, dict[str, str]]:
    """Compute y [B, T, K], and the new states by name, from any number of steps."""
    op, ints, number, states = graph.op, graph.ints, graph.number, call.states or {}
    high, low = (np.reshape(limit, (-1, 1)) for limit in (rule.high, rule.low))
    x = op("Transpose", call.x.name, perm=[0, 2, 1])
    above = graph.cast(op("GreaterOrEqual", x, graph.constant(high)), "int32")
    below = graph.cast(op("Less", x, graph.constant(low)), "int32")
    if rule.can is not None:
        factors = graph.constant(rule.can.astype(np.int32)[:, None])
        above, below = (op("Mul", flags, factors) for flags in (above, below))
    new: dict[str, str] = {}
    counted = {"run": (above, rule.patience)} if rule.patience > 1 else {}
    if rule.hold:
        counted["low"] = (below, rule.hold + 1)
    if counted:
        full, new = _emit_counts(graph, call, counted)
        above, below = full.get("run", above), full.get("low", below)
    marks = _Marks(graph, op("Sub", number(1), op("Add", above, below)))
    if states:
        values = op("Concat", op("Unsqueeze", states["on"], ints(2)), above, axis=2)
    else:
        values = _with_first(graph, above)
    on = marks.last(op("Reshape", values, ints(-1)))
    y = _from_second(graph, on)
    if rule.is_event:
        y = op("Greater", y, op("Slice", on, ints(0), ints(-1), ints(2)))
    if states:
        new |= _at_end(graph, on, call.lengths, ["on"], call.x.signal.size)
    return op("Transpose", graph.cast(y, "float32"), perm=[0, 2, 1]), new


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

    def last(self, values: str) -> str:
        """Of `values`, flat, the one at the last marked step: [B, K, T + 1]."""
        table = self.graph.op("ScatterElements", self.table, self.places, values)
        return self.graph.op("Reshape", self.graph.op("Gather", table, self.count), self.shape)

    def steps_since(self) -> str:
        """Count the steps since the last marked step: [B, K, T + 1]."""
        op = self.graph.op
        positions = _emit_range(self.graph, op("Shape", self.count, start=0, end=1))
        return op("Sub", op("Reshape", positions, self.shape), self.last(positions))


def _emit_counts(
    graph: GraphBuilder, call: EmitCall, counted: dict[str, tuple[str, int]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Count how many steps in a row are flagged, of all flags [B, K, T] at once.

    `counted` has by state the flags, and the count at which it stops. Returns by state whether it has stopped,
    [B, K, T]; and the new states.
    """
    op, names, size = graph.op, list(counted), call.x.signal.size

    def joined(parts: list[str]) -> str:
        return op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    most = graph.constant(np.repeat([most for _, most in counted.values()], size).astype(np.int32)[:, None])
    count = _Marks(graph, joined([flags for flags, _ in counted.values()])).steps_since()
    if call.states:
        before = op("Unsqueeze", joined([call.states[name] for name in names]), graph.ints(2))
        steps = _emit_range(graph, op("Shape", count, start=2, end=3))
        is_from_start = graph.cast(op("Equal", count, steps), "int32")
        count = op("Add", count, op("Mul", is_from_start, before))
    count = op("Min", count, most)
    full = graph.cast(op("Equal", _from_second(graph, count), most), "int32")
    new = _at_end(graph, count, call.lengths, names, size) if call.states else {}
    return _by_name(graph, full, names, size), new


def _emit_range(graph: GraphBuilder, count: str) -> str:
    """Count from 0 to `count` (int64 [1]) − 1: int32."""
    return graph.op("Range", graph.number(0), graph.op("Squeeze", graph.cast(count, "int32")), graph.number(1))


def _by_name(graph: GraphBuilder, x: str, names: list[str], size: int) -> dict[str, str]:
    """Cut axis 1 into a part of `size` for each name."""
    if len(names) == 1:
        return {names[0]: x}
    parts = graph.ops("Split", x, graph.ints(*[size] * len(names)), results=len(names), axis=1)
    return dict(zip(names, parts, strict=True))


def _with_first(graph: GraphBuilder, x: str) -> str:
    """Put a step of zeros before [B, K, T]."""
    return graph.op("Pad", x, graph.ints(0, 0, 1, 0, 0, 0))


def _from_second(graph: GraphBuilder, x: str) -> str:
    """Leave out the first step of [B, K, T + 1]."""
    return graph.op("Slice", x, graph.ints(1), graph.ints(END), graph.ints(2))


def _at_end(graph: GraphBuilder, x: str, lengths: str | None, names: list[str], size: int) -> dict[str, str]:
    """Take the last valid step of each row of [B, names · K, T + 1]: by name [B, K]."""
    op, ints = graph.op, graph.ints
    if lengths is None:
        last = op("Slice", x, ints(-1), ints(END), ints(2))
    else:
        every = graph.constant(np.zeros((size * len(names), 1), np.int32))
        last = op("GatherElements", x, op("Add", op("Unsqueeze", lengths, ints(1, 2)), every), axis=2)
    return _by_name(graph, op("Squeeze", last, ints(2)), names, size)


def emit_fixed(graph: GraphBuilder, call: EmitCall, rule: Rule) -> tuple[str, dict[str, str]]:
    """Compute the same in a step file, step by step."""
    op, number = graph.op, graph.number
    assert call.states is not None
    held, size, ys = dict(call.states), call.x.signal.size, []
    count = graph.fixed_steps(call.x.signal)
    for step in range(count):
        x = call.x.name
        if count > 1:
            x = op("Slice", x, graph.ints(step), graph.ints(step + 1), graph.ints(1))
        x = graph.reshape(x, 1, size)
        limit = graph.constant(rule.high)
        # At most one of the two holds, and neither if x is NaN. Some programs lack GreaterOrEqual.
        parts = (graph.cast(op(name, x, limit), "int32") for name in ("Greater", "Equal"))
        above, below = op("Add", *parts), graph.cast(op("Greater", graph.constant(rule.low), x), "int32")
        if rule.can is not None:
            factors = graph.constant(rule.can.astype(np.int32))
            above, below = (op("Mul", flags, factors) for flags in (above, below))
        for name, most in (("run", rule.patience), ("low", rule.hold + 1)):
            if name in held:
                flags = above if name == "run" else below
                grown = op("Min", op("Add", held[name], number(1)), number(most))
                held[name] = op("Mul", grown, flags)
                flags = graph.cast(op("Equal", held[name], number(most)), "int32")
                above, below = (flags, below) if name == "run" else (above, flags)
        on = op("Max", above, op("Mul", held["on"], op("Sub", number(1), below)))
        y = op("Mul", on, op("Sub", number(1), held["on"])) if rule.is_event else on
        held["on"] = on
        ys.append(graph.reshape(graph.cast(y, "float32"), 1, 1, size))
    return ys[0] if count == 1 else op("Concat", *ys, axis=1), held
