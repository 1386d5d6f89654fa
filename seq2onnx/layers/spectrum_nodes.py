"""The spectrum of frames as ONNX nodes; spectra.py explains it.

Up to 512 points, the transform is one matrix. Above, it has two stages: with fft = A · B, sample n = B n₁ + n₂ and
frequency k = k₁ + A k₂,

    X_k = Σ_n₂ exp(−2πi k₂ n₂ / B) exp(−2πi k₁ n₂ / fft) Σ_n₁ exp(−2πi k₁ n₁ / A) x_n

The operators STFT and DFT take twice as long, and other runtimes lack them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.frame_nodes import emit_frames
from seq2onnx.layers.frames import Framing
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.spectra import DECIBEL, Spectrum, cosines, exact_zeros, kernel, mel_bank, taper


def forward_framed_spectrum(framing: Framing, spectrum: Spectrum, call: ForwardCall) -> Forwarded:
    """`Layer.forward` of a spectrum of frames."""
    frames, windows, new_states = framing.frame(call.x, call.row_lengths, call.states)
    return spectrum.forward(frames), windows, new_states


def emit_framed_spectrum(framing: Framing, spectrum: Spectrum, graph: GraphBuilder, call: EmitCall) -> Emitted:
    """`Layer.emit` of a spectrum of frames."""
    frames, windows, new_states = emit_frames(framing, graph, call.x, call.lengths, call.states)
    count = graph.fixed_steps(call.x.signal) // framing.hop if graph.is_fixed else 0
    return emit_spectrum(spectrum, graph, frames, count), windows, new_states


def emit_spectrum(spectrum: Spectrum, graph: GraphBuilder, frames: str, count: int) -> str:
    """Add `Spectrum.forward` to the graph: frames [batch, n, length] to [batch, n, size].

    Args:
        spectrum: what to calculate.
        graph: the graph.
        frames: name of the frames.
        count: n in a graph of fixed shapes.
    """

    def constant(array: NDArray[np.float64]) -> str:
        return graph.constant(array.astype(np.float32))

    bank = None if spectrum.mel is None else mel_bank(spectrum.mel, spectrum.fft)
    first, second = spectrum.stages
    if first == 1:
        y = graph.op("MatMul", frames, constant(kernel(spectrum).T))
        y, order = _emit_energy(graph, y, spectrum.bins), np.arange(spectrum.bins)
    else:
        y = _emit_stages(spectrum, graph, frames, count)
        bins = np.arange(spectrum.bins)
        order = bins % first * (second // 2 + 1) + bins // first
    if spectrum.power == 1:
        y = graph.op("Sqrt", y)
    if bank is None or spectrum.mel is None:
        return y if first == 1 else graph.op("Gather", y, graph.ints(*order.tolist()), axis=2)
    ordered = np.zeros((spectrum.bins if first == 1 else first * (second // 2 + 1), spectrum.mel.bands))
    ordered[order] = bank
    y = graph.op("MatMul", y, constant(ordered))
    if spectrum.mel.log != "none":
        y = graph.op("Log", graph.op("Max", y, graph.constant(np.float32(spectrum.mel.floor))))
        if spectrum.mel.log == "decibel":
            y = graph.op("Mul", y, graph.constant(np.float32(DECIBEL)))
    return graph.op("MatMul", y, constant(cosines(spectrum))) if spectrum.coefficients else y


def _emit_energy(graph: GraphBuilder, y: str, size: int) -> str:
    """Compute |X|² from [real, imaginary] along the last axis."""
    parts = graph.ops("Split", graph.op("Mul", y, y), graph.ints(size, size), results=2, axis=-1)
    return graph.op("Add", *parts)


def _emit_stages(spectrum: Spectrum, graph: GraphBuilder, frames: str, count: int) -> str:
    """Compute |X|² in two stages: [batch, n, A · (B // 2 + 1)], sorted by k₁, then by k₂."""
    (first, second), op = spectrum.stages, graph.op

    def constant(array: NDArray[np.float64]) -> str:
        return graph.constant(exact_zeros(array).astype(np.float32))

    def shaped(x: str, *sizes: int) -> str:
        return graph.reshape(x, *((1, count) if graph.is_fixed else (0, 0)), *sizes)

    if spectrum.remove_mean:
        frames = op("Sub", frames, graph.reduce("ReduceMean", frames, 2, keep=True))
    if spectrum.preemphasis:
        before = op("Slice", frames, graph.ints(0), graph.ints(-1), graph.ints(2))
        start = op("Slice", frames, graph.ints(0), graph.ints(1), graph.ints(2))
        before = op("Concat", start, before, axis=2)
        frames = op("Sub", frames, op("Mul", before, graph.constant(np.float32(spectrum.preemphasis))))
    frames = op("Mul", frames, constant(taper(spectrum)))
    rows = -(-spectrum.length // second)
    if lack := rows * second - spectrum.length:
        if graph.is_fixed:
            frames = op("Concat", frames, graph.constant(np.zeros((1, count, lack), np.float32)), axis=2)
        else:
            frames = op("Pad", frames, graph.ints(0, 0, 0, 0, 0, lack))
    angle = 2 * np.pi * (np.arange(first)[:, None] * np.arange(rows) % first) / first
    x = op("MatMul", constant(np.concatenate([np.cos(angle), -np.sin(angle)])), shaped(frames, rows, second))
    real, imaginary = graph.ops("Split", x, graph.ints(first, first), results=2, axis=2)
    turn = 2 * np.pi * np.arange(first)[:, None] * np.arange(second) / spectrum.fft
    cosine, sine = constant(np.cos(turn)), constant(np.sin(turn))
    x = op(
        "Concat",
        op("Add", op("Mul", real, cosine), op("Mul", imaginary, sine)),
        op("Sub", op("Mul", imaginary, cosine), op("Mul", real, sine)),
        axis=3,
    )
    bins = second // 2 + 1
    angle = 2 * np.pi * (np.arange(second)[:, None] * np.arange(bins) % second) / second
    c, s = np.cos(angle), np.sin(angle)
    y = op("MatMul", x, constant(np.concatenate([np.concatenate([c, -s], 1), np.concatenate([s, c], 1)])))
    return shaped(_emit_energy(graph, y, bins), first * bins)
