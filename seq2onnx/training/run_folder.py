"""The run folder: the results of a training run, and the checkpoint from which it resumes."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import yaml
from torch import Tensor

from seq2onnx.building.module import SequenceModule
from seq2onnx.data import SequenceDataset
from seq2onnx.data.columns import Column, InMemory
from seq2onnx.errors import ModelFileError, SpecError
from seq2onnx.files import check_regular_file, locked, remove_left_overs, write_atomically, write_failed
from seq2onnx.training.history import History
from seq2onnx.training.options import TrainingOptions
from seq2onnx.training.run_results import RESULTS, RunResults, read_results

# The least time between two of them, and the largest share of the training time that they may take.
SECONDS_BETWEEN_CHECKPOINTS, SHARE_OF_CHECKPOINTS = 5.0, 0.05
SECONDS_BETWEEN_PICTURES, SHARE_OF_PICTURES = 10.0, 0.02
# Options that may change when a run resumes: apart from rounding, none of them changes the weights of an epoch.
FREE_TO_CHANGE = {"epochs", "progress", "device", "devices", "nodes", "workers", "prefetch", "threads"}


@contextmanager
def locked_run(folder: str | Path) -> Iterator[None]:
    """Make a run folder, and hold its lock: two trainings in it would mix their files.

    The lock, the file `lock`, ends with the process. Where the system has no locks, as on Windows, there is none.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)  # fail now, not after training, if it cannot be written
    except FileExistsError:
        raise SpecError(f"{folder}: is no folder; choose another name for the run") from None
    except OSError as error:
        raise write_failed(error, folder) from None
    if (Path(folder) / "tensorboard").is_symlink():
        raise SpecError(f"{folder}/tensorboard: is a link, which training does not follow; remove it")
    with locked(Path(folder) / "lock") as free:
        if not free:
            raise SpecError(f"{folder}: another process trains in this folder; wait until it ends, or choose another")
        yield


def save_run(
    folder: str | Path,
    module: SequenceModule,
    epochs: int,
    history: History,
    metrics: dict[str, float],
    predictions: tuple[list[int], list[int]] | None,
    advice: Iterable[tuple[str, str]] = (),
) -> None:
    """Write the results: weights.safetensors, metrics.json, history.csv and pictures; see `run_results`.

    The weights are those after `epochs` epochs; with 0, only the history is written. `predictions` are the true and the
    predicted class numbers of the validation data, for confusion.png, and `advice` is id and text of each warning.
    """
    folder = Path(folder)
    if not epochs:  # the first epoch diverged: there are no weights to use
        save_history(folder, history)
        return
    weights = safetensors.torch.save(module.state_dict(), {"epochs": str(epochs)})
    write_atomically(folder / "weights.safetensors", weights)
    write_atomically(folder / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    rows = [{"id": id, "text": text} for id, text in advice]
    write_atomically(folder / "advice.json", (json.dumps(rows, indent=2) + "\n").encode())
    if predictions and module.classes:
        from seq2onnx.plots.confusion import confusion_png

        write_atomically(folder / "confusion.png", confusion_png(*predictions, module.classes))
    save_history(folder, history)


def save_history(folder: Path, history: History) -> None:
    """Write history.csv and its picture, curve.png."""
    from seq2onnx.plots import as_png, training_curve

    table = io.StringIO(newline="")
    columns = list(dict.fromkeys(name for row in history for name in row))
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / "curve.png", as_png(functools.partial(training_curve, history)))
    write_atomically(folder / "history.csv", table.getvalue().encode())


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; raise ValueError if a key is repeated."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has a key twice")
    return found


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def fingerprint(data: SequenceDataset | None) -> str | None:
    """Return a checksum of all sequences, targets and classes of a data set, as text that checkpoints hold."""
    if data is None:
        return None
    checksum = zlib.crc32(repr((data.classes, data.per_step, data.ignore)).encode())
    columns = list(data.parts.values())
    if data.targets is not None:
        columns.append(data.targets if isinstance(data.targets, Column) else InMemory([data.targets]))
    for column in columns:
        checksum = zlib.crc32(str(column.checksum()).encode(), checksum)
    return f"{len(data)} sequences, mark {checksum:08x}"


class _Pace:
    """Limits how often something is done, and its share of the time; `wait`: the seconds before the first time."""

    def __init__(self, seconds: float, share: float, wait: float) -> None:
        self._seconds, self._share, self._next = seconds, share, time.monotonic() + wait

    def is_due(self) -> bool:
        return time.monotonic() >= self._next

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the work, and decide from its duration when it is due again."""
        start = time.monotonic()
        self._next = start + self._seconds  # if the work fails too
        yield
        self._next = start + max(self._seconds, (time.monotonic() - start) / self._share)


class Checkpoints:
    """Writes and reads checkpoint.safetensors of a run folder; writes history.csv and curve.png during training.

    The file holds the tensors of the run's state, and as JSON under the metadata key "run" the rest of it, with the
    options and what else must be the same when the run resumes. Nothing is pickled.

    Args:
        folder: the run folder.
        options: of the run.
        same: values by name that must be equal when the run resumes: network, loss, data.
        resume: read the checkpoint of an earlier run; False deletes it.
        writes: whether this process prepares the folder, and writes. Of several processes only the first does.

    Attributes:
        resume: as given.
        folder: the run folder.
        results: what it had when the run resumed; nothing if it does not resume.

    Raises:
        ModelFileError: there is no checkpoint to resume from.
    """

    def __init__(
        self, folder: str | Path, options: TrainingOptions, same: dict[str, Any], resume: bool, writes: bool
    ) -> None:
        self.resume = resume
        self.folder = Path(folder)
        self._path = self.folder / "checkpoint.safetensors"
        self.results = read_results(self.folder) if resume else RunResults()
        settings = {name: value for name, value in dataclasses.asdict(options).items() if name not in FREE_TO_CHANGE}
        self._identity = json.loads(json.dumps({"options": settings, "same": same}))  # tuples become lists
        self._checkpoint = _Pace(SECONDS_BETWEEN_CHECKPOINTS, SHARE_OF_CHECKPOINTS, wait=0)  # after the first epoch
        self._picture = _Pace(SECONDS_BETWEEN_PICTURES, SHARE_OF_PICTURES, wait=SECONDS_BETWEEN_PICTURES)
        self._epochs_written = 0
        self._has_warned = False
        if writes:
            for name in (self._path.name, "history.csv", "curve.png"):
                remove_left_overs(self.folder / name)
        if resume and not self._path.is_file():
            raise ModelFileError(f"{folder}: has no checkpoint.safetensors to resume from. Train without resume")
        if writes and not resume:
            self._path.unlink(missing_ok=True)
            for events in self.folder.glob("tensorboard/events.out.tfevents.*"):
                events.unlink()

    def start(self, module: SequenceModule, options: TrainingOptions, loss: str) -> None:
        """Write network.yaml and options.yaml, before the first epoch."""
        if not self.resume:  # with weights of an earlier run, these files would be another network or other labels
            for name in RESULTS:
                (self.folder / name).unlink(missing_ok=True)
        module.network.save(self.folder / "network.yaml")
        settings: dict[str, Any] = {"loss": loss, "classes": module.classes, "channels": module.channels}
        if module.quantiles is not None:
            settings["quantiles"] = list(module.quantiles)
        if module.sample_rate is not None:
            settings["sample_rate"] = float(module.sample_rate)
        if module.training_statistics is not None:
            settings["training_statistics"] = module.training_statistics.to_dict()
        settings["options"] = dataclasses.asdict(options)
        write_atomically(self.folder / "options.yaml", yaml.safe_dump(settings, sort_keys=False).encode())

    def write(self, history: History, state_dict: Callable[[], dict[str, Any]], last: bool = False) -> None:
        """Write the checkpoint, and history.csv with curve.png, if they are due; the `last` checkpoint always is.

        They are not due after each epoch: a small network learns an epoch faster than a file is written. If writing
        fails, this warns once, and the next checkpoint is tried when it is due.
        """
        try:
            if last or (len(history) != self._epochs_written and self._checkpoint.is_due()):
                with self._checkpoint.timed():
                    self._write(state_dict())
                self._epochs_written = len(history)
            if self._picture.is_due() and not last and len(history) >= self.results.epochs:
                import matplotlib.figure  # noqa: F401  # its import is not part of the time a picture takes

                with self._picture.timed():
                    save_history(self.folder, history)
        except OSError as error:
            if not self._has_warned or last:
                warnings.warn(
                    f"{error.filename or self.folder}: {(error.strerror or str(error)).lower()}. Make room there. "
                    f"Training continues; the checkpoint of epoch {self._epochs_written} is kept, and the next one is "
                    "tried when it is due",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._has_warned = True

    def _write(self, state: dict[str, Any]) -> None:
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        rest = {name: value for name, value in state.items() if name not in tensors}
        write_atomically(self._path, safetensors.torch.save(tensors, {"run": json.dumps(rest | self._identity)}))

    def read(self) -> dict[str, Any]:
        """Return the state of the run at its last checkpoint; raise SpecError if it is that of another run."""
        try:
            check_regular_file(self._path, links=False)
            with safetensors.safe_open(self._path, "pt") as file:
                state: dict[str, Any] = json.loads(file.metadata()["run"], object_pairs_hook=_without_repeats)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if odd := [name for name, tensor in tensors.items() if tensor.isnan().any()]:
                raise ValueError(f"{odd[0]} has NaN")
            for name, kind in (("history", list), ("order", dict), ("options", dict), ("same", dict)):
                if not isinstance(state[name], kind):
                    raise TypeError(f"{name} is no {kind.__name__}")
            rows = state["history"] + [state[name] for name in ("diverged",) if name in state]
            if not all(isinstance(row, dict) and all(map(_is_number, row.values())) for row in rows):
                raise TypeError("history has other values than numbers")
            if [row["epoch"] for row in state["history"]] != [*range(1, len(state["history"]) + 1)]:
                raise ValueError("history has other epochs than 1, 2, 3 and so on")
            if any(not {"loss", "learning_rate", "seconds"} <= set(row) for row in state["history"]):
                raise ValueError("history has an epoch without loss, learning_rate or seconds")
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError, RuntimeError) as error:
            raise ModelFileError(f"{self._path}: is not a checkpoint, or is incomplete: {error}") from None
        same = state.pop("same")
        for name, given in self._identity["same"].items():
            if (value := same.get(name)) != given and (name in same or name != "channels"):  # version 0.2 has none
                there, here = _first_difference(value, given)
                raise SpecError(
                    f"{self._path}: belongs to a run with another {name}: {there!s:.80} there, {here!s:.80} here"
                )
        for name, value in state.pop("options").items():
            if value != (given := self._identity["options"].get(name)):
                raise SpecError(f"{self._path}: belongs to a run with {name}={value!r:.80}, not {given!r:.80}")
        self._epochs_written = len(state["history"])
        return tensors | state

    def restore(self, load: Callable[[dict[str, Any]], None]) -> None:
        """Give the state of the last checkpoint to a function; raise ModelFileError if it does not fit."""
        state = self.read()
        try:
            load(state)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ModelFileError(f"{self._path}: does not fit this run, or is damaged: {error}") from None


def _first_difference(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the innermost values in which two values of JSON differ, with the names of their fields."""
    if isinstance(a, dict) and isinstance(b, dict) and set(a) == set(b):
        name = next(name for name in a if a[name] != b[name])
        inner = _first_difference(a[name], b[name])
        return inner if isinstance(a[name], dict | list) else (f"{name}={a[name]}", f"{name}={b[name]}")
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next(_first_difference(x, y) for x, y in zip(a, b, strict=True) if x != y)
    return a, b
