"""BiLSTM: one LSTM that reads forward and one that reads backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np

from seq2onnx.errors import NotStreamable
from seq2onnx.layers import cells, gates, recurrent
from seq2onnx.layers.base import Example, Layer, PositiveInt, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.initializers import BiasInitializer, MatrixInitializer, by_name
from seq2onnx.layers.signal import Signal, State, Weight

DIRECTIONS = ("forward", "backward")


@final
@layer
class BiLSTM(Layer):
    """Two LSTMs, one over the sequence and one over the reversed sequence, with their outputs concatenated.

        y_t = [h→_t, h←_t]     the equations of LSTM in each direction; backward starts at the last valid step

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, 2H], or [B, 2H] with output_mode="last"

    Args:
        hidden_size: number of units of each direction, > 0.
        output_mode: "sequence" or "last".
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
    output_mode: recurrent.OutputMode = "sequence"
    state_activation: cells.StateActivation = "tanh"
    gate_activation: cells.GateActivation = "sigmoid"
    last: Literal["final_state", "last_step"] = "final_state"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"
    bias_initializer: BiasInitializer = "unit_forget_gate"

    kind: ClassVar[str] = "bilstm"
    is_finite_past_end: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, 2 * self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        rows = 4 * self.hidden_size
        found: dict[str, Weight] = {}
        for direction in DIRECTIONS:
            found |= {
                f"{direction}_input_weights": Weight((rows, signals[0].size), by_name[self.input_initializer]),
                f"{direction}_recurrent_weights": Weight((rows, self.hidden_size), by_name[self.recurrent_initializer]),
                f"{direction}_bias": Weight((rows,), by_name[self.bias_initializer], decay=False),
            }
        return found

    def states(self, *signals: Signal) -> tuple[State, ...]:
        raise NotStreamable(
            f"{self.label}: its backward direction starts at the end of a sequence, which a stream does not know; use "
            "an LSTM if the network must stream"
        )

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x, lengths = call.x.flatten(2), call.row_lengths
        zeros = x.new_zeros(len(x), self.hidden_size)
        activations = (self.state_activation, self.gate_activation)
        outputs = []
        for direction in DIRECTIONS:
            names = (f"{direction}_{name}" for name in ("input_weights", "recurrent_weights", "bias"))
            weights = tuple(call.weights[name] for name in names)
            read = x if direction == "forward" else recurrent.reverse(x, lengths)
            outputs.append(cells.lstm(read, None, (zeros, zeros), weights, activations, call.training)[0])
        forward, backward = outputs
        if self.output_mode == "last" and self.last == "final_state":
            return torch.cat([recurrent.last_step(y, lengths, zeros) for y in outputs], 1), None, {}
        y = torch.cat([forward, recurrent.reverse(backward, lengths)], 2)
        if self.output_mode == "last":
            return recurrent.last_step(y, lengths, torch.cat([zeros, zeros], 1)), None, {}
        return y, lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        order = gates.LSTM["matlab"], gates.LSTM["onnx"]
        W, R, b = (
            np.stack([gates.permute(call.weights[f"{direction}_{name}"], *order) for direction in DIRECTIONS])
            for name in ("input_weights", "recurrent_weights", "bias")
        )
        arrays = {"W": W, "R": R, "B": np.concatenate([b, np.zeros_like(b)], 1)}
        attributes = cells.lstm_attributes(self.state_activation, self.gate_activation, 2)
        y, h, _ = recurrent.emit_node(
            graph, "LSTM", call.x, call.lengths, [], arrays, direction="bidirectional", **attributes
        )
        if self.output_mode == "last" and self.last == "final_state":
            both = graph.op("Transpose", h, perm=[1, 0, 2])
            return graph.op("Reshape", both, graph.ints(0, 2 * self.hidden_size)), None, {}
        flat = graph.ints(0, 0, 2 * self.hidden_size)
        y = graph.op("Reshape", graph.op("Transpose", y, perm=[2, 0, 1, 3]), flat)
        if self.output_mode == "last":
            # With a step of zeros before the first, row `length` is the last step, or zeros where there is none.
            padded = graph.pad_steps(y, 1, 0)
            index = graph.op("Unsqueeze", graph.cast(call.lengths or "", "int64"), graph.ints(1))
            return graph.op("GatherND", padded, index, batch_dims=1), None, {}
        return y, call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal = Signal((3,))
        return [
            Example(cls(3), (signal,)),
            Example(cls(4, "last"), (Signal((2, 2)),)),
            Example(cls(4, "last", last="last_step", input_initializer="he"), (signal,)),
            Example(cls(2, "sequence", "softsign", "hard_sigmoid", recurrent_initializer="he"), (signal,)),
            Example(cls(2, "last", "relu", bias_initializer="ones"), (signal,)),
        ]
