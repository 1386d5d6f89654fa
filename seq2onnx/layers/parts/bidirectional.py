"""Shared code of BiLSTM and BiGRU: one cell reads the sequence forward, another one backward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import numpy as np

from seq2onnx.errors import NotStreamable
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import END, GraphBuilder
from seq2onnx.layers.parts import cell_nodes, recurrent
from seq2onnx.layers.signal import Weight

Array = TypeVar("Array")
Last = Literal["final_state", "last_step"]

DIRECTIONS = ("forward", "backward")


def weights(of_one: Mapping[str, Weight]) -> dict[str, Weight]:
    """Return the weights of both directions, given those of one."""
    return {f"{direction}_{name}": weight for direction in DIRECTIONS for name, weight in of_one.items()}


def cannot_stream(label: str, streamable: str) -> NotStreamable:
    """Return the error of `states`. `streamable`: the layer of one direction, with its article."""
    return NotStreamable(
        f"{label}: its backward direction starts at the end of a sequence, which a stream does not know; use "
        f"{streamable} if the network must stream"
    )


def forward(
    call: ForwardCall,
    run: recurrent.Run,
    hidden_size: int,
    states: int,
    output_mode: recurrent.LstmOutputMode,
    last: Last,
) -> Forwarded:
    """Run both directions in torch. `states`: how many states one direction has."""
    import torch

    x, lengths = call.x.flatten(2), call.row_lengths
    zeros = x.new_zeros(len(x), hidden_size)
    start, needed = (zeros,) * states, lengths if output_mode == "cell" else None
    forward, ends = run(x, needed, start, _of(call.weights, "forward"))
    backward, others = run(recurrent.reverse(x, lengths), needed, start, _of(call.weights, "backward"))
    if output_mode == "cell":
        return torch.cat([recurrent.where_seen(c, lengths, zeros) for _, c in (ends, others)], 1), None, {}
    if output_mode == "last" and last == "final_state":
        return torch.cat([recurrent.last_step(y, lengths, zeros) for y in (forward, backward)], 1), None, {}
    y = torch.cat([forward, recurrent.reverse(backward, lengths)], 2)
    if output_mode == "last":
        return recurrent.last_step(y, lengths, torch.cat([zeros, zeros], 1)), None, {}
    return y, lengths, {}


def emit(
    graph: GraphBuilder, op: str, call: EmitCall, output_mode: recurrent.LstmOutputMode, last: Last, **attributes: Any
) -> Emitted:
    """Add a bidirectional LSTM or GRU operator."""
    of_both = [cell_nodes.arrays(op, _of(call.weights, direction)) for direction in DIRECTIONS]
    arrays = {name: np.concatenate([of_one[name] for of_one in of_both]) for name in of_both[0]}
    y, h, *cells = recurrent.emit_node(
        graph, op, call.x, call.lengths, [], arrays, direction="bidirectional", **attributes
    )
    size = 2 * arrays["R"].shape[2]
    if output_mode == "cell" or (output_mode == "last" and last == "final_state" and not graph.portable):
        final = cells[0] if output_mode == "cell" else h
        final = graph.op("Reshape", graph.op("Transpose", final, perm=[1, 0, 2]), graph.ints(0, size))
        return recurrent.emit_seen(graph, final, call.lengths) if graph.portable else final, None, {}
    y = graph.op("Reshape", graph.op("Transpose", y, perm=[2, 0, 1, 3]), graph.ints(0, 0, size))
    if output_mode == "sequence":
        return y, call.lengths, {}
    at_end = recurrent.emit_last_step(graph, y, 3, call.lengths, None)
    if last == "last_step":
        return at_end, None, {}
    # The final states of the operator may be those of padded steps. The backward half ends at the first step.
    at_start = graph.op("Gather", graph.pad_steps(y, 0, 1), graph.constant(np.array(0)), axis=1)
    half, axis = graph.ints(size // 2), graph.ints(1)
    forward = graph.op("Slice", at_end, graph.ints(0), half, axis)
    return graph.op("Concat", forward, graph.op("Slice", at_start, half, graph.ints(END), axis), axis=1), None, {}


def _of(weights: Mapping[str, Array], direction: str) -> dict[str, Array]:
    """Return the weights of one direction, by their names without it."""
    prefix = f"{direction}_"
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
