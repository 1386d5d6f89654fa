"""Lightning's trainer: how this package makes it, silences it, runs it and stops it."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import pytorch_lightning as lightning
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy

from seq2onnx.errors import MissingExtra, SpecError
from seq2onnx.training.batch_statistics import end_training
from seq2onnx.training.learner import Learner
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.task import Task


@final
class TensorBoardLog(TensorBoardLogger):
    """A log for TensorBoard. If it cannot be written, as on a full disk, this warns once, and training continues."""

    _is_broken = False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write a row of the history."""
        self._try(super().log_metrics, metrics, step)

    def save(self) -> None:
        """Write what is not yet written."""
        self._try(super().save)

    def finalize(self, status: str) -> None:
        """End the log."""
        self._try(super().finalize, status)

    def _try(self, write: Callable[..., None], *arguments: Any) -> None:
        if self._is_broken:
            return
        try:
            write(*arguments)
        except OSError as error:
            self._is_broken = True
            reason = (error.strerror or str(error)).lower()
            warnings.warn(
                f"{self.log_dir}: {reason}. Make room there. Training continues without the log of TensorBoard; "
                "history.csv has the same rows",
                RuntimeWarning,
                stacklevel=2,
            )


def make_trainer(
    task: Task,
    run_dir: str | Path | None,
    callbacks: Iterable[lightning.Callback],
    logger: Logger | Iterable[Logger] | bool | None,
) -> lightning.Trainer:
    """Return lightning's trainer; see `train` for the callbacks and the logger.

    Raises:
        SpecError: the options do not fit each other or this machine.
        MissingExtra: torch has no CUDA device.
    """
    options = task.options
    accelerator, count = _accelerator(options), options.devices * options.nodes
    if accelerator == "cpu" and options.precision == "16-mixed":
        raise SpecError("options.precision: 16-mixed needs a CUDA device. On the CPU use bf16-mixed")
    if accelerator == "gpu" and options.devices > torch.cuda.device_count():
        raise SpecError(
            f"options.devices: torch has {torch.cuda.device_count()} CUDA devices, got {options.devices}. Use fewer, "
            "or device=cpu"
        )
    started = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if count == 1 < started:
        raise SpecError(f"options.devices: torchrun started {started} processes here. Set devices={started}")
    strategy: Any = "auto"
    if count > 1:
        if sys.argv[0] in ("", "-c") and "LOCAL_RANK" not in os.environ:
            raise SpecError(
                f"options.devices: {options.devices} processes start by running the script again, but this is not a "
                "script. Put it into a file, or start it with torchrun"
            )
        # A process whose rows are all too short for a window has no gradients for the weights after it.
        shortest = int(task.data.lengths.min())
        steps = [signal.clock.length(shortest) for signal in task.network.signals.values() if signal.has_time]
        strategy = DDPStrategy(find_unused_parameters=min(steps) < 1, broadcast_buffers=False)
    callbacks = list(callbacks)
    if logger is None and run_dir is not None and importlib.util.find_spec("tensorboard"):
        logger = TensorBoardLog(run_dir, name="", version="tensorboard")
    try:
        return lightning.Trainer(
            max_epochs=options.epochs,
            accelerator=accelerator,
            strategy=strategy,
            devices=options.devices,
            num_nodes=options.nodes,
            precision=options.precision,
            use_distributed_sampler=False,  # each Learner takes its own rows
            callbacks=callbacks,
            logger=logger or False,  # lightning makes a logger of None
            default_root_dir=run_dir,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise SpecError(f"train: lightning refuses these options: {error}") from None


def fit(trainer: lightning.Trainer, learner: Learner) -> None:
    """Run the remaining epochs, of which there is one at least. Ctrl-C ends them early, after the first."""
    trainer.fit_loop.max_epochs = learner.options.epochs - len(learner.history)
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    if in_main and trainer.world_size > 1:
        # If one process stopped alone, the others would wait for it forever.
        signal.signal(signal.SIGINT, learner.ask_to_stop)
    try:
        trainer.fit(learner)
    except SystemExit as stop:  # lightning turns Ctrl-C into this, and ignores the signal from then on
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        learner.interrupted = True
    except BaseException:
        if trainer.strategy.launcher is not None:  # end the processes that lightning has started too
            trainer.strategy.launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
        end_training(learner.module)
        for _, layer in learner.module.layers.items():
            layer.synchronized = False
    if learner.checkpoints and (learner.history or learner.diverged):
        learner.checkpoints.write(learner.history, learner.run_state_dict, last=True)
    if learner.interrupted:
        if not learner.history:
            raise KeyboardInterrupt
        if trainer.is_global_zero:
            epochs = f"{len(learner.history)} of {learner.options.epochs} epochs"
            goes_on = "; the same call with resume=True (--resume) goes on" if learner.checkpoints else ""
            warnings.warn(f"training was stopped after {epochs}, which are kept{goes_on}", stacklevel=3)


def _accelerator(options: TrainingOptions) -> str:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise MissingExtra("device 'cuda': torch has no CUDA device here. Use device='cpu', or install torch for CUDA")
    return "gpu" if options.device != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence lightning's notices about choices that are intended here: no workers, no logger, a short epoch."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
