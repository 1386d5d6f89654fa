"""Missing: numbers in the place of those that are missing, and marks that tell where they were missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.missing_nodes import LARGEST, emit_chunk, emit_fixed
from seq2onnx.layers.signal import Signal, State


@final
@layer
class Missing(Layer):
    """Fills missing values of SequenceInput(…, missing=True), and can mark them.

        y_t = x_t where it is there, else y_(t−1) ("hold"; 0 before the first) or 0 ("zero")
        m_t = 1 where x_t is missing, else 0                                  mark="missing"
        s_t = 0 where x_t is there, else min(s_(t−1) + 1, limit), s_(−1) = 0
        m_t = s_t / limit                                                     mark="since"

    A value is missing if it is NaN or infinite after the normalization. After "zscore" 0 is the mean of the training
    data.

    Shapes (B batch, T time, C channels; float32):
        x [B, T, C] -> y [B, T, C]; with marks [B, T, 2C], the marks behind all channels

    Args:
        fill: "hold" repeats the last value of the channel; "zero" gives 0.
        mark: "none"; "missing" marks missing values with 1; "since" tells how many steps ago the last value of the
            channel was, from the start of the sequence where none was seen.
        limit: the steps at which "since" stops to count. It divides by them, so marks are between 0 and 1.

    Raises:
        ShapeError: the layer does not read a SequenceInput with missing=True.

    State:
        with "hold" last [B, C], the last value of each channel; with "since" since [B, C] int32

    ONNX:
        CumSum, ScatterElements, GatherElements; no loop. In step files plain arithmetic

    Example:
        >>> Missing("hold", mark="missing")

    Source:
        Che et al., Recurrent neural networks for multivariate time series with missing values, 2018
    """

    fill: Literal["hold", "zero"] = "hold"
    mark: Literal["none", "missing", "since"] = "none"
    limit: PositiveInt = 100

    kind: ClassVar[str] = "missing"
    is_finite_past_end: ClassVar[bool] = True
    takes_missing: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        x = numeric_input(self, signals)
        if not x.missing:
            raise ShapeError(
                f"{self.label}: expected to read an input whose values may be missing, got {x}; put it directly after "
                "SequenceInput(…, missing=True)"
            )
        return dataclasses.replace(x, shape=(x.size * (1 + (self.mark != "none")),), missing=False)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        (channels,) = signals[0].shape
        last = [State("last", (channels,))] if self.fill == "hold" else []
        since = [State("since", (channels,), "int32")] if self.mark == "since" else []
        return (*last, *since)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x, states = call.x, call.states or {}
        before = states.get("last", torch.zeros_like(x[:, 0]) if x.shape[1] else x.new_zeros(len(x), x.shape[2]))
        xs = torch.cat([before[:, None], x], 1)
        there = xs.abs() < LARGEST
        ys, parts = torch.where(there, xs, 0), []
        if self.fill == "hold" or self.mark == "since":
            steps = torch.arange(xs.shape[1], device=x.device)[None, :, None]
            place = torch.where(there, steps, 0).cummax(1).values
        if self.fill == "hold":
            ys = ys.gather(1, place)
        every = {"last": ys}
        if self.mark == "missing":
            parts = [(~there[:, 1:]).to(x.dtype)]
        elif self.mark == "since":
            first = states["since"].long() if "since" in states else place[:, 0]
            every["since"] = since = (steps - place + torch.where(place == 0, first[:, None], 0)).clamp(max=self.limit)
            parts = [since[:, 1:].to(x.dtype) / self.limit]
        y = torch.cat([ys[:, 1:], *parts], 2)
        ends = call.row_lengths.long()[:, None, None].expand(-1, 1, x.shape[2])
        return y, call.lengths, {name: every[name].gather(1, ends)[:, 0].to(old.dtype) for name, old in states.items()}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        emit = emit_fixed if graph.is_fixed or graph.one_step else emit_chunk
        y, kept = emit(graph, call, self.fill == "hold", self.mark, np.array(self.limit, np.int32))
        return y, call.lengths, {name: kept[name] for name in call.states or ()}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,), missing=True)
        return [
            Example(cls(), (signal,)),
            Example(cls("zero"), (signal,)),
            Example(cls("hold", "missing"), (signal,)),
            Example(cls("zero", "missing"), (signal,)),
            Example(cls("hold", "since", 5), (Signal((2,), missing=True),)),
            Example(cls("zero", "since", 3), (signal,)),
        ]
