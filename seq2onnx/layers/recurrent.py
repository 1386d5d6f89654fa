"""What the recurrent layers share: their signals, chunks and rows of no steps, and their ONNX nodes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Layer, Signal, numbers

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder, Value
    from seq2onnx.layers.base import Arrays, Names, Nodes, Tensors

OutputMode = Literal["sequence", "last"]


def infer(layer: Layer, signals: tuple[Signal, ...], size: int, output_mode: OutputMode) -> Signal:
    """`size` features a step, or once a sequence with output_mode "last"."""
    x = numbers(layer, signals)
    if not x.has_time:
        raise ShapeError(
            f"{layer.label}: expected x [batch, time, features], got {x}; it reads what has no time axis, or has "
            f'lost it: let the layer before answer with output_mode="sequence"'
        )
    return dataclasses.replace(x, shape=(size,), has_time=output_mode == "sequence")


def at_least_one_step(x: Tensor) -> Tensor:
    """x, or one step of zeros where x has none: torch's recurrent operators refuse a chunk of no steps."""
    return x if x.shape[1] else x.new_zeros(len(x), 1, *x.shape[2:])


def keep(new: Tensors, old: Tensors | None, lengths: Tensor) -> Tensors:
    """The new states, but the old ones of rows that saw no step; nothing where none were carried in."""
    import torch

    if old is None:
        return ()
    return tuple(torch.where(lengths[:, None] > 0, n, o) for n, o in zip(new, old, strict=True))


def at_last_step(sequence: Tensor, lengths: Tensor) -> Tensor:
    """A sequence [batch, time, features] at each row's last valid step; at the first where it has none."""
    index = (lengths.long() - 1).clamp(min=0)[:, None, None].expand(-1, 1, sequence.shape[2])
    return sequence.gather(1, index)[:, 0]


def last_step(y: Tensor, lengths: Tensor, start: Tensor) -> Tensor:
    """y [batch, time, features] at each row's last valid step; `start` where it has none."""
    import torch

    return torch.where(lengths[:, None] > 0, at_last_step(y, lengths), start) if y.shape[1] else start


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """Each row's valid steps in reverse; what stands past them stays."""
    import torch

    step = torch.arange(x.shape[1], device=x.device)
    index = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)
    return x.gather(1, index[:, :, None].expand_as(x))


def emit_node(
    graph: GraphBuilder, op: str, x: Value, lengths: str | None, initial: list[str], arrays: Arrays, **attributes: Any
) -> list[str]:
    """The results of an LSTM or GRU operator: Y [time, directions, batch, hidden], and the final states.

    `arrays` are W, R and B [directions, …] with the gates in ONNX's order. Time goes before batch, and a
    step of more dimensions is the flat vector that it is.
    """
    if graph.one_step:  # a Reshape moves nothing
        swapped = graph.op("Reshape", x.name, graph.ints(1, -1, x.signal.size))
    else:
        swapped = graph.op("Transpose", graph.flat(x), perm=[1, 0, 2])
    if op == "GRU" and lengths is None and not graph.one_step:
        # A chunk of no steps ends the process in onnxruntime's GRU, unless it is told that there are none.
        steps, rows = graph.cast(graph.steps(x.name), "int32"), graph.op("Shape", x.name, start=0, end=1)
        lengths = graph.op("Expand", steps, rows)
    names = [graph.weight(name, arrays[name]) for name in ("W", "R", "B")]
    return graph.ops(
        op,
        swapped,
        *names,
        lengths or "",
        *initial,
        results=3 if op == "LSTM" else 2,
        hidden_size=arrays["R"].shape[2],
        **attributes,
    )


def emit(
    graph: GraphBuilder,
    op: str,
    output_mode: OutputMode,
    x: Value,
    lengths: str | None,
    states: Names | None,
    arrays: Arrays,
    **attributes: Any,
) -> Nodes:
    """An LSTM or GRU of one direction, with what it needs to be a layer.

    Rows of no steps, and chunks of none, come out of onnxruntime's operator with a state of zeros: the
    old one is put back.
    """
    first = graph.constant(np.array([0]))
    old = [graph.op("Unsqueeze", state, first) for state in states or ()]
    y, *finals = emit_node(graph, op, x, lengths, old, arrays, **attributes)
    if graph.one_step:  # y is the state h
        y = graph.op("Reshape", finals[0], graph.ints(-1, 1, arrays["R"].shape[2]))
    if states is None or graph.one_step:
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
    if not graph.one_step:
        y = graph.op("Transpose", graph.op("Squeeze", y, graph.constant(np.array([1]))), perm=[1, 0, 2])
    return y, lengths, new_states
