"""train: a network learns from a data set, on pytorch-lightning."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers import Logger

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.layers import BatchNorm
from seq2onnx.layers.module import steps_there
from seq2onnx.network import Network
from seq2onnx.sequences import chunk
from seq2onnx.training.batch_statistics import set_exact_statistics
from seq2onnx.training.batching import collate
from seq2onnx.training.fitting import fit, make_trainer, quiet
from seq2onnx.training.learner import Learner, looks_since_best
from seq2onnx.training.losses import Loss, Objective, make_objective, with_rescale
from seq2onnx.training.module import SequenceModule, build, check_sequences, with_statistics
from seq2onnx.training.optimization import History
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.processes import Processes
from seq2onnx.training.progress import Progress
from seq2onnx.training.run_folder import Checkpoints, fingerprint, save_run


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What training gives: the module, a row for each epoch (epoch, loss, …), and this process's number, from 0."""

    module: SequenceModule
    history: History
    rank: int = 0

    def __repr__(self) -> str:
        last = {name: round(value, 4) for name, value in (self.history[-1] if self.history else {}).items()}
        return f"TrainingResult({self.module.network.name or 'network'}, {len(self.history)} epochs, last {last})"


def train(
    network: Network | SequenceModule,
    data: SequenceDataset,
    validation: SequenceDataset | float | None = None,
    loss: Loss | None = None,
    normalize_targets: bool = False,
    options: TrainingOptions | None = None,
    run_dir: str | Path | None = None,
    *,
    resume: bool = False,
    callbacks: Iterable[lightning.Callback] = (),
    logger: Logger | Iterable[Logger] | bool | None = None,
) -> TrainingResult:
    """Train a network, or go on with a module, on `data`.

    Args:
        network: a Network, which gets fresh weights and its statistics from `data`; or a module, which is
            trained on from where it is, itself, and keeps its classes and statistics
        data: sequences and targets
        validation: looked at after each epoch, never learned from, its labels numbered as in `data`; or the
            share of `data` to set aside for it, at random
        loss: "crossentropy" (labels; computed from what goes into the final Softmax), "mse" (numbers), "bce"
            (0 or 1 for each of several labels at once; from what goes into the final Sigmoid), or a
            function (y [n, k], target [n] or [n, k]) -> [n], of the valid rows or steps; None: by the targets
        normalize_targets: learn numbers with mean 0 and deviation 1; the network ends with their inverse, a
            Rescale layer, so that module, file and metrics are in the unit of the targets
        options: see TrainingOptions
        run_dir: a folder for network.yaml, options.yaml, weights.safetensors, history.csv, metrics.json,
            curve.png, with validation labels confusion.png, and checkpoint.safetensors; files of another run
            there are replaced. Checkpoint, history and curve are written now and then as training goes; a
            checkpoint that cannot be written, on a full disk say, is warned of and tried again
        resume: go on with the run in run_dir, from its last checkpoint, to the same weights as without a stop
        callbacks: of lightning, such as EarlyStopping("validation_loss"); each epoch's row of `history` is logged,
            and its columns are the names to monitor
        logger: of lightning, one or several, which get the same rows; None: TensorBoard in run_dir, where there is
            one and tensorboard is installed; False: none
    Returns: a TrainingResult: `module` in evaluation mode; `history`, for each epoch epoch, loss,
        learning_rate, seconds, with labels accuracy, and with validation data validation_loss and
        validation_accuracy, validation_f1 (macro), or validation_rmse, validation_mae, validation_r2.
        On Ctrl-C, and where the loss is no longer a number, what was learned up to the epoch before.
    Raises: DataError, ShapeError, SpecError, saying what does not go together; ModelFileError (nothing to resume);
        OSError where run_dir cannot be written at the end: its `result` is what would have been returned
    Example: >>> result = train(net, data, options=TrainingOptions(epochs=60))
    """
    options = options or TrainingOptions()
    _check_types(network, data, validation, options)
    if isinstance(validation, float):
        data, validation = _split(data, validation, options.seed)
    module = network if isinstance(network, SequenceModule) else None
    spec = network.network if isinstance(network, SequenceModule) else network
    if module is not None and module.classes is not None and data.classes is not None:
        data = data.with_classes(module.classes)  # what a score stands for stays
    check_sequences(spec, data)
    if normalize_targets:
        spec = with_rescale(spec, data, module is not None)
    objective = make_objective(spec, data, loss, options.class_weights, normalize_targets)
    if validation is not None:
        validation = _checked_validation(spec, validation, data, objective)
    if resume and run_dir is None:
        raise SpecError("resume: needs the run_dir of the run to go on with")
    if module is None:
        spec = with_statistics(spec, data)
    else:
        module.take_statistics(data)
        spec = module.network
    with quiet():
        trainer = make_trainer(spec, data, options, run_dir, callbacks, logger)
    processes = Processes(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
    is_first = processes.rank == 0
    checkpoints = None
    if run_dir is not None:
        same = {"network": spec.to_dict(), "loss": objective.name, "normalize_targets": normalize_targets}
        same |= {"data": fingerprint(data), "validation": fingerprint(validation)}
        checkpoints = Checkpoints(run_dir, options, same, resume, is_first)

    # What the caller draws from torch's generator stays as it would have been.
    with torch.random.fork_rng(), _threads(options.threads), quiet():
        torch.manual_seed(options.seed)
        module = module or build(spec)
        module.classes = data.classes
        learner = Learner(module, objective, options, data, validation, checkpoints, processes)
        with Progress(options.epochs, options.progress and is_first) as progress:
            learner.progress = progress
            fit(trainer, learner, options)
        keeps_best = options.keep == "best" and bool(learner.best)
        module.load_state_dict(learner.best if keeps_best else learner.last)
        measured = _finish(learner, options) if learner.history else {}
    module.eval().cpu()
    result = TrainingResult(module, learner.history, processes.rank)
    if run_dir is not None and learner.history and is_first:
        looked = [row for row in learner.history if "validation_loss" in row]
        kept = looked[-1 - looks_since_best(learner.history)] if keeps_best else learner.history[-1]
        try:
            save_run(run_dir, module, learner.history, kept | measured, judge(module, objective, validation))
        except OSError as error:
            reason = f"{error.strerror}, so the run is not saved; make room there and resume from its last checkpoint"
            raised = OSError(error.errno, reason, error.filename)
            raised.result = result  # type: ignore[attr-defined]
            raise raised from error
    return result


def _finish(learner: Learner, options: TrainingOptions) -> dict[str, float]:
    """Exact statistics of BatchNorm layers, where wanted; and what is then to be said of the validation data."""
    kinds = {type(layer) for layer in learner.module.network.layers}
    if options.batch_norm_statistics == "running" or BatchNorm not in kinds:
        return {}
    frozen = [name for name, factor in options.learning_rate_factors.items() if not factor]
    device, alone = learner.processes.device, Processes()  # each process by itself: all come to the same
    set_exact_statistics(learner.module, lambda: learner.loader(learner.data, "sorted", alone), device, frozen)
    return {} if learner.validation is None else learner.validation_figures(learner.validation, device)


def _check_types(network: object, data: object, validation: object, options: object) -> None:
    """Duck typing would go wrong far from here: sequences for a data set, a dict for options."""
    if not isinstance(network, Network | SequenceModule):
        raise SpecError(f"train: expected a Network or a module from build, got {type(network).__name__}")
    for name, given in (("data", data), ("validation", validation)):
        if not isinstance(given, SequenceDataset) and (name == "data" or not isinstance(given, float | None)):
            raise DataError(f"{name}: expected a SequenceDataset, got {type(given).__name__}")
    if not isinstance(options, TrainingOptions):
        raise SpecError(f"options: expected TrainingOptions(…), got {type(options).__name__}")


def _split(data: SequenceDataset, share: float, seed: int) -> tuple[SequenceDataset, SequenceDataset]:
    """(for training, for validation), at random."""
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise DataError(f"validation: a share of {share} of {len(data)} sequences leaves none on one of the sides")
    order = np.random.default_rng(seed).permutation(len(data))
    return data.subset(np.sort(order[count:])), data.subset(np.sort(order[:count]))


def _checked_validation(
    network: Network, validation: SequenceDataset, data: SequenceDataset, objective: Objective
) -> SequenceDataset:
    try:
        if data.classes is not None:
            validation = validation.with_classes(data.classes)
        objective.check(network, validation)
        check_sequences(network, validation)
    except (DataError, ShapeError) as error:
        raise type(error)(f"validation: {error}") from None
    return validation


def judge(
    module: SequenceModule, objective: Objective, validation: SequenceDataset | None
) -> tuple[list[int], list[int]] | None:
    """(true, predicted) class numbers of the validation data, where there are any."""
    if validation is None or objective.name != "crossentropy":
        return None
    truth: list[int] = []
    predicted: list[int] = []
    with torch.no_grad():
        for indices in chunk(np.argsort(validation.lengths, kind="stable"), 64):
            batch = collate(validation, indices)
            y, y_lengths, _ = module(batch.x, batch.lengths, return_state=False)
            if y_lengths is not None:
                y = y[steps_there(y, y_lengths)]
            y, target = objective.valid(y, batch.target)
            truth += target.tolist()
            predicted += y.argmax(-1).tolist()
    return truth, predicted


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
