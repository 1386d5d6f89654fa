"""What changes sequences as they are read, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, as_floats

Transform = Callable[[Any, Any, np.random.Generator], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Chain:
    """One transform after another; of sequences, whose generator both draw from, or of batches."""

    first: Callable[..., Any]
    second: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:
        found = self.first(*given)
        return self.second(found) if len(given) == 1 else self.second(*found, given[-1])


def transformed(
    transform: Transform, index: int, x: dict[str, Array], target: Any, rng: np.random.Generator
) -> tuple[dict[str, Array], Any]:
    """What a transform makes of sequence `index`: arrays by input, and the target.

    Raises: DataError unless it gives (x, target) of the same kinds
    """
    where = f"transform of sequence {index}"
    found = transform(x.get("", x), target, rng)
    if not isinstance(found, tuple) or len(found) != 2:
        raise DataError(f"{where}: expected it to give (x, target), got {type(found).__name__}")
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
            f"{where}: expected a target as data.targets has them, {kind} of {np.ndim(target)} dimensions (labels are "
            f"class numbers), got {after.dtype} of {after.ndim}"
        )
    return arrays, after.astype(kind)
