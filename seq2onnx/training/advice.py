"""Advice after training: what its history and its data say that the last figures hide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seq2onnx.building.module import SequenceModule
from seq2onnx.data.targets import count_labels
from seq2onnx.training.history import History
from seq2onnx.training.task import Task

FEWEST_EPOCHS = 10
"""Epochs below which a history says nothing."""
WORSE = 1.1
"""How much larger than the smallest the last validation loss is, where the best epoch was an earlier one."""
FALL = 0.1
"""How much of the loss the last tenth of the epochs must have taken away to say that it still falls."""
RISES, CHANGE = 0.5, 0.05
"""If the training loss has risen half as much as it fell, all epochs together, and changes by more than 5 % from epoch
to epoch, the learning rate is too high: the rates that learn best have 0 to 0.3."""
RARE = 0.9
"""The share of the most frequent class from which on accuracy hides the others."""
MOST_FOR_A_NUMBER = 10
"""Weights for each number of the training data: networks with fewer do well in the tutorials."""
LARGE_TARGETS = 30.0
"""Mean or deviation of targets from which on they should be normalized."""


def advise(task: Task, module: SequenceModule, history: History) -> Iterator[tuple[str, str]]:
    """Yield the id and a text for each advice that holds.

    Args:
        task: the training run.
        module: the trained module.
        history: a row for each epoch.
    """
    yield from _of_history(task, history)
    yield from _of_targets(task, history)
    weights = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    numbers = int(np.sum(task.data.lengths)) * sum(int(np.prod(part.shape)) or 1 for part in task.data.parts.values())
    if weights > MOST_FOR_A_NUMBER * numbers:
        yield (
            "larger-than-its-data",
            f"the network has {weights:,} weights, and the training data {numbers:,} numbers; a smaller network may do "
            "better",
        )


def _of_history(task: Task, history: History) -> Iterator[tuple[str, str]]:
    if len(history) < FEWEST_EPOCHS:
        return
    trained = np.array([row["loss"] for row in history])
    changes = np.diff(trained)
    rises, falls = changes[changes > 0].sum(), -changes[changes < 0].sum()
    if rises > RISES * falls and np.median(np.abs(changes)) > CHANGE * np.median(np.abs(trained)):
        yield (
            "learning-rate-too-high",
            f"the training loss rises and falls: it was {trained[0]:.4g} in the first epoch, {trained.min():.4g} in "
            f"the best and {trained[-1]:.4g} in the last. Give a lower learning_rate than "
            f"{task.options.learning_rate:g}",
        )
        return
    measured = [(int(row["epoch"]), row["validation_loss"]) for row in history if "validation_loss" in row]
    if measured and task.options.keep == "last":
        epoch, best = min(measured, key=lambda pair: pair[1])
        last = measured[-1][1]
        if best > 0 and last > WORSE * best and epoch <= len(history) / 2:
            yield (
                "best-was-earlier",
                f"the validation loss was smallest in epoch {epoch} of {len(history)}, {best:.4g}, and is {last:.4g} "
                'now; keep="best" keeps the weights of that epoch',
            )
            return
    losses = [pair[1] for pair in measured] or [row["loss"] for row in history]
    before = losses[: -max(1, len(losses) // 10)]
    if task.options.patience is None and before and 0 < losses[-1] < (1 - FALL) * min(before):
        yield "still-improving", f"the loss was still falling in the last of {len(history)} epochs; give more epochs"


def _of_targets(task: Task, history: History) -> Iterator[tuple[str, str]]:
    targets = task.data.targets
    if task.data.classes is not None and targets is not None:
        counts = count_labels(targets, len(task.data.classes))
        share, name = counts.max() / max(counts.sum(), 1), task.data.classes[int(counts.argmax())]
        if share >= RARE and np.count_nonzero(counts) > 1:
            yield (
                "rare-classes",
                f"{share:.1%} of the targets are {name!r}, so a high accuracy says little; look at f1, or give "
                'class_weights="balanced"',
            )
    elif isinstance(targets, np.ndarray) and task.objective.scale is None and history:
        known = targets[np.isfinite(targets)]
        size = max(abs(float(known.mean())), float(known.std())) if known.size else 0.0
        is_plain = task.objective.loss.name in ("mse", "mae", "huber")
        if is_plain and size > LARGE_TARGETS and not any(layer.kind == "rescale" for layer in task.network.layers):
            yield (
                "targets-not-normalized",
                f"the targets have the mean {known.mean():.4g} and the deviation {known.std():.4g}, to which a network "
                "takes long; give normalize_targets=True",
            )
