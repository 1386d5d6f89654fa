"""What is minimized: each loss takes (y, target) of the valid rows or steps and gives one number for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.layers import Softmax
from seq2onnx.network import Network

LossFunction = Callable[[Tensor, Tensor], Tensor]
Loss = str | LossFunction


def crossentropy(y: Tensor, target: Tensor) -> Tensor:
    """−log of the probability of the right class; y [n, classes] before the Softmax, target [n] -> [n]."""
    return torch.nn.functional.cross_entropy(y, target, reduction="none")


def mse(y: Tensor, target: Tensor) -> Tensor:
    """Squared error, the mean over the numbers of a row; y [n, k], target [n] or [n, k] -> [n]."""
    return (y - target.reshape(y.shape)).square().mean(-1)


LOSSES: dict[str, LossFunction] = {"crossentropy": crossentropy, "mse": mse}


def check_targets(network: Network, data: SequenceDataset, loss: Loss) -> LossFunction:
    """The loss as a function; raises where network, targets and loss do not go together."""
    if isinstance(loss, str) and loss not in LOSSES:
        raise SpecError(f"loss: must be one of {', '.join(LOSSES)} or a function, got {loss!r}")
    if len(network.outputs) != 1:
        raise SpecError(f"train: takes networks of one output, this one has {', '.join(network.outputs)}")
    if data.targets is None:
        raise DataError("targets: the data set has none, and training needs them")
    output = network.outputs[0]
    signal = network.signals[output]
    if signal.has_time != data.per_step:
        expected = "one for each step" if signal.has_time else "one for each sequence"
        given = "one for each step" if data.per_step else "one for each sequence"
        raise DataError(f"targets: the network answers {expected}, the targets are {given}; {_decider(network)}")
    if data.per_step:
        for index, (steps, row) in enumerate(zip(data.lengths, data.targets, strict=True)):
            count = signal.clock.length(int(steps))
            if len(row) != count:
                raise DataError(
                    f"targets of sequence {index}: expected one for each of the {count} steps that the network gives "
                    f"for {steps}, got {len(row)}"
                )
    if not isinstance(loss, str):
        return loss
    if loss == "crossentropy":
        if data.classes is None:
            raise DataError(
                "loss 'crossentropy': needs labels as targets, got numbers; for numbers use loss='mse', "
                "and give labels as integers or strings"
            )
        if not isinstance(network[output], Softmax):
            raise SpecError(f"loss 'crossentropy': the network must end with Softmax(), it ends with {output}")
        if signal.size != len(data.classes):
            raise ShapeError(
                f"{output}: gives {signal.size} scores, the data has {len(data.classes)} classes "
                f"{data.classes}; make the layer before it FullyConnected({len(data.classes)})"
            )
    else:
        if data.classes is not None:
            raise DataError(
                f"loss {loss!r}: needs numbers as targets, got labels; integers and strings are labels, "
                "give numbers as floats"
            )
        row = data.targets[0]
        numbers = row.shape[1:] if data.per_step else row.shape
        size = int(numbers[0]) if numbers else 1
        if signal.size != size:
            raise ShapeError(f"{output}: gives {signal.size} numbers, the targets have {size}")
    return LOSSES[loss]


def _decider(network: Network) -> str:
    """Which layer's output_mode decides whether the network answers per step."""
    modes = {layer.label: mode for layer in network.layers if (mode := getattr(layer, "output_mode", None))}
    for name, mode in modes.items():
        if mode == "last":
            return f'{name} decides it: output_mode="sequence" there gives an answer for each step'
    if modes:
        return f'{list(modes)[-1]} decides it: output_mode="last" there gives one answer for each sequence'
    return 'add a layer that drops the time axis, such as LSTM(…, output_mode="last")'
