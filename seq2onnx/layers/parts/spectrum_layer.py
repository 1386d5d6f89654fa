"""Shared code of Spectrogram, MelSpectrogram and MFCC: the frames, and the calculation for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from seq2onnx.layers.base import Layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.frames import FramePadding, Framing
from seq2onnx.layers.parts.spectra import Spectrum
from seq2onnx.layers.parts.spectrum_nodes import emit_framed_spectrum
from seq2onnx.layers.signal import Signal, State

EXAMPLE: dict[str, Any] = {"window": "hamming", "periodic": False, "power": 1, "padding": "none", "gain": 2}
EXAMPLE |= {"remove_mean": True, "preemphasis": 0.9}
"""The options of the examples that use every option."""


class SpectrumLayer(Layer):
    """A layer that calculates a spectrum from each frame of a raw signal."""

    if TYPE_CHECKING:  # fields of the layers
        length: int
        hop: int
        padding: FramePadding

    is_finite_past_end: ClassVar[bool] = True
    takes_samples: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.spectrum.check()
        return self

    @property
    def sample_rate(self) -> float | None:
        """Samples of its input per second, if it has bands of hertz."""
        return getattr(self, "rate", None)

    @property
    def framing(self) -> Framing:
        """Its frames."""
        return Framing(self.length, self.hop, self.padding)

    @property
    def spectrum(self) -> Spectrum:
        """The calculation for each frame."""
        return Spectrum.of(self)

    def infer(self, *signals: Signal) -> Signal:
        return self.framing.infer(self, signals, self.spectrum.size)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return self.framing.states()

    def forward(self, call: ForwardCall) -> Forwarded:
        frames, windows, new_states = self.framing.frame(call.x, call.row_lengths, call.states)
        return self.spectrum.forward(frames), windows, new_states

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return emit_framed_spectrum(self.framing, self.spectrum, graph, call)
