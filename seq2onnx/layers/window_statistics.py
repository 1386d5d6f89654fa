"""WindowStatistics: what is known of each window of a raw signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import END, GraphBuilder
from seq2onnx.layers.parts.channel_frames import emit_channel_frames
from seq2onnx.layers.parts.frames import FramePadding, Framing
from seq2onnx.layers.signal import Signal, State

if TYPE_CHECKING:
    from torch import Tensor

Statistic = Literal["mean", "std", "rms", "min", "max", "skewness", "kurtosis", "crest", "zero_crossings"]
ALL: tuple[Statistic, ...] = ("mean", "std", "rms", "min", "max", "skewness", "kurtosis", "crest", "zero_crossings")
FLAT = 1e-10
"""A variance up to this share of the mean square is the rounding of float32."""
SILENT = 1e-30
"""The square of a number this small has no digits in float32."""


def _distinct(names: Sequence[Statistic]) -> tuple[Statistic, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"has {name} more than once; its columns would be the same")
    return tuple(names)


WindowSize = Annotated[int, Field(gt=0, le=10**6, strict=True)]
Statistics = Annotated[Sequence[Statistic], Field(min_length=1), AfterValidator(_distinct)]


@final
@layer
class WindowStatistics(Layer):
    """Statistics of each channel over windows of a raw signal.

        mean = Σ x / n, rms = √(Σ x² / n), min, max     n = length
        std = √v, v = Σ (x − mean)² / n
        skewness = Σ (x − mean)³ / n / v^1.5
        kurtosis = Σ (x − mean)⁴ / n / v², which is 3 for a normal distribution
        crest = max |x| / rms
        zero_crossings = how often x < 0 changes from one sample to the next, divided by n

    A window is constant if v ≤ 1e-10 Σ x² / n, the rounding of float32. Its std, skewness and kurtosis are 0. The crest
    of silence (rms ≤ 1e-15) is 0.

    Shapes (B batch, T time, C channels, S statistics; float32):
        x [B, T, C] -> y [B, T', S · C]: the first statistic of all channels, then the second one ….
        T' = ⌊(T − length) / hop⌋ + 1, at least 0, with padding "none"; ⌊T / hop⌋ with "causal"

    Args:
        length: samples of a window, up to 1,000,000.
        hop: samples from one window to the next, up to 1,000,000. None: length.
        statistics: which of them, in this order.
        padding: "none": only windows that are in the signal from their first sample on; "causal": a window ends at
            every hop-th sample, with zeros before the signal, which count.

    Raises:
        SpecError: a statistic is there twice.
        ShapeError: the input is not channels of samples.

    State:
        buf [B, length − 1, C], the previous samples; phase [B, 1], the samples since the last window

    ONNX:
        windows as in Spectrogram, then MatMul, Sub, Mul, Div, Sqrt, ReduceMin, ReduceMax, Greater, Cast

    Example:
        >>> WindowStatistics(1000, 500, ["rms", "kurtosis", "crest"])

    Source:
        Chan, Golub & LeVeque 1983 (moments in two passes); ISO 13373-2 (crest and kurtosis of vibration)
    """

    length: WindowSize
    hop: WindowSize | None = None
    statistics: Statistics = ALL
    padding: FramePadding = "none"

    kind: ClassVar[str] = "window_statistics"
    is_finite_past_end: ClassVar[bool] = True

    @property
    def framing(self) -> Framing:
        """Its windows."""
        return Framing(self.length, self.hop or self.length, self.padding)

    def infer(self, *signals: Signal) -> Signal:
        return self.framing.infer_channels(self, signals, len(self.statistics))

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return self.framing.states(signals[0].size)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        frames, windows, new_states = self.framing.frame_channels(call.x, call.row_lengths, call.states)
        if not frames.shape[2]:  # torch has no minimum of nothing
            frames = frames.new_zeros(*frames.shape[:3], 1)
        return torch.cat(self._forward(frames), 1).transpose(1, 2), windows, new_states

    def _forward(self, x: Tensor) -> list[Tensor]:
        """Compute each statistic [B, C, n] of frames [B, C, n, length]."""
        first_mean = x.mean(3, keepdim=True)
        centered = x - first_mean
        rest = centered.mean(3, keepdim=True)
        centered = centered - rest
        mean = (first_mean + rest)[..., 0]
        variance = centered.square().mean(3)
        square = variance + mean.square()
        # Factors 0 or 1, and roots of 1 in place of 0, whose root has no gradient. NaN remains NaN.
        varies, sounds = (variance > FLAT * square).to(x.dtype), (square > SILENT).to(x.dtype)
        spread = (variance * varies + (1 - varies)).sqrt()
        rms = (square * sounds + (1 - sounds)).sqrt()
        normal = centered * (varies / spread)[..., None]
        compute: dict[Statistic, Callable[[], Tensor]] = {
            "mean": lambda: mean,
            "std": lambda: spread * varies,
            "rms": lambda: rms * sounds,
            "min": lambda: x.amin(3),
            "max": lambda: x.amax(3),
            "skewness": lambda: (normal**3).mean(3),
            "kurtosis": lambda: (normal**4).mean(3),
            "crest": lambda: x.abs().amax(3) / rms * sounds,
            "zero_crossings": lambda: ((x[..., 1:] < 0) != (x[..., :-1] < 0)).to(x.dtype).sum(3) / self.length,
        }
        return [compute[name]() for name in self.statistics]

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        frames, windows, new_states = emit_channel_frames(self.framing, graph, call)
        op, ints, found = graph.op, graph.ints, self._emit(graph, frames)
        channels, size = call.x.signal.size, len(found) * call.x.signal.size
        y = op("Concat", *found, axis=2) if len(found) > 1 else found[0]
        if graph.is_fixed:
            y = op("Transpose", y, perm=[1, 2, 0]) if channels > 1 else y
            y = graph.reshape(y, 1, graph.fixed_steps(call.x.signal) // self.framing.hop, size)
        elif channels > 1:
            sizes = op("Concat", graph.rows(call.x.name), ints(channels), op("Shape", y, start=1, end=3), axis=0)
            apart = op("Transpose", op("Reshape", y, sizes, allowzero=1), perm=[0, 2, 3, 1])
            y = op("Reshape", apart, ints(0, 0, size))
        return y, windows, new_states

    def _emit(self, graph: GraphBuilder, x: str) -> list[str]:
        """Compute each statistic [rows, n, 1] of frames [rows, n, length]. Nodes that nothing reads are not written."""
        op, one = graph.op, graph.constant(np.float32(1))

        def mean_of(steps: str, count: int = self.length) -> str:
            # In long windows, the error of a product is a tenth of that of ReduceMean.
            return op("MatMul", steps, graph.constant(np.full((count, 1), 1 / self.length, np.float32)))

        def exceeds(a: str, b: str) -> str:
            return graph.cast(op("Greater", a, b), "float32")

        def root(a: str, factor: str) -> str:
            return op("Sqrt", op("Add", op("Mul", a, factor), op("Sub", one, factor)))

        first_mean = mean_of(x)
        centered = op("Sub", x, first_mean)
        rest = mean_of(centered)
        centered, mean = op("Sub", centered, rest), op("Add", first_mean, rest)
        variance = mean_of(op("Mul", centered, centered))
        square = op("Add", variance, op("Mul", mean, mean))
        varies = exceeds(variance, op("Mul", square, graph.constant(np.float32(FLAT))))
        sounds = exceeds(square, graph.constant(np.float32(SILENT)))
        spread, rms = root(variance, varies), root(square, sounds)
        normal = op("Mul", centered, op("Div", varies, spread))
        normal_square = op("Mul", normal, normal)
        least, most = graph.reduce("ReduceMin", x, 2, keep=True), graph.reduce("ReduceMax", x, 2, keep=True)
        peak = op("Max", most, op("Sub", graph.constant(np.float32(0)), least))
        compute: dict[Statistic, Callable[[], str]] = {
            "mean": lambda: mean,
            "std": lambda: op("Mul", spread, varies),
            "rms": lambda: op("Mul", rms, sounds),
            "min": lambda: least,
            "max": lambda: most,
            "skewness": lambda: mean_of(op("Mul", normal_square, normal)),
            "kurtosis": lambda: mean_of(op("Mul", normal_square, normal_square)),
            "crest": lambda: op("Mul", op("Div", peak, rms), sounds),
            "zero_crossings": lambda: mean_of(_emit_crossings(graph, x, self.length), max(self.length - 1, 1)),
        }
        return [compute[name]() for name in self.statistics]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        two = (Signal((2,)),)
        return [
            Example(cls(4), two),
            Example(cls(5, 2, padding="causal"), (Signal((1,)),)),
            Example(cls(4, 3, padding="causal"), (Signal((3,)),)),
            Example(cls(3, 1, ["kurtosis", "mean"]), two),
            Example(cls(3, 5, ["crest"]), two),
            Example(cls(1, 2, ["zero_crossings", "std"], "causal"), two),
        ]


def _emit_crossings(graph: GraphBuilder, x: str, length: int) -> str:
    """Compute where x < 0 changes from one sample to the next: [rows, n, length − 1], zeros and ones."""
    op, ints = graph.op, graph.ints
    negative = before = graph.cast(op("Greater", graph.constant(np.float32(0)), x), "float32")
    if length > 1:
        before = op("Slice", negative, ints(0), ints(-1), ints(2))
        negative = op("Slice", negative, ints(1), ints(END), ints(2))
    change = op("Sub", negative, before)
    return op("Mul", change, change)
