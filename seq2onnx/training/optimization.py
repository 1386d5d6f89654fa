"""The optimizer of a network, its rate from epoch to epoch, and the limit of its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from seq2onnx.errors import SpecError
from seq2onnx.training.module import SequenceModule
from seq2onnx.training.options import TrainingOptions

History = list[dict[str, float]]
"""A row for each epoch; see `train`."""


def make_optimizer(module: SequenceModule, options: TrainingOptions) -> torch.optim.Optimizer:
    """The optimizer, with a group of parameters for each factor of the rate, with L2 and without."""
    groups = parameter_groups(module, options)
    if not groups:
        raise SpecError("train: nothing is left to train; every layer is frozen, or has no weights")
    rate = options.learning_rate
    # One pass over the weights where the default for CPUs is a dozen; CUDA has a fast default of its own.
    fused = True if options.device == "cpu" or not torch.cuda.is_available() else None
    if options.optimizer == "adam":
        return torch.optim.Adam(groups, rate, fused=fused)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, rate, fused=fused)
    if options.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, rate)
    return torch.optim.SGD(groups, rate, momentum=options.momentum, fused=fused)


def parameter_groups(module: SequenceModule, options: TrainingOptions) -> list[dict[str, Any]]:
    """Parameters by the factor of their rate and whether L2 acts on them, as each layer's weights say."""
    factors = options.learning_rate_factors
    names = [layer.label for layer in module.network.layers]
    for name in factors:
        if name not in names:
            raise SpecError(f"options.learning_rate_factors: {name!r} is not a layer; they are {', '.join(names)}")
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for layer in module.network.layers:
        factor = factors.get(layer.label, 1.0)
        for name, weight in layer.weights(*module.network.signals_into(layer.label)).items():
            if weight.trainable and factor:
                parameter = module.layers[layer.label].get_parameter(name)
                groups.setdefault((factor, weight.decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": options.l2 if decay else 0.0, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]


def rate_at(options: TrainingOptions, epoch: int, history: Sequence[dict[str, float]]) -> float:
    """The learning rate of an epoch, counted from 0, after those in `history`."""
    rate = options.learning_rate
    if options.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * epoch / options.epochs)) / 2
    elif options.schedule == "piecewise":
        rate *= options.drop_factor ** (epoch // options.drop_every)
    elif options.schedule == "plateau":
        rate *= options.drop_factor ** plateaus(history, options.drop_every)
    if epoch < options.warm_up:
        rate *= (epoch + 1) / (options.warm_up + 1)
    return rate


def plateaus(history: Sequence[dict[str, float]], length: int) -> int:
    """How often the loss did not fall for `length` epochs in a row; with validation data for so many looks at it."""
    looked = [row["validation_loss"] for row in history if "validation_loss" in row]
    best, waited, found = math.inf, 0, 0
    for loss in looked or [row["loss"] for row in history]:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited == length:
            found, waited = found + 1, 0
    return found


def clip_gradients(parameters: Iterable[Tensor], options: TrainingOptions) -> None:
    """Limit the gradients as the options say."""
    limit, found = options.gradient_clip, [parameter for parameter in parameters if parameter.grad is not None]
    if limit is None:
        return
    if options.gradient_clip_method == "value":
        torch.nn.utils.clip_grad_value_(found, limit)
    elif options.gradient_clip_method == "global_norm":
        torch.nn.utils.clip_grad_norm_(found, limit)
    else:
        for parameter in found:
            torch.nn.utils.clip_grad_norm_([parameter], limit)
