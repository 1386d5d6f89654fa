"""calibrate_quantiles: shift predicted quantiles so that they are right on data that was not trained on."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

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


def calibrate_quantiles(module: SequenceModule, data: SequenceDataset, *, progress: bool = True) -> SequenceModule:
    """Return a new module whose quantiles are shifted so that they hold on `data` (conformal prediction).

    A network trained with loss="quantile" is too sure of data that it has not seen: its bands are too narrow. This
    shifts each quantile by one number, so that its share of the targets in `data` lies below it. The shifts are a
    Rescale layer at the end of the network, so the exported file has them.

    A new target lies below a lower quantile q (q < 0.5) with a probability of at most q, and below an upper one with a
    probability of at least q, if its sequence is drawn as those of `data` are. A band from 0.05 to 0.95 thus covers at
    least 90 % of new targets on average. The share varies with the data that is drawn: with 1,000 sequences it is
    within 0.02 in 95 % of all cases.

    The targets of the steps of a sequence are alike, so sequences count and not steps: each has the same weight, shared
    by its steps, and the promise is for a step of a new sequence (hierarchical conformal prediction: Lee, Barber and
    Willett, "Distribution-free inference with hierarchical data", 2023). Of a single sequence the steps count. Then the
    shares hold if the series goes on as it was, which no data promises.

    Args:
        module: a module trained with loss="quantile". It does not change.
        data: sequences and targets that were not used for training, neither as `data` nor to choose an epoch. Each
            quantile q needs at least 1 / q − 1 and 1 / (1 − q) − 1 sequences.
        progress: print to stderr how much each band will cover, and how far this depends on the data that is drawn.

    Raises:
        SpecError: the module was not trained with loss="quantile".
        DataError: the data does not fit the module, or has too few sequences.
        ShapeError: the sizes of the data do not fit the module.

    Example:
        >>> result = train(net, data, loss="quantile", quantiles=(0.05, 0.5, 0.95))
        >>> module = calibrate_quantiles(result.module, unseen)
        >>> export(module, "forecast.onnx")
    """
    if not isinstance(module, SequenceModule) or module.quantiles is None:
        got = "another module" if isinstance(module, SequenceModule) else type(module).__name__
        raise SpecError(f'calibrate_quantiles: expected a module that was trained with loss="quantile", got {got}')
    y, target, owners = _outputs(module, data)
    levels = module.quantiles
    _, places, steps = np.unique(owners, return_inverse=True, return_counts=True)
    weights = np.ones(len(y)) if len(steps) == 1 else 1 / steps[places]
    unit = "target" if not data.per_step else "step" if len(steps) == 1 else "sequence"
    shifts = [
        _shift(target[:, column // len(levels)] - y[:, column], weights, levels[column % len(levels)], unit)
        for column in range(y.shape[1])
    ]
    if progress:
        print(_expectation(levels, len(steps), data.per_step), file=sys.stderr, flush=True)
    return append(module, Rescale(1.0, shifts))


def expected_coverage(low: float, high: float, sequences: int) -> tuple[float, float, float]:
    """Return the share of new targets in a calibrated band: on average, and in 95 % of all draws of the data from … to.

    Of n numbers that are calibrated on, with those of the ranks ⌊(n + 1) low⌋ and ⌈(n + 1) high⌉ as ends, the share in
    the band is Beta distributed, whatever the numbers are (order statistics). A sequence with a target for each step
    counts as one number, which is right if its steps are alike. The less they are, the more the band covers.
    """
    ranks = math.ceil((sequences + 1) * high - ROUNDING) - math.floor((sequences + 1) * low + ROUNDING)
    drawn = np.random.default_rng(0).beta(ranks, max(sequences + 1 - ranks, ROUNDING), 100_000)
    least, most = np.quantile(drawn, (0.025, 0.975))
    return ranks / (sequences + 1), float(least), float(most)


def _expectation(levels: Sequence[float], sequences: int, per_step: bool) -> str:
    """Say how much each band will cover."""
    if per_step and sequences == 1:
        return "calibrated on the steps of one sequence: how much a band covers of another one is not known"
    lines = [f"calibrated on {sequences:,} sequences{', whose steps count together' if per_step else ''}"]
    for low, high in zip(levels[: len(levels) // 2], levels[::-1], strict=False):
        mean, least, most = (100 * share for share in expected_coverage(low, high, sequences))
        at_least = "at least " if per_step else ""
        lines.append(
            f"  {low:g} to {high:g}: covers {at_least}{mean:.1f} % on average, {least:.0f} to {most:.0f} % in 95 % of "
            "cases"
        )
    return "\n".join(lines)


def _shift(errors: NDArray[np.float64], weights: NDArray[np.float64], quantile: float, unit: str) -> float:
    """Return the conformal quantile of target − prediction: on the safe side for a new target.

    The weights of each sequence add up to 1. A new sequence, whose errors may be infinite, is one more.
    """
    if quantile < 0.5:
        return -_shift(-errors, weights, 1 - quantile, unit)
    count = round(weights.sum())
    wanted = (count + 1) * quantile - ROUNDING
    if wanted > count:
        least = math.ceil(1 / (1 - quantile) - 1 - ROUNDING)
        remedy = "" if unit != "sequence" else ". Cut long sequences into pieces, or train with quantiles nearer to 0.5"
        raise DataError(
            f"calibrate_quantiles: the quantile {quantile:g} or {1 - quantile:g} needs at least {least} {unit}s, got "
            f"{count}{remedy}"
        )
    order = np.argsort(errors)
    return float(errors[order[np.searchsorted(np.cumsum(weights[order]), wanted)]])


def _outputs(module: SequenceModule, data: SequenceDataset) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the outputs [n, m · k] that have a target, the targets [n, m], and the sequences of both [n]."""
    if not isinstance(data, SequenceDataset):
        raise DataError(f"calibrate_quantiles: expected a SequenceDataset with targets, got {type(data).__name__}")
    assert module.quantiles is not None
    network = module.network
    data = encode_words(network, data.with_channels(module.channels))
    check_targets(quantile_loss(module.quantiles), network, data)
    check_sequences(network, data)
    check_lengths(network, data, module.policy)
    clock = network.signals[network.outputs[0]].clock
    batches = Batches(data, module.policy, clock)
    order = order_of(module.policy)
    device = next(module.parameters(), torch.empty(0)).device
    found: list[tuple[Tensor, Tensor]] = []
    with evaluating(module):
        for indices in batch_indices(data.lengths, BATCH_SIZE, order, np.random.default_rng(0), data.shards):
            batch = batches[0, indices.tolist()].to(device)
            y, target = forward_whole(module, batch, logits=False)
            steps = [clock.length(n) for n in batch.lengths.tolist()] if batch.counts is None else batch.counts.cpu()
            owners = np.repeat(indices, np.asarray(steps)) if data.per_step else indices
            rows = torch.column_stack(
                [target.reshape(len(y), -1).double(), torch.from_numpy(owners).to(device).double()]
            )
            found.append(valid_rows(y, rows))
    y, rows = (torch.cat(parts).cpu().double() for parts in zip(*found, strict=True))
    return y.numpy(), rows[:, :-1].numpy(), rows[:, -1].numpy()
