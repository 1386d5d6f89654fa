"""Lightning's trainer as this package runs it: made, told to be quiet, and stopped."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import MissingExtra, SpecError
from seq2onnx.network import Network
from seq2onnx.training.learner import Learner, out_of_patience
from seq2onnx.training.options import TrainingOptions


def make_trainer(
    network: Network,
    data: SequenceDataset,
    options: TrainingOptions,
    run_dir: str | Path | None,
    callbacks: Iterable[lightning.Callback],
    logger: Logger | Iterable[Logger] | bool | None,
) -> lightning.Trainer:
    """Lightning's trainer: on which devices, in how many processes, in what precision, and who is told."""
    accelerator, count = _accelerator(options), options.devices * options.nodes
    if accelerator == "cpu" and options.precision == "16-mixed":
        raise SpecError("options.precision: 16-mixed needs a CUDA device; on the CPU there is bf16-mixed")
    if accelerator == "gpu" and options.devices > torch.cuda.device_count():
        raise SpecError(
            f"options.devices: {options.devices}, torch sees {torch.cuda.device_count()} here; use fewer, or device=cpu"
        )
    started = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if count == 1 < started:
        raise SpecError(f"options.devices: torchrun started {started} processes here; set devices={started}")
    strategy: Any = "auto"
    if count > 1:
        if sys.argv[0] in ("", "-c") and "LOCAL_RANK" not in os.environ:
            raise SpecError(
                f"options.devices: {options.devices} processes are started by running the script again, and this is no "
                "script; put it into a file, or start it with torchrun"
            )
        # Rows too short for a window leave a process without steps, and the weights after it out of its gradients.
        steps = [each.clock.length(int(data.lengths.min())) for each in network.signals.values() if each.has_time]
        strategy = DDPStrategy(find_unused_parameters=min(steps) < 1, broadcast_buffers=False)
    callbacks = list(callbacks)
    if logger is None:
        logger = _tensorboard(run_dir)
    try:
        return lightning.Trainer(
            max_epochs=options.epochs,
            accelerator=accelerator,
            strategy=strategy,
            devices=options.devices,
            num_nodes=options.nodes,
            precision=options.precision,
            use_distributed_sampler=False,  # the Learner shares the rows out itself
            callbacks=callbacks,
            logger=logger,
            default_root_dir=run_dir,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise SpecError(f"train: lightning refuses these options: {error}") from None


def _tensorboard(run_dir: str | Path | None) -> Logger | bool:
    """Lightning's logger for TensorBoard, into run_dir/tensorboard, where it is installed."""
    if run_dir is None or not importlib.util.find_spec("tensorboard"):
        return False
    return TensorBoardLogger(run_dir, name="", version="tensorboard")


def fit(trainer: lightning.Trainer, learner: Learner, options: TrainingOptions) -> None:
    """Run what epochs are left; Ctrl-C ends them early, once one has been learned."""
    left = options.epochs - len(learner.history)
    if left <= 0 or out_of_patience(options, learner.history):
        return
    trainer.fit_loop.max_epochs = left
    learner.listened_to = bool(trainer.callbacks or trainer.loggers)  # type: ignore[attr-defined]
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    if in_main and trainer.world_size > 1:
        # One process that stops by itself would leave the others waiting for it.
        signal.signal(signal.SIGINT, learner.ask_to_stop)
    try:
        trainer.fit(learner)
    except SystemExit as stop:  # what lightning makes of Ctrl-C, after it has told the signal to be ignored
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        learner.interrupted = True
    except BaseException:
        if trainer.strategy.launcher is not None:  # nor are those to wait that lightning has started
            trainer.strategy.launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
        for _, layer in learner.module.layers.items():
            layer.synchronized = False
    if learner.interrupted:
        if not learner.history:
            raise KeyboardInterrupt
        if trainer.is_global_zero:
            warnings.warn(
                f"training was stopped after {len(learner.history)} epochs; what they learned is kept", stacklevel=3
            )


def _accelerator(options: TrainingOptions) -> str:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise MissingExtra(
            "device 'cuda': torch sees no CUDA device here; use device='cpu', or install a CUDA build of torch"
        )
    return "gpu" if options.device != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def quiet() -> Iterator[None]:
    """Without lightning's notices: what they say (no workers, no logger, a short epoch) is as we want it."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning.*")
            warnings.filterwarnings("ignore", module="lightning_fabric.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
