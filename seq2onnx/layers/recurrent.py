"""What the recurrent layers share: their signals, chunks and rows of no steps, and their ONNX nodes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Signal

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.utils.rnn import PackedSequence

    from seq2onnx.exporting.graph import GraphBuilder, Value
    from seq2onnx.layers.base import Arrays, Names, Nodes, Tensors


def infer(label: str, x: Signal, size: int, output_mode: str) -> Signal:
    """`size` features a step, or once a sequence with output_mode "last"."""
    if not x.has_time:
        raise ShapeError(
            f"{label}: expected x [batch, time, features], got {x}; a layer before it has already dropped "
            f'the time axis (output_mode="last"?): let that one answer with output_mode="sequence"'
        )
    return dataclasses.replace(x, shape=(size,), has_time=output_mode == "sequence")


def at_least_one_step(x: Tensor) -> Tensor:
    """x, or one step of zeros where x has none: torch's recurrent operators refuse a chunk of no steps."""
    return x if x.shape[1] else x.new_zeros(len(x), 1, *x.shape[2:])


def pack(x: Tensor, lengths: Tensor) -> PackedSequence:
    """x packed; a row of no steps as a row of one, which packing would refuse (`keep` undoes it)."""
    from torch.nn.utils.rnn import pack_padded_sequence

    return pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)


def unpack(packed: PackedSequence, data: Tensor, steps: int) -> Tensor:
    """The results `data` of a packed run as [batch, steps, features]."""
    from torch.nn.utils.rnn import pad_packed_sequence

    return pad_packed_sequence(packed._replace(data=data), batch_first=True, total_length=max(steps, 1))[0][:, :steps]


def keep(new: Tensors, old: Tensors | None, lengths: Tensor) -> Tensors:
    """The new states, but the old ones of rows that saw no step; nothing where none were carried in."""
    import torch

    if old is None:
        return ()
    return tuple(torch.where(lengths[:, None] > 0, n, o) for n, o in zip(new, old, strict=True))


def last_step(y: Tensor, lengths: Tensor, start: Tensor) -> Tensor:
    """y [batch, time, features] at each row's last valid step; `start` where it has none."""
    import torch

    if not y.shape[1]:
        return start
    index = (lengths.long() - 1).clamp(min=0)[:, None, None].expand(-1, 1, y.shape[2])
    return torch.where(lengths[:, None] > 0, y.gather(1, index)[:, 0], start)


def emit(
    graph: GraphBuilder,
    op: str,
    output_mode: str,
    x: Value,
    lengths: str | None,
    states: Names | None,
    arrays: Arrays,
    **attributes: Any,
) -> Nodes:
    """An LSTM or GRU node with `arrays` W, R, B (one direction, gates in ONNX's order), and what it needs.

    The operator wants time before batch and states [1, batch, hidden]. Rows of no steps, and chunks of
    none, come out of onnxruntime's operator with a state of zeros: the old one is put back.
    """
    first = graph.constant(np.array([0]))
    old = [graph.op("Unsqueeze", state, first) for state in states or ()]
    names = [graph.weight(name, arrays[name][None]) for name in ("W", "R", "B")]
    sequence = graph.op("Transpose", x.name, perm=[1, 0, 2])
    results = 3 if op == "LSTM" else 2
    y, *finals = graph.ops(
        op,
        sequence,
        *names,
        lengths or "",
        *old,
        results=results,
        hidden_size=arrays["R"].shape[1],
        **attributes,
    )
    if states is None:
        finals = [graph.op("Squeeze", state, first) for state in finals]
    elif lengths is None:
        # All rows have the same steps, so one If serves all; it costs 1.6 µs a run, a Where a state 2.6.
        some = graph.op("Cast", graph.op("Shape", x.name, start=1, end=2), to=graph.types["bool"])
        finals = graph.choose(some, [("Squeeze", state, first) for state in finals], states)
    else:
        some = graph.op("Unsqueeze", graph.op("Cast", lengths, to=graph.types["bool"]), graph.constant(np.array([1])))
        finals = [
            graph.op("Where", some, graph.op("Squeeze", new, first), state)
            for new, state in zip(finals, states, strict=True)
        ]
    new_states = () if states is None else tuple(finals)
    if output_mode == "last":
        return finals[0], None, new_states
    # Y is [time, directions, batch, hidden].
    y = graph.op("Transpose", graph.op("Squeeze", y, graph.constant(np.array([1]))), perm=[1, 0, 2])
    return y, lengths, new_states
