"""The mean and variance of BatchNorm layers: over an epoch so far, and exactly over a whole data set."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from seq2onnx.building.layer_module import LayerModule
from seq2onnx.building.module import SequenceModule
from seq2onnx.data.statistics import merge_moments
from seq2onnx.layers import BatchNorm, Layer
from seq2onnx.layers.batch_norm import valid_values
from seq2onnx.network import Network
from seq2onnx.training.batch_dataset import Batch
from seq2onnx.training.forward import run_in_chunks
from seq2onnx.training.processes import ALONE, Processes


class Moments:
    """Count, mean and variance (N − 1) of each channel, batch by batch.

    The sums are float64, so that a small batch still counts after many others.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._squares = torch.zeros(channels, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Add values [channels, n]."""
        if not (new := values.shape[1]):
            return
        values = values.double()
        mean = values.mean(1)
        self._merge(new, mean.cpu(), (values - mean[:, None]).square().sum(1).cpu())

    def over(self, processes: Processes) -> Moments:
        """Return the moments of the values of all processes."""
        own = torch.cat([self.mean.new_tensor([self.count]), self.mean, self._squares])
        found = Moments(len(self.mean))
        for row in processes.gather(own[None]):
            found._merge(int(row[0]), *row[1:].chunk(2))
        return found

    def _merge(self, *part: int | Tensor) -> None:
        self.count, self.mean, self._squares = merge_moments((self.count, self.mean, self._squares), part)  # type: ignore[arg-type]

    @property
    def variance(self) -> Tensor:
        """The variance of each channel, with N − 1."""
        return self._squares / max(self.count - 1, 1)


def restart_statistics(module: SequenceModule) -> None:
    """Let the statistics of BatchNorm layers be those of all batches from now on, until `end_training`."""
    for _, layer in _batch_norms(module):
        seen = torch.zeros((), dtype=torch.float64, device=layer["mean"].device)
        layer.register_buffer("count", seen, persistent=False)


def end_training(module: SequenceModule) -> None:
    """Let the statistics of BatchNorm layers be running means again."""
    for _, layer in _batch_norms(module):
        layer._buffers.pop("count", None)


@torch.no_grad()
def refresh_statistics(
    module: SequenceModule, batches: Iterable[Batch], device: torch.device | str, frozen: Container[str] = ()
) -> None:
    """Set the statistics of all BatchNorm layers, but for `frozen` ones, in one pass over the data; no weight changes.

    Those of an epoch lag behind the weights, which change from batch to batch. The results differ from the exact
    statistics only because each layer normalizes by the mean and variance of the batch.
    """
    layers = {name: layer for name, layer in _batch_norms(module) if name not in frozen}
    if not layers:
        return
    restart_statistics(module)
    part = _up_to(module, list(layers))
    for layer in layers.values():
        layer.train()
    for batch in batches:
        list(_run(part, batch.to(device), None))
    for layer in layers.values():
        layer.eval()


@torch.no_grad()
def set_exact_statistics(
    module: SequenceModule, batches: Iterable[Batch], frozen: Container[str] = (), processes: Processes = ALONE
) -> None:
    """Set the statistics of each BatchNorm layer to the mean and variance of its input over all valid steps.

    There is one pass over the data for each layer, in order, because the input of a layer depends on the layers before.
    A pass ends at the layer: the layers behind it do not run. Of several processes, `batches` are the rows of this one.
    """
    module.eval().to(processes.device)
    for name, layer in _batch_norms(module):
        if name in frozen:
            continue
        before, moments = _up_to(module, module.network.reads[name]), Moments(len(layer["mean"]))
        for batch in batches:
            for x, lengths in _run(before, batch.to(processes.device), module.policy.chunk):
                moments.add(valid_values(x, lengths))
        moments = moments.over(processes)
        if not (moments.mean.isfinite().all() and moments.variance.isfinite().all()):
            warnings.warn(
                f"{name}: its input over the training data is not finite, so it keeps the statistics of the last "
                "epoch. Try a lower learning_rate, or gradient_clip=1",
                RuntimeWarning,
                stacklevel=2,
            )
        elif moments.count:
            layer["mean"].copy_(moments.mean)
            layer["variance"].copy_(moments.variance)


def has_batch_norm(network: Network) -> bool:
    """Return whether a layer of the network has statistics."""
    return any(isinstance(layer, BatchNorm) for layer in network.layers)


def _batch_norms(module: SequenceModule) -> list[tuple[str, LayerModule]]:
    return [(name, layer) for name, layer in module.layers.items() if isinstance(layer.layer, BatchNorm)]


def _up_to(module: SequenceModule, outputs: Sequence[str]) -> SequenceModule:
    """Return a module, in evaluation mode, that shares the layers and ends with `outputs`."""
    network = module.network
    needed: list[Layer] = []
    for layer in reversed(network.layers):
        if layer.label in outputs or any(layer.label in network.reads[reader.label] for reader in needed):
            needed.insert(0, layer)
    return SequenceModule(Network(needed, outputs), module.layers).eval()


def _run(part: SequenceModule, batch: Batch, chunk: int | None) -> Iterator[tuple[Any, Any]]:
    """Run a batch, in chunks if sequences are split; yield the outputs, of rows that end, and their lengths."""
    if isinstance(batch.x, dict):
        batch = dataclasses.replace(batch, x={layer.label: batch.x[layer.label] for layer in part.network.inputs})
    if chunk is None:
        y, lengths, _ = part(batch.x, batch.lengths, return_state=False, check=False)
        yield y, lengths
    else:
        for y, lengths, ends in run_in_chunks(part, batch, chunk):
            yield y[ends] if lengths is None else y, lengths
