"""GRU: the gated recurrent unit, in its three forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np

from seq2onnx.layers import cells, gates, recurrent
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, State, Weight, layer
from seq2onnx.layers.cells import GateActivation, StateActivation
from seq2onnx.layers.initializers import MatrixInitializer, by_name, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule

ResetGateMode = Literal["after_multiplication", "before_multiplication", "recurrent_bias_after_multiplication"]


@final
@layer
class GRU(Layer):
    """The gated recurrent unit: an LSTM's memory with two gates and one state.

        r = σ(W_r x + R_r h' + b_r)   z = σ(W_z x + R_z h' + b_z)   h = (1 − z) ⊙ n + z ⊙ h'
        n = tanh(W_n x + b_n + r ⊙ (R_n h'))             after_multiplication
        n = tanh(W_n x + b_n + R_n (r ⊙ h'))             before_multiplication
        n = tanh(W_n x + b_n + r ⊙ (R_n h' + b_Rn))      recurrent_bias_after_multiplication

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, H], or [B, H] with output_mode="last": h at the last valid step
    State:   h [B, H]; zeros at the start
    Weights: input_weights [3H, C], recurrent_weights [3H, H], bias [3H], in the last form recurrent_bias [H];
             row blocks r z n
    Args:    hidden_size: units, > 0
             output_mode: "sequence" or "last"
             state_activation, gate_activation: in the places of tanh and σ, as in LSTM
             reset_gate_mode: one of the three above; torch.nn.GRU computes the last
             input_initializer, recurrent_initializer: how the weights start
    ONNX:    GRU, layout 0; gate order z r h (torch and MATLAB: r z n). linear_before_reset is always written:
             its default, 0, is before_multiplication, and another function than torch's
    Raises:  ShapeError on a signal without time
    Example: >>> GRU(100, output_mode="last")
    Source:  Cho et al. 2014; ONNX operator GRU-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.OutputMode = "sequence"
    state_activation: StateActivation = "tanh"
    gate_activation: GateActivation = "sigmoid"
    reset_gate_mode: ResetGateMode = "after_multiplication"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"

    kind: ClassVar[str] = "gru"
    masks: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        rows = 3 * self.hidden_size
        found = {
            "input_weights": Weight((rows, signals[0].size), by_name[self.input_initializer]),
            "recurrent_weights": Weight((rows, self.hidden_size), by_name[self.recurrent_initializer]),
            "bias": Weight((rows,), zeros, decay=False),
        }
        if self.reset_gate_mode == "recurrent_bias_after_multiplication":
            found["recurrent_bias"] = Weight((self.hidden_size,), zeros, decay=False)
        return found

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return (State("h", (self.hidden_size,)),)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        x, mode = xs[0].flatten(2), self.reset_gate_mode
        assert lengths is not None
        start = states or (x.new_zeros(len(x), self.hidden_size),)
        bias = module["bias"]
        recurrent_bias = (
            module["recurrent_bias"] if mode.startswith("recurrent_bias") else bias.new_zeros(self.hidden_size)
        )
        weights = (module["input_weights"], module["recurrent_weights"], bias, recurrent_bias)
        activations = (self.state_activation, self.gate_activation)
        y, final = cells.gru(x, lengths if states else None, start, weights, activations, mode)
        new_states = recurrent.keep(final, states, lengths)
        if self.output_mode == "last":
            return recurrent.last_step(y, lengths, start[0]), None, new_states
        return y, lengths, new_states

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        W, R, b = (
            gates.permute(weights[name], gates.GRU["matlab"], gates.GRU["onnx"])[None]
            for name in ("input_weights", "recurrent_weights", "bias")
        )
        recurrent_bias = np.zeros_like(b)
        if "recurrent_bias" in weights:
            recurrent_bias[0, 2 * self.hidden_size :] = weights["recurrent_bias"]
        arrays = {"W": W, "R": R, "B": np.concatenate([b, recurrent_bias], 1)}
        attributes = cells.gru_activations(self.state_activation, self.gate_activation)
        linear = int(self.reset_gate_mode != "before_multiplication")
        return recurrent.emit(
            graph,
            "GRU",
            self.output_mode,
            xs[0],
            lengths,
            states,
            arrays,
            linear_before_reset=linear,
            **attributes,
        )

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        before: ResetGateMode = "before_multiplication"
        bias: ResetGateMode = "recurrent_bias_after_multiplication"
        return [
            Example(cls(4), (signal,)),
            Example(cls(5, "last", reset_gate_mode=before), (signal,)),
            Example(cls(4, reset_gate_mode=bias, recurrent_initializer="he"), (Signal((3, 2)),)),
            Example(cls(3, "last", "softsign", "hard_sigmoid"), (signal,)),
            Example(cls(3, "sequence", "relu", "sigmoid", before, input_initializer="ones"), (signal,)),
            Example(cls(3, "sequence", "tanh", "hard_sigmoid", bias), (signal,)),
        ]
