"""LSTM: long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, final

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import cell_nodes, cell_steps, cells, recurrent
from seq2onnx.layers.parts.initializers import BiasInitializer, MatrixInitializer
from seq2onnx.layers.signal import Signal, State, Weight


@final
@layer
class LSTM(Layer):
    """Long short-term memory: three gates control what the cell keeps, adds and outputs.

        i = σ(W_i x + R_i h' + b_i)   f = σ(W_f x + R_f h' + b_f)   o = σ(W_o x + R_o h' + b_o)
        g = tanh(W_g x + R_g h' + b_g)
        c = f ⊙ c' + i ⊙ g            h = o ⊙ tanh(c)               (h', c' of the previous step)

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, H]. With output_mode="last" y [B, H], which is h at the last valid step, and with
        "cell" c there. An image step [C, H, W] is flattened.

    Args:
        hidden_size: number of units, > 0.
        output_mode: "sequence", "last" or "cell".
        state_activation: replaces tanh: "tanh", "softsign" or "relu".
        gate_activation: replaces σ: "sigmoid"; "hard_sigmoid", clip(0.2 x + 0.5, 0, 1), as in Keras 2; or
            "hard_sigmoid_6", clip(x / 6 + 0.5, 0, 1), as in torch and Keras 3.
        input_initializer: initial input_weights: "glorot", "he", "orthogonal", "zeros" or "ones".
        recurrent_initializer: initial recurrent_weights, from the same list.
        bias_initializer: initial bias: "unit_forget_gate", "zeros" or "ones".
        start: the states before the first step: "zeros", or "learned", which are weights.

    Raises:
        ShapeError: the input has no time axis.

    State:
        h, c [B, H]; zeros at the start. With a learned start, the difference from it

    Weights:
        input_weights [4H, C], recurrent_weights [4H, H], bias [4H]; row blocks i f g o. With a learned start also
        initial_h, initial_c [H]

    ONNX:
        LSTM, layout 0; gate order i o f c (torch and MATLAB: i f g o)

    Example:
        >>> LSTM(100, output_mode="last")

    Source:
        Hochreiter & Schmidhuber 1997; ONNX operator LSTM-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.LstmOutputMode = "sequence"
    state_activation: cells.StateActivation = "tanh"
    gate_activation: cells.GateActivation = "sigmoid"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"
    bias_initializer: BiasInitializer = "unit_forget_gate"
    start: recurrent.Start = "zeros"

    kind: ClassVar[str] = "lstm"
    is_finite_past_end: ClassVar[bool] = True
    later_fields: ClassVar[tuple[str, ...]] = ("start",)

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        initializers = (self.input_initializer, self.recurrent_initializer, self.bias_initializer)
        found = recurrent.weights(4, signals[0].size, self.hidden_size, *initializers)
        return found | recurrent.start_weights(self.start, self.hidden_size, "h", "c")

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return State("h", (self.hidden_size,)), State("c", (self.hidden_size,))

    def forward(self, call: ForwardCall) -> Forwarded:
        run = partial(cells.lstm, activations=(self.state_activation, self.gate_activation), training=call.training)
        return recurrent.forward(call, run, self.hidden_size, self.output_mode, "h", "c")

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        if graph.is_fixed:
            return cell_steps.lstm(graph, call, self.output_mode, self.state_activation, self.gate_activation)
        attributes = cell_nodes.lstm_attributes(self.state_activation, self.gate_activation)
        return recurrent.emit(graph, "LSTM", call, self.output_mode, **attributes)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        return [
            Example(cls(4), (signal,)),
            Example(cls(5, "last"), (Signal((2, 2, 1)),)),
            Example(cls(3, "sequence", "softsign", "hard_sigmoid", recurrent_initializer="glorot"), (signal,)),
            Example(cls(3, "last", "relu", input_initializer="he", bias_initializer="zeros"), (signal,)),
            Example(cls(3, gate_activation="hard_sigmoid_6"), (signal,)),
            Example(cls(3, start="learned"), (signal,)),
            Example(cls(3, "last", start="learned"), (signal,)),
            Example(cls(4, "cell"), (signal,)),
            Example(cls(3, "cell", "relu", start="learned"), (Signal((2, 2)),)),
        ]
