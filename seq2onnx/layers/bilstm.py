"""BiLSTM: one LSTM that reads forward and one that reads backward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, final

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import bidirectional, cell_nodes, cells, recurrent
from seq2onnx.layers.parts.initializers import BiasInitializer, MatrixInitializer
from seq2onnx.layers.signal import Signal, State, Weight


@final
@layer
class BiLSTM(Layer):
    """Two LSTMs, one over the sequence and one over the reversed sequence, with their outputs concatenated.

        y_t = [h→_t, h←_t]     the equations of LSTM in each direction; backward starts at the last valid step

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, 2H], or [B, 2H] with output_mode="last" or "cell"

    Args:
        hidden_size: number of units of each direction, > 0.
        output_mode: "sequence"; "last"; or "cell", the cell state c of each direction after the whole sequence.
        state_activation: replaces tanh, as in LSTM.
        gate_activation: replaces σ, as in LSTM.
        last: what output_mode="last" returns. "final_state": the state of each direction after the whole sequence.
            "last_step": y at the last valid step, where the backward direction has read only x_T.
        input_initializer: initial input weights, as in LSTM.
        recurrent_initializer: initial recurrent weights, as in LSTM.
        bias_initializer: initial biases, as in LSTM.

    Raises:
        ShapeError: the input has no time axis.
        NotStreamable: the signature has states.

    State:
        cannot stream, because the backward direction starts at the end of the sequence

    Weights:
        input_weights [4H, C], recurrent_weights [4H, H], bias [4H], each with the prefix forward_ and backward_; row
        blocks i f g o

    ONNX:
        LSTM, direction bidirectional, layout 0; gate order i o f c

    Example:
        >>> BiLSTM(100, output_mode="last")

    Source:
        Schuster & Paliwal 1997; ONNX operator LSTM-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.LstmOutputMode = "sequence"
    state_activation: cells.StateActivation = "tanh"
    gate_activation: cells.GateActivation = "sigmoid"
    last: bidirectional.Last = "final_state"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"
    bias_initializer: BiasInitializer = "unit_forget_gate"

    kind: ClassVar[str] = "bilstm"
    is_finite_past_end: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, 2 * self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        initializers = (self.input_initializer, self.recurrent_initializer, self.bias_initializer)
        return bidirectional.weights(recurrent.weights(4, signals[0].size, self.hidden_size, *initializers))

    def states(self, *signals: Signal) -> tuple[State, ...]:
        raise bidirectional.cannot_stream(self.label, "an LSTM")

    def forward(self, call: ForwardCall) -> Forwarded:
        run = partial(cells.lstm, activations=(self.state_activation, self.gate_activation), training=call.training)
        return bidirectional.forward(call, run, self.hidden_size, 2, self.output_mode, self.last)

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        attributes = cell_nodes.lstm_attributes(self.state_activation, self.gate_activation, 2)
        return bidirectional.emit(graph, "LSTM", call, self.output_mode, self.last, **attributes)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        return [
            Example(cls(3), (signal,)),
            Example(cls(4, "last"), (Signal((2, 2)),)),
            Example(cls(4, "last", last="last_step", input_initializer="he"), (signal,)),
            Example(cls(2, "sequence", "softsign", "hard_sigmoid", recurrent_initializer="he"), (signal,)),
            Example(cls(2, "last", "relu", bias_initializer="ones"), (signal,)),
            Example(cls(3, gate_activation="hard_sigmoid_6"), (signal,)),
            Example(cls(3, "cell"), (signal,)),
        ]
