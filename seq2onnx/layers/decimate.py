"""Decimate: a raw signal at a lower rate."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.frames import Framing
from seq2onnx.layers.parts.window import mask
from seq2onnx.layers.parts.window_nodes import emit_after_buffer
from seq2onnx.layers.signal import Signal, State

WIDTH = 10
"""Steps of the result on each side of the middle of the filter."""


@functools.lru_cache(32)
def low_pass(factor: int) -> NDArray[np.float64]:
    """Return a sinc that ends at the new Nyquist frequency, times a Hamming window; its sum is 1."""
    n = np.arange(-WIDTH * factor, WIDTH * factor + 1)
    taps = np.sinc(n / factor) * (0.54 + 0.46 * np.cos(np.pi * n / (WIDTH * factor)))
    found: NDArray[np.float64] = taps / taps.sum()
    return found


@final
@layer
class Decimate(Layer):
    """Every factor-th sample of each channel after a low-pass filter, without aliases.

        y_t = Σ_j h_j x_{factor · t + factor − 1 − j}     j = 0 … 20 · factor
        h_j = sinc(n / factor) (0.54 + 0.46 cos(πn / (10 factor))), n = j − 10 factor, divided by their sum

    Relative to the new Nyquist frequency, half of the new rate: gain 1 within 0.1 decibels up to 0.8 of it, at most −50
    decibels from 1.2 of it. The filter is symmetric: it delays all frequencies by 10 steps of y.

    Shapes (B batch, T time, C channels; float32):
        x [B, T, C] -> y [B, ⌊T / factor⌋, C]. y_t ends at sample factor · t + factor − 1, with zeros before the signal

    Args:
        factor: samples of x for each step of y, from 2 to 1,000.

    Raises:
        ShapeError: the input is not channels of samples.

    State:
        buf [B, 20 · factor, C], the previous samples; phase [B, 1], the samples since the last step of y

    ONNX:
        Conv; in a step file of one step MatMul

    Example:
        >>> Decimate(3)

    Source:
        scipy.signal.decimate with ftype="fir": firwin(20 · factor + 1, 1 / factor)
    """

    factor: Annotated[int, Field(ge=2, le=1000, strict=True)]

    kind: ClassVar[str] = "decimate"
    is_finite_past_end: ClassVar[bool] = True

    @property
    def framing(self) -> Framing:
        """The samples of x for each step of y."""
        return Framing(2 * WIDTH * self.factor + 1, self.factor, "causal")

    def infer(self, *signals: Signal) -> Signal:
        return self.framing.infer_channels(self, signals, 1)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return self.framing.states(signals[0].size)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch
        from torch.nn.functional import conv1d

        x, channels = mask(call.x, call.row_lengths), call.x.shape[2]
        samples, count, windows, new_states = self.framing.lay_out(x, call.row_lengths, call.states)
        if not count:
            return x.new_zeros(len(x), 0, channels), windows, new_states
        taps = torch.from_numpy(low_pass(self.factor)).to(x)
        y = conv1d(samples.transpose(1, 2), taps.expand(channels, 1, -1), stride=self.factor, groups=channels)
        return y.transpose(1, 2)[:, :count], windows, new_states

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        if graph.is_fixed:
            return self._emit_fixed(graph, call)
        op, ints, number, factor, x = graph.op, graph.ints, graph.number, self.factor, call.x
        steps, reach, channels = graph.steps(x.name), self.framing.reach, x.signal.size
        taps = low_pass(factor).astype(np.float32)
        if call.states is None:
            # Room for a step more, since Conv refuses chunks that are shorter than its window.
            padded = graph.pad_steps(graph.masked(x, call.lengths), reach + 1 - factor, factor)
            rows = op("Transpose", padded, perm=[0, 2, 1])
            y = graph.first_steps(self._emit_conv(graph, rows, channels, taps), op("Div", steps, ints(factor)))
            return y, None if call.lengths is None else op("Div", call.lengths, number(factor)), {}
        phase, lengths = call.states["phase"], call.lengths
        samples = op("Concat", call.states["buf"], x.name, axis=1)
        rows = op("Transpose", samples, perm=[0, 2, 1])
        fresh = graph.row_steps(x.name, lengths)

        def from_offset(offset: str, count: str) -> str:
            """Take `count` samples of each row from its own offset, int32 [batch, 1]: [batch, channels, count].

            Samples past the end of a row repeat its last one.
            """
            last = op("Add", fresh, number(reach - 1))
            places = op("Unsqueeze", op("Min", op("Add", offset, graph.range(count)), last), ints(1))
            places = op("Expand", places, ints(1, channels, 1)) if channels > 1 else places
            return op("GatherElements", rows, places, axis=2)  # takes a tenth of the time of GatherND

        if lengths is None:
            kept = graph.last_steps(samples, reach)
        else:
            kept = op("Transpose", from_offset(fresh, ints(reach)), perm=[0, 2, 1])
        seen = op("Add", phase, fresh)
        windows = op("Div", seen, number(factor))
        count = op("Div", op("Add", steps, ints(factor - 1)), ints(factor))
        room = op("Add", op("Mul", op("Max", count, ints(1)), ints(factor)), ints(reach))
        y = self._emit_conv(graph, from_offset(op("Sub", number(factor - 1), phase), room), channels, taps)
        if not graph.end:  # as many steps as the row that has most, as emit_frames gives
            count = op("Min", graph.cast(graph.reduce("ReduceMax", windows, 0), "int64"), count)
        y = op("Gather", y, graph.range(count), axis=1)
        return y, op("Squeeze", windows, ints(1)), {"buf": kept, "phase": op("Mod", seen, number(factor))}

    def _emit_conv(self, graph: GraphBuilder, rows: str, channels: int, taps: NDArray[np.float32]) -> str:
        """Filter rows [batch, channels, time] whose first step of y begins at 0: [batch, n, channels]."""
        kernel = graph.constant(np.tile(taps, (channels, 1, 1)))
        y = graph.op("Conv", rows, kernel, strides=[self.factor], group=channels)
        return graph.op("Transpose", y, perm=[0, 2, 1])

    def _emit_fixed(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        """Filter a run, whose samples are a multiple of the factor, so that the phase is always 0."""
        channels, steps = call.x.signal.size, graph.fixed_steps(call.x.signal) // self.factor
        samples, new = emit_after_buffer(graph, call.x.name, call.states, self.framing.reach)
        # The first step of y does not reach back to the first factor − 1 samples.
        taps = np.concatenate([np.zeros(self.factor - 1), low_pass(self.factor)]).astype(np.float32)
        if steps == 1:
            return graph.op("MatMul", graph.constant(taps[None, None]), samples), None, new
        rows = graph.op("Transpose", samples, perm=[0, 2, 1])
        return self._emit_conv(graph, rows, channels, taps), None, new

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (Signal((2,)),)), Example(cls(3), (Signal((1,)),))]
