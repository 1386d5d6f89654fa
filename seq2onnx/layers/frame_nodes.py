"""Frames of a raw signal as ONNX nodes; frames.py explains them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seq2onnx.layers.frames import Framing
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Value

Framed = tuple[str, str | None, Mapping[str, str]]


def emit_frames(
    framing: Framing, graph: GraphBuilder, x: Value, lengths: str | None, states: Mapping[str, str] | None
) -> Framed:
    """Add `Framing.frame` to the graph.

    Returns:
        Names: the frames [batch, n, length]; how many of them each row has; the new states.
    """
    if graph.is_fixed:
        assert states is not None
        return _emit_fixed(framing, graph, x, states)
    if states is not None:
        return _emit_chunk(framing, graph, x, lengths, states)
    hop, need, length = framing.hop, framing.need, framing.length
    op, ints, number = graph.op, graph.ints, graph.number
    samples = graph.pad_steps(op("Squeeze", x.name, ints(2)), max(length - need, 0), 0, dimensions=2)
    count = op("Div", op("Max", op("Add", graph.steps(x.name), ints(hop - need)), ints(0)), ints(hop))
    within = graph.constant(np.arange(length, dtype=np.int32) + max(need - length, 0))
    begin = op("Unsqueeze", op("Mul", graph.range(count), number(hop)), ints(1))
    frames = op("Gather", samples, op("Add", begin, within), axis=1)
    if lengths is None:
        return frames, None, {}
    return frames, op("Div", op("Max", op("Add", lengths, number(hop - need)), number(0)), number(hop)), {}


def _emit_fixed(framing: Framing, graph: GraphBuilder, x: Value, states: Mapping[str, str]) -> Framed:
    """Take the frames of a run, whose samples are a multiple of the hop, so that the phase is always 0."""
    samples = x.name
    new: dict[str, str] = {}
    if framing.reach:
        samples = graph.op("Concat", states["buf"], samples, axis=1)
        new["buf"] = graph.last_steps(samples, framing.reach)
    steps, first = graph.fixed_steps(x.signal), framing.need - 1
    if steps == framing.hop:
        part = graph.op("Slice", samples, graph.ints(first), graph.ints(first + framing.length), graph.ints(1))
        return graph.reshape(part, 1, 1, framing.length), None, new
    begins = np.arange(first, first + steps, framing.hop)[:, None]
    flat = graph.reshape(samples, 1, framing.reach + steps)
    return graph.op("Gather", flat, graph.constant(begins + np.arange(framing.length)), axis=1), None, new


def _emit_chunk(
    framing: Framing, graph: GraphBuilder, x: Value, lengths: str | None, states: Mapping[str, str]
) -> Framed:
    hop, need, reach, phase = framing.hop, framing.need, framing.reach, states["phase"]
    op, ints, number = graph.op, graph.ints, graph.number
    steps, samples = graph.steps(x.name), x.name
    new: dict[str, str] = {}
    if lengths is None:
        fresh = op("Add", op("Mul", phase, number(0)), graph.cast(steps, "int32"))
    else:
        fresh = op("Unsqueeze", lengths, ints(1))
    if reach:
        samples = op("Concat", states["buf"], samples, axis=1)
        kept = graph.last_steps(samples, reach) if lengths is None else graph.gather_steps(samples, fresh, ints(reach))
        new["buf"] = kept
    seen = op("Add", phase, fresh)
    windows = op("Div", op("Max", op("Add", seen, number(hop - need)), number(0)), number(hop))  # [batch, 1]
    new["phase"] = op("Sub", seen, op("Mul", windows, number(hop)))
    count = op("Div", op("Add", steps, ints(hop - 1)), ints(hop))
    if need > 1 and not graph.end:
        # As many frames as the row that has most: where none is due, nothing is calculated. Layers that may be joined
        # with frames of one sample, or with windows that look ahead, have ⌈T / hop⌉ steps.
        count = op("Min", graph.cast(graph.reduce("ReduceMax", windows, 0), "int64"), count)
    begin = op("Add", op("Sub", number(need - 1), phase), op("Mul", graph.range(count), number(hop)))  # [batch, n]
    within = graph.constant(np.arange(framing.length, dtype=np.int32))
    last = op("Sub", graph.cast(graph.steps(samples), "int32"), number(1))
    index = graph.cast(op("Min", op("Add", op("Unsqueeze", begin, ints(2)), within), last), "int64")
    frames = op("GatherND", op("Squeeze", samples, ints(2)), op("Unsqueeze", index, ints(3)), batch_dims=1)
    return frames, op("Squeeze", windows, ints(1)), new
