"""Frames of a raw signal as ONNX nodes; frames.py explains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.frames import Framing
from seq2onnx.layers.parts.window_nodes import emit_after_buffer
from seq2onnx.layers.signal import Value

Framed = tuple[str, str | None, Mapping[str, str]]
Places = NDArray[np.int32]


def emit_frames(
    framing: Framing,
    graph: GraphBuilder,
    x: Value,
    lengths: str | None,
    states: Mapping[str, str] | None,
    places: Sequence[int] | None = None,
) -> Framed:
    """Add `Framing.frame` of samples [batch, time, 1] to the graph; return the names of its results.

    `places` are the samples of each frame to take, in this order; None: all. The frames are [batch, n, places].
    """
    within = np.array(range(framing.length) if places is None else places, np.int32)
    if graph.is_fixed:
        return _emit_fixed(framing, graph, x, states, within)
    if states is not None:
        return _emit_chunk(framing, graph, x, lengths, states, within)
    assert lengths is not None
    hop, need = framing.hop, framing.need
    op, ints, number = graph.op, graph.ints, graph.number
    front = max(framing.length - need, 1)
    samples = graph.pad_steps(op("Squeeze", x.name, ints(2)), front, 0, dimensions=2)
    end = op("Sub", graph.cast(graph.steps(samples), "int32"), number(framing.reach))
    start = front + need - framing.length
    begin = op("Range", number(start), op("Squeeze", _not_below(graph, end, start)), number(hop))
    zeros = op("Mul", op("Unsqueeze", lengths, ints(1, 2)), number(0))
    begin = op("Add", op("Unsqueeze", begin, ints(1)), zeros)  # [batch, n, 1]
    frames = _emit_gather(graph, samples, begin, within, front, lengths)
    return frames, op("Div", op("Max", op("Add", lengths, number(hop - need)), number(0)), number(hop)), {}


def _emit_gather(graph: GraphBuilder, samples: str, begin: str, within: Places, front: int, lengths: str | None) -> str:
    """Take the samples `within` of the frame at each place of `begin` [batch, n, 1].

    What is past the last valid sample is replaced by it, so that all frames are finite. Before it, there is always
    another one: `samples` [batch, time] begins with `front` samples, at least 1, that do not come from x.
    """
    op = graph.op
    index = op("Add", begin, graph.constant(within))
    if lengths is None:
        last = op("Sub", graph.cast(graph.steps(samples), "int32"), graph.number(1))
    else:
        last = op("Add", op("Unsqueeze", lengths, graph.ints(1)), graph.number(front - 1))
    # GatherElements takes a fourth of the time of Gather, and a tenth of that of GatherND.
    frames = op("GatherElements", samples, op("Min", op("Flatten", index), last), axis=1)
    return op("Reshape", frames, op("Shape", index, start=0, end=3), allowzero=1)


def _not_below(graph: GraphBuilder, end: str, start: int) -> str:
    """Return the end of a Range, at least its start: OpenVINO gives numbers also where it is before the start."""
    return graph.op("Max", end, graph.number(start)) if graph.portable else end


def _emit_fixed(
    framing: Framing, graph: GraphBuilder, x: Value, states: Mapping[str, str] | None, within: Places
) -> Framed:
    """Take the frames of a run, whose samples are a multiple of the hop, so that the phase is always 0."""
    samples, new = emit_after_buffer(graph, x.name, states, framing.reach)
    steps, first = graph.fixed_steps(x.signal), framing.need - 1
    if steps == framing.hop and np.array_equal(within, np.arange(framing.length)):
        part = graph.op("Slice", samples, graph.ints(first), graph.ints(first + framing.length), graph.ints(1))
        return graph.reshape(part, 1, 1, framing.length), None, new
    begins = np.arange(first, first + steps, framing.hop)[:, None]
    flat = graph.reshape(samples, 1, framing.reach + steps)
    return graph.op("Gather", flat, graph.constant(begins + within.astype(np.int64)), axis=1), None, new


def _emit_chunk(
    framing: Framing, graph: GraphBuilder, x: Value, lengths: str | None, states: Mapping[str, str], within: Places
) -> Framed:
    hop, need, reach, phase = framing.hop, framing.need, framing.reach, states["phase"]
    op, ints, number = graph.op, graph.ints, graph.number
    samples, front = x.name, max(reach, 1)
    new: dict[str, str] = {}
    if reach:
        samples = op("Concat", states["buf"], samples, axis=1)
    flat = op("Squeeze", samples, ints(2))
    if not reach:
        flat = graph.pad_steps(flat, 1, 0, dimensions=2)
    fresh = graph.row_steps(x.name, lengths)
    if reach and lengths is None:
        new["buf"] = graph.last_steps(samples, reach)
    elif reach:
        kept = op("Add", fresh, graph.constant(np.arange(reach, dtype=np.int32)))
        new["buf"] = op("Unsqueeze", op("GatherElements", flat, kept, axis=1), ints(2))
    seen = op("Add", phase, fresh)
    if hop == need:
        windows, new["phase"] = op("Div", seen, number(hop)), op("Mod", seen, number(hop))  # [batch, 1]
    else:
        windows = op("Div", op("Max", op("Add", seen, number(hop - need)), number(0)), number(hop))
        new["phase"] = op("Sub", seen, op("Mul", windows, number(hop)))
    # Frame i ends at sample need + hop i of those that were seen, so there are as many as numbers from need up to
    # what the row that has most has seen: where none is due, nothing is calculated.
    end = graph.cast(graph.steps(flat), "int32")
    if need - 1 != front:
        end = op("Add", end, number(need - 1 - front))
    if need > 1 and not graph.end:
        end = op("Min", _not_below(graph, graph.reduce("ReduceMax", seen, 0), need - 1), end)
    # Otherwise ⌈T / hop⌉ frames: layers that may be joined with frames of one sample, or with windows that look ahead,
    # have as many steps.
    ends = op("Range", number(need - 1), op("Squeeze", end), number(hop))
    begin = op("Unsqueeze", op("Sub", ends, phase), ints(2))
    if front != reach:
        begin = op("Add", begin, number(front - reach))
    return _emit_gather(graph, flat, begin, within, front, lengths), op("Squeeze", windows, ints(1)), new
