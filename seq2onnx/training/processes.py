"""Several processes that train together: whose rows are whose, and what they add up to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`; its device is what tensors must be on to be sent."""

    rank: int = 0
    count: int = 1
    device: torch.device | str = "cpu"

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
