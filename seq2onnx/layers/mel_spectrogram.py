"""MelSpectrogram: a raw signal in, the energy of its frames in bands of hearing out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, final

from seq2onnx.layers.base import Example, PositiveInt, layer
from seq2onnx.layers.parts import spectra
from seq2onnx.layers.parts.frames import FramePadding
from seq2onnx.layers.parts.spectrum_layer import EXAMPLE, SpectrumLayer
from seq2onnx.layers.signal import Signal

INT16 = 32768.0
"""The factor for samples in ±1 where a library takes integers of 16 bits."""
EPSILON = 2.0**-23
"""The difference between 1 and the next number in float32: kaldi's least energy."""


@final
@layer
class MelSpectrogram(SpectrumLayer):
    """Logarithm of the energy of each frame of a raw signal in bands of equal width on a mel scale.

        y_m = log(max(floor, Σ_k bank_{k,m} |X_k|^power))     X_k as in Spectrogram
        mel(f) = 1127 ln(1 + f / 700); for "slaney" 3 f / 200 up to 1,000 Hz, then 15 + 27 ln(f / 1000) / ln 6.4

    The corners of the triangles bank_m are at equal distances in mels: c_0 = mel(low), …, c_{M+1} = mel(high). Triangle
    m rises from c_{m−1} to 1 at c_m and falls to c_{m+1}, linearly in hertz, or with "kaldi" in mels.

    MelSpectrogram.kaldi, .librosa and .torchaudio fill in the fields for these libraries.
    [Features of other libraries](features-of-other-libraries.md) has the fields for more of them, and what differs.

    Shapes (B batch, T time, M bands; float32):
        x [B, T, 1] -> y [B, T', M]. T' as in Spectrogram.

    Args:
        rate: samples of x per second. A file has it in its metadata, as sample_rate.
        length: samples of a frame, > 0.
        hop: samples from one frame to the next, > 0.
        bands: number of bands M, up to 1,024.
        fft: points of the transform, at least length. None: length.
        low: hertz where the first band begins.
        high: hertz where the last band ends. None: rate / 2.
        scale: "htk", "slaney", or "kaldi", which is the scale of "htk" with triangles that are linear in mels.
        area: divide each triangle by half of its width in hertz, as librosa does; all then have the same area.
        log: "natural", "decibel" (10 log₁₀) or "none".
        floor: the least energy, > 0, of which a logarithm is taken. The default is for samples in ±1; below it, float32
            has only rounding errors.
        window: "hann", "hamming", "povey" or "none", as in Spectrogram.
        periodic: the period of the window, as in Spectrogram.
        power: 2 for power, 1 for magnitude.
        padding: "causal" or "none", as in Spectrogram.
        remove_mean: remove the mean of each frame.
        preemphasis: p, from 0 to below 1.
        gain: what samples are multiplied by, > 0.

    Raises:
        SpecError: fft is less than length, high is above half of the rate, or low is not below high.
        ShapeError: the input is not one channel of samples.

    State:
        as Spectrogram

    ONNX:
        as Spectrogram, then MatMul, Max, Log

    Example:
        >>> MelSpectrogram(16000, 400, 160, 80, fft=512)

    Source:
        Stevens, Volkmann & Newman 1937; HTK; Slaney 1998; kaldi; librosa; torchaudio
    """

    rate: spectra.Positive
    length: PositiveInt
    hop: PositiveInt
    bands: spectra.BandCount
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

    kind: ClassVar[str] = "mel_spectrogram"

    @classmethod
    def kaldi(cls, rate: float = 16000, bands: int = 80, *, padding: FramePadding = "none") -> MelSpectrogram:
        """Return the layer with kaldi's filter banks: 25 ms every 10 ms, without dither.

        Kaldi takes samples as integers of 16 bits. The layer takes samples in ±1 and multiplies them by 32,768.

        Args:
            rate: samples per second.
            bands: number of bands.
            padding: "none" as kaldi's snip_edges; "causal" for a frame every 10 ms from the start.
        """
        length = int(rate * 0.025)
        return cls(
            rate,
            length,
            int(rate * 0.01),
            bands,
            1 << (length - 1).bit_length(),
            low=20.0,
            scale="kaldi",
            floor=EPSILON,
            window="povey",
            periodic=False,
            padding=padding,
            remove_mean=True,
            preemphasis=0.97,
            gain=INT16,
        )

    @classmethod
    def librosa(cls, rate: float, fft: int, hop: int, bands: int, *, padding: FramePadding = "none") -> MelSpectrogram:
        """Return the layer with the numbers of `librosa.feature.melspectrogram(…, center=False)`.

        For center=True, put fft // 2 zeros before and after the signal.

        Args:
            rate: samples per second.
            fft: points of the transform, and samples of a frame.
            hop: samples from one frame to the next.
            bands: number of bands.
            padding: "none" as librosa, or "causal".
        """
        return cls(rate, fft, hop, bands, scale="slaney", area=True, log="none", padding=padding)

    @classmethod
    def torchaudio(
        cls, rate: float, fft: int, hop: int, bands: int, *, padding: FramePadding = "none"
    ) -> MelSpectrogram:
        """Return the layer with the numbers of `torchaudio.transforms.MelSpectrogram(…, center=False)`.

        For center=True, put fft // 2 samples of the reflected signal before and after it.

        Args:
            rate: samples per second.
            fft: points of the transform, and samples of a frame.
            hop: samples from one frame to the next.
            bands: number of bands.
            padding: "none" as torchaudio, or "causal".
        """
        return cls(rate, fft, hop, bands, log="none", padding=padding)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signals = (Signal((1,)),)
        # The logarithm of energies near the default floor would show the rounding of float32.
        return [
            Example(cls(8000, 4, 2, 3, floor=0.1), signals),
            Example(cls(4000, 3, 2, 2, 16, 100, 1900, "slaney", True, "decibel", 0.5, **EXAMPLE), signals),
            Example(cls(4000, 4, 1, 2, 16, 20, scale="kaldi", log="none"), signals),
            Example(cls(16000, 6, 3, 3, 576, log="decibel", floor=0.1), signals),
        ]
