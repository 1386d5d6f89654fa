"""The spectrum of frames as ONNX nodes; spectra.py explains it.

Up to 512 points, the transform is one matrix. Above, it has two stages: with fft = A · B, sample n = B n₁ + n₂ and
frequency k = k₁ + A k₂,

    X_k = Σ_n₂ exp(−2πi k₂ n₂ / B) exp(−2πi k₁ n₂ / fft) Σ_n₁ exp(−2πi k₁ n₁ / A) x_n

The operators STFT and DFT take twice as long, and other runtimes lack them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from seq2onnx.layers.calls import EmitCall, Emitted
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import spectra
from seq2onnx.layers.parts.frame_nodes import emit_frames
from seq2onnx.layers.parts.frames import Framing
from seq2onnx.layers.parts.spectra import Array, Halves, Spectrum
from seq2onnx.layers.signal import Value


def emit_framed_spectrum(framing: Framing, spectrum: Spectrum, graph: GraphBuilder, call: EmitCall) -> Emitted:
    """`Layer.emit` of a spectrum of frames."""
    in_one = spectrum.stages[0] == 1
    cut = spectra.halves(spectrum) if in_one else None
    places = None if cut is None else cut.places
    frames, windows, new_states = emit_frames(framing, graph, call.x, call.lengths, call.states, places)
    if in_one:
        y = _emit_matrix(spectrum, graph, frames, cut)
    else:
        signal = dataclasses.replace(call.x.signal, shape=(spectrum.length,), clock=framing.clock(call.x.signal.clock))
        y = _emit_stages(spectrum, graph, Value(frames, signal))
    if spectrum.mel is not None and spectrum.mel.log != "none":
        y = graph.op("Log", graph.op("Max", y, graph.constant(np.float32(spectrum.mel.floor))))
        if spectrum.mel.log == "decibel":
            y = graph.op("Mul", y, graph.constant(np.float32(spectra.DECIBEL)))
    if spectrum.coefficients:
        y = graph.op("MatMul", y, _constant(graph, spectra.cosines(spectrum)))
    return y, windows, new_states


def _constant(graph: GraphBuilder, array: Array) -> str:
    return graph.constant(array.astype(np.float32))


def _emit_matrix(spectrum: Spectrum, graph: GraphBuilder, frames: str, cut: Halves | None) -> str:
    """Compute the energies of bands, or of all frequencies, with one matrix, or one for each part of the transform."""
    op = graph.op
    bank = None if spectrum.mel is None else spectra.mel_bank(spectrum.mel, spectrum.fft)
    bins = np.arange(spectrum.bins)
    if bank is not None and bank.any():
        bins = np.flatnonzero(bank.any(1))  # no band reads the others
        bank = bank[bins]
    if cut is not None:
        pairs = len(cut.places) // 2
        first, second = graph.ops("Split", frames, graph.ints(pairs, pairs), results=2, axis=-1)
        parts = [
            op("MatMul", op(name, first, second), _constant(graph, matrix[bins].T))
            for name, matrix in (("Add", cut.cosines), ("Sub", cut.sines))
        ]
        y = op("Add", *(op("Mul", part, part) for part in parts))
    else:
        y = op("MatMul", frames, _constant(graph, spectra.kernel(spectrum)[[*bins, *spectrum.bins + bins]].T))
        y = op("Mul", y, y)
        if bank is not None and spectrum.power == 2:
            bank = np.concatenate([bank, bank])  # the sum over the bins of a band adds the two parts, too
        else:
            y = _emit_sum(graph, y, len(bins))
    if spectrum.power == 1:
        y = op("Sqrt", y)
    return y if bank is None else op("MatMul", y, _constant(graph, bank))


def _emit_sum(graph: GraphBuilder, squares: str, size: int) -> str:
    """Compute |X|² from the squares of [real, imaginary] along the last axis."""
    return graph.op("Add", *graph.ops("Split", squares, graph.ints(size, size), results=2, axis=-1))


def _emit_stages(spectrum: Spectrum, graph: GraphBuilder, x: Value) -> str:
    """Compute the energies of bands, or of all frequencies, of frames x in two stages."""
    (first, second), op, frames = spectrum.stages, graph.op, x.name

    def constant(array: Array) -> str:
        return _constant(graph, spectra.exact_zeros(array))

    if spectrum.remove_mean:
        frames = op("Sub", frames, graph.reduce("ReduceMean", frames, 2, keep=True))
    if spectrum.preemphasis:
        before = op("Slice", frames, graph.ints(0), graph.ints(-1), graph.ints(2))
        start = op("Slice", frames, graph.ints(0), graph.ints(1), graph.ints(2))
        before = op("Concat", start, before, axis=2)
        frames = op("Sub", frames, op("Mul", before, graph.constant(np.float32(spectrum.preemphasis))))
    frames = op("Mul", frames, constant(spectra.taper(spectrum)))
    rows = -(-spectrum.length // second)
    if lack := rows * second - spectrum.length:
        if graph.is_fixed:
            zeros = np.zeros((1, graph.fixed_steps(x.signal), lack), np.float32)
            frames = op("Concat", frames, graph.constant(zeros), axis=2)
        else:
            frames = op("Pad", frames, graph.ints(0, 0, 0, 0, 0, lack))
    angle = 2 * np.pi * (np.arange(first)[:, None] * np.arange(rows) % first) / first
    sums = constant(np.concatenate([np.cos(angle), -np.sin(angle)])[:, :, None])
    turn = 2 * np.pi * np.arange(first)[:, None] * np.arange(second) / spectrum.fft
    cosine, sine = constant(np.cos(turn)), constant(np.sin(turn))
    bins = second // 2 + 1
    angle = 2 * np.pi * (np.arange(second)[:, None] * np.arange(bins) % second) / second
    c, s = np.cos(angle), np.sin(angle)
    last = constant(np.concatenate([np.concatenate([c, -s], 1), np.concatenate([s, c], 1)]))

    def transform(frames: str) -> str:
        # A MatMul with the matrix on the left fails without frames in onnxruntime before 1.32. This Conv is the same.
        real, imaginary = graph.ops("Split", op("Conv", frames, sums), graph.ints(first, first), results=2, axis=1)
        turned = op(
            "Concat",
            op("Add", op("Mul", real, cosine), op("Mul", imaginary, sine)),
            op("Sub", op("Mul", imaginary, cosine), op("Mul", real, sine)),
            axis=2,
        )
        y = op("MatMul", turned, last)
        return _emit_sum(graph, op("Mul", y, y), bins)

    split = Value(frames, dataclasses.replace(x.signal, shape=(rows, second)))
    y = graph.per_step(split, transform, (first * bins,))  # sorted by k₁, then by k₂
    if spectrum.power == 1:
        y = op("Sqrt", y)
    k = np.arange(spectrum.bins)
    order = k % first * bins + k // first
    if spectrum.mel is None:
        return op("Gather", y, graph.ints(*order.tolist()), axis=2)
    bank = np.zeros((first * bins, spectrum.mel.bands))
    bank[order] = spectra.mel_bank(spectrum.mel, spectrum.fft)
    return op("MatMul", y, _constant(graph, bank))
