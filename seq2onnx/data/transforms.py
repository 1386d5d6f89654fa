"""Apply the functions that change sequences as they are read, and check their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seq2onnx.data.columns import Indices
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, as_floats

Parts = dict[str, list[Array]]
Transform = Callable[[Any, Any, np.random.Generator], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Two transforms of sequences or of batches, one after the other. Those of sequences share the generator."""

    first: Callable[..., Any]
    second: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:
        """Call the second with the results of the first."""
        found = self.first(*given)
        return self.second(found) if len(given) == 1 else self.second(*found, given[-1])


@dataclasses.dataclass(frozen=True)
class SelectChannels:
    """A transform that selects channels by their place, for each input by name; "" is the only input."""

    places: Mapping[str, list[int]]

    def __call__(self, x: Any, target: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        """Return x with the chosen channels. The channel is the first axis of a step, or of a vector."""
        if "" in self.places:
            return select(x, self.places[""]), target
        return {name: select(x[name], self.places[name]) if name in self.places else x[name] for name in x}, target


def select(array: Array, places: list[int]) -> Array:
    """Return some channels of a sequence [time, channels, …], or of a vector [channels]."""
    return np.take(array, places, axis=0 if array.ndim == 1 else 1)


def transform_all(
    transform: Transform, indices: Sequence[int] | Indices, parts: Parts, targets: Any, seed: tuple[int, ...]
) -> tuple[Parts, Any]:
    """Transform sequences and their targets; raise DataError if they become something else.

    Args:
        transform: (x, target, rng) -> (x, target), for one sequence.
        indices: the number of each sequence; with `seed` it seeds the generator.
        parts: for each input the sequences.
        targets: the target of each sequence, or None; a list if there is one for each step.
        seed: seeds the generator of each sequence.
    """
    found = []
    for place, index in enumerate(indices):
        # Copies: changes that a transform makes in place must not add up from epoch to epoch.
        x = {name: arrays[place].copy() for name, arrays in parts.items()}
        rng = np.random.default_rng([*seed, int(index)])
        target = None if targets is None else targets[place]
        found.append(_transform_one(transform, f"transform of sequence {index}", x, target, rng))
    changed = {name: [x[name] for x, _ in found] for name in parts}
    rows = [target for _, target in found]
    return changed, None if targets is None else rows if isinstance(targets, list) else np.stack(rows)


def _transform_one(
    transform: Transform, where: str, x: dict[str, Array], target: Any, rng: np.random.Generator
) -> tuple[dict[str, Array], Any]:
    found = transform(x.get("", x), target, rng)
    if not isinstance(found, tuple) or len(found) != 2:
        raise DataError(f"{where}: expected it to return (x, target), got {type(found).__name__}")
    new, given = found
    named = new if isinstance(new, Mapping) else {"": new}
    if set(named) != set(x):
        raise DataError(f"{where}: expected x for {', '.join(map(repr, x))}, got {', '.join(map(repr, named))}")
    arrays: dict[str, Array] = {}
    for name, before in x.items():
        array = named[name] if before.dtype == object else np.asarray(named[name])
        arrays[name] = array if before.dtype.kind in "iO" else as_floats(array, where)
        if arrays[name].dtype.kind != before.dtype.kind or arrays[name].ndim != before.ndim:
            raise DataError(
                f"{where}: expected x of {before.ndim} dimensions and type {before.dtype}, "
                f"got {arrays[name].ndim} and {arrays[name].dtype}"
            )
    if target is None:
        return arrays, None
    kind, after = np.asarray(target).dtype, np.asarray(given)
    if after.dtype.kind != kind.kind or after.ndim != np.ndim(target):
        raise DataError(
            f"{where}: expected a target like those in data.targets, {kind} of {np.ndim(target)} dimensions "
            "(labels are "
            f"class numbers), got {after.dtype} of {after.ndim}"
        )
    return arrays, after.astype(kind)
