"""AttentionPool: the mean of all steps, weighted by a softmax over time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import numpy as np

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import joining
from seq2onnx.layers.parts.attention_nodes import NEVER
from seq2onnx.layers.parts.initializers import glorot
from seq2onnx.layers.parts.time_sums import emit_more, emit_sum, split, wide_dtype
from seq2onnx.layers.parts.window import check_axis, mask
from seq2onnx.layers.signal import Signal, State, Value, Weight

GRAIN = 4.0
"""The reference is a multiple of this number, so that most steps do not change it: each change rounds the sum."""
LEAST_WEIGHT = 2.0**-7
"""Less than the sum of any row with steps: the largest score is at most GRAIN below the reference."""


@final
@layer
class AttentionPool(Layer):
    """Mean of each channel over the valid steps, weighted by a softmax of scores over time; 0 if there are no steps.

        y = Σ_t softmax_t(s) x_t     s_t = W x_t, or the steps of a second layer

    Each head has a score for each step, and weighs C / H channels: one head weighs all channels alike, C heads weigh
    each channel by itself.

    In a stream, more steps with the scores s change the states in this way. The sums over the steps are float64:

        reference' = 4 ⌈max(reference, max_t s_t) / 4⌉     w_t = exp(s_t − reference')
        weight' = weight · exp(reference − reference') + Σ_t w_t
        mean' = mean + Σ_t w_t (x_t − mean) / weight'

    Shapes (B batch, T time, C channels, H heads; float32):
        x [B, T, C], or x and scores [B, T, H] -> y [B, C], in a stream the running value

    Args:
        heads: number of heads H, > 0. It divides C.
        inputs: x, or x and the layer that gives the scores.

    Raises:
        ShapeError: the input is not [B, T, C], heads does not divide its channels, or the scores are not [B, T, H].

    State:
        reference [B, H], from 0 to 4 above the largest score so far; weight [B, H] and mean [B, C], with weight_carry
        and carry, what float32 cannot hold of them. A weight of 0 means that no step has come. With lookahead and two
        inputs, skip and count as in Add

    Weights:
        weights W [H, C]; none with two inputs

    ONNX:
        MatMul, ReduceMax, Ceil, Exp, ReduceSum of float64. The forms "step" and "portable" have float32 alone

    Example:
        >>> AttentionPool()
        >>> AttentionPool(inputs=["lstm_1", "scores"])

    Source:
        Bahdanau et al. 2015; Lin et al. 2017 (heads); Okabe et al. 2018 (channels); Milakov & Gimelshein 2018 (streams)
    """

    heads: PositiveInt = 1

    kind: ClassVar[str] = "attention_pool"

    def infer(self, *signals: Signal) -> Signal:
        x = check_axis(self, signals[:1] if len(signals) == 2 else signals, "time")
        if len(signals) == 2:
            if not signals[1].has_time or signals[1].shape != (self.heads,):
                raise ShapeError(
                    f"{self.label}: expected x and scores [batch, time, {self.heads}], got "
                    f"{joining.listed(self, signals)}; the second input has a score for each of the heads"
                )
            x = dataclasses.replace(joining.infer(self, signals), shape=x.shape)
        if x.shape[0] % self.heads:
            raise ShapeError(f"{self.label}: heads {self.heads} must divide the channels of x {signals[0]}")
        return dataclasses.replace(x, has_time=False)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        return {} if len(signals) == 2 else {"weights": Weight((self.heads, signals[0].size), glorot)}

    def states(self, *signals: Signal) -> tuple[State, ...]:
        heads, channels = (self.heads,), signals[0].shape
        own = {"reference": heads, "weight": heads, "weight_carry": heads, "mean": channels, "carry": channels}
        waiting = joining.states(self, signals) if len(signals) == 2 else ()
        return *(State(name, shape) for name, shape in own.items()), *waiting

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        from seq2onnx.building.layer_module import step_mask

        x, states, none = mask(call.x, call.row_lengths), call.states, -torch.inf
        scores = call.xs[1] if len(call.xs) == 2 else torch.nn.functional.linear(x, call.weights["weights"])
        scores = torch.where(step_mask(x, call.row_lengths), scores, none)
        seen = scores.new_full((len(x), self.heads), none)
        if states is not None:
            seen = torch.where(states["weight"] > 0, states["reference"], none)
        top = torch.cat([seen[:, None], scores.detach()], 1).amax(1)
        reference = torch.where(top > none, (top / GRAIN).ceil() * GRAIN, 0)
        wide = wide_dtype(x)
        shares = (scores - reference[:, None]).exp().to(wide)
        weight, mean = shares.sum(1), x.new_zeros(len(x), x.shape[2], dtype=wide)
        if states is not None:
            kept = states["weight"].to(wide) + states["weight_carry"]
            weight, mean = weight + kept * (seen - reference).exp(), mean + states["mean"] + states["carry"]
        size = x.shape[2] // self.heads
        moved = (shares.repeat_interleave(size, 2) * (x - mean[:, None])).sum(1)
        now = mean + moved / weight.clamp(min=LEAST_WEIGHT).repeat_interleave(size, 1)
        (y, carry), (rounded, weight_carry) = split(now, x.dtype), split(weight, x.dtype)
        if states is None:
            return y, None, {}
        new = {"reference": reference, "weight": rounded, "weight_carry": weight_carry}
        return y.clone(), None, new | {"mean": y, "carry": carry}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        op, states, heads, channels = graph.op, call.states or {}, self.heads, call.x.signal.size
        names, lengths, new_states = self._aligned(graph, call)
        x = graph.masked(Value(names[0], call.x.signal), lengths)
        scores = names[1] if len(names) == 2 else op("MatMul", x, graph.weight("weights", call.weights["weights"].T))
        scores = graph.masked(Value(scores, dataclasses.replace(call.x.signal, shape=(heads,))), lengths, NEVER)
        never, zero, grain = (graph.constant(np.float32(number)) for number in (NEVER, 0, GRAIN))
        always = graph.is_fixed or graph.one_step  # each run has steps
        # onnxruntime before 1.22 has no maximum of no steps.
        padded = scores if always else op("Pad", scores, graph.ints(0, 0, 0, 0, 1, 0), never)
        top, seen = graph.reduce("ReduceMax", padded, 1), ""
        if states:
            seen = op("Where", op("Greater", states["weight"], zero), states["reference"], never)
            top = op("Max", top, seen)
        reference = op("Mul", op("Ceil", op("Div", top, grain)), grain)
        reference = reference if always else op("Where", op("Greater", top, never), reference, zero)

        def by_channel(z: str, axis: int) -> str:
            """Repeat what each head has for its channels; one head is broadcast."""
            places = graph.constant(np.arange(channels) // (channels // heads))
            return z if heads in (1, channels) else op("Gather", z, places, axis=axis)

        shares = op("Exp", op("Sub", scores, op("Unsqueeze", reference, graph.ints(1))))
        centered = op("Sub", x, op("Unsqueeze", states["mean"], graph.ints(1))) if states else x
        moved = op("Concat", shares, op("Mul", by_channel(shares, 2), centered), axis=2)
        signal = dataclasses.replace(call.x.signal, shape=(heads + channels,))
        weight, moved = graph.ops(
            "Split", emit_sum(graph, Value(moved, signal), None), graph.ints(heads, channels), results=2, axis=1
        )
        if states:
            scale = op("Exp", op("Sub", seen, reference))
            kept = op("Mul", states["weight"], scale)
            fresh = op("Add", op("Mul", states["weight_carry"], scale), weight)
            weight = op("Add", kept, fresh)
            new_states["weight_carry"] = op("Sub", fresh, op("Sub", weight, kept))
        divisor = weight if always else op("Max", weight, graph.constant(np.float32(LEAST_WEIGHT)))
        y = op("Div", moved, by_channel(divisor, 1))
        if not states:
            return y, None, {}
        mean, carry = emit_more(graph, states["mean"], states["carry"], y)
        return mean, None, new_states | {"reference": reference, "weight": weight, "mean": mean, "carry": carry}

    def _aligned(self, graph: GraphBuilder, call: EmitCall) -> tuple[list[str], str | None, dict[str, str]]:
        """Return the names of x and of the scores, if they are given, at the same steps; their lengths; new states."""
        if len(call.xs) < 2:
            return [call.x.name], call.lengths, {}
        own: Mapping[str, str] = call.states or {}
        waiting = {name: state for name, state in own.items() if name.startswith(("skip", "count"))}
        names, lengths, new_states = joining.align(graph, call._replace(states=waiting))
        return names, lengths, dict(new_states)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, wide = Signal((2,)), Signal((4,))
        return [
            Example(cls(), (signal,)),
            Example(cls(2), (wide,)),
            Example(cls(2), (signal,)),
            Example(cls(), (wide, Signal((1,)))),
            Example(cls(4), (wide, wide)),
        ]
