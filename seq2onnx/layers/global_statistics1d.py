"""Sum and standard deviation over time, exact in streams of any length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import time_sums
from seq2onnx.layers.parts.window import check_axis, mask
from seq2onnx.layers.signal import Signal, State, Value


@final
@layer
class GlobalSumPool1d(Layer):
    """Sum of each channel over the valid steps.

        y = Σ_t x_t

    Shapes (B batch, T time, C channels; float32):
        x [B, T, C] -> y [B, C], in a stream the running value

    Raises:
        ShapeError: the input has no time, or its steps are not vectors.

    State:
        sum [B, C]; carry [B, C], what float32 cannot hold of the sum

    ONNX:
        CumSum or ReduceSum of float64. The forms "step" and "portable" have float32 alone

    Example:
        >>> GlobalSumPool1d()

    Source:
        Knuth, The Art of Computer Programming 2, section 4.2.2 (what an addition rounds away)
    """

    kind: ClassVar[str] = "global_sum_pool1d"

    def infer(self, *signals: Signal) -> Signal:
        return dataclasses.replace(check_axis(self, signals, "time"), has_time=False)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return State("sum", signals[0].shape), State("carry", signals[0].shape)

    def forward(self, call: ForwardCall) -> Forwarded:
        x, states = call.x, call.states
        total = mask(x, call.row_lengths).sum(1, dtype=time_sums.wide_dtype(x))
        if states is None:
            return total.to(x.dtype), None, {}
        y, carry = time_sums.split(total + states["sum"] + states["carry"], x.dtype)
        return y.clone(), None, {"sum": y, "carry": carry}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        op, total = graph.op, time_sums.emit_sum(graph, call.x, call.lengths)
        if call.states is None:
            return total, None, {}
        before = call.states["sum"]
        y = op("Add", before, total)
        added = op("Sub", y, before)
        lost = op("Add", op("Sub", before, op("Sub", y, added)), op("Sub", total, added))
        y, carry = time_sums.emit_more(graph, y, call.states["carry"], lost)
        return y, None, {"sum": y, "carry": carry}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (Signal((3,)),))]


@final
@layer
class GlobalStdPool1d(Layer):
    """Standard deviation of each channel over the valid steps.

        y = √(v + ε)     v = Σ_t (x_t − mean)² / (n − correction), 0 if n ≤ correction     n: number of valid steps

    In a stream, k more steps after n others change the states in this way (correction 0). The sums over the steps are
    float64:

        d = Σ_t (x_t − mean) / (n + k)
        mean' = mean + d
        v' = v + (Σ_t ((x_t − mean')² − v) + n d²) / (n + k)

    Shapes (B batch, T time, C channels; float32):
        x [B, T, C] -> y [B, C], in a stream the running value

    Args:
        correction: 0; or 1, the unbiased variance.
        epsilon: ε ≥ 0, for training: the slope of a square root at 0 is infinite. With ε = 0, steps that are all
            the same give no gradient.

    Raises:
        ShapeError: the input has no time, or its steps are not vectors.

    State:
        mean [B, C] and variance [B, C], with carry and variance_carry, what float32 cannot hold of them; count [B, 1]
        int32, the steps so far, at most 2^30, as in GlobalAvgPool1d

    ONNX:
        CumSum or ReduceSum of float64, Div, Sqrt. The forms "step" and "portable" have float32 alone

    Example:
        >>> GlobalStdPool1d()

    Source:
        Chan, Golub & LeVeque 1983 (streams); Snyder et al. 2018 (statistics pooling: mean and deviation)
    """

    correction: Literal[0, 1] = 0
    epsilon: Annotated[float, Field(ge=0)] = 0.0

    kind: ClassVar[str] = "global_std_pool1d"

    def infer(self, *signals: Signal) -> Signal:
        return dataclasses.replace(check_axis(self, signals, "time"), has_time=False)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        names = ("mean", "carry", "variance", "variance_carry")
        return *(State(name, signals[0].shape) for name in names), State("count", (1,), "int32")

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x, states, count = call.x.to(time_sums.wide_dtype(call.x)), call.states, call.row_lengths[:, None]
        mean = variance = n = x.new_zeros(())
        if states is not None:
            mean, variance = (
                states[name].to(x.dtype) + states[carry]
                for name, carry in (("mean", "carry"), ("variance", "variance_carry"))
            )
            n, count = states["count"], count + states["count"]
        centered, total = mask(x - mean[..., None, :] if states else x, call.row_lengths), count.clamp(min=1)
        change = centered.sum(1) / total
        rest = mask(centered - change[:, None], call.row_lengths)
        variance = (n * (variance + change.square()) + rest.square().sum(1)) / total
        square = variance * total / (total - self.correction).clamp(min=1) + self.epsilon
        is_zero = square <= 0
        # Where the square root is 0, its gradient is 0 × ∞ without this.
        y = (torch.where(is_zero, 1, square).sqrt() * ~is_zero).to(call.x.dtype)
        if states is None:
            return y, None, {}
        new = dict(zip(("mean", "carry"), time_sums.split(mean + change, call.x.dtype), strict=True))
        new |= zip(("variance", "variance_carry"), time_sums.split(variance, call.x.dtype), strict=True)
        return y, None, new | {"count": time_sums.kept_count(count)}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        op, states, lengths, signal = graph.op, call.states, call.lengths, call.x.signal

        def less(steps: str, *numbers: str) -> str:
            """Subtract numbers of each row from each of its steps."""
            for number in numbers:
                steps = op("Sub", steps, op("Unsqueeze", number, graph.ints(1)))
            return steps

        count, x, new_states = time_sums.emit_count(graph, call), call.x.name, {}
        divisor = time_sums.emit_divisor(graph, count)
        if states is not None:
            x = less(x, states["mean"], states["carry"])
        change = time_sums.emit_quotient(graph, Value(x, signal), lengths, divisor)
        rest = less(x, change)
        squares = op("Mul", rest, rest)
        if states is not None:
            squares = less(squares, states["variance"], states["variance_carry"])
        variance = time_sums.emit_quotient(graph, Value(squares, signal), lengths, divisor)
        total = graph.cast(count if graph.is_fixed else op("Max", count, graph.number(1)), "float32")
        if states is not None:
            share = op("Div", graph.cast(states["count"], "float32"), total)
            moved = op("Add", variance, op("Mul", op("Mul", change, change), share))
            for (name, carry), by in {("mean", "carry"): change, ("variance", "variance_carry"): moved}.items():
                new_states[name], new_states[carry] = time_sums.emit_more(graph, states[name], states[carry], by)
            variance = new_states["variance"]
            new_states["count"] = time_sums.emit_kept_count(graph, count)
        zero, one = graph.constant(np.float32(0)), graph.constant(np.float32(1))
        variance = op("Max", variance, zero)  # it can be rounded to less
        if self.correction:
            variance = op("Mul", variance, op("Div", total, op("Max", op("Sub", total, one), one)))
        if self.epsilon:
            variance = op("Add", variance, graph.constant(np.float32(self.epsilon)))
        return op("Sqrt", variance), None, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        return [Example(cls(), (signal,)), Example(cls(1, 1e-5), (signal,)), Example(cls(1), (signal,))]
