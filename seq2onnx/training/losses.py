"""The losses. Each is one object that holds everything that depends on the choice of the loss.

To add one, write its `Loss` and add it to `LOSSES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torchmetrics.functional import classification, regression

from seq2onnx.errors import SpecError
from seq2onnx.layers import Layer, Sigmoid, Softmax

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss and everything that depends on it.

    All functions take (y [n, k], target [n] or [n, k]); n counts the rows, or with targets per step the steps, whose
    target is not ignored.

    Attributes:
        name: `train(..., loss=name)` selects the loss, and the run folder records the name.
        function: gives one loss for each row or step, [n].
        targets: "labels" or "numbers"; `train` then checks the targets and the size of the network's output. "any":
            it checks neither.
        end: the layer that the network must end with. y is then the input of this layer: the logits. None: any layer,
            and y is its output.
        target_range: the smallest and the largest target allowed. None: there is no limit.
        correct: counts the correct rows or steps, for the accuracy. None: there is no accuracy.
        metrics: gives further metrics, by name, over all rows or steps of the validation data. None: there are none.
    """

    name: str
    function: LossFunction
    targets: Literal["labels", "numbers", "any"] = "any"
    end: type[Layer] | None = None
    target_range: tuple[float, float] | None = None
    correct: Callable[[Tensor, Tensor], Tensor] | None = None
    metrics: Callable[[Tensor, Tensor], dict[str, float]] | None = None


def crossentropy(y: Tensor, target: Tensor) -> Tensor:
    """−log of the probability of the true class; y [n, classes] are logits, target [n]."""
    return torch.nn.functional.cross_entropy(y, target, reduction="none")


def mse(y: Tensor, target: Tensor) -> Tensor:
    """Squared error, averaged over the k numbers of each row."""
    return (y - target.reshape(y.shape)).square().mean(-1)


def bce(y: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the k labels; y [n, k] are logits."""
    target = target.reshape(y.shape)
    return torch.nn.functional.binary_cross_entropy_with_logits(y, target, reduction="none").mean(-1)


def _correct_classes(y: Tensor, target: Tensor) -> Tensor:
    return (y.argmax(-1) == target).sum()


def _correct_labels(y: Tensor, target: Tensor) -> Tensor:
    """Each row counts by the share of its labels that are correct."""
    return ((y > 0) == (target.reshape(y.shape) > 0.5)).float().mean(-1).sum()


def _f1(y: Tensor, target: Tensor) -> dict[str, float]:
    return {"f1": float(classification.multiclass_f1_score(y, target, num_classes=y.shape[1], average="macro"))}


def _regression_metrics(y: Tensor, target: Tensor) -> dict[str, float]:
    if len(y) < 2:
        return {}
    y, target = y.reshape(len(y), -1), target.reshape(len(target), -1)
    return {
        "rmse": float(regression.mean_squared_error(y, target, squared=False)),
        "mae": float(regression.mean_absolute_error(y, target)),
        "r2": float(regression.r2_score(y, target)),
    }


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("crossentropy", crossentropy, "labels", Softmax, correct=_correct_classes, metrics=_f1),
        Loss("mse", mse, "numbers", metrics=_regression_metrics),
        Loss("bce", bce, "numbers", Sigmoid, target_range=(0, 1), correct=_correct_labels),
    )
}


def find_loss(given: str | LossFunction | None, has_labels: bool) -> Loss:
    """Return the loss of this name, or make one from a user's function.

    Args:
        given: a name in `LOSSES`, a function, or None for the default.
        has_labels: whether the targets are labels, which decides the default.

    Raises:
        SpecError: there is no loss of this name.
    """
    if callable(given):
        return Loss(f"function {getattr(given, '__name__', type(given).__name__)}", given)
    name = given or ("crossentropy" if has_labels else "mse")
    if name not in LOSSES:
        raise SpecError(f"loss: must be one of {', '.join(LOSSES)} or a function, got {given!r}")
    return LOSSES[name]
