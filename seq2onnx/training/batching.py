"""From a data set to the batches that training sees."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from seq2onnx.data import SequenceDataset, Shuffle, batches
from seq2onnx.data.dataset import has_time
from seq2onnx.sequences import pad


@dataclasses.dataclass
class Batch:
    """Sequences padded on the right, their lengths, and the targets of their valid rows or steps."""

    x: Tensor | dict[str, Tensor]
    lengths: Tensor
    target: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        x = self.x
        moved = {name: part.to(device) for name, part in x.items()} if isinstance(x, dict) else x.to(device)
        return Batch(moved, self.lengths.to(device), self.target.to(device))


class BatchOrder(Sampler[list[int]]):
    """The indices of each batch, anew for each epoch."""

    def __init__(self, data: SequenceDataset, batch_size: int, shuffle: Shuffle, rng: np.random.Generator) -> None:
        self._draw = functools.partial(batches, data.lengths, batch_size, shuffle, rng)
        self._count = math.ceil(len(data) / batch_size)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        # Not before the first batch is asked for: a loader with workers makes an iterator more than it uses.
        for batch in self._draw():
            yield batch.tolist()


def collate(data: SequenceDataset, indices: Any) -> Batch:
    """The sequences at `indices` as one padded batch."""
    parts: dict[str, Tensor] = {}
    for name, part in data.parts.items():
        chosen = [part[index] for index in indices]
        parts[name] = torch.from_numpy(pad(chosen)[0] if has_time(part[0]) else np.stack(chosen))
    lengths = data.lengths[indices]
    assert data.targets is not None
    targets = [data.targets[index] for index in indices]
    target = np.concatenate(targets) if data.per_step else np.stack(targets)
    return Batch(parts.get("", parts), torch.from_numpy(lengths), torch.from_numpy(target))
