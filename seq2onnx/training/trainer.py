"""train: a network learns from a data set, with pytorch-lightning."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers import Logger

from seq2onnx.building import SequenceModule, build
from seq2onnx.building.matching import training_statistics
from seq2onnx.data import SequenceDataset
from seq2onnx.errors import SpecError, warn
from seq2onnx.network import Network
from seq2onnx.sequences import DataInfo
from seq2onnx.training.advice import advise
from seq2onnx.training.baseline import Baseline, feature_module, fit_baseline, has_baseline, seasonal_naive
from seq2onnx.training.batch_dataset import order_of
from seq2onnx.training.batch_statistics import has_batch_norm, set_exact_statistics
from seq2onnx.training.epoch_progress import epoch_progress
from seq2onnx.training.fitting import fit, make_trainer, quiet
from seq2onnx.training.forward import forward_whole
from seq2onnx.training.history import History, row_of_kept_weights
from seq2onnx.training.learner import Learner
from seq2onnx.training.losses import LossFunction
from seq2onnx.training.objective import valid_rows
from seq2onnx.training.optimization import frozen_layers
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.processes import Processes
from seq2onnx.training.result import RunNotSaved, TrainingResult
from seq2onnx.training.run_folder import Checkpoints, locked_run, save_run
from seq2onnx.training.run_results import RunResults, load_results
from seq2onnx.training.task import Task, prepare

_REMEDIES = (
    'Try a lower learning_rate, gradient_clip=1, an input with normalization="zscore", or for large targets '
    "normalize_targets"
)


def train(
    network: Network | SequenceModule,
    data: SequenceDataset,
    validation: SequenceDataset | float | None = None,
    loss: str | LossFunction | None = None,
    normalize_targets: bool = False,
    options: TrainingOptions | None = None,
    run_dir: str | Path | None = None,
    *,
    quantiles: Sequence[float] | None = None,
    resume: bool = False,
    callbacks: Iterable[lightning.Callback] = (),
    logger: Logger | Iterable[Logger] | bool | None = None,
) -> TrainingResult:
    """Train a network, or train a module further.

    On Ctrl-C, or if the loss or the weights are no longer finite (`result.diverged`), training ends with the weights of
    the epoch before.

    Each row of `history` has epoch, loss, learning_rate and seconds; with labels accuracy; and with validation data
    validation_loss with validation_accuracy and validation_f1 (macro), or with validation_rmse, validation_mae and
    validation_r2, and what `TrainingOptions.metrics` adds.

    Every sequence starts from the initial states of the recurrent layers. These are zeros, and are learned only with
    `start="learned"`.

    Args:
        network: a Network gets new weights, and its statistics from `data`. A module is trained further, in place, and
            keeps its classes and statistics.
        data: sequences and targets.
        validation: a data set that is measured after each epoch and not trained on, with labels in any order; or
            the share of `data` to set aside for it, at random.
        loss: "crossentropy" (for labels, on the input of the final Softmax); for numbers "mse", "mae" (outliers count
            less) or "huber" (as mse up to an error of 1, and as mae from there); "quantile" (see `quantiles`); "bce"
            (for several labels at once, each 0 or 1, on the input of the final Sigmoid); or a function (y [n, k],
            target [n] or [n, k]) -> [n] of the valid rows or steps. None: the targets decide between crossentropy and
            mse.
        normalize_targets: learn numbers with mean 0 and standard deviation 1. A Rescale layer at the end of the
            network undoes this, so that module, file and metrics are in the unit of the targets.
        options: how to train.
        run_dir: a folder for network.yaml, options.yaml, weights.safetensors, history.csv, metrics.json, curve.png,
            advice.json, confusion.png (with validation labels) and checkpoint.safetensors. Files of another run there
            are replaced. Checkpoint, history and curve are written during training too. If a checkpoint cannot be
            written, for example on a full disk, there is a warning, and the next one is tried later.
        quantiles: with loss="quantile", which quantiles of the target the columns of the output are, increasing numbers
            between 0 and 1. The network has one output for each; if a target has several numbers, such as those of a
            horizon, all quantiles of the first number come first. None: those of the module, or 0.05, 0.5 and 0.95.
            Before export, `calibrate_quantiles` makes them right for new data.
        resume: continue the run in run_dir from its last checkpoint. The final weights are those of an uninterrupted
            run. They never replace weights of more epochs. If nothing is left to do, a warning says so, the files stay
            as they are, and the result is theirs.
        callbacks: lightning callbacks, such as EarlyStopping("validation_loss"). Each row of `history` is logged; its
            columns are the names to monitor.
        logger: one or several lightning loggers, which get the same rows. None: TensorBoard in run_dir, if there is a
            run_dir and tensorboard is installed. False: none.

    Returns:
        The trained module, and its history.

    Raises:
        DataError: the data does not fit the network or the loss, or has NaN or infinity.
        ShapeError: the sizes of the network and the data differ.
        SpecError: the network, the options or the loss do not fit together; or another process trains in run_dir.
        ModelFileError: there is no checkpoint to resume from.
        OSError: run_dir cannot be written. If this happens after training, the error has the attribute `result`: what
            `train` would have returned.

    Example:
        >>> result = train(net, data, options=TrainingOptions(epochs=60))
    """
    if resume and run_dir is None:
        raise SpecError("resume: needs the run_dir of the run to continue")
    task = prepare(network, data, validation, loss, normalize_targets, options or TrainingOptions(), quantiles)
    with quiet():
        trainer = make_trainer(task, run_dir, callbacks, logger)
    processes = Processes(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
    is_first = processes.rank == 0
    # Of several processes only the first writes, so only it has the lock.
    with locked_run(run_dir) if run_dir is not None and is_first else nullcontext():
        checkpoints = None
        if run_dir is not None:
            checkpoints = Checkpoints(run_dir, task.options, task.identity(), resume, writes=is_first)

        learner, history, metrics = _run(task, trainer, processes, checkpoints)
        coverage = None
        if task.objective.loss.quantiles and learner.history:
            measured = task.data if task.validation is None else task.validation
            coverage = learner.measure(measured, "cpu").coverage()
        if metrics and coverage and task.validation is not None:
            metrics = metrics | {f"validation_coverage_of_{b.low:g}_to_{b.high:g}": b.covered for b in coverage.bands}
            metrics["validation_crossings"] = coverage.crossings

        baseline = None
        if metrics and task.options.baseline and processes.count == 1 and has_baseline(task):
            baseline = _baseline(task, processes, metrics)
            metrics = metrics | {f"baseline_{baseline.metric}": baseline.value}
            if task.options.progress:
                print(baseline, file=sys.stderr, flush=True)
        is_right = metrics and learner.diverged is None
        advice = (*task.leaks, *(advise(task, learner.module, learner.history) if is_right else ()))
        result = TrainingResult(
            learner.module, history, processes.rank, coverage, learner.diverged is not None, baseline, advice
        )
        if run_dir is not None and metrics is not None and is_first:
            _save(run_dir, result, metrics, learner)
    if is_first:
        for id, text in result.advice[len(task.leaks) :]:
            warn(id, text, stacklevel=3)
    return result


def _run(
    task: Task, trainer: lightning.Trainer, processes: Processes, checkpoints: Checkpoints | None
) -> tuple[Learner, History, dict[str, float] | None]:
    """Train, and return the learner, whose module has the weights to keep.

    The history has the row of an epoch that diverged, too. The metrics are those of the weights. None: there is nothing
    to write, as the run folder has the same results, or those of more epochs.
    """
    options = task.options
    is_first = processes.rank == 0
    progress = epoch_progress(options.epochs, options.progress and is_first)
    # The caller's random numbers from torch stay what they would have been.
    with torch.random.fork_rng(), _threads(options.threads), quiet(), progress as show:
        torch.manual_seed(options.seed)
        module = task.module or build(task.network)
        module.data_info = DataInfo(
            classes=task.data.classes,
            quantiles=task.objective.loss.quantiles,
            channels=task.channels,
            policy=options.padding,
            sample_rate=task.data.sample_rate or module.sample_rate,
            training_statistics=training_statistics(task.network, task.data),
        )
        learner = Learner(task, module, processes, checkpoints if is_first else None, show)
        if checkpoints and checkpoints.resume:
            checkpoints.restore(learner.load_run_state_dict)
            if _is_complete(learner, checkpoints.results):
                module.load_state_dict(learner.kept.last)
                history = load_results(checkpoints.folder, module) or learner.rows
                if len(history) > checkpoints.results.epochs:
                    learner.diverged = history[-1]
                if is_first:
                    _tell_that_nothing_is_left(learner, checkpoints)
                module.eval().cpu()
                return learner, history, None
        if learner.has_ended:  # a killed run, which has not written all of its results
            processes = learner.processes = dataclasses.replace(processes, count=1)  # each calculates them alone
        else:
            fit(trainer, learner)
        if learner.diverged is not None and is_first:
            _tell_that_it_diverged(learner)
        kept = learner.kept
        module.load_state_dict(kept.best if options.keep == "best" and kept.best else kept.last)
        metrics = row_of_kept_weights(learner.history, options.keep, task.monitor)
        if metrics and options.batch_norm_statistics == "exact" and has_batch_norm(module.network):
            set_exact_statistics(module, learner.statistics_loader, frozen_layers(options), processes)
            if task.validation is not None:
                metrics = metrics | learner.measure(task.validation, processes.device).compute("validation_")
    module.eval().cpu()
    if checkpoints and checkpoints.results.epochs > len(learner.history):
        if is_first:
            warnings.warn(
                f"{checkpoints.folder}: still has the results of {checkpoints.results.epochs} epochs, as training has "
                f"come to {len(learner.history)} only; continue it with resume",
                stacklevel=3,
            )
        return learner, learner.rows, None
    return learner, learner.rows, metrics


def _baseline(task: Task, processes: Processes, metrics: dict[str, float]) -> Baseline:
    """Fit the baseline of a task, and measure it as the network was."""
    task = dataclasses.replace(task, options=dataclasses.replace(task.options, learning_rate_factors={}))
    with torch.random.fork_rng(), _threads(task.options.threads), quiet():
        features = feature_module(task)
        learner = Learner(dataclasses.replace(task, module=features), features, processes, None, lambda row: None)
        batches = learner.loader(task.data, order_of(task.options.padding))
        module = fit_baseline(task, features, (valid_rows(*forward_whole(features, batch, False)) for batch in batches))
        metric = "accuracy" if task.data.classes is not None else "rmse"
        modules = {"ridge" if task.data.classes is None else "logistic regression": module}
        if task.data.classes is None and task.data.per_step and (naive := seasonal_naive(task)) is not None:
            modules["seasonal naive"] = naive
        values = {}
        for kind, module in modules.items():
            learner = Learner(dataclasses.replace(task, module=module), module, processes, None, lambda row: None)
            assert task.validation is not None
            values[kind] = learner.measure(task.validation, "cpu").compute()[metric]
    best: Any = min(values, key=values.__getitem__)  # one, or numbers with an error
    return Baseline(best, metric, values[best], metrics[f"validation_{metric}"], modules[best].eval())


def _is_complete(learner: Learner, results: RunResults) -> bool:
    """Return whether nothing is left to do: the run folder has the results of this run, or of as many epochs."""
    if results.epochs > len(learner.history):  # there was no room for the last checkpoint
        return learner.has_ended or learner.options.epochs <= results.epochs
    kept = row_of_kept_weights(learner.history, learner.options.keep, learner.task.monitor).get("epoch")
    return learner.has_ended and results == RunResults(len(learner.history), len(learner.rows), kept)


def _tell_that_nothing_is_left(learner: Learner, checkpoints: Checkpoints) -> None:
    epochs, wanted = checkpoints.results.epochs, learner.options.epochs
    if learner.diverged is not None:
        category: type[Warning] = RuntimeWarning
        reason = f"the run has diverged in epoch {int(learner.diverged['epoch'])}; {_REMEDIES}, in a new run"
    elif wanted <= epochs:
        category, reason = UserWarning, f"the run has {epochs} epochs, and epochs={wanted} asks for no more"
    else:
        category, reason = UserWarning, f"the run has stopped after {epochs} epochs, as its patience says"
    warnings.warn(
        f"{checkpoints.folder}: nothing is left to do, and its files stay as they are: {reason}", category, stacklevel=4
    )


def _tell_that_it_diverged(learner: Learner) -> None:
    assert learner.diverged is not None
    kept = "the weights of the epoch before are kept" if learner.history else "no epoch is kept: nothing is learned"
    warnings.warn(
        f"epoch {int(learner.diverged['epoch'])}: the loss ({learner.diverged['loss']}) or the weights are not finite; "
        f"training stopped, and {kept}. {_REMEDIES}",
        RuntimeWarning,
        stacklevel=4,
    )


def _save(run_dir: str | Path, result: TrainingResult, metrics: dict[str, float], learner: Learner) -> None:
    validation, predictions = learner.task.validation, None
    if learner.history and validation is not None and learner.task.objective.loss.targets == "labels":
        predictions = learner.measure(validation, "cpu").predicted_classes()
    try:
        save_run(run_dir, result.module, len(learner.history), result.history, metrics, predictions, result.advice)
    except OSError as error:
        raise RunNotSaved(error, result) from error


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set the number of torch's threads, and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
