"""The metrics of one pass over a data set."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from seq2onnx.evaluation.quantiles import Coverage, measure_coverage
from seq2onnx.training.losses import METRICS
from seq2onnx.training.objective import Objective, valid_rows
from seq2onnx.training.processes import ALONE, Processes


class Metrics:
    """Adds up losses batch by batch: mean loss, accuracy, and the metrics of the objective.

    `keep_outputs` keeps all outputs on the CPU, for metrics that cannot be added up.
    """

    def __init__(self, objective: Objective, processes: Processes = ALONE, keep_outputs: bool = False) -> None:
        self._objective = objective
        self._processes = processes
        self._keep_outputs = keep_outputs
        self._sums: dict[str, Tensor | float] = defaultdict(float)
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def add(self, y: Tensor, target: Tensor) -> Tensor:
        """Add outputs [n, k] and targets [n] or [n, k]; return the losses of the rows whose target is not ignored."""
        y, target = valid_rows(y.float(), target)  # the loss is float32 even if the network computes in 16 bits
        losses = self._objective(y, target)
        self._sums["count"] += float(len(losses))
        self._sums["loss"] += losses.detach().sum()
        if self._objective.loss.correct:
            self._sums["accuracy"] += self._objective.loss.correct(y.detach(), target)
        if self._keep_outputs:
            self._outputs.append((y.detach().cpu(), target.cpu()))
        return losses

    def compute(self, prefix: str = "") -> dict[str, float]:
        """Return the metrics of all batches of all processes, their names after `prefix`; empty without batches."""
        if not self._sums:
            return {}
        count, *sums = self._processes.sums(list(self._sums.values()))
        found = {name: value / max(count, 1.0) for name, value in zip(list(self._sums)[1:], sums, strict=True)}
        if self._outputs and self._objective.metrics:
            y, target = (self._processes.gather(torch.cat(parts)) for parts in zip(*self._outputs, strict=True))
            for name in self._objective.metrics:
                if len(y) >= METRICS[name].least:
                    found[name] = float(METRICS[name].function(y, target))
        return {f"{prefix}{name}": value for name, value in found.items()}

    def coverage(self) -> Coverage | None:
        """Return the coverage of the quantiles that this process kept; None without targets."""
        quantiles = self._objective.loss.quantiles
        assert quantiles is not None
        y, target = (torch.cat(parts).numpy() for parts in zip(*self._outputs, strict=True))
        return measure_coverage(y, target, quantiles) if len(y) else None

    def predicted_classes(self) -> tuple[list[int], list[int]]:
        """Return the (true, predicted) class numbers of the outputs that this process kept."""
        y, target = (torch.cat(parts) for parts in zip(*self._outputs, strict=True))
        return target.tolist(), y.argmax(-1).tolist()
