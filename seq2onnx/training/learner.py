"""Learner: a module with its objective, optimizer and data, as lightning wants them together."""

from __future__ import annotations

import math
import time
import warnings
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seq2onnx.data import SequenceDataset, Shuffle
from seq2onnx.training.answers import answers, answers_in_chunks
from seq2onnx.training.batching import Batch, BatchOrder, Collate
from seq2onnx.training.losses import Objective
from seq2onnx.training.module import SequenceModule
from seq2onnx.training.optimization import History, clip_gradients, make_optimizer, rate_at
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.processes import Processes
from seq2onnx.training.progress import Progress
from seq2onnx.training.run_folder import Checkpoints


class _AsDrawn:
    """What the order draws is what the loader makes a batch of."""

    def __getitem__(self, drawn: Any) -> Any:
        return drawn


class Learner(lightning.LightningModule):
    """Trains a module; after each epoch `history` has a row more, and `last` the weights.

    `best` are those with the lowest validation loss so far, empty without validation data.

    Every process has one, draws the same batches, takes its share of their rows, and comes to the same rows of history.
    """

    progress: Progress
    listened_to = False
    """Whether there are callbacks or loggers that want each epoch's row."""
    interrupted = False
    """Ctrl-C ended training within an epoch."""
    broken = False
    """Loss or weights were no numbers after an epoch, which is not kept."""

    def __init__(
        self,
        module: SequenceModule,
        objective: Objective,
        options: TrainingOptions,
        data: SequenceDataset,
        validation: SequenceDataset | None,
        checkpoints: Checkpoints | None,
        processes: Processes,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # lightning's own way costs more calls a batch than a small network
        self.module = module
        self.objective = objective
        self.options = options
        self.data = data
        self.validation = validation
        self.checkpoints = checkpoints
        self.processes = processes
        self.history: History = []
        self.last: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.rng = np.random.default_rng(options.seed)
        self.optimizer = make_optimizer(module, options)
        self._asked_to_stop = False
        self._sums: dict[str, Tensor | float] = {}
        self._seen: list[tuple[Tensor, Tensor]] = []
        if checkpoints and checkpoints.resume:
            checkpoints.read_into(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        clip_gradients(trained, self.options)

    def train_dataloader(self) -> DataLoader[Batch]:
        return self.loader(self.data, self.options.shuffle, self.processes)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        return [] if self.validation is None else self.loader(self.validation, "sorted", self.processes)

    def loader(self, data: SequenceDataset, shuffle: Shuffle, processes: Processes) -> DataLoader[Batch]:
        """The batches of a data set, this process's share of the rows of each; their order is drawn here."""
        options, workers = self.options, self.options.workers
        # What is drawn for a transform differs from epoch to epoch of training, and not of validation.
        epoch = (lambda: len(self.history)) if data is self.data else (lambda: 0)
        order = BatchOrder(data, options.batch_size, shuffle, self.rng, epoch)
        clock = self.module.network.signals[self.module.network.outputs[0]].clock
        return DataLoader(
            cast(Dataset[Batch], _AsDrawn()),
            batch_sampler=order,
            collate_fn=Collate(data, options.padding, clock, options.seed, processes.rank, processes.count),
            num_workers=workers,
            prefetch_factor=options.prefetch if workers else None,
            persistent_workers=workers > 0,
            # A generator of its own: loading draws from torch's otherwise, and dropout would depend on it.
            generator=torch.Generator(),
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        return batch.to(device)

    def on_fit_start(self) -> None:
        self.module_at_start = self._weights()
        if self.options.threads:
            torch.set_num_threads(self.options.threads)  # lightning shares the cores out among processes
        for _, layer in self.module.layers.items():
            layer.synchronized = self.processes.count > 1
        if self.checkpoints:
            self.checkpoints.start(self.module, self.options, self.objective.name)

    def ask_to_stop(self, *_: object) -> None:
        """Ctrl-C where there are several processes: all stop after the same batch. The second time at once."""
        if self._asked_to_stop:
            raise KeyboardInterrupt
        self._asked_to_stop = True

    def on_train_epoch_start(self) -> None:
        if self.processes.rank:
            # Dropout must differ from the first process's, and be the same again when a run is resumed.
            seed = np.random.SeedSequence((self.options.seed, len(self.history), self.processes.rank))
            torch.manual_seed(int(seed.generate_state(1)[0]))
        self._sums, self._seen = {}, []
        self._began = time.perf_counter()
        self._rate = rate_at(self.options, len(self.history), self.history)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * group["factor"]
        for name, factor in self.options.learning_rate_factors.items():
            if not factor:
                self.module.layers[name].eval()  # nor do running means of a frozen layer change

    def training_step(self, batch: Batch, index: int) -> None:
        chunk = self.options.padding.chunk
        logits = self.objective.wants_logits
        parts = [self._answers(batch)] if chunk is None else answers_in_chunks(self.module, batch, chunk, logits)
        for y, target in parts:
            losses = self._measure(y, target, "")
            count, stop = self.processes.sums([len(losses), self._asked_to_stop])
            if stop:
                self.interrupted = self.trainer.should_stop = True
                return
            if not count:
                continue  # a chunk in which no sequence ends, and targets are one a sequence
            # Of all processes' rows the sum by the count; gradients are averaged over the processes.
            loss = losses.sum() * (self.processes.count / count)
            self.optimizer.zero_grad()
            self.manual_backward(loss)
            cast(LightningOptimizer, self.optimizers()).step()

    def validation_step(self, batch: Batch, index: int) -> None:
        epoch = len(self.history) + 1
        if (epoch % self.options.validation_every == 0 or epoch == self.options.epochs) and not self.interrupted:
            self._measure(*self._answers(batch), "validation_")

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return answers(self.module, batch, self.objective.wants_logits)

    def judge(self, validation: SequenceDataset) -> tuple[list[int], list[int]]:
        """(true, predicted) class numbers of validation data, of the module as it is now."""
        truth: list[int] = []
        predicted: list[int] = []
        with torch.no_grad():
            for batch in self.loader(validation, "sorted", Processes()):
                y, target = self.objective.valid(*self._answers(cast(Batch, batch)))
                truth += target.tolist()
                predicted += y.argmax(-1).tolist()
        return truth, predicted

    def _measure(self, y: Tensor, target: Tensor, prefix: str) -> Tensor:
        """The losses of answers; sums for the epoch's row on the way."""
        # The loss in float32, where the network computes in 16 bits.
        y, target = self.objective.valid(y.float(), target)
        losses = self.objective(y, target)
        self._add(f"{prefix}loss", losses.detach().sum())
        self._add(f"{prefix}count", float(len(losses)))
        if self.objective.counts_right:
            self._add(f"{prefix}accuracy", self.objective.right(y.detach(), target))
        if prefix:
            self._seen.append((y.detach().cpu(), target.cpu()))
        return losses

    def _add(self, name: str, value: Tensor | float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def _figures(self, processes: Processes) -> dict[str, float]:
        """Means of what `_measure` added up, and metrics."""
        sums = dict(zip(self._sums, processes.sums(list(self._sums.values())), strict=True))
        row: dict[str, float] = {}
        for name, value in sums.items():
            prefix = "validation_" if name.startswith("validation_") else ""
            if not name.endswith("count"):
                row[name] = value / max(sums[f"{prefix}count"], 1.0)
        if self._seen:
            y, target = (processes.gather(torch.cat(parts)) for parts in zip(*self._seen, strict=True))
            row |= {f"validation_{name}": value for name, value in self.objective.metrics(y, target).items()}
        return row

    @torch.no_grad()
    def validation_figures(self, validation: SequenceDataset, device: torch.device | str) -> dict[str, float]:
        """What an epoch's row says of validation data, of the module as it is now."""
        self._sums, self._seen = {}, []
        self.module.eval().to(device)
        for batch in self.loader(validation, "sorted", Processes()):
            self._measure(*self._answers(cast(Batch, batch).to(device)), "validation_")
        return self._figures(Processes())

    def on_train_epoch_end(self) -> None:
        if self.interrupted:
            return
        row = {"epoch": float(len(self.history) + 1)} | self._figures(self.processes)
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
        if self.listened_to:
            self.log_dict(row | {"step": row["epoch"]})  # lightning takes "step" for where on the axis to log
        if out_of_patience(self.options, self.history):
            self.trainer.should_stop = True
        if self.checkpoints:
            self.checkpoints.write(self)

    def on_train_end(self) -> None:
        if self.checkpoints and not (self.interrupted or self.broken):
            self.checkpoints.write(self, last=True)

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}

    def _give_up(self, row: dict[str, float]) -> None:
        """Loss or weights are no longer numbers."""
        self.broken = self.trainer.should_stop = True
        if not self.last:
            self.last = self.module_at_start
        if self.processes.rank:
            return
        warnings.warn(
            f"epoch {int(row['epoch'])}: loss {row['loss']}, and weights that are no numbers; "
            "training stopped, with the weights of the epoch before; try a lower learning_rate, or gradient_clip=1",
            RuntimeWarning,
            stacklevel=2,
        )


def looks_since_best(history: History) -> int:
    """How many looks at the validation data there were since the one with the lowest loss."""
    losses = [row["validation_loss"] for row in history if "validation_loss" in row]
    return len(losses) - 1 - int(np.argmin(np.nan_to_num(losses, nan=np.inf))) if losses else 0


def out_of_patience(options: TrainingOptions, history: History) -> bool:
    """Whether training stops early."""
    return options.patience is not None and looks_since_best(history) >= options.patience
