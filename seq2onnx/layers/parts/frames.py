"""Frames of a raw signal in torch: what Spectrogram, MelSpectrogram and MFCC share. frame_nodes.py is its ONNX form.

WindowStatistics and Decimate have the same frames, of several channels.

In chunks, one row behaves like this (all states are zero at the start):

    def step(x):
        e = buf + x                       # buf: the length − 1 samples before x
        wait = need − phase               # need: hop with padding "causal", length with "none"
        for i in range(len(x)):           # the frame that ends at the i-th new sample
            wait -= 1
            if wait == 0: emit f(e[i], …, e[i + length − 1]); wait = hop
        phase = need − wait
        buf = the last length − 1 of e

No frame reads past its last sample, so a stream needs no lookahead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Layer, numeric_input
from seq2onnx.layers.parts.window import gather_steps, pad_steps
from seq2onnx.layers.signal import Clock, Signal, State

if TYPE_CHECKING:
    from torch import Tensor

    Framed = tuple[Tensor, Tensor, Mapping[str, Tensor]]
    LaidOut = tuple[Tensor, int, Tensor, Mapping[str, Tensor]]

FramePadding = Literal["causal", "none"]


@dataclasses.dataclass(frozen=True)
class Framing:
    """Frames of `length` samples, one every `hop` samples.

    With padding "causal", the first frame ends at sample number `hop`, with zeros before the signal. With "none", it is
    the first one that is full.
    """

    length: int
    hop: int
    padding: FramePadding

    @property
    def need(self) -> int:
        """Samples up to the end of the first frame."""
        return self.hop if self.padding == "causal" else self.length

    @property
    def reach(self) -> int:
        """Samples from the first to the last of a frame."""
        return self.length - 1

    def clock(self, clock: Clock) -> Clock:
        """Return the clock of the frames."""
        return clock.after(1 - self.need, self.hop, self.need - 1)

    def infer(self, layer: Layer, signals: tuple[Signal, ...], size: int) -> Signal:
        """Return the signal of `size` numbers for each frame; raise ShapeError unless the layer reads one channel."""
        x = numeric_input(layer, signals)
        if not x.has_time or x.shape != (1,):
            raise ShapeError(
                f"{layer.label}: expected one channel of samples [batch, time, 1], got {x}; give each channel an input "
                "of its own, and join the results with Concat"
            )
        return dataclasses.replace(x, shape=(size,), clock=self.clock(x.clock))

    def infer_channels(self, layer: Layer, signals: tuple[Signal, ...], numbers: int) -> Signal:
        """Return the signal of this many numbers for each frame and channel."""
        x = numeric_input(layer, signals)
        if not x.has_time or len(x.shape) != 1:
            raise ShapeError(
                f"{layer.label}: expected channels of samples [batch, time, channels], got {x}"
                + ("; put a Flatten before it" if x.has_time else ", which has no time axis")
            )
        return dataclasses.replace(x, shape=(numbers * x.size,), clock=self.clock(x.clock))

    def states(self, channels: int = 1) -> tuple[State, ...]:
        """Return the states of a layer with these frames."""
        buffer = (State("buf", (self.reach, channels)),) if self.reach else ()
        return (*buffer, State("phase", (1,), "int32"))

    def frame(self, x: Tensor, lengths: Tensor, states: Mapping[str, Tensor] | None) -> Framed:
        """Cut x [B, T, 1] into frames [B, n, length]; return also how many of them each row has, and the new states."""
        frames, windows, new = self.frame_channels(x, lengths, states)
        return frames[:, 0], windows, new

    def frame_channels(self, x: Tensor, lengths: Tensor, states: Mapping[str, Tensor] | None) -> Framed:
        """Cut x [B, T, C] into frames [B, C, n, length]; otherwise as `frame`."""
        samples, count, windows, new = self.lay_out(x, lengths, states)
        if not count:
            return x.new_zeros(len(x), x.shape[2], 0, self.length), windows, new
        return samples.unfold(1, self.length, self.hop)[:, :count].transpose(1, 2), windows, new

    def lay_out(self, x: Tensor, lengths: Tensor, states: Mapping[str, Tensor] | None) -> LaidOut:
        """Put the samples of each row of x [B, T, C] so that its frames begin at 0, hop, 2 · hop ….

        Returns:
            The samples [B, …, C], enough for all frames; the number of frames that count; how many of them each row
            has; the new states.
        """
        import torch

        length, hop, need, time = self.length, self.hop, self.need, x.shape[1]
        if states is None:
            windows = ((lengths - need).clamp(min=-hop) // hop + 1).to(lengths.dtype)
            # With a hop longer than a frame, the samples before a causal frame are in no frame.
            samples = pad_steps(x[:, max(need - length, 0) :], max(length - need, 0), 0)
            return samples, max(0, (time - need) // hop + 1), windows, {}
        new: dict[str, Tensor] = {}
        phase = states["phase"][:, 0]
        if self.reach:
            x = torch.cat([states["buf"], x], 1)
            new["buf"] = gather_steps(x, lengths, self.reach)
        windows = (lengths + phase + hop - need).clamp(min=0) // hop
        new["phase"] = (phase + lengths - windows * hop).to(torch.int32)[:, None]
        count = -(-time // hop)
        if count:
            x = gather_steps(x, need - 1 - phase, (count - 1) * hop + length)
        return x, count, windows.to(lengths.dtype), new
