"""LSTM: long short-term memory, in the documented equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from seq2onnx.layers import cells, gates, recurrent
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, State, Weight, layer
from seq2onnx.layers.cells import GateActivation, StateActivation
from seq2onnx.layers.initializers import BiasInitializer, MatrixInitializer, by_name

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class LSTM(Layer):
    """Long short-term memory: gates decide what its cell keeps, takes in and shows.

        i = σ(W_i x + R_i h' + b_i)   f = σ(W_f x + R_f h' + b_f)   o = σ(W_o x + R_o h' + b_o)
        g = tanh(W_g x + R_g h' + b_g)
        c = f ⊙ c' + i ⊙ g            h = o ⊙ tanh(c)               (h', c' of the step before)

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, H], or [B, H] with output_mode="last": h at the last valid step;
        an image step [C, H, W] is read as the flat vector it is
    State:   h, c [B, H]; zeros at the start
    Weights: input_weights [4H, C], recurrent_weights [4H, H], bias [4H]; row blocks i f g o
    Args:    hidden_size: units, > 0
             output_mode: "sequence" or "last"
             state_activation: in the place of tanh: "tanh", "softsign" or "relu"
             gate_activation: in the place of σ: "sigmoid", or "hard_sigmoid", clip(0.2 x + 0.5, 0, 1)
             input_initializer, recurrent_initializer, bias_initializer: how the weights start
    ONNX:    LSTM, layout 0; gate order i o f c (torch and MATLAB: i f g o)
    Raises:  ShapeError on a signal without time
    Example: >>> LSTM(100, output_mode="last")
    Source:  Hochreiter & Schmidhuber 1997; ONNX operator LSTM-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.OutputMode = "sequence"
    state_activation: StateActivation = "tanh"
    gate_activation: GateActivation = "sigmoid"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"
    bias_initializer: BiasInitializer = "unit_forget_gate"

    kind: ClassVar[str] = "lstm"
    masks: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        rows = 4 * self.hidden_size
        return {
            "input_weights": Weight((rows, signals[0].size), by_name[self.input_initializer]),
            "recurrent_weights": Weight((rows, self.hidden_size), by_name[self.recurrent_initializer]),
            "bias": Weight((rows,), by_name[self.bias_initializer], decay=False),
        }

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return State("h", (self.hidden_size,)), State("c", (self.hidden_size,))

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        x = xs[0].flatten(2)
        assert lengths is not None
        start = states or (x.new_zeros(len(x), self.hidden_size),) * 2
        weights = (module["input_weights"], module["recurrent_weights"], module["bias"])
        activations = (self.state_activation, self.gate_activation)
        # Padding on the right comes after all that counts: without states a plain run is exact.
        y, final = cells.lstm(x, lengths if states else None, start, weights, activations, module.training)
        new_states = recurrent.keep(final, states, lengths)
        if self.output_mode == "last":
            return recurrent.last_step(y, lengths, start[0]), None, new_states
        return y, lengths, new_states

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        W, R, b = (
            gates.permute(weights[name], gates.LSTM["matlab"], gates.LSTM["onnx"])[None]
            for name in ("input_weights", "recurrent_weights", "bias")
        )
        arrays = {"W": W, "R": R, "B": np.concatenate([b, np.zeros_like(b)], 1)}
        attributes = cells.lstm_activations(self.state_activation, self.gate_activation)
        return recurrent.emit(graph, "LSTM", self.output_mode, xs[0], lengths, states, arrays, **attributes)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        return [
            Example(cls(4), (signal,)),
            Example(cls(5, "last"), (Signal((2, 2, 1)),)),
            Example(cls(3, "sequence", "softsign", "hard_sigmoid", recurrent_initializer="glorot"), (signal,)),
            Example(cls(3, "last", "relu", input_initializer="he", bias_initializer="zeros"), (signal,)),
        ]
