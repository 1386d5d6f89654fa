"""Frames of a raw signal in torch: what Spectrogram, MelSpectrogram and MFCC share. frame_nodes.py is its ONNX form.

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
from seq2onnx.layers.signal import Clock, Signal, State
from seq2onnx.layers.window import gather_steps

if TYPE_CHECKING:
    from torch import Tensor

    Framed = tuple[Tensor, Tensor, Mapping[str, Tensor]]

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

    def states(self) -> tuple[State, ...]:
        """Return the states of a layer with these frames."""
        buffer = (State("buf", (self.reach, 1)),) if self.reach else ()
        return (*buffer, State("phase", (1,), "int32"))

    def frame(self, x: Tensor, lengths: Tensor, states: Mapping[str, Tensor] | None) -> Framed:
        """Cut x [B, T, 1] into frames.

        Returns:
            The frames [B, n, length]; how many of them each row has; the new states.
        """
        from torch.nn.functional import pad

        length, hop, need, time = self.length, self.hop, self.need, x.shape[1]
        if states is None:
            count = max(0, (time - need) // hop + 1)
            new: Mapping[str, Tensor] = {}
            windows = ((lengths - need).clamp(min=-hop) // hop + 1).to(lengths.dtype)
            # With a hop longer than a frame, the samples before a causal frame are in no frame.
            samples = pad(x[:, max(need - length, 0) :, 0], (max(length - need, 0), 0))
        else:
            count = -(-time // hop)
            samples, windows, new = self._continue(x, lengths, states, (count - 1) * hop + length if count else 0)
        if not count:
            return x.new_zeros(len(x), 0, length), windows, new
        return samples.unfold(1, length, hop)[:, :count], windows, new

    def _continue(self, x: Tensor, lengths: Tensor, states: Mapping[str, Tensor], room: int) -> Framed:
        """Lay out `room` samples of each row of a chunk, from the begin of its first frame."""
        import torch

        new: dict[str, Tensor] = {}
        phase = states["phase"][:, 0]
        if self.reach:
            x = torch.cat([states["buf"], x], 1)
            new["buf"] = gather_steps(x, lengths, self.reach)
        windows = (lengths + phase + self.hop - self.need).clamp(min=0) // self.hop
        new["phase"] = (phase + lengths - windows * self.hop).to(torch.int32)[:, None]
        samples = gather_steps(x, self.need - 1 - phase, room)[:, :, 0] if room else x[:, :, 0]
        return samples, windows.to(lengths.dtype), new
