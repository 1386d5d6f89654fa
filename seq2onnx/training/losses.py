"""What is minimized: the losses, and the objective that brings network, targets and loss together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seq2onnx.data import SequenceDataset
from seq2onnx.data.columns import Column
from seq2onnx.data.targets import target_statistics
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.layers import Layer, Rescale, Sigmoid, Softmax
from seq2onnx.network import Network

LossFunction = Callable[[Tensor, Tensor], Tensor]
Loss = str | LossFunction
ClassWeights = Mapping[str | int, float] | Literal["balanced"] | None


def crossentropy(y: Tensor, target: Tensor) -> Tensor:
    """−log of the probability of the right class; y [n, classes] before the Softmax, target [n] -> [n]."""
    return torch.nn.functional.cross_entropy(y, target, reduction="none")


def mse(y: Tensor, target: Tensor) -> Tensor:
    """Squared error, the mean over the numbers of a row; y [n, k], target [n] or [n, k] -> [n]."""
    return (y - target.reshape(y.shape)).square().mean(-1)


def bce(y: Tensor, target: Tensor) -> Tensor:
    """−log of the probability of each label's truth, the mean over labels; y [n, k] before the Sigmoid -> [n]."""
    target = target.reshape(y.shape)
    return torch.nn.functional.binary_cross_entropy_with_logits(y, target, reduction="none").mean(-1)


LOSSES: dict[str, LossFunction] = {"crossentropy": crossentropy, "mse": mse, "bce": bce}
# What a network must end with, so that the loss can be computed from what goes into it.
ENDS: dict[str, type[Layer]] = {"crossentropy": Softmax, "bce": Sigmoid}


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss on the rows or steps that count: `objective(y, target)` -> [n].

    name: of the loss; class_weights: a factor for each class, or None;
    scale, offset: the loss sees (y − offset) / scale and the same of the target
    """

    name: str
    function: LossFunction
    class_weights: Tensor | None = None
    scale: Tensor | None = None
    offset: Tensor | None = None

    @property
    def wants_logits(self) -> bool:
        """Whether y is what goes into the final Softmax or Sigmoid."""
        return self.name in ENDS

    @property
    def counts_right(self) -> bool:
        """Whether there are labels to be right about."""
        return self.name in ENDS

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        if self.scale is not None and self.offset is not None:
            scale, offset = self.scale.to(y), self.offset.to(y)
            y, target = (y - offset) / scale, (target.reshape(y.shape) - offset) / scale
        losses = self.function(y, target)
        if losses.shape != (len(y),):
            raise ShapeError(
                f"loss: expected one number for each of {len(y)} rows or steps, [{len(y)}], got {list(losses.shape)}; "
                "leave the mean to train, and mind that y is [n, k] where the target may be [n]"
            )
        return losses if self.class_weights is None else losses * self.class_weights.to(y)[target]

    def valid(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The rows whose target counts: not those that the data set ignores, −1 or NaN."""
        if not target.is_floating_point():
            keep = target >= 0
        else:
            keep = ~(target.isnan() if target.ndim == 1 else target.isnan().flatten(1).any(1))
        return (y, target) if bool(keep.all()) else (y[keep], target[keep])

    def right(self, y: Tensor, target: Tensor) -> Tensor:
        """How many rows are right; of several labels at once the share of each row."""
        if self.name == "bce":
            return ((y > 0) == (target.reshape(y.shape) > 0.5)).float().mean(-1).sum()
        return (y.argmax(-1) == target).sum()

    def metrics(self, y: Tensor, target: Tensor) -> dict[str, float]:
        """What is said of validation data besides loss and accuracy."""
        from torchmetrics.functional import classification, regression

        if self.name == "crossentropy":
            found = classification.multiclass_f1_score(y, target, num_classes=y.shape[1], average="macro")
            return {"f1": float(found)}
        if self.name != "mse" or len(y) < 2:
            return {}
        y, target = y.reshape(len(y), -1), target.reshape(len(target), -1)
        return {
            "rmse": float(regression.mean_squared_error(y, target, squared=False)),
            "mae": float(regression.mean_absolute_error(y, target)),
            "r2": float(regression.r2_score(y, target)),
        }

    def check(self, network: Network, data: SequenceDataset) -> None:
        """Raise where network, targets and loss do not go together."""
        output = network.outputs[0]
        signal = network.signals[output]
        if data.targets is None:
            raise DataError("targets: the data set has none, and training needs them")
        _check_per_step(network, data)
        if self.name == "crossentropy":
            if data.classes is None:
                raise DataError(
                    "loss 'crossentropy': needs labels as targets, got numbers; for numbers use loss='mse', "
                    "and give labels as integers or strings"
                )
        elif self.name in LOSSES and data.classes is not None:
            raise DataError(
                f"loss {self.name!r}: needs numbers as targets, got labels; integers and strings are labels, "
                "give numbers as floats"
            )
        if self.name == "bce":
            found = target_statistics(data.targets)
            if found.low.min() < 0 or found.high.max() > 1:
                raise DataError(
                    f"loss 'bce': needs targets from 0 to 1, got {found.low.min():g} to {found.high.max():g}"
                )
        if self.name in ENDS and not isinstance(network[output], ENDS[self.name]):
            end = ENDS[self.name].__name__
            raise SpecError(f"loss {self.name!r}: the network must end with {end}(), it ends with {output}")
        if self.name == "crossentropy":
            assert data.classes is not None
            if signal.size != len(data.classes):
                raise ShapeError(
                    f"{output}: gives {signal.size} scores, the data has {len(data.classes)} classes "
                    f"{data.classes}; make the layer before it FullyConnected({len(data.classes)})"
                )
        elif self.name in LOSSES and signal.size != target_size(data):
            raise ShapeError(f"{output}: gives {signal.size} numbers, the targets have {target_size(data)}")


def make_objective(
    network: Network, data: SequenceDataset, loss: Loss | None, class_weights: ClassWeights, normalized: bool
) -> Objective:
    """The objective for a network and its training data; raises where they do not go together."""
    if len(network.outputs) != 1:
        raise SpecError(f"train: takes networks of one output, this one has {', '.join(network.outputs)}")
    loss = loss or ("mse" if data.classes is None else "crossentropy")
    if isinstance(loss, str) and loss not in LOSSES:
        raise SpecError(f"loss: must be one of {', '.join(LOSSES)} or a function, got {loss!r}")
    # A function of the user's may have the name of one of ours, and is not it.
    name = loss if isinstance(loss, str) else f"function {getattr(loss, '__name__', type(loss).__name__)}"
    objective = Objective(name, LOSSES[loss] if isinstance(loss, str) else loss)
    objective.check(network, data)
    if normalized:
        end = network[network.outputs[0]]
        assert isinstance(end, Rescale)
        scale, offset = (torch.tensor(np.ravel(value), dtype=torch.float32) for value in (end.scale, end.offset))
        objective = dataclasses.replace(objective, scale=scale, offset=offset)
    if class_weights is not None:
        objective = dataclasses.replace(objective, class_weights=_class_weights(data, class_weights))
    return objective


def with_rescale(network: Network, data: SequenceDataset, is_module: bool) -> Network:
    """The network ending with the Rescale layer that undoes the normalization of the targets."""
    output = network.outputs[0]
    if isinstance(network[output], Rescale):
        if is_module:
            return network
        raise SpecError(f"normalize_targets: {output} stands where the layer that it adds would; leave that one out")
    if is_module:
        raise SpecError(
            f"normalize_targets: the module must end with the Rescale layer of before, it ends with {output}"
        )
    if data.targets is None or data.classes is not None:
        raise DataError("normalize_targets: needs numbers as targets, got labels or none")
    found = target_statistics(data.targets)
    if not found.count.all():
        raise DataError("normalize_targets: every target is ignored; there is nothing to learn from")
    spread = np.where(found.low == found.high, 1.0, np.sqrt(found.squares / found.count))
    end = Rescale(spread.tolist(), found.mean.tolist(), inputs=[output])
    return Network([*network.layers, end], name=network.name)


def target_size(data: SequenceDataset) -> int:
    """Numbers in a row of the targets."""
    assert data.targets is not None
    row = data.targets[0]
    numbers = row.shape[1:] if data.per_step else row.shape
    return int(numbers[0]) if numbers else 1


def _check_per_step(network: Network, data: SequenceDataset) -> None:
    signal = network.signals[network.outputs[0]]
    assert data.targets is not None
    if signal.has_time != data.per_step:
        expected = "one for each step" if signal.has_time else "one for each sequence"
        given = "one for each step" if data.per_step else "one for each sequence"
        hint = ", as a list of [time] arrays" if signal.has_time else ""
        raise DataError(f"targets: the network answers {expected}{hint}, the targets are {given}; {_decider(network)}")
    if data.per_step:
        assert isinstance(data.targets, Column)
        lengths, places = np.unique(data.lengths, return_inverse=True)
        counts = np.array([signal.clock.length(int(steps)) for steps in lengths])[places]
        for index in np.flatnonzero(data.targets.lengths != counts)[:1]:
            raise DataError(
                f"targets of sequence {index}: expected one for each of the {counts[index]} steps that the network "
                f"gives for {data.lengths[index]}, got {data.targets.lengths[index]}"
            )


def _class_weights(data: SequenceDataset, given: Any) -> Tensor:
    """A factor for each class, in order."""
    if data.classes is None or data.targets is None:
        raise DataError("class_weights: need labels as targets, got numbers")
    if given == "balanced":
        counts = data.class_counts()
        return torch.tensor(counts.sum() / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
    unknown = [label for label in given if label not in data.classes]
    if unknown:
        raise SpecError(f"class_weights: {unknown[0]!r} is not among the classes {data.classes}")
    return torch.tensor([given.get(label, 1.0) for label in data.classes], dtype=torch.float32)


def _decider(network: Network) -> str:
    """Which layer's output_mode decides whether the network answers per step."""
    modes = {layer.label: mode for layer in network.layers if (mode := getattr(layer, "output_mode", None))}
    for name, mode in modes.items():
        if mode == "last":
            return f'{name} decides it: output_mode="sequence" there gives an answer for each step'
    if modes:
        return f'{list(modes)[-1]} decides it: output_mode="last" there gives one answer for each sequence'
    return 'add a layer that drops the time axis, such as LSTM(…, output_mode="last")'
