"""BiGRU: one GRU that reads forward and one that reads backward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, final

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.gru import ResetGateMode, gru_weights
from seq2onnx.layers.parts import bidirectional, cell_nodes, cells, recurrent
from seq2onnx.layers.parts.initializers import MatrixInitializer
from seq2onnx.layers.signal import Signal, State, Weight


@final
@layer
class BiGRU(Layer):
    """Two GRUs, one over the sequence and one over the reversed sequence, with their outputs concatenated.

        y_t = [h→_t, h←_t]     the equations of GRU in each direction; backward starts at the last valid step

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, 2H], or [B, 2H] with output_mode="last"

    Args:
        hidden_size: number of units of each direction, > 0.
        output_mode: "sequence" or "last".
        state_activation: replaces tanh, as in LSTM.
        gate_activation: replaces σ, as in LSTM.
        reset_gate_mode: as in GRU. torch.nn.GRU computes "recurrent_bias_after_multiplication".
        last: what output_mode="last" returns, as in BiLSTM: "final_state" or "last_step".
        input_initializer: initial input weights, as in LSTM.
        recurrent_initializer: initial recurrent weights, as in LSTM.

    Raises:
        ShapeError: the input has no time axis.
        NotStreamable: the signature has states.

    State:
        cannot stream, because the backward direction starts at the end of the sequence

    Weights:
        those of GRU, each with the prefix forward_ and backward_

    ONNX:
        GRU, direction bidirectional, layout 0; gate order and linear_before_reset as in GRU

    Example:
        >>> BiGRU(100, output_mode="last")

    Source:
        Schuster & Paliwal 1997; Cho et al. 2014; ONNX operator GRU-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.OutputMode = "sequence"
    state_activation: cells.StateActivation = "tanh"
    gate_activation: cells.GateActivation = "sigmoid"
    reset_gate_mode: ResetGateMode = "after_multiplication"
    last: bidirectional.Last = "final_state"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"

    kind: ClassVar[str] = "bigru"
    is_finite_past_end: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, 2 * self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        initializers = (self.input_initializer, self.recurrent_initializer)
        of_one = gru_weights(signals[0].size, self.hidden_size, self.reset_gate_mode, *initializers)
        return bidirectional.weights(of_one)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        raise bidirectional.cannot_stream(self.label, "a GRU")

    def forward(self, call: ForwardCall) -> Forwarded:
        activations = (self.state_activation, self.gate_activation)
        run = partial(cells.gru, activations=activations, mode=self.reset_gate_mode)
        return bidirectional.forward(call, run, self.hidden_size, 1, self.output_mode, self.last)

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        attributes = cell_nodes.gru_attributes(self.state_activation, self.gate_activation, self.reset_gate_mode, 2)
        return bidirectional.emit(graph, "GRU", call, self.output_mode, self.last, **attributes)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        before: ResetGateMode = "before_multiplication"
        bias: ResetGateMode = "recurrent_bias_after_multiplication"
        return [
            Example(cls(3), (signal,)),
            Example(cls(4, "last", reset_gate_mode=bias), (Signal((2, 2)),)),
            Example(cls(4, "last", reset_gate_mode=before, last="last_step", input_initializer="he"), (signal,)),
            Example(cls(2, "sequence", "softsign", "hard_sigmoid", recurrent_initializer="he"), (signal,)),
            Example(cls(2, "last", "relu", "hard_sigmoid_6", bias), (signal,)),
        ]
