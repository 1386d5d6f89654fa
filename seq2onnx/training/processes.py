"""Collective operations across processes that train together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a training run, seen from one of them.

    Attributes:
        rank: the number of this process, from 0.
        count: how many there are.
        device: the device that tensors are sent from.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | str = "cpu"

    def sums(self, numbers: Sequence[float | Tensor]) -> list[float]:
        """Return each of the numbers, summed over all processes."""
        if self.count == 1:
            return [float(number) for number in numbers]
        total = torch.tensor([float(number) for number in numbers], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return [*total.tolist()]

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows [n, …] of all processes, one after another; n may differ between processes."""
        if self.count == 1:
            return rows
        return torch.cat(gather_all_tensors(rows.to(self.device))).cpu()


ALONE = Processes()
"""One process by itself."""
