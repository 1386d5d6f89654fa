"""Split a data set at random into two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Indices
from seq2onnx.errors import DataError
from seq2onnx.numbers import whole_number
from seq2onnx.sequences import as_array
from seq2onnx.sequences.foreign import is_missing

TRIALS = 200


def split_indices(
    count: int, share: float, seed: int, labels: NDArray[np.int64] | None, groups: Sequence[Any] | None
) -> tuple[Indices, Indices]:
    """Return the indices of both parts, each in order.

    Args:
        count: the number of sequences.
        share: of the first part, between 0 and 1.
        seed: seeds the choice.
        labels: a class number for each sequence, to which each part gets the same shares; None: no labels.
        groups: the group of each sequence; groups stay together. None: each sequence is a group of its own.

    Raises:
        DataError: a part would be empty, or the groups do not fit.
    """
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise DataError(f"split: expected a share between 0 and 1, got {share!r}")
    wanted = round(share * count)
    if not 0 < wanted < count:
        raise DataError(f"split: a share of {share} of {count} sequences leaves none on one side")
    rng = np.random.default_rng(whole_number(seed, "seed", 0))
    if groups is not None:
        chosen = _choose_groups(wanted, rng, labels, groups, count)
    elif labels is not None:
        chosen = _choose_by_label(wanted, share, rng, labels)
    else:
        chosen = rng.permutation(count)[count - wanted :]
    is_first = np.zeros(count, bool)
    is_first[chosen] = True
    return np.flatnonzero(is_first), np.flatnonzero(~is_first)


def _choose_by_label(wanted: int, share: float, rng: np.random.Generator, labels: NDArray[np.int64]) -> Indices:
    """Choose the same share of each class; the classes with the largest remainders round up."""
    _, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    takes = np.floor(share * sizes).astype(int)
    remainders = share * sizes - takes + rng.uniform(0, 1e-9, len(sizes))  # ties are drawn
    takes[np.argsort(-remainders)[: wanted - takes.sum()]] += 1
    return np.concatenate([rng.permutation(np.flatnonzero(numbers == c))[:take] for c, take in enumerate(takes)])


def _choose_groups(
    wanted: int, rng: np.random.Generator, labels: NDArray[np.int64] | None, groups: Sequence[Any], count: int
) -> Indices:
    """Choose whole groups: of many random choices the one that is closest in size and in the shares of the labels."""
    if len(groups) != count:
        raise DataError(f"groups: expected one for each of {count} sequences, got {len(groups)}")
    groups = as_array(groups, "groups").tolist() if hasattr(groups, "detach") else list(groups)
    if missing := [index for index, group in enumerate(groups) if is_missing(group)]:
        raise DataError(f"groups: sequence {missing[0]} has no group; give it one, of its own if it is alone")
    try:
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    except TypeError:
        raise DataError(f"groups: expected names or numbers, got {type(groups[0]).__name__}") from None
    if len(numbers) < 2:
        raise DataError(f"groups: expected at least two groups to split, got {list(numbers)}")
    group_of = np.array([numbers[group] for group in groups])
    classes = np.zeros(count, int) if labels is None else np.unique(labels, return_inverse=True)[1]
    # [groups, classes]: how many sequences of each class a group has.
    table = np.zeros((len(numbers), classes.max() + 1))
    np.add.at(table, (group_of, classes), 1)
    target = table.sum(0) * (wanted / count)
    best, best_error = np.zeros(0, np.intp), np.inf
    for _ in range(TRIALS):
        order = rng.permutation(len(numbers))
        sums = np.cumsum(table[order[:-1]], 0)  # of the first 1, 2, … groups; the last stays on the other side
        errors = np.abs(sums - target).sum(1) + np.abs(sums.sum(1) - wanted)
        if errors.min() < best_error:
            best, best_error = order[: errors.argmin() + 1], errors.min()
    return np.flatnonzero(np.isin(group_of, best))
