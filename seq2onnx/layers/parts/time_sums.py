"""Sums over all steps of a chunk as ONNX nodes."""

from __future__ import annotations

from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Value

BLOCK = 32
"""The number of steps that the portable form adds before it adds the sums."""


def emit_sum(graph: GraphBuilder, x: Value) -> str:
    """Sum the steps of each row of x: [batch, features], calculated in float64 if the form has it."""
    if graph.portable:
        return emit_sum_in_blocks(graph, x, None)
    # A step file sums only the few steps of a run.
    steps = x.name if graph.is_fixed else graph.cast(x.name, "float64")
    total = graph.op("ReduceSum", steps, graph.ints(1), keepdims=0)
    return total if graph.is_fixed else graph.cast(total, "float32")


def emit_sum_in_blocks(graph: GraphBuilder, x: Value, lengths: str | None) -> str:
    """Sum the valid steps of each row of x in float32: [batch, channels].

    Some runtimes have no float64. Each number is in at most 62 rounded sums of blocks, and in one more sum for each
    1,024 steps: for up to 16,384 steps the error of the mean is less than 5e-6 of the largest number.
    """
    steps, block = graph.masked(x, lengths), graph.ints(BLOCK)
    for _ in range(2):
        blocks = graph.op("Add", graph.op("Div", graph.steps(steps), block), graph.ints(1))
        whole = graph.first_steps(graph.pad_steps(steps, 0, BLOCK), graph.op("Mul", blocks, block))
        split = graph.op("Reshape", whole, graph.ints(0, -1, BLOCK, *x.signal.shape))
        steps = graph.op("ReduceSum", split, graph.ints(2), keepdims=0)
    return graph.op("ReduceSum", steps, graph.ints(1), keepdims=0)
