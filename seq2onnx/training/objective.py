"""The objective of a training run: a loss with class weights and scaled targets, checked against network and data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seq2onnx.data import SequenceDataset
from seq2onnx.data.columns import Column
from seq2onnx.data.targets import target_statistics
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.layers import Layer, Rescale, Sigmoid, Softmax
from seq2onnx.network import Network
from seq2onnx.training.losses import METRICS, Loss, LossFunction, find_loss


@dataclasses.dataclass(frozen=True)
class Objective:
    """The objective of training: `objective(y, target)` gives one loss for each row or step, [n].

    Attributes:
        loss: the loss.
        metrics: the names of the metrics of the validation data: those of the loss, and those that the options add.
        class_weights: one factor for each class, or None.
        scale: (scale, offset) of normalized targets: the loss sees (y − offset) / scale, and the target likewise.
    """

    loss: Loss
    metrics: tuple[str, ...] = ()
    class_weights: Tensor | None = None
    scale: tuple[Tensor, Tensor] | None = None

    @property
    def wants_logits(self) -> bool:
        """Whether y must be the input of the network's last layer."""
        return self.loss.end is not None

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        """Return the losses."""
        if self.scale is not None:
            scale, offset = (value.to(y) for value in self.scale)
            each = len(self.loss.quantiles or (None,))  # the columns of y for a number of the target
            target = (target.reshape(len(y), y.shape[1] // each) - offset[::each]) / scale[::each]
            y = (y - offset) / scale
        losses = self.loss.function(y, target)
        if losses.shape != (len(y),):
            raise ShapeError(
                f"loss: expected one number for each of {len(y)} rows or steps, [{len(y)}], got {list(losses.shape)}. "
                "`train` takes the mean itself. Note that y is [n, k], but the target may be [n]"
            )
        return losses if self.class_weights is None else losses * self.class_weights.to(y)[target]


def valid_rows(y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Leave out the rows whose target is ignored: class −1, or NaN."""
    if not target.is_floating_point():
        keep = target >= 0
    else:
        keep = ~(target.isnan() if target.ndim == 1 else target.isnan().flatten(1).any(1))
    return (y, target) if bool(keep.all()) else (y[keep], target[keep])


def make_objective(
    network: Network,
    data: SequenceDataset,
    loss: str | LossFunction | None,
    metrics: Sequence[str],
    class_weights: Mapping[str | int, float] | Literal["balanced"] | None,
    normalize_targets: bool,
    quantiles: Sequence[float] | None = None,
) -> Objective:
    """Return the objective for a network and its training data; raise if they do not fit together."""
    if len(network.outputs) != 1:
        raise SpecError(f"train: the network must have one output, this one has {', '.join(network.outputs)}")
    found = find_loss(loss, data.classes is not None, quantiles)
    check_targets(found, network, data)
    weights = None if class_weights is None else _class_weights(data, class_weights)
    names = tuple(dict.fromkeys([*found.metrics, *_check_metrics(metrics, found, data)]))
    if not normalize_targets:
        return Objective(found, names, weights)
    end = network[network.outputs[0]]
    assert isinstance(end, Rescale)
    scale, offset = (torch.tensor(np.ravel(value), dtype=torch.float32) for value in (end.scale, end.offset))
    return Objective(found, names, weights, (scale, offset))


def _check_metrics(names: Sequence[str], loss: Loss, data: SequenceDataset) -> Sequence[str]:
    """Return the names; raise SpecError if one of them does not fit the targets."""
    if names and loss.quantiles:
        raise SpecError(f"options.metrics: there are none of quantiles, got {', '.join(names)}; see result.coverage")
    kind = "labels" if data.classes is not None else "several labels" if loss.end is Sigmoid else "numbers"
    fitting = [name for name, metric in METRICS.items() if kind in metric.targets]
    for name in names:
        if name not in fitting:
            raise SpecError(f"options.metrics: must be among {', '.join(fitting)} if targets are {kind}, got {name!r}")
    return names


def check_targets(loss: Loss, network: Network, data: SequenceDataset) -> None:
    """Raise unless the network, the targets and the loss fit together."""
    output = network.outputs[0]
    if data.targets is None:
        raise DataError("targets: the data set has none, and training needs them")
    _check_per_step(network, data)
    kind = "numbers" if data.classes is None else "labels"
    if loss.targets not in (kind, "any"):
        remedy = (
            "targets.astype(float), or --numbers on the command line"
            if kind == "labels"
            else "targets.astype(int), or of one-hot rows argmax(-1)"
        )
        raise DataError(
            f"loss {loss.name!r}: needs {loss.targets} as targets, got {kind}. Integers and strings are labels, floats "
            f"are numbers. Convert them: {remedy}"
        )
    if loss.target_range is not None:
        found, (least, most) = target_statistics(data.targets), loss.target_range
        if found.low.min() < least or found.high.max() > most:
            raise DataError(
                f"loss {loss.name!r}: needs targets from {least:g} to {most:g}, got {found.low.min():g} to "
                f"{found.high.max():g}"
            )
    if loss.end is not None and not isinstance(network[output], loss.end):
        raise SpecError(
            f"loss {loss.name!r}: the network must end with {loss.end.__name__}(), it ends with {output}"
            f"{_other_kind(data)}"
        )
    if loss.targets == "any":
        return
    if loss.end is None and isinstance(end := _before_rescale(network), Softmax):
        raise SpecError(
            f"loss {loss.name!r}: {end.label} gives the probabilities of classes, but the targets are numbers. "
            "Integers and strings are labels, floats are numbers. For classes, give the label of each target: of "
            f"one-hot rows targets.argmax(-1), of whole numbers targets.astype(int). For numbers, remove {end.label}. "
            "A function as loss takes both as they are"
        )
    count = math.prod(np.shape(data.targets[0])[data.per_step :])
    if loss.quantiles:
        expected, reason = len(loss.quantiles), f"one for each of the quantiles {', '.join(map(str, loss.quantiles))}"
        if count > 1:
            expected, reason = count * expected, f"{reason} of each of the {count} numbers of a target"
    elif data.classes is None:
        expected, reason = count, "one for each number of a target"
    else:
        expected, reason = len(data.classes), f"one for each of the classes {data.classes}"
    if (size := network.signals[output].size) != expected:
        raise ShapeError(
            f"{output}: expected an output of size {expected}, {reason}, got {size}. Use FullyConnected({expected}) as "
            f"the last layer with weights{_other_kind(data)}"
        )


def _other_kind(data: SequenceDataset) -> str:
    """Say how targets are given that are meant otherwise; "" if strings leave no doubt."""
    if data.classes is None:
        return ". If the targets are labels, give them as integers or strings: floats are numbers"
    if any(isinstance(label, str) for label in data.classes):
        return ""
    return ". If the targets are numbers, give them as floats: integers are labels"


def _before_rescale(network: Network) -> Layer:
    """Return the last layer, or the one before the Rescale layers at the end."""
    layer = network[network.outputs[0]]
    while isinstance(layer, Rescale):
        layer = network[network.reads[layer.label][0]]
    return layer


def _check_per_step(network: Network, data: SequenceDataset) -> None:
    """Raise unless the output of the network and the targets have the same steps."""
    signal = network.signals[network.outputs[0]]
    kinds = {True: "one for each step, as a list of [time] arrays", False: "one for each sequence"}
    if signal.has_time != data.per_step:
        raise DataError(
            f"targets: expected {kinds[signal.has_time]}, got {kinds[data.per_step]}. {_output_mode_hint(network)}"
        )
    if data.per_step:
        assert isinstance(data.targets, Column)
        lengths, places = np.unique(data.lengths, return_inverse=True)
        counts = np.array([signal.clock.length(int(steps)) for steps in lengths])[places]
        for index in np.flatnonzero(data.targets.lengths != counts)[:1]:
            raise DataError(
                f"targets of sequence {index}: expected one for each of the {counts[index]} steps that the network "
                f"gives for {data.lengths[index]}, got {data.targets.lengths[index]}"
            )


def _output_mode_hint(network: Network) -> str:
    """Name the layer whose output_mode decides whether the network has an output for each step."""
    modes = {layer.label: mode for layer in network.layers if (mode := getattr(layer, "output_mode", None))}
    for name, mode in modes.items():
        if mode == "last":
            return f'Set output_mode="sequence" in {name} for one output for each step'
    how = f'Set output_mode="last" in {list(modes)[-1]}' if modes else 'Add a layer such as LSTM(…, output_mode="last")'
    return f"{how} for one output for each sequence"


def _class_weights(data: SequenceDataset, given: Mapping[str | int, float] | Literal["balanced"]) -> Tensor:
    if data.classes is None or data.targets is None:
        raise DataError("class_weights: need labels as targets, got numbers")
    if isinstance(given, str):
        counts = data.class_counts()
        return torch.tensor(counts.sum() / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
    unknown = [label for label in given if label not in data.classes]
    if unknown:
        raise SpecError(f"class_weights: {unknown[0]!r} is not among the classes {data.classes}")
    return torch.tensor([given.get(label, 1.0) for label in data.classes], dtype=torch.float32)
