"""GRU: the gated recurrent unit, in its three forms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal, final

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import cell_nodes, cell_steps, cells, recurrent
from seq2onnx.layers.parts.initializers import MatrixInitializer, zeros
from seq2onnx.layers.signal import Signal, State, Weight

ResetGateMode = Literal["after_multiplication", "before_multiplication", "recurrent_bias_after_multiplication"]


@final
@layer
class GRU(Layer):
    """Gated recurrent unit: like an LSTM, with two gates and one state.

        r = σ(W_r x + R_r h' + b_r)   z = σ(W_z x + R_z h' + b_z)   h = (1 − z) ⊙ n + z ⊙ h'
        n = tanh(W_n x + b_n + r ⊙ (R_n h'))             after_multiplication
        n = tanh(W_n x + b_n + R_n (r ⊙ h'))             before_multiplication
        n = tanh(W_n x + b_n + r ⊙ (R_n h' + b_Rn))      recurrent_bias_after_multiplication

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, H]. With output_mode="last" y [B, H], which is h at the last valid step.

    Args:
        hidden_size: number of units, > 0.
        output_mode: "sequence" or "last".
        state_activation: replaces tanh, as in LSTM.
        gate_activation: replaces σ, as in LSTM.
        reset_gate_mode: one of the three above. torch.nn.GRU computes the last.
        input_initializer: initial input_weights, as in LSTM.
        recurrent_initializer: initial recurrent_weights, as in LSTM.
        start: as in LSTM.

    Raises:
        ShapeError: the input has no time axis.

    State:
        h [B, H]; zeros at the start. With a learned start, the difference from it

    Weights:
        input_weights [3H, C], recurrent_weights [3H, H], bias [3H], and in the last form recurrent_bias [H]; row blocks
        r z n

    ONNX:
        GRU, layout 0; gate order z r h (torch and MATLAB: r z n). linear_before_reset is always written, because its
        default 0 means before_multiplication, which torch does not compute

    Example:
        >>> GRU(100, output_mode="last")

    Source:
        Cho et al. 2014; ONNX operator GRU-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.OutputMode = "sequence"
    state_activation: cells.StateActivation = "tanh"
    gate_activation: cells.GateActivation = "sigmoid"
    reset_gate_mode: ResetGateMode = "after_multiplication"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"
    start: recurrent.Start = "zeros"

    kind: ClassVar[str] = "gru"
    is_finite_past_end: ClassVar[bool] = True
    later_fields: ClassVar[tuple[str, ...]] = ("start",)

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        initializers = (self.input_initializer, self.recurrent_initializer)
        found = gru_weights(signals[0].size, self.hidden_size, self.reset_gate_mode, *initializers)
        return found | recurrent.start_weights(self.start, self.hidden_size, "h")

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return (State("h", (self.hidden_size,)),)

    def forward(self, call: ForwardCall) -> Forwarded:
        activations = (self.state_activation, self.gate_activation)
        run = partial(cells.gru, activations=activations, mode=self.reset_gate_mode)
        return recurrent.forward(call, run, self.hidden_size, self.output_mode, "h")

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        if graph.is_fixed:
            activations = (self.state_activation, self.gate_activation)
            return cell_steps.gru(graph, call, self.output_mode, *activations, self.reset_gate_mode)
        attributes = cell_nodes.gru_attributes(self.state_activation, self.gate_activation, self.reset_gate_mode)
        return recurrent.emit(graph, "GRU", call, self.output_mode, **attributes)

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
            Example(cls(3, "last", "tanh", "hard_sigmoid_6"), (signal,)),
            Example(cls(3, start="learned"), (signal,)),
            Example(cls(3, "last", reset_gate_mode=bias, start="learned"), (signal,)),
        ]


def gru_weights(
    features: int, hidden_size: int, mode: ResetGateMode, inputs: MatrixInitializer, states: MatrixInitializer
) -> dict[str, Weight]:
    """Return the weights of a GRU of one direction, with the names of their initializers."""
    found = recurrent.weights(3, features, hidden_size, inputs, states, "zeros")
    if mode == "recurrent_bias_after_multiplication":
        found["recurrent_bias"] = Weight((hidden_size,), zeros, decay=False)
    return found
