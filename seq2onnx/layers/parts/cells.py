"""LSTM, GRU and RNN over a batch in torch: with torch's fused operators, or step by step where they lack an option.

The step-by-step form computes the product with the inputs once, for all steps.

Each function returns h of every step [B, T, H], and the final states: at the last valid step of each row, or with
lengths None at the end of x, which costs less. The weights have the names that the layers give them; the activations
are those of the state and of the gates; `training` is as in torch.lstm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from seq2onnx.layers.parts.cell_nodes import NAMES
from seq2onnx.layers.parts.recurrent import at_last_step, at_least_one_step

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = tuple[Tensor, ...]
    Weights = Mapping[str, Tensor]

StateActivation = Literal["tanh", "softsign", "relu"]
GateActivation = Literal["sigmoid", "hard_sigmoid", "hard_sigmoid_6"]


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return the function of that name. hard_sigmoid has the slope 0.2; torch's has the slope 1/6."""
    import torch

    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "tanh": torch.tanh,
        "softsign": torch.nn.functional.softsign,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "hard_sigmoid": lambda x: torch.add(x.new_tensor(0.5), x, alpha=0.2).clamp(0, 1),
        "hard_sigmoid_6": torch.nn.functional.hardsigmoid,
    }
    return functions[name]


def lstm(
    x: Tensor, lengths: Tensor | None, start: Tensors, weights: Weights, activations: tuple[str, str], training: bool
) -> tuple[Tensor, Tensors]:
    """Run an LSTM over x [B, T, C] from the states (h, c), each [B, H]."""
    import torch

    steps, x = x.shape[1], at_least_one_step(x)
    W, R, b = (weights[name] for name in NAMES)
    if activations != ("tanh", "sigmoid"):
        state, gate = activation(activations[0]), activation(activations[1])
        # In the order i f o g the three gates are adjacent, and one call computes them.
        i, f, g, o = torch.arange(4 * len(R.T), device=x.device).chunk(4)
        order = torch.cat([i, f, o, g])
        W, R, b = W[order], R[order], b[order]
        size = len(R.T)

        def cell(wx: Tensor, h: Tensor, c: Tensor) -> Tensors:
            z = torch.addmm(wx, h, R.T)
            i, f, o = gate(z[:, : 3 * size]).chunk(3, 1)
            c = torch.addcmul(f * c, i, state(z[:, 3 * size :]))
            return o * state(c), c

        return _loop(cell, torch.nn.functional.linear(x, W, b), start, lengths, steps)

    # torch adds two biases; the documented equations have one.
    arrays = [W, R, b, torch.zeros_like(b)]
    settings = (True, 1, 0.0, training, False)  # biases, layers, dropout, training, bidirectional
    initial = [s[None] for s in start]
    if lengths is None or bool((lengths == x.shape[1]).all()):
        y, h, c = torch.lstm(x, initial, arrays, *settings, True)
        return y[:, :steps], (h[0], c[0])
    # Only the cell state at the last step of ragged rows needs a packed run, which refuses rows without steps.
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    initial = [s[:, packed.sorted_indices] for s in initial]
    data, h, c = torch.lstm(packed.data, packed.batch_sizes, initial, arrays, *settings)
    y, _ = pad_packed_sequence(packed._replace(data=data), batch_first=True, total_length=x.shape[1])
    return y[:, :steps], (h[0][packed.unsorted_indices], c[0][packed.unsorted_indices])


def gru(
    x: Tensor, lengths: Tensor | None, start: Tensors, weights: Weights, activations: tuple[str, str], mode: str
) -> tuple[Tensor, Tensors]:
    """Run a GRU over x [B, T, C] from the state (h,), [B, H]; `mode` is the reset_gate_mode of the layer."""
    import torch

    steps, x = x.shape[1], at_least_one_step(x)
    W, R, b = (weights[name] for name in NAMES)
    size = len(R.T)
    bn = weights.get("recurrent_bias", b.new_zeros(size))
    if activations == ("tanh", "sigmoid") and mode != "before_multiplication":
        arrays = [W, R, b, torch.cat([bn.new_zeros(2 * size), bn])]
        y, h = torch.gru(x, start[0][None], arrays, True, 1, 0.0, False, False, True)
        final = h[0] if lengths is None else at_last_step(y, lengths)
        return y[:, :steps], (final,)
    state, gate = activation(activations[0]), activation(activations[1])
    gates, candidate = R[: 2 * size].T, R[2 * size :].T

    def cell(wx: Tensor, h: Tensor) -> Tensors:
        if mode == "before_multiplication":
            r, z = gate(torch.addmm(wx[:, : 2 * size], h, gates)).chunk(2, 1)
            n = state(torch.addmm(wx[:, 2 * size :], r * h, candidate))
        else:
            rh, zh, nh = (h @ R.T).chunk(3, 1)
            rx, zx, nx = wx.chunk(3, 1)
            z = gate(zx + zh)
            n = state(nx + gate(rx + rh) * (nh + bn))
        return (n + z * (h - n),)

    return _loop(cell, torch.nn.functional.linear(x, W, b), start, lengths, steps)


def rnn(
    x: Tensor, lengths: Tensor | None, start: Tensors, weights: Weights, activation: str, training: bool
) -> tuple[Tensor, Tensors]:
    """Run an RNN with the activation "tanh" or "relu" over x [B, T, C] from the state (h,), [B, H]."""
    import torch

    steps, x = x.shape[1], at_least_one_step(x)
    W, R, b = (weights[name] for name in NAMES)
    run = torch.rnn_tanh if activation == "tanh" else torch.rnn_relu
    y, h = run(x, start[0][None], [W, R, b, torch.zeros_like(b)], True, 1, 0.0, training, False, True)
    final = h[0] if lengths is None else at_last_step(y, lengths)
    return y[:, :steps], (final,)


def _loop(
    cell: Callable[..., Tensors], wx: Tensor, states: Tensors, lengths: Tensor | None, steps: int
) -> tuple[Tensor, Tensors]:
    """Run a cell over all steps; return h of every step, and the states at each row's last step, or at the end."""
    import torch

    found: list[Tensors] = []
    for x in wx.unbind(1):
        states = cell(x, *states)
        found.append(states)
    h = torch.stack([state[0] for state in found], 1)
    if lengths is not None:
        every = [h, *(torch.stack([state[i] for state in found], 1) for i in range(1, len(states)))]
        states = tuple(at_last_step(sequence, lengths) for sequence in every)
    return h[:, :steps], states
