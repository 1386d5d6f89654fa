"""The losses and the metrics. Each is one object that holds everything that depends on its choice.

To add one, write its `Loss` or `Metric` and add it to `LOSSES` or `METRICS`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torchmetrics.functional import classification, regression

from seq2onnx.errors import SpecError
from seq2onnx.evaluation.quantiles import QUANTILES, check_quantiles
from seq2onnx.layers import Layer, Sigmoid, Softmax

LossFunction = Callable[[Tensor, Tensor], Tensor]
CROSSING = 5.0
"""The cost of a crossing of two quantiles: five times what the pinball loss can gain from it."""


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
        metrics: the names in `METRICS` that are always measured on the validation data.
        quantiles: what the columns of y are, if the loss is that of quantiles: all of them for the first number of the
            target, then for the next.
    """

    name: str
    function: LossFunction
    targets: Literal["labels", "numbers", "any"] = "any"
    end: type[Layer] | None = None
    target_range: tuple[float, float] | None = None
    correct: Callable[[Tensor, Tensor], Tensor] | None = None
    metrics: tuple[str, ...] = ()
    quantiles: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number that tells how good the outputs are.

    Attributes:
        function: gives it from all outputs [n, k] and targets [n] or [n, k] of the validation data. The outputs are
            what the loss takes.
        targets: "labels", "several labels" (at once, each 0 or 1) or "numbers": the targets that it can measure.
        largest: whether the largest is the best.
        least: the fewest rows or steps that it needs.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    targets: tuple[Literal["labels", "several labels", "numbers"], ...]
    largest: bool = True
    least: int = 1


def crossentropy(y: Tensor, target: Tensor) -> Tensor:
    """−log of the probability of the true class; y [n, classes] are logits, target [n]."""
    return torch.nn.functional.cross_entropy(y, target, reduction="none")


def mse(y: Tensor, target: Tensor) -> Tensor:
    """Squared error, averaged over the k numbers of each row."""
    return (y - target.reshape(y.shape)).square().mean(-1)


def mae(y: Tensor, target: Tensor) -> Tensor:
    """Absolute error, averaged over the k numbers of each row."""
    return (y - target.reshape(y.shape)).abs().mean(-1)


def huber(y: Tensor, target: Tensor) -> Tensor:
    """Half the squared error up to an error of 1, and from there |error| − 1/2; averaged over the k numbers."""
    return torch.nn.functional.huber_loss(y, target.reshape(y.shape), reduction="none").mean(-1)


def bce(y: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the k labels; y [n, k] are logits."""
    target = target.reshape(y.shape)
    return torch.nn.functional.binary_cross_entropy_with_logits(y, target, reduction="none").mean(-1)


def pinball(y: Tensor, target: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Pinball loss, averaged over the quantiles and the numbers of a target, and a cost for quantiles that cross.

        max(q · (target − y), (q − 1) · (target − y)) is least where y is the quantile q of the target

    Where a quantile is above the next one, the difference costs `CROSSING` times as much. Sorting such quantiles never
    makes the pinball loss larger, so the cost does not move the best y.
    """
    y = y.reshape(len(y), y.shape[1] // len(quantiles), len(quantiles))
    error = target.reshape(*y.shape[:2], 1) - y
    q = y.new_tensor(quantiles)
    losses = torch.maximum(q * error, (q - 1) * error).sum(-1)
    crossings = (y[..., :-1] - y[..., 1:]).clamp(min=0).sum(-1)
    return ((losses + CROSSING * crossings) / len(quantiles)).mean(-1)


def quantile_loss(quantiles: Sequence[float] = QUANTILES) -> Loss:
    """Return the loss of some quantiles; raise SpecError unless they are increasing numbers between 0 and 1."""
    levels = check_quantiles(quantiles)
    return Loss("quantile", functools.partial(pinball, quantiles=levels), "numbers", quantiles=levels)


def _correct_classes(y: Tensor, target: Tensor) -> Tensor:
    return (y.argmax(-1) == target).sum()


def _correct_labels(y: Tensor, target: Tensor) -> Tensor:
    """Each row counts by the share of its labels that are correct."""
    return ((y > 0) == (target.reshape(y.shape) > 0.5)).float().mean(-1).sum()


def _accuracy(y: Tensor, target: Tensor) -> Tensor:
    correct = _correct_labels if target.is_floating_point() else _correct_classes
    return correct(y, target) / len(y)


def _macro(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of torchmetrics, averaged over the classes."""
    of_classes, of_labels = (getattr(classification, f"{kind}_{name}") for kind in ("multiclass", "multilabel"))

    def measure(y: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():  # several labels at once
            return of_labels((y > 0).int(), target.reshape(y.shape).int(), y.shape[1])  # type: ignore[no-any-return]
        return of_classes(y, target, y.shape[1], average="macro")  # type: ignore[no-any-return]

    return measure


def _of_numbers(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Let a function of torchmetrics take [n] and [n, k]."""
    return lambda y, target: function(y.reshape(len(y), -1), target.reshape(len(target), -1))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, ("labels", "several labels")),
    "f1": Metric(_macro("f1_score"), ("labels", "several labels")),
    "precision": Metric(_macro("precision"), ("labels", "several labels")),
    "recall": Metric(_macro("recall"), ("labels", "several labels")),
    "rmse": Metric(
        _of_numbers(functools.partial(regression.mean_squared_error, squared=False)), ("numbers",), False, least=2
    ),
    "mae": Metric(_of_numbers(regression.mean_absolute_error), ("numbers",), False, least=2),
    "r2": Metric(_of_numbers(regression.r2_score), ("numbers",), least=2),
}

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("crossentropy", crossentropy, "labels", Softmax, correct=_correct_classes, metrics=("f1",)),
        Loss("mse", mse, "numbers", metrics=("rmse", "mae", "r2")),
        Loss("mae", mae, "numbers", metrics=("rmse", "mae", "r2")),
        Loss("huber", huber, "numbers", metrics=("rmse", "mae", "r2")),
        Loss("bce", bce, "numbers", Sigmoid, target_range=(0, 1), correct=_correct_labels),
        quantile_loss(),
    )
}


def find_loss(given: str | LossFunction | None, has_labels: bool, quantiles: Sequence[float] | None = None) -> Loss:
    """Return the loss of this name, or make one from a user's function; None: labels or numbers decide."""
    if not isinstance(given, str | None) and not callable(given):
        raise SpecError(
            f"loss: must be one of {', '.join(LOSSES)} or a function, got {type(given).__name__}; give the arguments "
            "after validation by name: options=…"
        )
    if quantiles is not None:
        if given != "quantile":
            raise SpecError(f'quantiles: belong to loss="quantile", got loss={given!r}')
        return quantile_loss(quantiles)
    if callable(given):
        return Loss(f"function {getattr(given, '__name__', type(given).__name__)}", given)
    name = given or ("crossentropy" if has_labels else "mse")
    if name not in LOSSES:
        raise SpecError(f"loss: must be one of {', '.join(LOSSES)} or a function, got {given!r}")
    return LOSSES[name]
