"""RNN: the plain recurrent layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal, final

from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import cell_nodes, cell_steps, cells, recurrent
from seq2onnx.layers.parts.initializers import MatrixInitializer
from seq2onnx.layers.signal import Signal, State, Value, Weight


@final
@layer
class RNN(Layer):
    """Plain recurrent layer (Elman network): one activation and no gates.

        h = tanh(W x + R h' + b)     (h' of the previous step)

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, H]. With output_mode="last" y [B, H], which is h at the last valid step.

    Args:
        hidden_size: number of units, > 0.
        output_mode: "sequence" or "last".
        activation: "tanh" or "relu".
        input_initializer: initial input_weights, as in LSTM.
        recurrent_initializer: initial recurrent_weights, as in LSTM.
        start: as in LSTM.

    Raises:
        ShapeError: the input has no time axis.

    State:
        h [B, H]; zeros at the start. With a learned start, the difference from it

    Weights:
        input_weights [H, C], recurrent_weights [H, H], bias [H], which is the sum of the two biases of torch.nn.RNN

    ONNX:
        RNN, layout 0. Its result Y_h is not used, because onnxruntime 1.24 crashes where a row has no steps

    Example:
        >>> RNN(100, output_mode="last")

    Source:
        Elman 1990; ONNX operator RNN-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.OutputMode = "sequence"
    activation: Literal["tanh", "relu"] = "tanh"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"
    start: recurrent.Start = "zeros"

    kind: ClassVar[str] = "rnn"
    is_finite_past_end: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        initializers = (self.input_initializer, self.recurrent_initializer)
        found = recurrent.weights(1, signals[0].size, self.hidden_size, *initializers, "zeros")
        return found | recurrent.start_weights(self.start, self.hidden_size, "h")

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return (State("h", (self.hidden_size,)),)

    def forward(self, call: ForwardCall) -> Forwarded:
        run = partial(cells.rnn, activation=self.activation, training=call.training)
        return recurrent.forward(call, run, self.hidden_size, self.output_mode, "h")

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        if graph.is_fixed:
            return cell_steps.rnn(graph, call, self.output_mode, self.activation)
        attributes = {} if self.activation == "tanh" else {"activations": ["Relu"]}
        if graph.one_step:
            return recurrent.emit(graph, "RNN", call, self.output_mode, **attributes)
        arrays, lengths = cell_nodes.arrays("RNN", call.weights), call.lengths
        starts, learned = recurrent.emit_starts(graph, call)
        start = starts[0] if starts else None
        initial = [graph.op("Unsqueeze", start, graph.ints(0))] if start else []
        y, _ = recurrent.emit_node(graph, "RNN", call.x, lengths, initial, arrays, **attributes)
        y = recurrent.batch_first(graph, y)
        if graph.portable and self.activation == "relu":  # which may grow without limit in padding
            y = graph.masked(Value(y, Signal((self.hidden_size,))), lengths)
        h = recurrent.emit_last_step(graph, y, 3, lengths, start)
        states = recurrent.emit_new_states(graph, call, [h], learned)
        return (h, None, states) if self.output_mode == "last" else (y, lengths, states)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        return [
            Example(cls(4), (signal,)),
            Example(cls(5, "last", input_initializer="he"), (Signal((2, 2)),)),
            Example(cls(3, "sequence", "relu", recurrent_initializer="glorot"), (signal,)),
            Example(cls(3, "last", "relu"), (signal,)),
            Example(cls(3, start="learned"), (signal,)),
            Example(cls(3, "last", start="learned"), (signal,)),
        ]
