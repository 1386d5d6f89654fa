"""The five normalizations of the input layers, and the statistics that they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from seq2onnx.errors import ShapeError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

Normalization = Literal["none", "zerocenter", "zscore", "rescale_symmetric", "rescale_zero_one"] | Callable[[Any], Any]
"""The name of one of five, or a function of x in torch, which works in training only."""

NEEDED: dict[str, tuple[str, ...]] = {
    "none": (),
    "zerocenter": ("mean",),
    "zscore": ("mean", "std"),
    "rescale_symmetric": ("min", "max"),
    "rescale_zero_one": ("min", "max"),
}
"""The statistics of the training data that each normalization needs, a number for each channel."""


def needed(normalization: Normalization) -> tuple[str, ...]:
    """Return the names of the statistics that it needs; a function needs none."""
    return NEEDED[normalization] if isinstance(normalization, str) else ()


def _plain_numbers(statistics: object) -> object:
    """Convert arrays and lists to tuples of numbers, which YAML and JSON can hold."""
    if not isinstance(statistics, Mapping):
        return statistics
    try:
        return {name: tuple(np.asarray(values, float).ravel().tolist()) for name, values in statistics.items()}
    except TypeError as error:  # pydantic reports errors of values only
        raise ValueError(f"statistics must be numbers: {error}") from None


Statistics = Annotated[Mapping[str, Any], BeforeValidator(_plain_numbers)]


def check(normalization: Normalization, statistics: Mapping[str, Any] | None, channels: int) -> None:
    """Raise ValueError unless the statistics are those that the normalization needs."""
    if statistics is None:
        return
    names = needed(normalization)
    if set(statistics) != set(names):
        raise ValueError(f"normalization {normalization!r} takes the statistics {list(names)}, not {list(statistics)}")
    for name, values in statistics.items():
        if len(values) != channels or not np.isfinite(values).all():
            raise ValueError(f"statistics {name!r} must be {channels} finite numbers, one for each channel")
    spread = np.subtract(statistics["max"], statistics["min"]) if "min" in names else statistics.get("std", 0)
    if np.any(np.less(spread, 0)):
        raise ValueError(f"statistics {list(names)}: a spread must not be negative, got {list(np.ravel(spread))}")


def affine(
    normalization: Normalization, statistics: Mapping[str, Any] | None, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return (a, b) of y = (x − a) / b, each [channels, 1, …] for steps of that shape; None where y = x."""
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


def normalize(
    x: Tensor, layer: str, normalization: Normalization, statistics: Mapping[str, Any] | None, shape: tuple[int, ...]
) -> Tensor:
    """Normalize x [batch, …, *shape] in torch."""
    import torch

    if not isinstance(normalization, str):
        y: Tensor = normalization(x)
        if y.shape != x.shape:
            raise ShapeError(
                f"{layer}: its normalization must return the shape of x {list(x.shape)}, got {list(y.shape)}"
            )
        return y
    if ab := affine(normalization, statistics, shape):
        offset, scale = (torch.from_numpy(values).to(x) for values in ab)
        return (x - offset) / scale
    return x


def emitted(
    layer: str, normalization: Normalization, statistics: Mapping[str, Any] | None, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return `affine` for a file; raise SpecError if the normalization is a function."""
    if not isinstance(normalization, str):
        raise SpecError(
            f"{layer}: its normalization is a function, which ONNX and YAML files cannot hold; normalize the data "
            f"before the network, or use one of {', '.join(NEEDED)}"
        )
    return affine(normalization, statistics, shape)
