"""SelfAttention as ONNX nodes.

Long chunks are cut into blocks of queries. A block sees the context − 1 steps before it and itself, and no more, so the
time is linear in the steps. A chunk that is shorter than a block is one block of its own length.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seq2onnx.layers.calls import EmitCall, Emitted
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.window_nodes import emit_last
from seq2onnx.layers.signal import Value

NEVER = float(np.finfo(np.float32).min)
"""The score of a step that is not seen: no score is lower, so its share is 0 beside that of any step that is seen."""
MOST_IN_BLOCK = 32
"""More steps in a block calculate more that is not seen; fewer copy the context more often."""


def emit_attention(
    graph: GraphBuilder, call: EmitCall, heads: int, size: int, context: int, most_in_block: int
) -> Emitted:
    """Add `SelfAttention.forward` to the graph; the arguments are the fields of the layer, and the steps of a block."""
    op, ints, before, width = graph.op, graph.ints, context - 1, heads * size
    x, lengths, states = call.x, call.lengths, call.states or {}

    def affine(z: str, which: str) -> str:
        weights = graph.weight(f"{which}_weights", call.weights[f"{which}_weights"].T)
        return op("Add", op("MatMul", z, weights), graph.weight(f"{which}_bias", call.weights[f"{which}_bias"]))

    flat = graph.flat(Value(graph.masked(x, lengths), x.signal))  # 0 · NaN is NaN
    q, k, v = graph.ops("Split", affine(flat, "input"), ints(width, width, width), results=3, axis=2)
    q = op("Mul", q, graph.constant(np.float32(1 / math.sqrt(size))))
    new: dict[str, str] = {}
    if states:
        k, v = op("Concat", states["keys"], k, axis=1), op("Concat", states["values"], v, axis=1)
        new = _emit_new_states(graph, x, lengths, k, v, states["count"], before)
    elif before:
        k, v = graph.pad_steps(k, before, 0), graph.pad_steps(v, before, 0)
    position = graph.weight("position", call.weights["position"])
    first = graph.constant(np.array([[before]], np.int32))  # of the steps in k that are real
    first = op("Sub", first, states["count"]) if states else first
    # A query sees a step of k if its place is `first` or later. Places out of its window are −1, before each `first`.
    places: Any
    seen: Any
    if graph.is_fixed or graph.one_step:
        steps = graph.fixed_steps(x.signal) if graph.is_fixed else 1
        places = np.arange(before + steps)
        back = before + np.arange(steps)[:, None] - places
        within = np.clip(back, 0, before)
        bias = op("Gather", position, graph.constant(within), axis=1)
        seen = graph.constant(np.where(back == within, places, -1).astype(np.int32))
        axes, total = 1, None
    else:
        total = graph.steps(x.name)
        block = op("Max", op("Min", total, ints(most_in_block)), ints(1))
        blocks = op("Div", op("Sub", op("Add", total, block), ints(1)), block)
        starts = op("Unsqueeze", op("Mul", graph.range(blocks), graph.cast(block, "int32")), ints(1))
        mine, theirs = graph.range(block), graph.range(op("Add", block, ints(before)))
        back = op("Sub", op("Add", op("Unsqueeze", mine, ints(1)), graph.number(before)), theirs)
        within = op("Min", op("Max", back, graph.number(0)), graph.number(before))
        bias = op("Gather", position, within, axis=1)
        places = op("Add", starts, theirs)
        seen = op("Where", op("Equal", back, within), op("Unsqueeze", places, ints(1)), graph.number(-1))
        q, k, v = (
            _emit_blocks(graph, z, index) for z, index in ((q, op("Add", starts, mine)), (k, places), (v, places))
        )
        axes = 2

    def by_head(z: str, *order: int) -> str:
        """Cut the features of [batch, (blocks,) steps, features] into heads, and order the last three axes."""
        cut = graph.reshape(z, *[0] * (axes + 1), heads, size)
        return op("Transpose", cut, perm=[*range(axes), *(axes + axis for axis in order)])

    scores = op("Add", op("MatMul", by_head(q, 1, 0, 2), by_head(k, 1, 2, 0)), bias)
    if before or (graph.is_fixed and graph.fixed_steps(x.signal) > 1):  # else a query sees the only step of its block
        early = op("Greater", op("Unsqueeze", first, ints(*range(2, axes + 2))), seen)
        scores = op("Where", op("Unsqueeze", early, ints(axes)), graph.constant(np.float32(NEVER)), scores)
    y = op("MatMul", op("Softmax", scores, axis=-1), by_head(v, 1, 0, 2))
    y = op("Transpose", y, perm=[*range(axes), axes + 1, axes, axes + 2])
    y = graph.reshape(y, *((1, steps) if graph.is_fixed else (0, -1)), width)
    return affine(graph.first_steps(y, total), "output"), lengths, new


def _emit_blocks(graph: GraphBuilder, z: str, places: str) -> str:
    """Take blocks of steps of z [batch, time, features]: [batch, blocks, steps, features]."""
    last = graph.op("Sub", graph.cast(graph.steps(z), "int32"), graph.number(1))
    return graph.op("Gather", z, graph.op("Min", places, last), axis=1)


def _emit_new_states(
    graph: GraphBuilder, x: Value, lengths: str | None, k: str, v: str, count: str, before: int
) -> dict[str, str]:
    """Keep the last `before` steps of each row of k and v, which begin with those that were kept before."""
    fresh = graph.number(graph.fixed_steps(x.signal)) if graph.is_fixed else graph.row_steps(x.name, lengths)
    return {
        "keys": emit_last(graph, k, lengths, before),
        "values": emit_last(graph, v, lengths, before),
        "count": graph.op("Min", graph.op("Add", count, fresh), graph.number(before)),
    }
