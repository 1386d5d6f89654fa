"""Learner: a module with its objective, optimizer and data, as lightning wants them together."""

from __future__ import annotations

import functools
import math
import time
import warnings
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seq2onnx.data import SequenceDataset, Shuffle
from seq2onnx.layers.module import steps_there
from seq2onnx.training.batching import Batch, BatchOrder, collate
from seq2onnx.training.losses import Objective
from seq2onnx.training.module import SequenceModule
from seq2onnx.training.optimization import History, clip_gradients, make_optimizer, rate_at
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.progress import Progress
from seq2onnx.training.run_folder import Checkpoints


class Learner(lightning.LightningModule):
    """Trains a module; after each epoch `history` has a row more, and `last` the weights.

    `best` are those with the lowest validation loss so far, empty without validation data.
    """

    progress: Progress

    def __init__(
        self,
        module: SequenceModule,
        objective: Objective,
        options: TrainingOptions,
        data: SequenceDataset,
        validation: SequenceDataset | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        super().__init__()
        self.module = module
        self.objective = objective
        self.options = options
        self.data = data
        self.validation = validation
        self.checkpoints = checkpoints
        self.history: History = []
        self.last: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.rng = np.random.default_rng(options.seed)
        self.optimizer = make_optimizer(module, options)
        self._sums: dict[str, Tensor | float] = {}
        self._seen: list[tuple[Tensor, Tensor]] = []
        if checkpoints and checkpoints.resume:
            checkpoints.read_into(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def configure_gradient_clipping(self, *arguments: Any, **more: Any) -> None:
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        clip_gradients(trained, self.options)

    def train_dataloader(self) -> DataLoader[int]:
        return self._loader(self.data, self.options.shuffle)

    def val_dataloader(self) -> DataLoader[int] | list[Any]:
        return [] if self.validation is None else self._loader(self.validation, "sorted")

    def _loader(self, data: SequenceDataset, shuffle: Shuffle) -> DataLoader[int]:
        order = BatchOrder(data, self.options.batch_size, shuffle, self.rng)
        indices = cast(Dataset[int], range(len(data)))
        # A generator of its own: loading draws from torch's otherwise, and dropout would depend on it.
        return DataLoader(
            indices, batch_sampler=order, collate_fn=functools.partial(collate, data), generator=torch.Generator()
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        x = batch.x
        moved = {k: v.to(device) for k, v in x.items()} if isinstance(x, dict) else x.to(device)
        return Batch(moved, batch.lengths.to(device), batch.target.to(device))

    def on_train_epoch_start(self) -> None:
        self._sums, self._seen = {}, []
        self._began = time.perf_counter()
        self._rate = rate_at(self.options, len(self.history), self.history)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * group["factor"]
        for name, factor in self.options.learning_rate_factors.items():
            if not factor:
                self.module.layers[name].eval()  # nor do running means of a frozen layer change

    def training_step(self, batch: Batch, index: int) -> Tensor:
        return self._measure(batch, "")

    def validation_step(self, batch: Batch, index: int) -> None:
        epoch = len(self.history) + 1
        if epoch % self.options.validation_every == 0 or epoch == self.options.epochs:
            self._measure(batch, "validation_")

    def _measure(self, batch: Batch, prefix: str) -> Tensor:
        """The loss of a batch, its sum over what is valid by their count; sums for the epoch's row on the way."""
        y, y_lengths, _ = self.module(batch.x, batch.lengths, logits=self.objective.wants_logits, return_state=False)
        if y_lengths is not None:
            # The valid steps of all rows, one after another, as the targets are.
            y = y[steps_there(y, y_lengths)]
        y, target = self.objective.valid(y, batch.target)
        losses = self.objective(y, target)
        self._add(f"{prefix}loss", losses.detach().sum())
        self._add(f"{prefix}count", float(len(losses)))
        if self.objective.counts_right:
            self._add(f"{prefix}accuracy", self.objective.right(y.detach(), target))
        if prefix:
            self._seen.append((y.detach().cpu(), target.cpu()))
        return losses.sum() / max(len(losses), 1)

    def _add(self, name: str, value: Tensor | float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def on_train_epoch_end(self) -> None:
        row = {"epoch": float(len(self.history) + 1)}
        for name, value in self._sums.items():
            prefix = "validation_" if name.startswith("validation_") else ""
            if not name.endswith("count"):
                row[name] = float(value) / max(float(self._sums[f"{prefix}count"]), 1.0)
        if self._seen:
            y, target = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
            row |= {f"validation_{name}": value for name, value in self.objective.metrics(y, target).items()}
        row["learning_rate"] = self._rate
        row["seconds"] = time.perf_counter() - self._began
        weights = self._weights()
        if not math.isfinite(row["loss"]) or not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
            self._give_up(row)
            return
        self.history.append(row)
        self.last = weights
        if "validation_loss" in row and looks_since_best(self.history) == 0:
            self.best = self.last
        self.progress.update(row)
        stops = out_of_patience(self.options, self.history)
        if stops:
            self.trainer.should_stop = True
        if self.checkpoints:
            self.checkpoints.write(self, force=stops or len(self.history) == self.options.epochs)

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}

    def _give_up(self, row: dict[str, float]) -> None:
        """Loss or weights are no longer numbers."""
        self.trainer.should_stop = True
        if not self.last:
            self.last = self.module_at_start
        warnings.warn(
            f"epoch {int(row['epoch'])}: loss {row['loss']}, and weights that are no numbers; "
            "training stopped, with the weights of the epoch before; try a lower learning_rate, or gradient_clip=1",
            RuntimeWarning,
            stacklevel=2,
        )

    def on_fit_start(self) -> None:
        self.module_at_start = self._weights()


def looks_since_best(history: History) -> int:
    """How many looks at the validation data there were since the one with the lowest loss."""
    losses = [row["validation_loss"] for row in history if "validation_loss" in row]
    return len(losses) - 1 - int(np.argmin(np.nan_to_num(losses, nan=np.inf))) if losses else 0


def out_of_patience(options: TrainingOptions, history: History) -> bool:
    """Whether training stops early."""
    return options.patience is not None and looks_since_best(history) >= options.patience
