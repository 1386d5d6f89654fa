"""The run folder: what a training run leaves, and what it needs to go on after a stop."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import math
import time
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor

from seq2onnx.data import SequenceDataset
from seq2onnx.data.columns import Column, InMemory
from seq2onnx.errors import ModelFileError, SpecError
from seq2onnx.files import write_atomically
from seq2onnx.network import Network
from seq2onnx.training.module import SequenceModule, build
from seq2onnx.training.optimization import History
from seq2onnx.training.options import TrainingOptions

if TYPE_CHECKING:
    from seq2onnx.training.learner import Learner

Judged = tuple[list[int], list[int]]

# Not more often than this, and not more of the time than that.
SECONDS_BETWEEN_CHECKPOINTS, SHARE_OF_CHECKPOINTS = 5.0, 0.05
SECONDS_BETWEEN_PICTURES, SHARE_OF_PICTURES = 10.0, 0.02
# What may differ between a run and its resumption without another result, but for rounding.
FREE_TO_CHANGE = {"epochs", "progress", "device", "devices", "nodes", "workers", "prefetch", "threads"}
FREE_TO_CHANGE |= {"batch_norm_statistics"}  # of what comes after the last epoch


def save_run(
    folder: str | Path, module: SequenceModule, history: History, kept: dict[str, float], judged: Judged | None
) -> None:
    """Write what training gave: weights.safetensors, history.csv, metrics.json and pictures.

    kept: the row of the epoch whose weights these are; judged: (true, predicted) classes of validation data
    """
    folder = Path(folder)
    write_atomically(folder / "weights.safetensors", safetensors.torch.save(module.state_dict()))
    write_atomically(folder / "metrics.json", (json.dumps(kept, indent=2) + "\n").encode())
    save_history(folder, history)
    if judged and module.classes:
        from seq2onnx.plots import as_png, confusion_chart
        from seq2onnx.plots.confusion import confusion_size

        classes = module.classes
        truth, predicted = ([classes[number] for number in numbers] for numbers in judged)
        picture = as_png(functools.partial(confusion_chart, truth, predicted, classes), confusion_size(classes))
        write_atomically(folder / "confusion.png", picture)


def save_history(folder: Path, history: History) -> None:
    """Write history.csv and its picture, curve.png."""
    from seq2onnx.plots import as_png, training_curve

    table = io.StringIO(newline="")
    columns = list(dict.fromkeys(name for row in history for name in row))
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / "history.csv", table.getvalue().encode())
    write_atomically(folder / "curve.png", as_png(functools.partial(training_curve, history)))


def load_run(folder: str | Path) -> SequenceModule:
    """The trained module in a run folder, with the classes of its scores.

    Raises: ModelFileError where a file is missing or does not belong to the others
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise ModelFileError(f"{folder}: is no finished run, it {what}; `seq2onnx train` writes a folder")
    for name in ("network.yaml", "options.yaml", "weights.safetensors"):
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder}: is no finished run, it has no {name}; `seq2onnx train` writes one")
    content = (folder / "weights.safetensors").read_bytes()
    try:
        weights = safetensors.torch.load(content)
        module = build(Network.load(folder / "network.yaml"))
        module.load_state_dict(weights)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{folder}/weights.safetensors: does not fit network.yaml: {error}") from None
    try:
        settings: Any = yaml.safe_load((folder / "options.yaml").read_bytes())
        module.classes, module.policy = settings["classes"], TrainingOptions(**settings["options"]).padding
    except (yaml.YAMLError, TypeError, KeyError, UnicodeDecodeError, SpecError) as error:
        raise ModelFileError(f"{folder}/options.yaml: is not what a training run writes: {error!r}") from None
    return module.eval()


def fingerprint(data: SequenceDataset | None) -> str | None:
    """A mark of all values, targets and classes of a data set."""
    if data is None:
        return None
    mark = zlib.crc32(repr((data.classes, data.per_step, data.ignore)).encode())
    columns = list(data.parts.values())
    if data.targets is not None:
        columns.append(data.targets if isinstance(data.targets, Column) else InMemory([data.targets]))
    for column in columns:
        mark = zlib.crc32(str(column.checksum()).encode(), mark)
    return f"{len(data)} sequences, mark {mark:08x}"


class Checkpoints:
    """checkpoint.safetensors of a run folder: all that the next epoch depends on, written now and then.

    Weights, those with the lowest validation loss, the optimizer's state and torch's generator as tensors;
    history, the order's generator, options, network and marks of the data as JSON. Nothing is pickled.

    Of several processes each has one and reads, the first alone writes.
    """

    def __init__(
        self, folder: str | Path, options: TrainingOptions, same: dict[str, Any], resume: bool, writes: bool
    ) -> None:
        """same: what else must be as it was for a run to go on, by name."""
        self.resume = resume
        self._writes = writes
        self._folder = Path(folder)
        self._path = self._folder / "checkpoint.safetensors"
        self._options = {k: v for k, v in dataclasses.asdict(options).items() if k not in FREE_TO_CHANGE}
        self._same = json.loads(json.dumps(same))
        self._next_checkpoint = -math.inf  # the first epoch is always written
        self._next_picture = time.monotonic() + SECONDS_BETWEEN_PICTURES
        self._epochs_written = 0
        self._has_warned = False
        if writes:
            self._folder.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is known at the start
            for name in (self._path.name, "history.csv", "curve.png"):
                for stale in self._folder.glob(f".{name}.*"):
                    stale.unlink()  # what a killed run was just writing beside
        if resume and not self._path.is_file():
            raise ModelFileError(f"{folder}: has no checkpoint.safetensors to go on from; train without resume")
        if writes and not resume:
            self._path.unlink(missing_ok=True)
            for events in self._folder.glob("tensorboard/events.out.tfevents.*"):
                events.unlink()

    def start(self, module: SequenceModule, options: TrainingOptions, loss: str) -> None:
        """Write what is known before the first epoch: network.yaml and options.yaml."""
        if not self._writes:
            return
        module.network.save(self._folder / "network.yaml")
        settings = {"loss": loss, "classes": module.classes, "options": dataclasses.asdict(options)}
        write_atomically(self._folder / "options.yaml", yaml.safe_dump(settings, sort_keys=False).encode())

    def write(self, learner: Learner, last: bool = False) -> None:
        """Write checkpoint, history.csv and curve.png where it is time to; the checkpoint after the last epoch too.

        Small networks learn an epoch faster than a file is written. What cannot be written is warned of once, and
        tried again when it is due.
        """
        if not self._writes:
            return
        now, epochs = time.monotonic(), len(learner.history)
        try:
            if epochs != self._epochs_written and (last or now >= self._next_checkpoint):
                self._next_checkpoint = now + SECONDS_BETWEEN_CHECKPOINTS
                self._write(learner)
                self._epochs_written = epochs
                cost = time.monotonic() - now
                self._next_checkpoint = now + max(SECONDS_BETWEEN_CHECKPOINTS, cost / SHARE_OF_CHECKPOINTS)
            if now >= self._next_picture and not last:
                import matplotlib.figure  # noqa: F401  # what loading it costs would be paid at the end too

                now = time.monotonic()
                self._next_picture = now + SECONDS_BETWEEN_PICTURES
                save_history(self._folder, learner.history)
                cost = time.monotonic() - now
                self._next_picture = now + max(SECONDS_BETWEEN_PICTURES, cost / SHARE_OF_PICTURES)
        except OSError as error:
            if not self._has_warned or last:
                warnings.warn(
                    f"{error.filename or self._folder}: {(error.strerror or str(error)).lower()}; make room there. "
                    f"Training goes on; the checkpoint of epoch {self._epochs_written} stays, and the next is tried "
                    "in its time",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._has_warned = True

    def _write(self, learner: Learner) -> None:
        tensors = {f"last.{name}": tensor for name, tensor in learner.last.items()}
        if learner.best is not learner.last:
            tensors |= {f"best.{name}": tensor for name, tensor in learner.best.items()}
        for index, state in learner.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:
                    tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).detach().cpu().clone()
        tensors["generator"] = torch.get_rng_state()
        about = {
            "history": learner.history,
            "order": learner.rng.bit_generator.state,
            "options": self._options,
            "same": self._same,
            "best_is_last": learner.best is learner.last,
        }
        write_atomically(self._path, safetensors.torch.save(tensors, {"run": json.dumps(about)}))

    def read_into(self, learner: Learner) -> None:
        """Set a learner to where the run stood."""
        try:
            with safetensors.safe_open(self._path, "pt") as file:
                about = json.loads(file.metadata()["run"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelFileError(f"{self._path}: is not a checkpoint, or not all of one: {error}") from None
        for name, value in about["same"].items():
            if value != self._same[name]:
                raise SpecError(
                    f"{self._path}: is of a run with another {name}: {value!s:.200} "
                    f"there, not {self._same[name]!s:.200}"
                )
        options = json.loads(json.dumps(self._options))
        for name, value in about["options"].items():
            if options.get(name) != value:
                raise SpecError(f"{self._path}: is of a run with {name}={value!r}, not {options.get(name)!r}")

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        learner.history = about["history"]
        self._epochs_written = len(learner.history)
        learner.last = part("last.")
        learner.best = learner.last if about["best_is_last"] else part("best.")
        learner.module.load_state_dict(learner.last)
        learner.rng.bit_generator.state = about["order"]
        torch.set_rng_state(tensors["generator"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        learner.optimizer.load_state_dict(learner.optimizer.state_dict() | {"state": state})
