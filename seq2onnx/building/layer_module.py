"""The torch side of every layer: LayerModule holds the weights that a layer declares and runs its `forward`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from seq2onnx.layers.base import Layer
from seq2onnx.layers.calls import ForwardCall, Forwarded
from seq2onnx.layers.signal import Signal


class LayerModule(nn.Module):
    """A layer, whose specification is `layer`, as a torch module; `module[name]` is a weight. See ForwardCall.

    The first weights are drawn with numpy from a seed of torch's generator, so `torch.manual_seed` repeats them.
    """

    synchronized = False

    def __init__(self, layer: Layer, signals: tuple[Signal, ...]) -> None:
        super().__init__()
        self.layer = layer
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        for name, weight in layer.weights(*signals).items():
            values = torch.from_numpy(weight.initialize(rng, weight.shape))
            if weight.trainable:
                self.register_parameter(name, nn.Parameter(values))
            else:
                self.register_buffer(name, values)

    def __getitem__(self, name: str) -> Tensor:
        """Return a weight by name."""
        return cast(Tensor, getattr(self, name))

    def forward(self, xs: tuple[Tensor, ...], lengths: Tensor | None, states: Mapping[str, Tensor] | None) -> Forwarded:
        """Return (y, lengths, new states by name); the arguments are those of ForwardCall."""
        weights = cast(Mapping[str, Tensor], {**self._parameters, **self._buffers})
        return self.layer.forward(ForwardCall(xs, lengths, states, weights, self.training, self.synchronized))


def valid_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Compute which steps are valid: bool [batch, time] for x [batch, time, …]."""
    return torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def step_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Compute `valid_steps` with as many axes as x: [batch, time, 1, …] for x [batch, time, …]."""
    mask = valid_steps(x, lengths)
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum x over all of torch's processes. Gradients are summed likewise."""
    return cast(Tensor, _Sum.apply(x))  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient)
