"""Several processes that train together: whose rows are whose, and what they add up to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from seq2onnx.data import SequenceDataset
from seq2onnx.training.batching import Batch, collate


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`; its device is what tensors must be on to be sent."""

    rank: int = 0
    count: int = 1
    device: torch.device | str = "cpu"

    def share(self, data: SequenceDataset, indices: Sequence[int]) -> Batch:
        """This process's rows of the batch that all work on; none, where there are fewer rows than processes."""
        mine = indices[self.rank :: self.count]
        if mine:
            return collate(data, mine)
        # In the shape of a row that there is: the network must be run, for its weights are to have gradients of zero.
        batch = collate(data, indices[:1])
        x = {name: part[:0] for name, part in batch.x.items()} if isinstance(batch.x, dict) else batch.x[:0]
        return Batch(x, batch.lengths[:0], batch.target[:0])

    def sums(self, numbers: Sequence[float | Tensor]) -> list[float]:
        """Each of the numbers, added up over all processes."""
        if self.count == 1:
            return [float(number) for number in numbers]
        total = torch.tensor([float(number) for number in numbers], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        found: list[float] = total.tolist()
        return found

    def gather(self, rows: Tensor) -> Tensor:
        """The rows [n, …] of all processes, one after another; n may differ."""
        if self.count == 1:
            return rows
        from torchmetrics.utilities.distributed import gather_all_tensors

        return torch.cat(gather_all_tensors(rows.to(self.device))).cpu()
