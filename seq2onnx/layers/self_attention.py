"""SelfAttention: each step looks back at the steps before it, as many as the context has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, final

from pydantic import Field

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import recurrent
from seq2onnx.layers.parts.attention_nodes import MOST_IN_BLOCK, NEVER, emit_attention
from seq2onnx.layers.parts.initializers import glorot, zeros
from seq2onnx.layers.parts.window import gather_steps, mask, pad_steps
from seq2onnx.layers.signal import Signal, State, Weight

if TYPE_CHECKING:
    from torch import Tensor


@final
@layer
class SelfAttention(Layer):
    """Causal self-attention: each step takes from itself and the steps before it, by how well they fit.

        [q_t, k_t, v_t] = W_in x_t + b_in, each of H heads of size D
        s_{t,j} = q_t · k_{t−j} / √D + p_j     j = 0 … context − 1, of steps since the start
        y_t = W_out Σ_j softmax_j(s_t) v_{t−j} + b_out     of each head, all heads one after the other

    A step sees itself and the context − 1 steps before it, and none ahead. p, a number for each head and distance, is
    all that says how far back a step is.

    Shapes (B batch, T time, C features, H heads, D size; float32):
        x [B, T, C] -> y [B, T, H · D]. A step of several axes is flattened.

    Args:
        heads: H, > 0.
        size: D, the features of a head, > 0.
        context: how many steps a step sees, itself among them, up to 4,096.

    Raises:
        ShapeError: the input is tokens, or has no time axis.

    State:
        keys, values [B, context − 1, H · D], of the previous steps; count [B, 1], how many of them there were. With a
        context of 1 none

    Weights:
        input_weights [3 H D, C] and input_bias [3 H D], in the order q, k, v; position p [H, context]; output_weights
        [H D, H D], output_bias [H D]

    ONNX:
        MatMul, Softmax, Gather; long chunks in blocks, so that their time is linear

    Example:
        >>> SelfAttention(4, 16, context=64)

    Source:
        Vaswani et al. 2017; relative positions: Raffel et al. 2020 (T5)
    """

    heads: PositiveInt
    size: PositiveInt
    context: Annotated[int, Field(gt=0, le=4096, strict=True)]

    kind: ClassVar[str] = "self_attention"
    is_finite_past_end: ClassVar[bool] = True

    @property
    def width(self) -> int:
        """Features of all heads together."""
        return self.heads * self.size

    @property
    def block(self) -> int:
        """Steps of a block: all of them see the same context − 1 steps before the block."""
        return min(self.context, MOST_IN_BLOCK)

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, self.width, "sequence")

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        width = self.width
        return {
            "input_weights": Weight((3 * width, signals[0].size), glorot),
            "input_bias": Weight((3 * width,), zeros, decay=False),
            "position": Weight((self.heads, self.context), zeros, decay=False),
            "output_weights": Weight((width, width), glorot),
            "output_bias": Weight((width,), zeros, decay=False),
        }

    def states(self, *signals: Signal) -> tuple[State, ...]:
        if self.context == 1:
            return ()
        shape = (self.context - 1, self.width)
        return State("keys", shape), State("values", shape), State("count", (1,), "int32")

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch
        from torch.nn.functional import linear

        weights, lengths, before = call.weights, call.row_lengths, self.context - 1
        x = mask(call.x, lengths).flatten(2)  # 0 · NaN is NaN
        q, k, v = linear(x, weights["input_weights"], weights["input_bias"]).chunk(3, 2)
        count, new = lengths.new_zeros(len(x), 1), {}
        if call.states:
            count = call.states["count"]
            k, v = torch.cat([call.states["keys"], k], 1), torch.cat([call.states["values"], v], 1)
            new = {"keys": gather_steps(k, lengths, before), "values": gather_steps(v, lengths, before)}
            new["count"] = (count + lengths[:, None]).clamp(max=before).to(torch.int32)
        else:
            k, v = pad_steps(k, before, 0), pad_steps(v, before, 0)
        y = self._attend(q, k, v, weights["position"], count)
        return linear(y, weights["output_weights"], weights["output_bias"]), lengths, new

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, position: Tensor, count: Tensor) -> Tensor:
        """Compute what steps q [B, T, H · D] see of k and v [B, context − 1 + T, H · D], without the output weights."""
        import torch

        (batch, time, width), before = q.shape, self.context - 1
        size = max(min(time, self.block), 1)
        blocks, reach = -(-time // size), size + before
        if not blocks:
            return q

        def cut(z: Tensor, steps: int) -> Tensor:
            """Cut into blocks and heads: [B, blocks, H, steps, D]."""
            padded = pad_steps(z, 0, (blocks - 1) * size + steps - z.shape[1])
            return padded.unfold(1, steps, size).reshape(batch, blocks, self.heads, self.size, steps).transpose(3, 4)

        back = before + torch.arange(size, device=q.device)[:, None] - torch.arange(reach, device=q.device)
        within = back.clamp(0, before)
        places = torch.arange(blocks, device=q.device)[:, None] * size + torch.arange(reach, device=q.device)
        early = (places < before - count[:, :, None])[:, :, None, None]
        scores = cut(q, size) @ cut(k, reach).transpose(3, 4) / math.sqrt(self.size) + position[:, within]
        y = torch.softmax(scores.masked_fill(early | (back != within), NEVER), 4) @ cut(v, reach)
        return y.transpose(2, 3).reshape(batch, blocks * size, width)[:, :time]

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        return emit_attention(graph, call, self.heads, self.size, self.context, self.block)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = (Signal((3,)),)
        return [Example(cls(2, 3, 4), signal), Example(cls(1, 2, 1), signal), Example(cls(3, 1, 2), (Signal((2, 2)),))]
