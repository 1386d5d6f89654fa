"""Spectrogram: a raw signal in, the spectrum of its frames out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, final

from seq2onnx.layers.base import Example, PositiveInt, layer
from seq2onnx.layers.parts.frames import FramePadding
from seq2onnx.layers.parts.spectra import FftSize, Positive, Power, Share, WindowName
from seq2onnx.layers.parts.spectrum_layer import SpectrumLayer
from seq2onnx.layers.signal import Signal


@final
@layer
class Spectrogram(SpectrumLayer):
    """Power spectrum of each frame of a raw signal.

        y_k = |Σ_n w_n x_n exp(−2πi k n / fft)|^power     n = 0 … length − 1, k = 0 … ⌊fft / 2⌋

    Before the window w, the samples x of a frame are multiplied by the gain, then their mean is removed, then
    x_n − p x_{n−1} takes their place (x_0 − p x_0 for the first), in so far as the fields say so.

    Shapes (B batch, T time, F = ⌊fft / 2⌋ + 1; float32):
        x [B, T, 1] -> y [B, T', F].
        T' = ⌊T / hop⌋ with padding "causal"; ⌊(T − length) / hop⌋ + 1, at least 0, with "none"

    Args:
        length: samples of a frame, > 0.
        hop: samples from one frame to the next, > 0.
        fft: points of the transform, at least length. None: length.
        window: "hann", "hamming", "povey" (hann to the power of 0.85) or "none".
        periodic: period of the window: length, as librosa and torchaudio have it; False: length − 1, as kaldi.
        power: 2 for power, 1 for magnitude.
        padding: "causal": a frame ends at every hop-th sample, with zeros before the signal; "none": only frames that
            are in the signal from their first sample on.
        remove_mean: remove the mean of each frame.
        preemphasis: p, from 0 to below 1.
        gain: what samples are multiplied by, > 0.

    Raises:
        SpecError: fft is less than length, or above 512 and has no two factors of similar size.
        ShapeError: the input is not one channel of samples.

    State:
        buf [B, length − 1, 1], the previous samples; phase [B, 1], the samples since the last frame

    ONNX:
        GatherElements for the frames, then MatMul, Mul, Add: one matrix up to fft 512, or two of half its size where
        the window is symmetric; above it two stages

    Example:
        >>> Spectrogram(400, 160, 512)

    Source:
        Allen 1977; two stages: Cooley & Tukey 1965
    """

    length: PositiveInt
    hop: PositiveInt
    fft: FftSize | None = None
    window: WindowName = "hann"
    periodic: bool = True
    power: Power = 2
    padding: FramePadding = "causal"
    remove_mean: bool = False
    preemphasis: Share = 0.0
    _: KW_ONLY
    gain: Positive = 1.0

    kind: ClassVar[str] = "spectrogram"

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signals = (Signal((1,)),)
        return [
            Example(cls(4, 2), signals),
            Example(cls(3, 2, 5, "hamming", False, 1, "none", True, 0.5, gain=0.5), signals),
            Example(cls(2, 3, 4, "none"), signals),
            Example(cls(2, 3, 4, "none", padding="none"), signals),
            Example(cls(4, 1, 4, "povey", preemphasis=0.9), signals),
            Example(cls(1, 2, 2), signals),
            Example(cls(5, 2, 520, power=1, remove_mean=True, preemphasis=0.5), signals),
        ]
