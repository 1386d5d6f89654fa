"""From a data set to the padded batches of training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from seq2onnx.building.layer_module import valid_steps
from seq2onnx.data import SequenceDataset
from seq2onnx.data.batches import Shuffle, batch_indices
from seq2onnx.errors import DataError
from seq2onnx.layers import Clock
from seq2onnx.sequences import MASKED, PaddingPolicy
from seq2onnx.training.processes import ALONE, Processes

Drawn = tuple[int, list[int]]
"""(epoch, indices of the sequences of a batch)"""


def order_of(policy: PaddingPolicy) -> Shuffle:
    """Return the order of data that is not trained on: by length, or where the rows of a batch count, as given."""
    return "none" if policy.keeps_order else "sorted"


@dataclasses.dataclass
class Batch:
    """Sequences in one tensor, with their targets.

    Attributes:
        x: [batch, time, …]; for several inputs a dict by input layer.
        lengths: the number of steps of each row that are data, [batch]. Padding is on their right.
        target: the targets of all rows, concatenated: one for each row, or for each step of each row; empty for data
            without targets.
        first: the output step that the first target of each row belongs to, [batch]; None: every output has a target.
        counts: the number of targets of each row, [batch]; None together with `first`.
        steps: the length of the longest row, over all processes that share the batch.
    """

    x: Tensor | dict[str, Tensor]
    lengths: Tensor
    target: Tensor
    first: Tensor | None = None
    counts: Tensor | None = None
    steps: int = 0

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return self.map(lambda tensor: tensor.to(device))

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with `change` applied to each tensor."""
        x = {name: change(part) for name, part in self.x.items()} if isinstance(self.x, dict) else change(self.x)
        first, counts = (None if tensor is None else change(tensor) for tensor in (self.first, self.counts))
        return Batch(x, change(self.lengths), change(self.target), first, counts, self.steps)

    def has_target(self, y: Tensor, y_lengths: Tensor, before: Tensor | int = 0) -> Tensor:
        """Return a mask [batch, time] of the steps of y [batch, time, k] that have a target.

        `before`: the number of outputs of each row in earlier chunks.
        """
        valid = valid_steps(y, y_lengths)
        if self.first is None or self.counts is None:
            return valid
        place = torch.arange(y.shape[1], device=y.device) + torch.as_tensor(before, device=y.device).reshape(-1, 1)
        return valid & (place >= self.first[:, None]) & (place < (self.first + self.counts)[:, None])


@dataclasses.dataclass(frozen=True, eq=False)
class BatchSampler(Sampler[Drawn]):
    """Draws the indices of each batch, again in each epoch.

    Attributes:
        data: the data set.
        batch_size: sequences in a batch.
        shuffle: how batches are drawn.
        rng: draws them.
        epoch: returns the number of the epoch.
    """

    data: SequenceDataset
    batch_size: int
    shuffle: Shuffle
    rng: np.random.Generator
    epoch: Callable[[], int]

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.batch_size)

    def __iter__(self) -> Iterator[Drawn]:
        # Draw on the first `next`: a loader with workers makes an iterator that it never uses.
        epoch = self.epoch()
        for batch in batch_indices(self.data.lengths, self.batch_size, self.shuffle, self.rng, self.data.shards):
            yield epoch, batch.tolist()


@dataclasses.dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """Makes a batch from drawn indices, `batches[drawn]`: the rows of one of the processes.

    Attributes:
        data: the data set.
        policy: how sequences are padded.
        clock: of the network's output; needed for targets per step.
        seed: of the random numbers of a transform.
        processes: the processes that share the rows of a batch.
    """

    data: SequenceDataset
    policy: PaddingPolicy = MASKED
    clock: Clock = dataclasses.field(default_factory=Clock)
    seed: int = 0
    processes: Processes = ALONE

    def __getitem__(self, drawn: Drawn) -> Batch:
        """Return the batch."""
        epoch, indices = drawn
        own = indices[self.processes.rank :: self.processes.count]
        batch = self._batch(own or indices[:1], indices, epoch)
        if not own:
            # There are fewer rows than processes. This process must run the network too, for gradients of zero, so it
            # gets a batch without rows that has the shape of a real one.
            batch = batch.map(lambda tensor: tensor[:0])
        return batch if self.data.batch_transform is None else self.data.batch_transform(batch)

    def _batch(self, own: list[int], indices: list[int], epoch: int) -> Batch:
        found, targets = self.data.take(own, (self.seed, epoch))
        timed = [name for name in found if self.data.parts[name].has_time]
        sequences = found[timed[0]]
        # All processes must agree on the number of steps.
        whole = (
            self.data.lengths[indices] if self.processes.count > 1 else np.array([len(x) for x in sequences], np.int32)
        )
        limit = self.policy.limit(whole)
        steps = int(whole.max() if limit is None else min(whole.max(), limit))
        parts = {name: np.stack(rows) for name, rows in found.items() if name not in timed}
        for name in timed:
            cut = [self.policy.cut(x, limit) for x in found[name]]
            parts[name], lengths = self.policy.pad(cut, steps)
        x = {name: torch.from_numpy(parts[name]) for name in found}
        batch = Batch(x.get("", x), torch.from_numpy(lengths), torch.empty(0), steps=max(steps, int(lengths.max())))
        if self.data.per_step:
            for index, sequence, target in zip(own, sequences, targets, strict=True):
                if len(target) != self.clock.length(len(sequence)):  # a transform may change the number of steps
                    raise DataError(
                        f"targets of sequence {index}: expected {self.clock.length(len(sequence))} for the "
                        f"{len(sequence)} steps that its transform gives, got {len(target)}"
                    )
            most = None if limit is None else self.clock.length(limit)
            targets = [self.policy.cut(target, most) for target in targets]
            if not self.policy.mask_padding or self.policy.chunk:
                counts = [len(target) for target in targets]
                outputs = [self.clock.length(int(n)) for n in lengths]
                first = [self.policy.place(n, k).start or 0 for n, k in zip(outputs, counts, strict=True)]
                batch.first, batch.counts = torch.tensor(first), torch.tensor(counts)
        if targets is not None:
            batch.target = torch.from_numpy(np.concatenate(targets) if self.data.per_step else np.asarray(targets))
        return batch
