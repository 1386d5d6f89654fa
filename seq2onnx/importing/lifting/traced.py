"""A tensor of a foreign network, followed without its numbers: which feature of which layer stands where."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.importing.axes import NAMES, step_letters
from seq2onnx.importing.lifting.layer_node import LayerNode, Lifting


@dataclasses.dataclass(frozen=True, eq=False)
class TracedTensor:
    """A foreign tensor: its axes, and which features stand where.

    The number at a place is, in the row and step of that place, feature `index` of all features of `parts` side by
    side; -1 is the number 0.

    Attributes:
        parts: the nodes that the features come from.
        axes: for each axis "B" (batch), "T" (time), "BT" or "TB" (both in one axis, the second fastest), or ""
            (features, or a single element).
        index: feature numbers, with as many axes as the tensor; its size is 1 along batch and time.
        rows: the size of the batch in the traced run.
        steps: the size of the time axis in the traced run.
        pads: steps of zeros that stand before and after those of `parts`; negative: steps that are cut off.
        relation: how it was calculated from an earlier tensor, where that may become part of a layer.
    """

    parts: tuple[LayerNode, ...]
    axes: tuple[str, ...]
    index: NDArray[np.int64]
    rows: int
    steps: int
    pads: tuple[int, int] = (0, 0)
    relation: Relation | None = None

    def __post_init__(self) -> None:
        assert self.index.ndim == len(self.axes), (self.axes, self.index.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor in the traced run."""
        return tuple(
            math.prod(self.size_of(letter) for letter in axis) if axis else n
            for axis, n in zip(self.axes, self.index.shape, strict=True)
        )

    @property
    def lifting(self) -> Lifting:
        """The import that it belongs to."""
        return self.parts[0].lifting

    @property
    def has_time(self) -> bool:
        """Whether an axis is time."""
        return any("T" in axis for axis in self.axes)

    def size_of(self, letter: str) -> int:
        """Return the size of the batch or of time in the traced run."""
        return self.rows if letter == "B" else self.steps

    def with_(self, **changes: Any) -> TracedTensor:
        """Return another tensor, with some attributes changed."""
        return dataclasses.replace(self, **{"relation": None, **changes})

    def describe(self, axis: int) -> str:
        """Name an axis for people."""
        return NAMES[self.axes[axis]]


@dataclasses.dataclass(frozen=True, eq=False)
class Relation:
    """Algebraic relation of a tensor to an earlier one, `of`.

    The kinds: "scaled" (number · of), "weighted" (factors · of), "sum" (of + number), "limited" (to at least number),
    "mean" (number · mean over `axes`), "centered" (of − mean), "square", "variance" (of²), "squares" (of² · number of
    steps, where of is a deviation over time), "erf" (erf(of)), "erf + 1".
    """

    kind: str
    of: TracedTensor
    axes: tuple[int, ...] = ()
    number: float = 0.0
    factors: Any = None


def sequences(
    parts: Sequence[LayerNode], letters: str, axes: Sequence[str], step: Sequence[int], rows: int, steps: int
) -> TracedTensor:
    """The features of all inputs of an import. `letters` is what its user calls the axes, `step` has C, H, W."""
    features = step_letters(letters)
    sizes = dict(zip(features, step, strict=False))
    index = np.arange(sum(part.size for part in parts)).reshape(list(sizes.values()) or [1])
    index = index.transpose([features.index(letter) for letter in letters if letter in features] or [0])
    shape = [sizes.get(letter, 1) for letter in letters]
    return TracedTensor(tuple(parts), tuple(axes), index.reshape(shape), rows, steps)


def tensor_of(part: LayerNode, axes: Sequence[str], shape: Sequence[int], like: TracedTensor) -> TracedTensor:
    """All features of a node in their order, as a tensor with these axes; `shape` is that of `index`."""
    return TracedTensor((part,), tuple(axes), np.arange(part.size).reshape(shape), like.rows, like.steps)
