"""BiLSTM: an LSTM that reads forward and another that reads backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np

from seq2onnx.errors import NotStreamable
from seq2onnx.layers import cells, gates, recurrent
from seq2onnx.layers.base import Example, Layer, PositiveInt, Signal, State, Weight, layer
from seq2onnx.layers.cells import GateActivation, StateActivation
from seq2onnx.layers.initializers import BiasInitializer, MatrixInitializer, by_name

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule

HALVES = ("forward", "backward")


@final
@layer
class BiLSTM(Layer):
    """Two LSTMs over each sequence, one forward and one backward, side by side on the feature axis.

        y_t = [h→_t, h←_t]     the equations of LSTM in each half; the backward half starts at the last valid step

    Shapes (B batch, T time, C features, H hidden_size; float32):
        x [B, T, C] -> y [B, T, 2H], or [B, 2H] with output_mode="last"
    State:   none that would be enough: the backward half reads from the end, so it cannot stream
    Weights: forward_ and backward_ input_weights [4H, C], recurrent_weights [4H, H], bias [4H]; blocks i f g o
    Args:    hidden_size: units of each half, > 0
             output_mode: "sequence" or "last"
             state_activation, gate_activation: as in LSTM
             last: what output_mode="last" gives: "final_state", of each half after it has read the whole
             sequence; or "last_step", y at the last valid step, where the backward half has read x_T alone
             input_initializer, recurrent_initializer, bias_initializer: as in LSTM
    ONNX:    LSTM, direction bidirectional, layout 0; gate order i o f c
    Raises:  ShapeError on a signal without time; NotStreamable for signatures with states
    Example: >>> BiLSTM(100, output_mode="last")
    Source:  Schuster & Paliwal 1997; ONNX operator LSTM-14
    """

    hidden_size: PositiveInt
    output_mode: recurrent.OutputMode = "sequence"
    state_activation: StateActivation = "tanh"
    gate_activation: GateActivation = "sigmoid"
    last: Literal["final_state", "last_step"] = "final_state"
    input_initializer: MatrixInitializer = "glorot"
    recurrent_initializer: MatrixInitializer = "orthogonal"
    bias_initializer: BiasInitializer = "unit_forget_gate"

    kind: ClassVar[str] = "bilstm"
    masks: ClassVar[bool] = True

    def infer(self, *signals: Signal) -> Signal:
        return recurrent.infer(self, signals, 2 * self.hidden_size, self.output_mode)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        rows = 4 * self.hidden_size
        found: dict[str, Weight] = {}
        for half in HALVES:
            found |= {
                f"{half}_input_weights": Weight((rows, signals[0].size), by_name[self.input_initializer]),
                f"{half}_recurrent_weights": Weight((rows, self.hidden_size), by_name[self.recurrent_initializer]),
                f"{half}_bias": Weight((rows,), by_name[self.bias_initializer], decay=False),
            }
        return found

    def states(self, *signals: Signal) -> tuple[State, ...]:
        raise NotStreamable(
            f"{self.label}: its backward half reads from the end of a sequence, which a stream does not know; "
            "use an LSTM where the network must stream"
        )

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        x = xs[0].flatten(2)
        assert lengths is not None
        zeros = x.new_zeros(len(x), self.hidden_size)
        activations = (self.state_activation, self.gate_activation)
        halves = []
        for half in HALVES:
            weights = tuple(module[f"{half}_{name}"] for name in ("input_weights", "recurrent_weights", "bias"))
            read = x if half == "forward" else recurrent.reverse(x, lengths)
            halves.append(cells.lstm(read, None, (zeros, zeros), weights, activations, module.training)[0])
        forward, backward = halves
        if self.output_mode == "last" and self.last == "final_state":
            finals = [recurrent.last_step(y, lengths, zeros) for y in (forward, backward)]
            return torch.cat(finals, 1), None, ()
        y = torch.cat([forward, recurrent.reverse(backward, lengths)], 2)
        if self.output_mode == "last":
            return recurrent.last_step(y, lengths, torch.cat([zeros, zeros], 1)), None, ()
        return y, lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        W, R, b = (
            np.stack(
                [gates.permute(weights[f"{half}_{name}"], gates.LSTM["matlab"], gates.LSTM["onnx"]) for half in HALVES]
            )
            for name in ("input_weights", "recurrent_weights", "bias")
        )
        arrays = {"W": W, "R": R, "B": np.concatenate([b, np.zeros_like(b)], 1)}
        attributes = cells.lstm_activations(self.state_activation, self.gate_activation, 2)
        y, h, _ = recurrent.emit_node(
            graph, "LSTM", xs[0], lengths, [], arrays, direction="bidirectional", **attributes
        )
        flat = graph.constant(np.array([0, 0, 2 * self.hidden_size]))
        if self.output_mode == "last" and self.last == "final_state":
            both = graph.op("Transpose", h, perm=[1, 0, 2])
            return graph.op("Reshape", both, graph.constant(np.array([0, 2 * self.hidden_size]))), None, ()
        y = graph.op("Reshape", graph.op("Transpose", y, perm=[2, 0, 1, 3]), flat)
        if self.output_mode == "last":
            # A step of zeros before the first: row `length` of that is the last step, or zeros where there is none.
            padded = graph.op("Pad", y, graph.constant(np.array([0, 1, 0, 0, 0, 0])))
            index = graph.op(
                "Unsqueeze", graph.op("Cast", lengths or "", to=graph.types["int64"]), graph.constant(np.array([1]))
            )
            return graph.op("GatherND", padded, index, batch_dims=1), None, ()
        return y, lengths, ()

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
