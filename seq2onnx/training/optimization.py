"""The optimizer, its learning rate in each epoch, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from seq2onnx.building.module import SequenceModule
from seq2onnx.errors import SpecError
from seq2onnx.training.history import History, Monitor
from seq2onnx.training.options import TrainingOptions


def make_optimizer(module: SequenceModule, options: TrainingOptions) -> torch.optim.Optimizer:
    """Return the optimizer, with the parameter groups of `parameter_groups`."""
    groups = parameter_groups(module, options)
    if not groups:
        raise SpecError("train: nothing is left to train. Every layer is frozen or has no weights")
    rate = options.learning_rate
    # Fused: one pass over the weights instead of a dozen on the CPU. CUDA has a fast default.
    fused = True if options.device == "cpu" or not torch.cuda.is_available() else None
    if options.optimizer == "adam":
        return torch.optim.Adam(groups, rate, options.betas, options.epsilon, fused=fused)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, rate, options.betas, options.epsilon, fused=fused)
    if options.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, rate, eps=options.epsilon)
    return torch.optim.SGD(groups, rate, momentum=options.momentum, fused=fused)


def parameter_groups(module: SequenceModule, options: TrainingOptions) -> list[dict[str, Any]]:
    """Group the parameters by learning-rate factor and by whether L2 acts on them, as each weight declares."""
    factors = options.learning_rate_factors
    names = [layer.label for layer in module.network.layers]
    for name in factors:
        if name not in names:
            raise SpecError(
                f"options.learning_rate_factors: {name!r} is not a layer. The layers are {', '.join(names)}"
            )
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


def frozen_layers(options: TrainingOptions) -> list[str]:
    """Return the names of the layers that training does not change."""
    return [name for name, factor in options.learning_rate_factors.items() if not factor]


def rate_at(options: TrainingOptions, epoch: int, history: History, monitor: Monitor) -> float:
    """Return the learning rate of an epoch, counted from 0, after the epochs in `history`."""
    rate = options.learning_rate
    if options.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * epoch / options.epochs)) / 2
    elif options.schedule == "piecewise":
        rate *= options.drop_factor ** (epoch // options.drop_every)
    elif options.schedule == "plateau":
        rate *= options.drop_factor ** plateaus(history, options.drop_every, monitor)
    if epoch < options.warm_up:
        rate *= (epoch + 1) / (options.warm_up + 1)
    return rate


def plateaus(history: History, length: int, monitor: Monitor) -> int:
    """Count how often `length` values in a row were not better; without validation, values of the training loss."""
    best, waited, found = math.inf, 0, 0
    for value in monitor.values(history) or [row["loss"] for row in history]:
        best, waited = (value, 0) if value < best else (best, waited + 1)
        if waited == length:
            found, waited = found + 1, 0
    return found


def clip_gradients(parameters: Iterable[Tensor], options: TrainingOptions) -> None:
    """Clip the gradients as the options say."""
    limit, trained = options.gradient_clip, [parameter for parameter in parameters if parameter.grad is not None]
    if limit is None:
        return
    if options.gradient_clip_method == "value":
        torch.nn.utils.clip_grad_value_(trained, limit)
        return
    for group in [trained] if options.gradient_clip_method == "global_norm" else [[one] for one in trained]:
        torch.nn.utils.clip_grad_norm_(group, limit)
