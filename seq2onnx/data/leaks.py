"""Leaks: what makes a network look better than it is, and data from which nothing can be learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from seq2onnx.data.dataset import SequenceDataset


WINDOW = 16
"""Steps that must be equal, bit for bit, to count as the same piece of a recording."""
SHARE = 0.5
"""The share of the windows of a sequence from which on it is another piece of a recording that is known."""
MOST_NUMBERS = 50_000_000
"""Numbers of data that are searched for the same pieces."""
SHOWN = 3
Hashes = NDArray[np.uint64]


def find_leaks(data: SequenceDataset, validation: SequenceDataset | None = None) -> Iterator[tuple[str, str]]:
    """Yield the id and a text for each leak.

    Args:
        data: the training data.
        validation: what is measured and not trained on; None: there is none.
    """
    if len(data) == 1 and data.targets is not None and not data.per_step:
        yield "one-sequence", "there is one sequence with one target, from which nothing can be learned"
    yield from _of_targets(data)
    yield from _of_channels(data)
    if validation is not None:
        yield from _of_split(data, validation)


def _of_targets(data: SequenceDataset) -> Iterator[tuple[str, str]]:
    if data.classes is not None:
        alike: dict[str, list[str]] = {}
        for label in data.classes:
            alike.setdefault(" ".join(str(label).casefold().split()), []).append(repr(label))
        for names in alike.values():
            if len(names) > 1:
                yield "labels-alike", f"the labels {', '.join(names)} differ by case or blanks alone; join them"
        counts = data.class_counts()
        if np.count_nonzero(counts) == 1:
            only = data.classes[int(np.argmax(counts))]
            yield "one-class", f"all targets are {only!r}, so there is nothing to tell apart"
    elif isinstance(data.targets, np.ndarray) and len(data) > 1:
        flat = data.targets[np.isfinite(data.targets)]
        if flat.size and flat.min() == flat.max():
            yield "constant-target", f"all targets are {flat.min():g}, so there is nothing to predict"


def _of_channels(data: SequenceDataset) -> Iterator[tuple[str, str]]:
    """A channel that is the same number in each sequence, and tells its target."""
    if data.per_step or data.targets is None or not isinstance(data.targets, np.ndarray) or data.targets.ndim != 1:
        return
    for name, part in data.parts.items():
        if len(part.shape) != 1 or part.dtype.kind != "f" or not _is_small(data, name):
            continue
        values = np.full((len(data), *part.shape), np.nan)
        constant = np.ones(part.shape, bool)
        for block in part.blocks():
            starts = np.cumsum(block.lengths) - block.lengths
            lowest, highest = (f.reduceat(block.values, starts) for f in (np.minimum, np.maximum))
            constant &= (lowest == highest).all(0)
            values[block.indices] = lowest
        channels = data.channels if isinstance(data.channels, list) else None
        for c in np.flatnonzero(constant):
            if _tells(values[:, c], data.targets):
                channel = f"the channel {channels[c]!r}" if channels else f"channel {c}"
                yield (
                    "channel-tells-target",
                    f"{channel} has one value in each sequence, which tells its target; leave it out, unless it is "
                    "known before the target is",
                )


def _tells(values: NDArray[Any], targets: NDArray[Any]) -> bool:
    """Whether one number for each sequence decides its target, and is no mere number of the sequence."""
    known = targets >= 0 if targets.dtype.kind == "i" else np.isfinite(targets)
    values, targets = values[known], targets[known]
    if len(np.unique(targets)) < 2 or len(values) < 4:
        return False
    if targets.dtype.kind != "i":
        return bool(values.std() > 0 and abs(np.corrcoef(values, targets)[0, 1]) > 1 - 1e-9)
    found, places = np.unique(values, return_inverse=True)
    if len(found) == len(values):  # each sequence has its own: its classes must lie apart, as if sorted by label
        order = targets[np.argsort(values)]
        return bool(np.count_nonzero(np.diff(order)) == len(np.unique(targets)) - 1)
    smallest, largest = np.full(len(found), targets.max()), np.full(len(found), targets.min())
    np.minimum.at(smallest, places, targets)
    np.maximum.at(largest, places, targets)
    return bool((smallest == largest).all())


def _of_split(data: SequenceDataset, validation: SequenceDataset) -> Iterator[tuple[str, str]]:
    """Sequences, or pieces of them, that are on both sides."""
    if validation is data:
        yield "validation-is-training", "validation is the training data, so its figures say nothing about new data"
        return
    names = [name for name in data.parts if name in validation.parts]
    if not names or not all(_is_small(d, name) for d in (data, validation) for name in names):
        return
    name = names[0]
    if data.parts[name].dtype.kind != "f" or not data.parts[name].has_time:
        return
    whole, windows = _hashes(data, name)
    others, pieces = _hashes(validation, name)
    same = np.isin(others, whole)
    if same.all():
        yield "validation-is-training", "all sequences of validation are in the training data, too"
        return
    if same.any():
        yield "same-sequences", f"{_named(validation, same)} of validation {_are(same)} in the training data, too"
    known = np.concatenate(windows) if windows else np.empty(0, np.uint64)
    shares = np.array([np.isin(piece, known).mean() if len(piece) else 0.0 for piece in pieces])
    overlap = (shares >= SHARE) & ~same
    if overlap.any():
        yield (
            "overlapping-sequences",
            f"{_named(validation, overlap)} of validation {_are(overlap)} made of steps of the training data: "
            "split the recordings before they are cut into windows, for example with groups=",
        )


def _are(chosen: NDArray[np.bool_]) -> str:
    return "is" if np.count_nonzero(chosen) == 1 else "are"


def _named(data: SequenceDataset, chosen: NDArray[np.bool_]) -> str:
    """Return the number of sequences, and the first of them."""
    places = np.flatnonzero(chosen)
    names = [str(k) if data.ids is None else data.ids[k] for k in places[:SHOWN]]
    more = ", …" if len(places) > SHOWN else ""
    return f"{len(places):,} of {len(data):,} sequences ({', '.join(names)}{more})"


def _is_small(data: SequenceDataset, name: str) -> bool:
    """Whether an input is searched: files larger than memory are not."""
    return int(np.sum(data.lengths)) * max(1, int(np.prod(data.parts[name].shape))) <= MOST_NUMBERS


def _hashes(data: SequenceDataset, name: str) -> tuple[Hashes, list[Hashes]]:
    """Return a hash of each sequence, and those of its windows in which something happens."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 2**63, max(1, int(np.prod(data.parts[name].shape))), np.uint64) | np.uint64(1)
    whole, windows = np.empty(len(data), np.uint64), [np.empty(0, np.uint64)] * len(data)
    factor = np.uint64(0x9E3779B97F4A7C15)
    powers = factor ** np.arange(WINDOW, dtype=np.uint64)
    for block in data.parts[name].blocks():
        flat = np.ascontiguousarray(block.values, np.float32).reshape(len(block.values), -1) + np.float32(0)  # −0 is 0
        steps = _mixed((flat.view(np.uint32).astype(np.uint64) * numbers).sum(1, dtype=np.uint64))
        for index, row in zip(block.indices, np.split(steps, np.cumsum(block.lengths)[:-1]), strict=True):
            place = np.arange(1, len(row) + 1, dtype=np.uint64)
            whole[index] = np.sum(_mixed(row + place * factor), dtype=np.uint64)
            if len(row) >= WINDOW:
                views = np.lib.stride_tricks.sliding_window_view(row, WINDOW)
                happens = (views[:, 1:] != views[:, :-1]).any(1)
                windows[index] = (views[happens] * powers).sum(1, dtype=np.uint64)
    return whole, windows


def _mixed(values: Hashes) -> Hashes:
    """Return numbers whose bits all depend on all bits of the given ones."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
