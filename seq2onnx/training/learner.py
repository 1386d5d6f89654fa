"""Learner: the lightning module that trains a SequenceModule."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.utils.data import DataLoader

from seq2onnx.building.module import SequenceModule
from seq2onnx.data import SequenceDataset, Shuffle
from seq2onnx.training.batch_dataset import Batch, Batches, BatchSampler, order_of
from seq2onnx.training.batch_statistics import refresh_statistics, restart_statistics
from seq2onnx.training.epoch_progress import Show
from seq2onnx.training.forward import Outputs, forward_in_chunks, forward_whole
from seq2onnx.training.history import History, out_of_patience
from seq2onnx.training.metrics import Metrics
from seq2onnx.training.optimization import clip_gradients, frozen_layers, make_optimizer, rate_at
from seq2onnx.training.processes import ALONE, Processes
from seq2onnx.training.run_folder import Checkpoints
from seq2onnx.training.task import Task


@dataclasses.dataclass(frozen=True)
class Kept:
    """The weights and the history of a run after an epoch.

    It is replaced as a whole: Ctrl-C may come between any two statements.

    Attributes:
        history: one row for each epoch.
        last: the weights after the last epoch.
        best: the weights of the best epoch, as the monitor of the task says; empty if nothing was measured.
        rest: what else the next epoch depends on, if checkpoints are written; see `Learner.run_state_dict`.
    """

    history: History
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    rest: dict[str, Any]


class Learner(lightning.LightningModule):
    """Trains a module.

    Of several processes each has a Learner: it draws the same batches, takes its share of their rows, and gets the same
    history.

    Args:
        task: the data, the objective and the options.
        module: the module to train.
        processes: the processes that train together.
        checkpoints: write the state of the run; None: nothing is written.
        show: is called with each row of the history.

    Attributes:
        kept: what is kept of the epochs so far.
        interrupted: Ctrl-C ended training within an epoch.
        diverged: the row of the epoch after which the loss or the weights were not finite. Only this row is kept of it.
    """

    def __init__(
        self, task: Task, module: SequenceModule, processes: Processes, checkpoints: Checkpoints | None, show: Show
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # it would cost more for each batch than a small network
        self.task = task
        self.options = task.options
        self.module = module
        self.processes = processes
        self.checkpoints = checkpoints
        self.kept = Kept([], {}, {}, {})
        self.rng = np.random.default_rng(task.options.seed)
        self.optimizer = make_optimizer(module, task.options)
        self._show = show
        self.diverged: dict[str, float] | None = None
        self.interrupted = self._asked_to_stop = False

    @property
    def history(self) -> History:
        """One row for each epoch that is kept."""
        return self.kept.history

    @property
    def rows(self) -> History:
        """The history, with the row of an epoch that diverged."""
        return self.history if self.diverged is None else [*self.history, self.diverged]

    @property
    def has_ended(self) -> bool:
        """Whether no epoch is left to train."""
        if self.diverged is not None or len(self.history) >= self.options.epochs:
            return True
        return out_of_patience(self.history, self.options.patience, self.task.monitor)

    def run_state_dict(self) -> dict[str, Any]:
        """Return everything that the epoch after the kept ones depends on: tensors, and values for JSON.

        It is not called state_dict because a LightningModule has that already: lightning's own checkpoints hold it.
        """
        kept = self.kept
        state: dict[str, Any] = {f"last.{name}": tensor for name, tensor in kept.last.items()}
        if kept.best is not kept.last:
            state |= {f"best.{name}": tensor for name, tensor in kept.best.items()}
        state |= kept.rest | {"history": kept.history, "best_is_last": kept.best is kept.last}
        return state if self.diverged is None else state | {"diverged": self.diverged}

    def _rest(self) -> dict[str, Any]:
        """Return a copy of what the next epoch depends on besides the weights, if checkpoints are written."""
        if not self.checkpoints:
            return {}
        state: dict[str, Any] = {"generator": torch.get_rng_state(), "order": self.rng.bit_generator.state}
        for index, values in self.optimizer.state_dict()["state"].items():
            for key, value in values.items():
                if value is not None:
                    state[f"optimizer.{index}.{key}"] = torch.as_tensor(value).detach().cpu().clone()
        return state

    def load_run_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `run_state_dict` returned."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}

        last = part("last.")
        best = last if state["best_is_last"] else part("best.")
        self.module.load_state_dict(last)
        if not all(bool(tensor.isfinite().all()) for tensor in (*last.values(), *best.values())):
            raise ValueError("the weights are not finite")
        self.rng.bit_generator.state = state["order"]
        torch.set_rng_state(state["generator"])
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("optimizer.").items():
            index, key = name.split(".", 1)
            if tensor.ndim and tensor.shape != weights[int(index)].shape:
                raise ValueError(f"optimizer.{name} has the shape {list(tensor.shape)}")
            moments.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        self.diverged = state.get("diverged")
        self.kept = Kept(state["history"], last, best, self._rest())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return self.optimizer

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradients."""
        clip_gradients((weight for group in optimizer.param_groups for weight in group["params"]), self.options)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of an epoch."""
        return self.loader(self.task.data, self.options.shuffle, self.processes)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return the batches of the validation data."""
        validation = self.task.validation
        return [] if validation is None else self.loader(validation, order_of(self.options.padding), self.processes)

    @functools.cached_property
    def statistics_loader(self) -> DataLoader[Batch]:
        """The batches of the training data for the statistics of BatchNorm layers."""
        return self.loader(self.task.data, "sorted", self.processes)

    def loader(self, data: SequenceDataset, shuffle: Shuffle, processes: Processes = ALONE) -> DataLoader[Batch]:
        """Return the batches of a data set: all rows, or the rows of this process among `processes`."""
        options, workers = self.options, self.options.workers
        # The random numbers of a transform change from epoch to epoch, but not for validation.
        epoch = (lambda: len(self.history)) if data is self.task.data else (lambda: 0)
        clock = self.module.network.signals[self.module.network.outputs[0]].clock
        return DataLoader(
            Batches(data, options.padding, clock, options.seed, processes),
            batch_size=None,  # an item is a whole batch
            sampler=BatchSampler(data, options.batch_size, shuffle, self.rng, epoch),
            num_workers=workers,
            prefetch_factor=options.prefetch if workers else None,
            persistent_workers=workers > 0,
            # A loader draws from its generator. With torch's own, dropout would depend on the loader.
            generator=torch.Generator(),
        )

    def on_fit_start(self) -> None:
        """Write what is known before the first epoch."""
        if not self.kept.last:
            self.kept = Kept([], self._weights(), {}, self._rest())  # kept if the first epoch diverges
        if self.options.threads:
            torch.set_num_threads(self.options.threads)  # lightning divides the cores among processes
        for _, layer in self.module.layers.items():
            layer.synchronized = self.processes.count > 1
        if self.checkpoints:
            self.checkpoints.start(self.module, self.options, self.task.objective.loss.name)

    def ask_to_stop(self, *_: object) -> None:
        """Handle Ctrl-C with several processes: all stop after the same batch. The second Ctrl-C stops at once."""
        if self._asked_to_stop:
            raise KeyboardInterrupt
        self._asked_to_stop = True

    def on_train_epoch_start(self) -> None:
        """Set the learning rate, and the layers that are frozen."""
        if self.processes.rank:
            # Dropout must differ between processes, and must repeat when a run resumes.
            seed = np.random.SeedSequence((self.options.seed, len(self.history), self.processes.rank))
            torch.manual_seed(int(seed.generate_state(1)[0]))
        self._train_metrics = Metrics(self.task.objective, self.processes)
        self._validation_metrics = Metrics(self.task.objective, self.processes, keep_outputs=True)
        self._epoch_start = time.perf_counter()
        self._rate = rate_at(self.options, len(self.history), self.history, self.task.monitor)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * group["factor"]
        if self.options.batch_norm_statistics == "exact":
            restart_statistics(self.module)
        for name in frozen_layers(self.options):
            self.module.layers[name].eval()  # running means of a frozen layer do not change either

    def training_step(self, batch: Batch, index: int) -> None:
        """Update the weights: once, or after each chunk if sequences are split."""
        chunk, logits = self.options.padding.chunk, self.task.objective.wants_logits
        parts = forward_in_chunks(self.module, batch, chunk, logits) if chunk else [self._forward(batch)]
        for y, target in parts:
            losses = self._train_metrics.add(y, target)
            count, stop = self.processes.sums([len(losses), self._asked_to_stop])
            if stop:
                self.interrupted = self.trainer.should_stop = True
                return
            if not count:
                continue  # no sequence ends in this chunk, and targets are for whole sequences
            # The sum over the rows of all processes divided by their count. Processes average their gradients.
            loss = losses.sum() * (self.processes.count / count)
            self.optimizer.zero_grad()
            self.manual_backward(loss)
            cast(LightningOptimizer, self.optimizers()).step()

    def on_validation_start(self) -> None:
        """Give the BatchNorm layers the statistics that belong to the weights, as they will be in the file."""
        if self._validates() and self.options.batch_norm_statistics == "exact":
            batches = self.statistics_loader
            refresh_statistics(self.module, batches, self.processes.device, frozen_layers(self.options))

    def _validates(self) -> bool:
        epoch = len(self.history) + 1
        return (epoch % self.options.validation_every == 0 or epoch == self.options.epochs) and not self.interrupted

    def validation_step(self, batch: Batch, index: int) -> None:
        """Measure a batch of validation data, in the epochs that validate."""
        if self._validates():
            self._validation_metrics.add(*self._forward(batch))

    def _forward(self, batch: Batch) -> Outputs:
        return forward_whole(self.module, batch, self.task.objective.wants_logits)

    def on_train_epoch_end(self) -> None:
        """Add a row to the history, and keep the weights."""
        if self.interrupted:
            return
        row = {"epoch": float(len(self.history) + 1)} | self._train_metrics.compute()
        row |= self._validation_metrics.compute("validation_")
        row |= {"learning_rate": self._rate, "seconds": time.perf_counter() - self._epoch_start}
        weights = self._weights()
        is_finite = math.isfinite(row["loss"]) and all(bool(tensor.isfinite().all()) for tensor in weights.values())
        (failed,) = self.processes.sums([not is_finite])  # if one process stopped alone, the others would wait forever
        if failed:
            self.diverged, self.trainer.should_stop = row, True
            return
        history = [*self.history, row]
        best = weights if self.task.monitor.is_best(history) else self.kept.best
        self.kept = Kept(history, weights, best, self._rest())
        self._show(row)
        if self.trainer.callbacks or self.trainer.loggers:  # type: ignore[attr-defined]
            self.log_dict(row | {"step": row["epoch"]})  # lightning's name for the position on the axis
        if out_of_patience(self.history, self.options.patience, self.task.monitor):
            self.trainer.should_stop = True
        if self.checkpoints:
            self.checkpoints.write(self.history, self.run_state_dict)

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}

    @torch.no_grad()
    def measure(self, data: SequenceDataset, device: torch.device | str) -> Metrics:
        """Measure the module as it is now on all rows of a data set."""
        self.module.eval().to(device)
        metrics = Metrics(self.task.objective, keep_outputs=True)
        for batch in self.loader(data, order_of(self.options.padding)):
            metrics.add(*self._forward(batch.to(device)))
        return metrics
