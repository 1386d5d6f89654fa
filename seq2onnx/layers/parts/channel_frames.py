"""Frames of several channels as ONNX nodes: those of frame_nodes.py, with each channel as a row of its own."""

from __future__ import annotations

import numpy as np

from seq2onnx.layers.calls import EmitCall
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.frame_nodes import Framed, emit_frames
from seq2onnx.layers.parts.frames import Framing
from seq2onnx.layers.parts.window_nodes import emit_after_buffer
from seq2onnx.layers.signal import Value


def emit_channel_frames(framing: Framing, graph: GraphBuilder, call: EmitCall) -> Framed:
    """Add `Framing.frame_channels` to the graph; the frames are [batch · channels, n, length]."""
    x, lengths, states, channels = call.x, call.lengths, call.states, call.x.signal.size
    if graph.is_fixed:
        return _emit_fixed(framing, graph, call)
    if channels == 1:
        return emit_frames(framing, graph, x, lengths, states)
    op, ints = graph.op, graph.ints

    def apart(steps: str) -> str:
        """Make rows [batch · channels, time, 1] of [batch, time, channels]."""
        sizes = op("Concat", op("Mul", graph.rows(steps), ints(channels)), graph.steps(steps), ints(1), axis=0)
        return op("Reshape", op("Transpose", steps, perm=[0, 2, 1]), sizes, allowzero=1)

    def repeated(rows: str, *sizes: int) -> str:
        """Repeat [batch, 1] for each channel."""
        return op("Reshape", op("Expand", rows, ints(1, channels)), ints(-1, *sizes))

    def first(rows: str, place: list[int] | int) -> str:
        """Take of [batch · channels, …] what belongs to the first channel."""
        return op("Gather", op("Reshape", rows, ints(-1, channels)), graph.constant(np.array(place)), axis=1)

    own = None if states is None else {"phase": repeated(states["phase"], 1)}
    if own is not None and framing.reach:
        own["buf"] = apart(states["buf"])  # type: ignore[index]
    rows = None if lengths is None else repeated(op("Unsqueeze", lengths, ints(1)))
    frames, windows, new = emit_frames(framing, graph, Value(apart(x.name), x.signal), rows, own)
    kept = {}
    if new:
        kept["phase"] = first(new["phase"], [0])
    if "buf" in new:
        together = op("Reshape", new["buf"], ints(-1, channels, framing.reach))
        kept["buf"] = op("Transpose", together, perm=[0, 2, 1])
    return frames, None if windows is None else first(windows, 0), kept


def _emit_fixed(framing: Framing, graph: GraphBuilder, call: EmitCall) -> Framed:
    """Take the frames of a run, whose samples are a multiple of the hop, so that the phase is always 0."""
    samples, new = emit_after_buffer(graph, call.x.name, call.states, framing.reach)
    steps, channels = graph.fixed_steps(call.x.signal), call.x.signal.size
    if channels > 1:
        samples = graph.op("Transpose", samples, perm=[0, 2, 1])
    places = np.arange(framing.need - 1, framing.need - 1 + steps, framing.hop)[:, None] + np.arange(framing.length)
    flat = graph.reshape(samples, channels, framing.reach + steps)
    return graph.op("Gather", flat, graph.constant(places), axis=1), None, new
