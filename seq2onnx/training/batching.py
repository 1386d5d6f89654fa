"""From a data set to the batches that training sees."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from seq2onnx.data import SequenceDataset, Shuffle, batch_indices
from seq2onnx.errors import DataError
from seq2onnx.layers import Clock
from seq2onnx.layers.module import valid_steps
from seq2onnx.sequences import MASKED, PaddingPolicy

Drawn = tuple[int, list[int]]
"""(epoch, the indices of a batch)"""


@dataclasses.dataclass
class Batch:
    """Sequences as one tensor, and their targets.

    x: [batch, time, …], by input layer where there are several
    lengths: [batch], the steps of each row that are data; padding is on their right
    target: of all rows one after another: a row, or with targets one a step a row for each of them
    first, counts: [batch], the step of the answer that the first of a row's targets is for, and how many it has; None
        where a row has as many as answers come out
    steps: of the longest row; where several processes share a batch, of all of its rows
    """

    x: Tensor | dict[str, Tensor]
    lengths: Tensor
    target: Tensor
    first: Tensor | None = None
    counts: Tensor | None = None
    steps: int = 0

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return self.each(lambda tensor: tensor.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same with each of its tensors changed."""
        return Batch(
            {name: change(part) for name, part in self.x.items()} if isinstance(self.x, dict) else change(self.x),
            change(self.lengths),
            change(self.target),
            None if self.first is None else change(self.first),
            None if self.counts is None else change(self.counts),
            self.steps,
        )

    def answered(self, y: Tensor, y_lengths: Tensor, before: Tensor | int = 0) -> Tensor:
        """True at the steps of y [batch, time, k] that have a target: [batch, time]; `before` y came so many."""
        there = valid_steps(y, y_lengths)
        if self.first is None or self.counts is None:
            return there
        place = torch.arange(y.shape[1], device=y.device) + torch.as_tensor(before, device=y.device).reshape(-1, 1)
        return there & (place >= self.first[:, None]) & (place < (self.first + self.counts)[:, None])


class BatchOrder(Sampler[list[Drawn]]):
    """The indices of each batch, anew for each epoch."""

    def __init__(
        self,
        data: SequenceDataset,
        batch_size: int,
        shuffle: Shuffle,
        rng: np.random.Generator,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self._draw = functools.partial(batch_indices, data.lengths, batch_size, shuffle, rng, data.shards)
        self._count = math.ceil(len(data) / batch_size)
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[Drawn]]:
        # Not before the first batch is asked for: a loader with workers makes an iterator more than it uses.
        epoch = self._epoch()
        for batch in self._draw():
            yield [(epoch, batch.tolist())]


@dataclasses.dataclass(frozen=True)
class Collate:
    """Makes a batch of what was drawn; by number `rank` of `count` processes its share of the rows.

    policy: how sequences become one tensor; clock: of the answer, where there are targets one a step; seed: of what
    a transform draws
    """

    data: SequenceDataset
    policy: PaddingPolicy = MASKED
    clock: Clock | None = None
    seed: int = 0
    rank: int = 0
    count: int = 1

    def __call__(self, drawn: Sequence[Drawn]) -> Batch:
        ((epoch, every),) = drawn
        mine = every[self.rank :: self.count]
        batch = self._batch(mine or every[:1], every, epoch)
        if not mine:
            # Fewer rows than processes. The network is to be run all the same, for gradients of zero, so a batch of no
            # rows has the shape of one that there is.
            batch = batch.each(lambda tensor: tensor[:0])
        return batch if self.data.batch_transform is None else self.data.batch_transform(batch)

    def _batch(self, indices: list[int], every: list[int], epoch: int) -> Batch:
        found, targets = self.data.take(indices, (self.seed, epoch))
        timed = [name for name in found if self.data.parts[name].has_time]
        whole = np.array([len(x) for x in found[timed[0]]], np.int32)
        if self.count > 1:
            whole = self.data.lengths[every]  # what all processes must agree on
        limit = self.policy.limit(whole)
        steps = int(whole.max() if limit is None else min(whole.max(), limit))
        parts: dict[str, Tensor] = {}
        for name, sequences in found.items():
            if name in timed:
                kept = [self.policy.cut(x, limit) for x in sequences]
                real = np.array([len(x) for x in kept], np.int32)
                x, lengths = self.policy.pad(kept, steps)
            else:
                x = np.stack(sequences)
            parts[name] = torch.from_numpy(x)
        batch = Batch(
            parts.get("", parts), torch.from_numpy(lengths), torch.empty(0), steps=max(steps, int(lengths.max()))
        )
        if self.data.per_step and self.clock is not None:
            for index, x, target in zip(indices, found[timed[0]], targets, strict=True):
                if len(target) != self.clock.length(len(x)):  # a transform may have made it so
                    raise DataError(
                        f"targets of sequence {index}: expected {self.clock.length(len(x))} for the {len(x)} steps "
                        f"that its transform gives, got {len(target)}"
                    )
            most = None if limit is None else self.clock.length(limit)
            targets = [self.policy.cut(target, most) for target in targets]
            if not self.policy.mask_padding or self.policy.chunk:
                counts = [self.clock.length(int(n)) for n in real]
                answers = [self.clock.length(int(n)) for n in lengths]
                first = [self.policy.place(n, k).start or 0 for n, k in zip(answers, counts, strict=True)]
                batch.first, batch.counts = torch.tensor(first), torch.tensor(counts)
        batch.target = torch.from_numpy(np.concatenate(targets) if self.data.per_step else np.asarray(targets))
        return batch
