"""Split a data set at random into two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.columns import Indices
from seq2onnx.errors import DataError
from seq2onnx.integers import whole_number
from seq2onnx.sequences import as_array, is_frame
from seq2onnx.sequences.foreign import is_missing

TRIALS = 200


def split_indices(
    count: int, share: float, seed: int, labels: NDArray[np.int64] | None, groups: Sequence[Any] | None
) -> tuple[Indices, Indices]:
    """Return the indices of both parts, each in order; raise DataError if a part would be empty.

    Args:
        count: the number of sequences.
        share: of the first part, between 0 and 1.
        seed: seeds the choice.
        labels: a class number for each sequence, to which each part gets the same shares; None: no labels.
        groups: the group of each sequence; groups stay together. None: each sequence is a group of its own.
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


def groups_in_order(groups: Any, ids: Sequence[str] | None, count: int) -> Any:
    """Return the group of each sequence in the order of the data; raise DataError if an id has none, or several.

    Args:
        groups: a list, in this order; or a mapping or a pandas Series by id.
        ids: the name of each sequence; keys and index are compared as text. None: there are no names, so that a Series
            is in the order of the data.
        count: the number of sequences.
    """
    if is_frame(groups):
        raise DataError('groups: expected one for each sequence, got a data frame; give a column: frame["machine"]')
    is_mapping = isinstance(groups, Mapping)
    if not is_mapping and not (hasattr(groups, "index") and hasattr(groups, "to_dict")):
        return groups
    if ids is None:
        if is_mapping:
            raise DataError("groups: got a dict, but the data has no ids; give a list in the order of the sequences")
        return groups
    keys = [str(key) for key in (groups if is_mapping else groups.index)]
    values = list(groups.values() if is_mapping else groups)
    is_default = not is_mapping and type(groups.index).__name__ == "RangeIndex"  # the one that pandas makes itself
    if is_default and (len(keys) != count or not set(ids) <= set(keys)):
        return values  # by position
    by_id = dict(zip(keys, values, strict=True))
    if len(by_id) < len(keys):
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise DataError(f"groups: has several entries for {twice}; keep one: groups.groupby(level=0).first()")
    if missing := [name for name in ids if name not in by_id]:
        remedy = "give each id a group" if is_mapping else "give each id a group, or a list in the order of the data"
        raise DataError(f"groups: has no entry for sequence {missing[0]}; {remedy}")
    return [by_id[name] for name in ids]


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
