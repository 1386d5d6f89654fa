"""The mean and variance of BatchNorm layers over a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

import torch
from torch import Tensor

from seq2onnx.data.statistics import merge_moments
from seq2onnx.layers import BatchNorm
from seq2onnx.layers.batch_norm import valid_values
from seq2onnx.training.batching import Batch
from seq2onnx.training.module import SequenceModule


class Moments:
    """Mean and variance (N − 1) of each channel, batch by batch; in float64, so that no batch is too small to count."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Take in values [channels, n]."""
        values = values.double().cpu()
        if not (new := values.shape[1]):
            return
        mean = values.mean(1)
        part = (new, mean, (values - mean[:, None]).square().sum(1))
        self.count, self.mean, self._squares = merge_moments((self.count, self.mean, self._squares), part)

    @property
    def variance(self) -> Tensor:
        """σ² with N − 1."""
        return self._squares / max(self.count - 1, 1)


@torch.no_grad()
def set_exact_statistics(
    module: SequenceModule,
    batches: Callable[[], Iterable[Batch]],
    device: torch.device | str,
    frozen: Container[str] = (),
) -> None:
    """Give each BatchNorm layer the mean and variance of what enters it, over all valid steps of the data.

    A pass over the data for each layer, in order: what enters one depends on those before it.

    batches: the data, anew at each call; device: where to compute; frozen: layers to leave as they are
    """
    module.eval().to(device)
    for name, layer in module.layers.items():
        if not isinstance(layer.layer, BatchNorm) or name in frozen:
            continue
        moments = Moments()

        def look(_: object, entering: tuple[tuple[Tensor], Tensor | None, object], seen: Moments = moments) -> None:
            (x,), lengths, _states = entering
            seen.add(valid_values(x, lengths))

        handle = layer.register_forward_pre_hook(look)
        try:
            for batch in batches():
                batch = batch.to(device)
                module(batch.x, batch.lengths, logits=True, return_state=False)
        finally:
            handle.remove()
        if moments.count:
            layer["mean"].copy_(moments.mean)
            layer["variance"].copy_(moments.variance)
