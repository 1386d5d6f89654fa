"""What the input layers share: the five normalizations, and the statistics that they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

Normalization = Literal["none", "zerocenter", "zscore", "rescale_symmetric", "rescale_zero_one"]

NEEDED: dict[str, tuple[str, ...]] = {
    "none": (),
    "zerocenter": ("mean",),
    "zscore": ("mean", "std"),
    "rescale_symmetric": ("min", "max"),
    "rescale_zero_one": ("min", "max"),
}
"""What each normalization must know of the training data, a number for each channel."""


def _plain_numbers(statistics: object) -> object:
    """Arrays and lists as tuples of plain numbers, which YAML and JSON hold."""
    if not isinstance(statistics, Mapping):
        return statistics
    return {name: tuple(np.asarray(values, float).ravel().tolist()) for name, values in statistics.items()}


Statistics = Annotated[Mapping[str, Any], BeforeValidator(_plain_numbers)]


def check(normalization: str, statistics: Mapping[str, Any] | None, channels: int) -> None:
    """Raise ValueError unless the statistics are those that the normalization needs."""
    if statistics is None:
        return
    needed = NEEDED[normalization]
    if set(statistics) != set(needed):
        raise ValueError(f"normalization {normalization!r} takes the statistics {list(needed)}, not {list(statistics)}")
    for name, values in statistics.items():
        if len(values) != channels or not np.isfinite(values).all():
            raise ValueError(f"statistics {name!r} must be {channels} finite numbers, one for each channel")
    spread = np.subtract(statistics["max"], statistics["min"]) if "min" in needed else statistics.get("std", 0)
    if np.any(np.less(spread, 0)):
        raise ValueError(f"statistics {list(needed)}: a spread must not be negative, got {list(np.ravel(spread))}")


def affine(
    normalization: str, statistics: Mapping[str, Any] | None, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(a, b) of y = (x − a) / b, each [channels, 1, …] for features of that shape; None where y = x."""
    if not statistics:
        return None
    known = {name: np.asarray(values, float) for name, values in statistics.items()}
    if normalization == "zerocenter":
        offset, scale = known["mean"], np.ones_like(known["mean"])
    elif normalization == "zscore":
        offset, scale = known["mean"], known["std"]
    elif normalization == "rescale_symmetric":
        offset, scale = (known["min"] + known["max"]) / 2, (known["max"] - known["min"]) / 2
    else:
        offset, scale = known["min"], known["max"] - known["min"]
    scale = np.where(scale < np.finfo(np.float32).tiny, 1.0, scale)  # a constant channel divides by 1
    channels = (len(offset), *[1] * (len(shape) - 1))
    return offset.reshape(channels), scale.reshape(channels)
