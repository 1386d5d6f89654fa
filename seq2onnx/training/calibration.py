"""calibrate_quantiles: shift predicted quantiles so that they are right on data that was not trained on."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2onnx.building.appending import append
from seq2onnx.building.matching import check_lengths, check_sequences, encode_words
from seq2onnx.building.module import SequenceModule, evaluating
from seq2onnx.data import SequenceDataset
from seq2onnx.data.batches import batch_indices
from seq2onnx.errors import DataError, SpecError
from seq2onnx.layers import Rescale
from seq2onnx.training.batch_dataset import Batches, order_of
from seq2onnx.training.forward import forward_whole
from seq2onnx.training.losses import quantile_loss
from seq2onnx.training.objective import check_targets, valid_rows

BATCH_SIZE = 128
ROUNDING = 1e-9
"""A rank is a whole number even if the product of a quantile and a count is off by so much."""


def calibrate_quantiles(module: SequenceModule, data: SequenceDataset) -> SequenceModule:
    """Return a new module whose quantiles are shifted so that they hold on `data` (conformal prediction).

    A network trained with loss="quantile" is too sure of data that it has not seen: its bands are too narrow. This
    shifts each quantile by one number, so that its share of the targets in `data` lies below it. The shifts are a
    Rescale layer at the end of the network, so the exported file has them.

    A new target lies below a lower quantile q (q < 0.5) with a probability of at most q, and below an upper one with a
    probability of at least q, if its sequence is drawn as those of `data` are. A band from 0.05 to 0.95 thus covers at
    least 90 % of new targets on average. The share varies with the data that is drawn: with 1,000 sequences it is
    within 0.02 in 95 % of all cases. The targets of the steps of a sequence are alike, so count the sequences there.

    Args:
        module: a module trained with loss="quantile". It does not change.
        data: sequences and targets that were not used for training, neither as `data` nor to choose an epoch. Each
            quantile q needs at least 1 / q and 1 / (1 − q) targets.

    Raises:
        SpecError: the module was not trained with loss="quantile".
        DataError: the data does not fit the module, or has too few targets.
        ShapeError: the sizes of the data do not fit the module.

    Example:
        >>> result = train(net, data, loss="quantile", quantiles=(0.05, 0.5, 0.95))
        >>> module = calibrate_quantiles(result.module, unseen)
        >>> export(module, "forecast.onnx")
    """
    if not isinstance(module, SequenceModule) or module.quantiles is None:
        got = "another module" if isinstance(module, SequenceModule) else type(module).__name__
        raise SpecError(f'calibrate_quantiles: expected a module that was trained with loss="quantile", got {got}')
    y, target = _outputs(module, data)
    shifts = [_shift(target - y[:, k], quantile) for k, quantile in enumerate(module.quantiles)]
    return append(module, Rescale(1.0, shifts))


def _shift(errors: NDArray[np.float64], quantile: float) -> float:
    """Return the conformal quantile of target − prediction: on the safe side for a new target."""
    rank = (len(errors) + 1) * quantile
    rank = math.floor(rank + ROUNDING) if quantile < 0.5 else math.ceil(rank - ROUNDING)
    if not 1 <= rank <= len(errors):
        least = math.ceil(1 / min(quantile, 1 - quantile) - 1 - ROUNDING)
        raise DataError(
            f"calibrate_quantiles: the quantile {quantile:g} needs at least {least} targets, got {len(errors)}"
        )
    return float(np.sort(errors)[rank - 1])


def _outputs(module: SequenceModule, data: SequenceDataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the outputs [n, k] that have a target, and the targets [n]."""
    if not isinstance(data, SequenceDataset):
        raise DataError(f"calibrate_quantiles: expected a SequenceDataset with targets, got {type(data).__name__}")
    assert module.quantiles is not None
    network = module.network
    data = encode_words(network, data.with_channels(module.channels))
    check_targets(quantile_loss(module.quantiles), network, data)
    check_sequences(network, data)
    check_lengths(network, data, module.policy)
    batches = Batches(data, module.policy, network.signals[network.outputs[0]].clock)
    order = order_of(module.policy)
    device = next(module.parameters(), torch.empty(0)).device
    pairs: list[tuple[Tensor, Tensor]] = []
    with evaluating(module):
        for indices in batch_indices(data.lengths, BATCH_SIZE, order, np.random.default_rng(0), data.shards):
            batch = batches[0, indices.tolist()].to(device)
            pairs.append(valid_rows(*forward_whole(module, batch, logits=False)))
    y, target = (torch.cat(parts).cpu().double() for parts in zip(*pairs, strict=True))
    return y.numpy(), target.flatten().numpy()
