"""The torch side of every layer: a module that holds the weights a layer declares and runs its `forward`."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from seq2onnx.layers.base import Layer, Signal


class LayerModule(nn.Module):
    """A layer as a torch module: `module[name]` is a weight, `module(xs, lengths, states)` the function.

    Weights are drawn from numpy, seeded by torch's generator: `torch.manual_seed` repeats them.

    synchronized: torch's processes train together, each on some rows of a batch, and what a layer computes over the
        rows must be over those of all
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
        tensor = self._parameters[name] if name in self._parameters else self._buffers[name]
        assert tensor is not None
        return tensor

    def forward(
        self, xs: tuple[Tensor, ...], lengths: Tensor | None, states: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        return self.layer.forward(self, xs, lengths, states)


def steps_there(x: Tensor, lengths: Tensor) -> Tensor:
    """True at the steps that are there: [batch, time] for x [batch, time, …]."""
    return torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def step_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """`steps_there` in as many dimensions as x: [batch, time, 1, …] for x [batch, time, …]."""
    mask = steps_there(x, lengths)
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of the x of all of torch's processes; gradients are added up likewise."""
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
