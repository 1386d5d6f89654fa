"""The exact mean and variance of BatchNorm layers, over a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

import torch
from torch import Tensor

from seq2onnx.data.statistics import merge_moments
from seq2onnx.layers import BatchNorm
from seq2onnx.layers.batch_norm import valid_values
from seq2onnx.training.batch_dataset import Batch
from seq2onnx.training.module import SequenceModule


class Moments:
    """Mean and variance (N − 1) of each channel, batch by batch.

    The sums are float64, so that a small batch still counts after many others.

    Attributes:
        count: the number of values of each channel.
        mean: the mean of each channel.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Add values [channels, n]."""
        values = values.double().cpu()
        if not (new := values.shape[1]):
            return
        mean = values.mean(1)
        part = (new, mean, (values - mean[:, None]).square().sum(1))
        self.count, self.mean, self._squares = merge_moments((self.count, self.mean, self._squares), part)

    @property
    def variance(self) -> Tensor:
        """The variance of each channel, with N − 1."""
        return self._squares / max(self.count - 1, 1)


@torch.no_grad()
def set_exact_statistics(
    module: SequenceModule,
    batches: Callable[[], Iterable[Batch]],
    device: torch.device | str,
    frozen: Container[str] = (),
) -> None:
    """Set the statistics of each BatchNorm layer to the mean and variance of its input over all valid steps.

    There is one pass over the data for each layer, in order, because the input of a layer depends on the layers before.

    Args:
        module: the module to change.
        batches: returns the batches of the data, for each pass.
        device: where to compute.
        frozen: the names of layers to leave unchanged.
    """
    module.eval().to(device)
    for name, layer in module.layers.items():
        if not isinstance(layer.layer, BatchNorm) or name in frozen:
            continue
        moments = Moments()

        def add_input(_: object, inputs: tuple[tuple[Tensor], Tensor | None, object], seen: Moments = moments) -> None:
            (x,), lengths, _states = inputs
            seen.add(valid_values(x, lengths))

        with layer.register_forward_pre_hook(add_input):
            for batch in batches():
                batch = batch.to(device)
                module(batch.x, batch.lengths, logits=True, return_state=False)
        if moments.count:
            layer["mean"].copy_(moments.mean)
            layer["variance"].copy_(moments.variance)
