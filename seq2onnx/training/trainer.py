"""train: a network learns from a data set, on pytorch-lightning."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seq2onnx.data import SequenceDataset, Shuffle
from seq2onnx.errors import DataError, MissingExtra, ShapeError, SpecError
from seq2onnx.network import Network
from seq2onnx.training.batching import Batch, BatchOrder, collate
from seq2onnx.training.losses import Loss, LossFunction, check_targets, crossentropy
from seq2onnx.training.module import SequenceModule, build, check_sequences, with_statistics
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.progress import Progress
from seq2onnx.training.run_folder import save_run

History = list[dict[str, float]]
"""A row for each epoch; see `train`."""


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What training gives: the module, and a row for each epoch (epoch, loss, …)."""

    module: SequenceModule
    history: History

    def __repr__(self) -> str:
        last = {name: round(value, 4) for name, value in (self.history[-1] if self.history else {}).items()}
        return f"TrainingResult({self.module.network.name or 'network'}, {len(self.history)} epochs, last {last})"


def train(
    network: Network | SequenceModule,
    data: SequenceDataset,
    validation: SequenceDataset | None = None,
    loss: Loss | None = None,
    *,
    options: TrainingOptions | None = None,
    run_dir: str | Path | None = None,
) -> TrainingResult:
    """Train a network, or go on with a module, on `data`.

    Args:
        network: a Network, which gets fresh weights and its statistics from `data`; or a module, which is
            trained on from where it is, itself, and keeps its classes and statistics
        data: sequences and targets
        validation: looked at after each epoch, never learned from; labels are numbered as in `data`
        loss: "crossentropy" (labels; computed from what goes into the final Softmax), "mse" (numbers), or a
            function (y [n, k], target [n] or [n, k]) -> [n], of the valid rows or steps; None: by the targets
        options: see TrainingOptions
        run_dir: a folder for network.yaml, weights.safetensors, history.csv and options.yaml; files of another run
            there are replaced
    Returns: a TrainingResult: `module` in evaluation mode; `history`, for each epoch epoch, loss,
        learning_rate, seconds, with labels accuracy, and with validation data validation_loss (and
        validation_accuracy)
    Raises: DataError, ShapeError, SpecError, saying what does not go together
    Example: >>> result = train(net, data, options=TrainingOptions(epochs=60))
    """
    options = options or TrainingOptions()
    if not isinstance(network, Network | SequenceModule):
        raise SpecError(f"train: expected a Network or a module from build, got {type(network).__name__}")
    for name, given, kind in (
        ("data", data, SequenceDataset),
        ("validation", validation, SequenceDataset | None),
        ("options", options, TrainingOptions),
    ):
        if not isinstance(given, kind):
            raise DataError(f"{name}: expected a {kind}, got {type(given).__name__}")
    module = network if isinstance(network, SequenceModule) else None
    spec = network.network if isinstance(network, SequenceModule) else network
    if module is not None and module.classes is not None and data.classes is not None:
        data = data.with_classes(module.classes)  # what a score stands for stays
    loss = loss or ("mse" if data.classes is None else "crossentropy")
    function = check_targets(spec, data, loss)
    check_sequences(spec, data)
    if validation is not None:
        try:
            if data.classes is not None:
                validation = validation.with_classes(data.classes)
            check_targets(spec, validation, loss)
            check_sequences(spec, validation)
        except (DataError, ShapeError) as error:
            raise type(error)(f"validation: {error}") from None
    if run_dir is not None:
        Path(run_dir).mkdir(parents=True, exist_ok=True)  # a place that cannot be written is known at the start
    if module is None:
        spec = with_statistics(spec, data)
    else:
        module.take_statistics(data)
    # What the caller draws from torch's generator stays as it would have been.
    with torch.random.fork_rng(), _threads(options.threads), _quiet():
        torch.manual_seed(options.seed)
        module = module or build(spec)
        learner = Learner(module, function, options, data, validation)
        with Progress(options.epochs, options.progress) as progress:
            learner.progress = progress
            trainer = lightning.Trainer(
                max_epochs=options.epochs,
                accelerator=_accelerator(options),
                devices=1,
                gradient_clip_val=options.gradient_clip,
                gradient_clip_algorithm="norm" if options.gradient_clip else None,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            trainer.fit(learner)
    module.eval().cpu()
    module.classes = data.classes
    if run_dir is not None:
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", "function")
        save_run(run_dir, module, learner.history, options, name)
    return TrainingResult(module, learner.history)


class Learner(lightning.LightningModule):
    """A SequenceModule with its loss, optimizer and data, as lightning wants them together."""

    progress: Progress

    def __init__(
        self,
        module: SequenceModule,
        loss: LossFunction,
        options: TrainingOptions,
        data: SequenceDataset,
        validation: SequenceDataset | None,
    ) -> None:
        super().__init__()
        self.module = module
        self.loss = loss
        self.options = options
        self.data = data
        self.validation = validation
        self.history: History = []
        self._rng = np.random.default_rng(options.seed)
        self._sums: dict[str, Tensor | float] = {}

    def train_dataloader(self) -> DataLoader[int]:
        return self._loader(self.data, self.options.shuffle)

    def val_dataloader(self) -> DataLoader[int] | list[Any]:
        return [] if self.validation is None else self._loader(self.validation, "sorted")

    def _loader(self, data: SequenceDataset, shuffle: Shuffle) -> DataLoader[int]:
        order = BatchOrder(data, self.options.batch_size, shuffle, self._rng)
        indices = cast(Dataset[int], range(len(data)))
        return DataLoader(
            indices, batch_sampler=order, collate_fn=functools.partial(collate, data), generator=torch.Generator()
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        x = batch.x
        moved = {k: v.to(device) for k, v in x.items()} if isinstance(x, dict) else x.to(device)
        return Batch(moved, batch.lengths.to(device), batch.target.to(device))

    def on_train_epoch_start(self) -> None:
        self._sums = {}
        self._began = time.perf_counter()
        self._rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: Batch, index: int) -> Tensor:
        return self._measure(batch, "")

    def validation_step(self, batch: Batch, index: int) -> None:
        self._measure(batch, "validation_")

    def _measure(self, batch: Batch, prefix: str) -> Tensor:
        """The loss of a batch, the mean over its valid rows or steps; sums for the epoch's row on the way."""
        y, y_lengths, _ = self.module(batch.x, batch.lengths, logits=self.loss is crossentropy, return_state=False)
        if y_lengths is not None:
            # The valid steps of all rows, one after another, as the targets are.
            y = y[torch.arange(y.shape[1], device=y.device) < y_lengths[:, None]]
        losses = self.loss(y, batch.target)
        if losses.shape != (len(y),):
            raise ShapeError(
                f"loss: expected one number for each of {len(y)} rows or steps, [{len(y)}], got {list(losses.shape)}; "
                "leave the mean to train, and mind that y is [n, k] where the target may be [n]"
            )
        self._add(f"{prefix}loss", losses.detach().sum())
        self._add(f"{prefix}count", float(len(losses)))
        if self.loss is crossentropy:
            self._add(f"{prefix}accuracy", (y.detach().argmax(-1) == batch.target).sum())
        return losses.mean()

    def _add(self, name: str, value: Tensor | float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def on_train_epoch_end(self) -> None:
        row = {"epoch": float(self.current_epoch + 1)}
        for name, value in self._sums.items():
            prefix = "validation_" if name.startswith("validation_") else ""
            if not name.endswith("count"):
                row[name] = float(value) / float(self._sums[f"{prefix}count"])
        row["learning_rate"] = self._rate
        row["seconds"] = time.perf_counter() - self._began
        self.history.append(row)
        self.progress.update(row)

    def configure_optimizers(self) -> Any:
        options, groups = self.options, _parameter_groups(self.module, self.options.l2)
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(groups, options.learning_rate)
            if options.optimizer == "adam"
            else torch.optim.SGD(groups, options.learning_rate, momentum=0.9)
        )
        if options.schedule == "cosine":
            schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
        elif options.schedule == "piecewise":
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, options.drop_every, options.drop_factor)
        else:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def _parameter_groups(module: SequenceModule, l2: float) -> list[dict[str, Any]]:
    """Parameters with and without L2, as each layer's weights say."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for layer in module.network.layers:
        for name, weight in layer.weights(*module.network.signals_into(layer.label)).items():
            if weight.trainable:
                groups[weight.decay].append(module.layers[layer.label].get_parameter(name))
    return [{"params": groups[decay], "weight_decay": l2 if decay else 0.0} for decay in (True, False) if groups[decay]]


def _accelerator(options: TrainingOptions) -> str:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise MissingExtra(
            "device 'cuda': torch sees no CUDA device here; use device='cpu', or install a CUDA build of torch"
        )
    return "gpu" if options.device != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without lightning's notices: what they say (no workers, no logger, a short epoch) is as we want it."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning.*")
            warnings.filterwarnings("ignore", module="lightning_fabric.*")
            yield
    finally:
        logger.setLevel(level)
