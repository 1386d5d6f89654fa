"""MFCC: a raw signal in, cepstral coefficients of its frames out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, final

from seq2onnx.layers.base import Example, PositiveInt, layer
from seq2onnx.layers.parts import spectra
from seq2onnx.layers.parts.frames import FramePadding
from seq2onnx.layers.parts.spectrum_layer import EXAMPLE, SpectrumLayer
from seq2onnx.layers.signal import Signal


@final
@layer
class MFCC(SpectrumLayer):
    """Mel-frequency cepstral coefficients: the first numbers of the cosine transform of MelSpectrogram.

        y_k = (1 + L / 2 sin(πk / L)) s_k Σ_m cos(πk (m + ½) / M) z_m     k = 0 … K − 1, z as MelSpectrogram gives it
        s_0 = √(1 / M), s_k = √(2 / M)

    [Features of other libraries](features-of-other-libraries.md) has the fields that give the numbers of Kaldi, HTK and
    others.

    Shapes (B batch, T time, K coefficients; float32):
        x [B, T, 1] -> y [B, T', K]. T' as in Spectrogram.

    Args:
        rate: samples of x per second. A file has it in its metadata, as sample_rate.
        length: samples of a frame, > 0.
        hop: samples from one frame to the next, > 0.
        bands: number of bands M, up to 1,024.
        coefficients: number of coefficients K, at most M.
        lifter: L. 0: without the factor in brackets.
        fft: points of the transform, at least length. None: length.
        low: hertz where the first band begins.
        high: hertz where the last band ends. None: rate / 2.
        scale: "htk", "slaney" or "kaldi", as in MelSpectrogram.
        area: divide each triangle by half of its width in hertz.
        log: "natural", "decibel" (10 log₁₀) or "none".
        floor: the least energy, > 0, of which a logarithm is taken.
        window: "hann", "hamming", "povey" or "none", as in Spectrogram.
        periodic: the period of the window, as in Spectrogram.
        power: 2 for power, 1 for magnitude.
        padding: "causal" or "none", as in Spectrogram.
        remove_mean: remove the mean of each frame.
        preemphasis: p, from 0 to below 1.
        gain: what samples are multiplied by, > 0.

    Raises:
        SpecError: as MelSpectrogram, or there are more coefficients than bands.
        ShapeError: the input is not one channel of samples.

    State:
        as Spectrogram

    ONNX:
        as MelSpectrogram, then MatMul

    Example:
        >>> MFCC(16000, 400, 160, 40, fft=512)

    Source:
        Davis & Mermelstein 1980
    """

    rate: spectra.Positive
    length: PositiveInt
    hop: PositiveInt
    bands: spectra.BandCount
    coefficients: PositiveInt = 13
    lifter: spectra.NotNegative = 0.0
    fft: spectra.FftSize | None = None
    low: spectra.NotNegative = 0.0
    high: spectra.Positive | None = None
    scale: spectra.MelScale = "htk"
    area: bool = False
    log: spectra.Log = "natural"
    floor: spectra.Positive = 1e-6
    _: KW_ONLY
    window: spectra.WindowName = "hann"
    periodic: bool = True
    power: spectra.Power = 2
    padding: FramePadding = "causal"
    remove_mean: bool = False
    preemphasis: spectra.Share = 0.0
    gain: spectra.Positive = 1.0

    kind: ClassVar[str] = "mfcc"

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signals = (Signal((1,)),)
        return [
            Example(cls(8000, 4, 2, 3, 2, floor=0.1), signals),
            Example(cls(4000, 3, 2, 4, 3, 22, 32, 100, 1900, "slaney", True, "decibel", 0.5, **EXAMPLE), signals),
            Example(cls(4000, 4, 1, 14, fft=64, scale="kaldi", log="none"), signals),
        ]
