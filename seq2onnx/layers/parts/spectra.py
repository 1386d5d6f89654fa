"""The spectrum of frames, in numpy and torch: windows, mel bands, cosines. spectrum_nodes.py is its ONNX form."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
WindowName = Literal["hann", "hamming", "povey", "none"]
Power = Literal[1, 2]
MelScale = Literal["htk", "slaney", "kaldi"]
Log = Literal["natural", "decibel", "none"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
FftSize = Annotated[int, Field(gt=0, le=2**16, strict=True)]
BandCount = Annotated[int, Field(gt=0, le=1024, strict=True)]

MOST_IN_ONE = 512
"""The longest transform that is one matrix, where its size allows two stages. One of 4,096 takes 67 MB and 2.5 ms."""
MOST_ENTRIES = 2**23
"""The largest matrix of a transform."""
DECIBEL = 10 / math.log(10)


@dataclasses.dataclass(frozen=True)
class Mel:
    """Bands on a mel scale, and the logarithm of their energy."""

    rate: float
    bands: int
    low: float
    high: float
    scale: MelScale
    area: bool
    log: Log
    floor: float


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """The calculation for each frame.

    Attributes:
        length: samples of a frame.
        fft: points of the transform.
        window: the window function.
        periodic: whether the window is periodic, not symmetric.
        power: 2 for |X|², 1 for |X|.
        remove_mean: whether the mean of a frame is removed.
        preemphasis: p of x_n − p x_{n−1}.
        gain: what samples are multiplied with.
        mel: the bands. None: the spectrum itself.
        coefficients: the number of cosine coefficients of the bands. 0: the bands themselves.
        lifter: L of the lifter 1 + L / 2 sin(πk / L). 0: none.
    """

    length: int
    fft: int
    window: WindowName
    periodic: bool
    power: Power
    remove_mean: bool
    preemphasis: float
    gain: float
    mel: Mel | None = None
    coefficients: int = 0
    lifter: float = 0.0

    @classmethod
    def of(cls, layer: Any) -> Spectrum:
        """Return what a layer with these fields calculates; the fields of Mel, and the last two, may be lacking."""

        def fields_of(part: type[Mel | Spectrum]) -> dict[str, Any]:
            names = [field.name for field in dataclasses.fields(part)]
            return {name: getattr(layer, name) for name in names if hasattr(layer, name)}

        mel = None
        if hasattr(layer, "bands"):
            mel = Mel(**fields_of(Mel) | {"high": layer.rate / 2 if layer.high is None else layer.high})
        return cls(**fields_of(cls) | {"fft": layer.fft or layer.length, "mel": mel})

    @property
    def bins(self) -> int:
        """Frequencies of the transform."""
        return self.fft // 2 + 1

    @property
    def size(self) -> int:
        """Numbers of each frame of the result."""
        return self.coefficients or (self.mel.bands if self.mel else self.bins)

    @functools.cached_property
    def stages(self) -> tuple[int, int]:
        """The sizes (A, B) of the two stages, A · B = fft; (1, fft): one matrix."""
        small = next(a for a in range(math.isqrt(self.fft), 0, -1) if self.fft % a == 0)
        return (small, self.fft // small) if self.fft > MOST_IN_ONE else (1, self.fft)

    def check(self) -> None:
        """Raise ValueError if the fields do not fit together."""
        if self.fft < self.length:
            raise ValueError(
                f"fft {self.fft} must be at least the length {self.length} of a frame; samples would be left out"
            )
        if self.stages[1] * max(self.stages[1], self.length // self.stages[0]) > MOST_ENTRIES:
            raise ValueError(f"fft {self.fft} has no two factors of similar size; use a power of 2")
        if self.mel is not None:
            _check_mel(self.mel)
            if self.coefficients > self.mel.bands:
                raise ValueError(f"coefficients {self.coefficients} must be at most the bands, {self.mel.bands}")

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the spectrum of frames [B, n, length] in torch.

        The transform is in float64: in float32, its rounding depends on the processor, and where a band has little
        energy, the logarithm enlarges that.
        """
        import torch

        dtype = frames.dtype

        def constant(array: Array) -> Tensor:
            return torch.from_numpy(array).to(frames.device, dtype)

        if not frames.numel():
            return frames.new_zeros(*frames.shape[:2], self.size)  # torch's transform fails without frames
        frames = frames.double()
        if self.remove_mean:
            frames = frames - frames.mean(-1, keepdim=True)
        if self.preemphasis:
            frames = frames - self.preemphasis * torch.cat([frames[..., :1], frames[..., :-1]], -1)
        spectrum = torch.fft.rfft(frames * torch.from_numpy(taper(self)).to(frames), self.fft)
        y: Tensor = (spectrum.real.square() + spectrum.imag.square()).to(dtype)
        if self.power == 1:
            y = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()  # the gradient of a root is infinite at 0
        if self.mel is None:
            return y
        y = y @ constant(mel_bank(self.mel, self.fft))
        if self.mel.log != "none":
            y = y.clamp(min=self.mel.floor).log() * (DECIBEL if self.mel.log == "decibel" else 1)
        return y @ constant(cosines(self)) if self.coefficients else y


def _check_mel(mel: Mel) -> None:
    if not mel.low < mel.high <= mel.rate / 2:
        raise ValueError(
            f"low {mel.low:g} and high {mel.high:g} must be in order and at most half of the rate, {mel.rate / 2:g} "
            "hertz, above which samples have no frequencies"
        )


def exact_zeros(array: Array) -> Array:
    """Set what is only rounding to zero: other processors round otherwise, and files are compared."""
    return np.where(np.abs(array) < 1e-9 * np.abs(array).max(), 0.0, array)


@functools.lru_cache(32)
def taper(spectrum: Spectrum) -> Array:
    """Return the window function [length], times the gain."""
    length, name = spectrum.length, spectrum.window
    if name == "none" or length == 1:
        return np.full(length, spectrum.gain)
    cosine = np.cos(2 * np.pi * np.arange(length) / (length if spectrum.periodic else length - 1))
    if name == "hamming":
        return spectrum.gain * (0.54 - 0.46 * cosine)
    hann = 0.5 - 0.5 * cosine
    return spectrum.gain * exact_zeros(hann**0.85 if name == "povey" else hann)


def kernel(spectrum: Spectrum, middle: int = 0) -> Array:
    """Return the whole transform [2 bins, length], cosines then sines; all that comes before it is linear and in it.

    `middle`: twice the sample at which all phases are 0.
    """
    place = 2 * np.arange(spectrum.length) - middle
    angle = np.pi * (np.arange(spectrum.bins)[:, None] * place % (2 * spectrum.fft)) / spectrum.fft
    basis = np.concatenate([np.cos(angle), np.sin(angle)]) * taper(spectrum)
    if spectrum.preemphasis:  # y_n = x_n − p x_{n−1}; y_0 = x_0 − p x_0
        later = np.concatenate([basis[:, 1:], np.zeros((len(basis), 1))], 1)
        later[:, 0] += basis[:, 0]
        basis = basis - spectrum.preemphasis * later
    if spectrum.remove_mean:
        basis = basis - basis.mean(1, keepdims=True)
    return exact_zeros(basis)


class Halves(NamedTuple):
    """A transform as two of half its size, of the sums and of the differences of two samples each.

    Attributes:
        places: the first sample of each pair, then the second ones.
        cosines: what sums are multiplied by, [bins, pairs].
        sines: what differences are multiplied by, [bins, pairs].
    """

    places: list[int]
    cosines: Array
    sines: Array


def halves(spectrum: Spectrum) -> Halves | None:
    """Cut the transform in two where it is symmetric about its middle: power does not depend on where the phase is 0.

    Preemphasis is not symmetric, nor is a periodic window that does not begin with 0.
    """
    read = np.flatnonzero(kernel(spectrum).any(0))
    if not read.size:
        return None
    first, last = int(read[0]), int(read[-1])
    even, odd = np.split(kernel(spectrum, first + last)[:, first : last + 1], 2)
    if max(np.abs(even - even[:, ::-1]).max(), np.abs(odd + odd[:, ::-1]).max()) > 1e-9 * np.abs(even).max():
        return None
    pairs = (last - first) // 2 + 1
    even, odd = even[:, :pairs].copy(), odd[:, :pairs]
    if (last - first) % 2 == 0:
        even[:, -1] /= 2  # the sample in the middle is its own partner
    return Halves([*range(first, first + pairs), *range(last, last - pairs, -1)], even, odd)


def mel_of(hertz: Array, scale: MelScale) -> Array:
    """Convert frequencies to mels."""
    if scale != "slaney":
        return 1127 * np.log1p(hertz / 700)
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, 3 * hertz / 200, above)


def hertz_of(mel: Array, scale: MelScale) -> Array:
    """Convert mels to frequencies."""
    if scale != "slaney":
        return 700 * np.expm1(mel / 1127)
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@functools.lru_cache(32)
def mel_bank(mel: Mel, fft: int) -> Array:
    """Return the weights [bins, bands] of triangles: linear in hertz, or for "kaldi" linear in mels."""
    low, high = mel_of(np.array([mel.low, mel.high]), mel.scale)
    edges = np.linspace(low, high, mel.bands + 2)
    hertz, frequencies = hertz_of(edges, mel.scale), np.arange(fft // 2 + 1) * mel.rate / fft
    corners, x = (edges, mel_of(frequencies, "kaldi")) if mel.scale == "kaldi" else (hertz, frequencies)
    left, center, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (x[:, None] - left) / (center - left), (right - x[:, None]) / (right - center)
    bank = np.maximum(0, np.minimum(rising, falling))
    bank = np.where(bank < 1e-9, 0.0, bank)
    return bank * 2 / (hertz[2:] - hertz[:-2]) if mel.area else bank


def cosines(spectrum: Spectrum) -> Array:
    """Return the orthonormal cosine transform [bands, coefficients], times the lifter."""
    assert spectrum.mel is not None
    bands, k = spectrum.mel.bands, np.arange(spectrum.coefficients)
    matrix = np.sqrt(2 / bands) * np.cos(np.pi * k * (np.arange(bands)[:, None] + 0.5) / bands)
    matrix[:, 0] = np.sqrt(1 / bands)
    if spectrum.lifter:
        matrix = matrix * (1 + spectrum.lifter / 2 * np.sin(np.pi * k / spectrum.lifter))
    return exact_zeros(matrix)
