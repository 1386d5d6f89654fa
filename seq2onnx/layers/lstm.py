"""LSTM: long short-term memory, in the documented equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np

from seq2onnx.layers import gates, recurrent
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, State, Weight, layer, one
from seq2onnx.layers.initializers import glorot, orthogonal, unit_forget_gate

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class LSTM(Layer):
    """Long short-term memory: a cell that gates decide what to keep in, add to and show of.

        i = σ(W_i x + R_i h' + b_i)   f = σ(W_f x + R_f h' + b_f)   o = σ(W_o x + R_o h' + b_o)
        g = tanh(W_g x + R_g h' + b_g)
        c = f ⊙ c' + i ⊙ g            h = o ⊙ tanh(c)               (h', c' of the step before)

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, H], or [B, H] with output_mode="last": h at the last valid step
    State:   h, c [B, H]; zeros at the start
    Weights: input_weights [4H, C], recurrent_weights [4H, H], bias [4H]; row blocks i f g o
    Args:    hidden_size: units, > 0
             output_mode: "sequence" or "last"
    ONNX:    LSTM, layout 0; gate order i o f c (torch and MATLAB: i f g o)
    Raises:  ShapeError on a signal without time
    Example: >>> LSTM(100, output_mode="last")
    Source:  Hochreiter & Schmidhuber 1997; ONNX operator LSTM-14
    """

    hidden_size: PositiveInt
    output_mode: Literal["sequence", "last"] = "sequence"

    kind: ClassVar[str] = "lstm"
    masks: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self.label, one(self, signals), self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        rows = 4 * self.hidden_size
        return {
            "input_weights": Weight((rows, signals[0].size), glorot),
            "recurrent_weights": Weight((rows, self.hidden_size), orthogonal),
            "bias": Weight((rows,), unit_forget_gate, decay=False),
        }

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return State("h", (self.hidden_size,)), State("c", (self.hidden_size,))

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        (x,) = xs
        assert lengths is not None
        bias = module["bias"]
        # torch adds two biases; the documented equations have one.
        weights = [module["input_weights"], module["recurrent_weights"], bias, torch.zeros_like(bias)]
        settings = (True, 1, 0.0, module.training, False)  # biases, layers, dropout, training, bidirectional
        start = states or (x.new_zeros(len(x), self.hidden_size),) * 2
        initial = [state[None] for state in start]

        if states is None or bool((lengths == x.shape[1]).all()):
            # Padding on the right comes after all that counts: a plain run is exact, in half the time.
            padded = recurrent.at_least_one_step(x)
            y, h, c = torch.lstm(padded, initial, weights, *settings, True)
            y, final = y[:, : x.shape[1]], (h[0], c[0])
        else:
            # Only the cell state at the last step of ragged rows needs a packed run.
            packed = recurrent.pack(recurrent.at_least_one_step(x), lengths)
            initial = [state[:, packed.sorted_indices] for state in initial]
            data, h, c = torch.lstm(packed.data, packed.batch_sizes, initial, weights, *settings)
            y = recurrent.unpack(packed, data, x.shape[1])
            final = (h[0][packed.unsorted_indices], c[0][packed.unsorted_indices])
        new_states = recurrent.keep(final, states, lengths)
        if self.output_mode == "last":
            return recurrent.last_step(y, lengths, start[0]), None, new_states
        return y, lengths, new_states

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        W, R, b = (
            gates.permute(weights[name], gates.LSTM["matlab"], gates.LSTM["onnx"])
            for name in ("input_weights", "recurrent_weights", "bias")
        )
        arrays = {"W": W, "R": R, "B": np.concatenate([b, np.zeros_like(b)])}
        return recurrent.emit(graph, "LSTM", self.output_mode, xs[0], lengths, states, arrays)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        return [Example(cls(4), (signal,)), Example(cls(5, "last"), (signal,))]
