"""The steps of LSTM, GRU and RNN written out as plain arithmetic, for graphs of fixed shapes.

All gates come from one product with x and one with h. The two stay apart, because the weights of each are then those
that the layer declares, transposed: a scale for each output channel fits them, and no product is larger than needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.calls import EmitCall, Emitted
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import recurrent
from seq2onnx.layers.parts.cell_nodes import ONNX_NAMES, ordered

MOST_PARTS = 64
"""Parts of one Split: `load` knows the sizes of no more."""

Cell = Callable[[str, Sequence[str]], Sequence[str]]
"""A step: from x W + b [1, gates · hidden] and the states [1, hidden] to the new states, of which the first is h."""


def lstm(graph: GraphBuilder, call: EmitCall, output_mode: str, state: str, gate: str) -> Emitted:
    """Add the steps of an LSTM with these activations of state and gates."""
    W, R, b = ordered("LSTM", call.weights)
    recurrent_weights, size = graph.weight("R", R.T), R.shape[1]

    def cell(x: str, states: Sequence[str]) -> Sequence[str]:
        h, c = states
        all_gates = graph.op("Gemm", h, recurrent_weights, x)
        iof, candidate = _split(graph, all_gates, 3 * size, size)
        i, o, f = _split(graph, _activation(graph, gate, iof), size, size, size)
        new = graph.op("Mul", i, _activation(graph, state, candidate))
        c = graph.op("Add", graph.op("Mul", f, c), new)
        return graph.op("Mul", o, _activation(graph, state, c)), c

    return _steps(graph, call, output_mode, W, b, cell)


def gru(graph: GraphBuilder, call: EmitCall, output_mode: str, state: str, gate: str, reset_gate_mode: str) -> Emitted:
    """Add the steps of a GRU with these activations of state and gates."""
    W, R, b = ordered("GRU", call.weights)
    size, before = R.shape[1], reset_gate_mode == "before_multiplication"
    parts = {"R_zr": R[: 2 * size], "R_n": R[2 * size :]} if before else {"R": R}
    matrices = [graph.weight(name, part.T) for name, part in parts.items()]
    if "recurrent_bias" in call.weights:
        bias = call.weights["recurrent_bias"]
        matrices.append(graph.weight("Rb", np.concatenate([np.zeros(2 * size, bias.dtype), bias])))

    def cell(x: str, states: Sequence[str]) -> Sequence[str]:
        (h,), (zr, n) = states, _split(graph, x, 2 * size, size)
        if before:
            zr = graph.op("Gemm", h, matrices[0], zr)
        else:
            product = graph.op("Gemm" if matrices[1:] else "MatMul", h, *matrices)
            recurrent_zr, recurrent_n = _split(graph, product, 2 * size, size)
            zr = graph.op("Add", zr, recurrent_zr)
        z, r = _split(graph, _activation(graph, gate, zr), size, size)
        if before:
            n = graph.op("Gemm", graph.op("Mul", r, h), matrices[1], n)
        else:
            n = graph.op("Add", n, graph.op("Mul", r, recurrent_n))
        n = _activation(graph, state, n)
        return [graph.op("Add", n, graph.op("Mul", z, graph.op("Sub", h, n)))]

    return _steps(graph, call, output_mode, W, b, cell)


def rnn(graph: GraphBuilder, call: EmitCall, output_mode: str, activation: str) -> Emitted:
    """Add the steps of a plain recurrent layer."""
    W, R, b = ordered("RNN", call.weights)
    recurrent_weights = graph.weight("R", R.T)

    def cell(x: str, states: Sequence[str]) -> Sequence[str]:
        return [_activation(graph, activation, graph.op("Gemm", states[0], recurrent_weights, x))]

    return _steps(graph, call, output_mode, W, b, cell)


def _steps(
    graph: GraphBuilder, call: EmitCall, output_mode: str, W: NDArray[Any], b: NDArray[Any], cell: Cell
) -> Emitted:
    """Add the product of all steps with W, then one step after another."""
    x = call.x
    steps = graph.fixed_steps(x.signal)
    rows = graph.reshape(x.name, steps, x.signal.size)
    products = graph.op("Gemm", rows, graph.weight("W", W.T), graph.weight("B", b))
    states, learned = recurrent.emit_starts(graph, call)
    ys = []
    for product in _rows(graph, products, steps):
        states = list(cell(product, states))
        ys.append(states[0])
    new_states = recurrent.emit_new_states(graph, call, states, learned)
    if output_mode != "sequence":
        return states[recurrent.FINALS[output_mode]], None, new_states
    y = graph.op("Concat", *ys, axis=0) if steps > 1 else ys[0]
    return graph.reshape(y, 1, steps, call.weights["recurrent_weights"].shape[1]), call.lengths, new_states


def _rows(graph: GraphBuilder, x: str, count: int) -> list[str]:
    """Cut x [count, features] into its rows, in several rounds if there are many."""
    if count == 1:
        return [x]
    part = 1
    while count > part * MOST_PARTS:
        part *= MOST_PARTS
    sizes = [min(part, count - start) for start in range(0, count, part)]
    parts = _split(graph, x, *sizes, axis=0)
    return [row for some, size in zip(parts, sizes, strict=True) for row in _rows(graph, some, size)]


def _split(graph: GraphBuilder, x: str, *sizes: int, axis: int = 1) -> list[str]:
    return graph.ops("Split", x, graph.ints(*sizes), results=len(sizes), axis=axis)


def _activation(graph: GraphBuilder, name: str, x: str) -> str:
    attributes = {"alpha": 1 / 6, "beta": 0.5} if name == "hard_sigmoid_6" else {}
    return graph.op(ONNX_NAMES[name], x, **attributes)
