"""The axes of a foreign tensor: batch, time or features. Operators move them; no pattern of operators is looked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from seq2onnx.errors import ImportRefused

NAMES = {"": "features", "B": "the batch", "T": "time", "BT": "batch and time", "TB": "time and batch"}
FEATURES = "CHW"
"""The letters of the axes of a step in axes=: features, or the channels, height and width of images."""


class AxesRefused(ImportRefused):
    """A refusal that shows that the axes of the input are others, such as weights over time."""


class RowsJoined(ImportRefused):
    """A refusal of an operator that joins rows of the batch, which few networks do: the axes may be others."""


def step_letters(letters: str) -> str:
    """Return the letters of the axes of a step among those of a whole input, in the order of the contract."""
    return "".join(letter for letter in FEATURES if letter in letters)


@dataclasses.dataclass(frozen=True)
class Axes:
    """The axes of a tensor that carries data.

    Attributes:
        axes: for each axis "B" (batch), "T" (time), "BT" or "TB" (both, the second fastest) or "" (features).
        shape: the shape in the traced run.
        pads: steps of padding that stand before and after the steps of the input.
        fill: the number in these steps.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    pads: tuple[int, int] = (0, 0)
    fill: float = 0.0

    @property
    def has_time(self) -> bool:
        """Whether it has a number for each step."""
        return any("T" in letter for letter in self.axes)

    @property
    def time(self) -> int:
        """The axis that is time alone."""
        if "T" not in self.axes:
            raise ImportRefused("reads batch and time in one axis, or no time at all")
        return self.axes.index("T")

    def describe(self, axis: int) -> str:
        """Name an axis for people."""
        return NAMES[self.axes[axis]]

    def with_shape(self, shape: Sequence[int], letters: Sequence[str] | None = None) -> Axes:
        """Return it with another shape, and with other letters; the padding stays."""
        letters = self.axes if letters is None else letters
        assert len(letters) == len(shape), (letters, shape)
        return dataclasses.replace(self, axes=tuple(letters), shape=tuple(shape))

    def transpose(self, order: Sequence[int]) -> Axes:
        """Reorder the axes."""
        return self.with_shape([self.shape[axis] for axis in order], [self.axes[axis] for axis in order])

    def squeeze(self, axes: Sequence[int]) -> Axes:
        """Remove axes of size 1."""
        if any(self.axes[axis] for axis in axes):
            raise ImportRefused("removes the batch or time axis; export with another size there than 1")
        return self.transpose([axis for axis in range(len(self.axes)) if axis not in axes])

    def unsqueeze(self, axes: Sequence[int]) -> Axes:
        """Insert axes of size 1."""
        count = len(self.axes) + len(axes)
        letters, shape = list(self.axes), list(self.shape)
        for axis in sorted({axis % count for axis in axes}):
            letters.insert(axis, "")
            shape.insert(axis, 1)
        return self.with_shape(shape, letters)

    def reshape(self, shape: Sequence[int], rows: int, steps: int) -> Axes:
        """Split and merge axes in row-major order; `rows` and `steps`, without padding, are those of the traced run."""
        found = regroup(self.axes, self.shape, shape, {"B": rows, "T": steps + sum(self.pads)})
        return self.with_shape(shape, [letters for letters, _ in found])


def regroup(
    axes: Sequence[str], old: Sequence[int], new: Sequence[int], sizes: Mapping[str, int]
) -> list[tuple[str, int]]:
    """Split and merge axes in row-major order: return for each axis of the shape `new` its letters and its features.

    `sizes` are those of the batch, "B", and of time, "T".
    """
    atoms: list[tuple[str, int]] = []
    for letters, size in zip(axes, old, strict=True):
        atoms += [(letter, sizes[letter]) for letter in letters] if letters else [("", size)]
    atoms = [atom for atom in atoms if atom[1] != 1]
    found: list[tuple[str, int]] = []
    text = f"reshapes {list(old)} to {list(new)}, which"
    for size in new:
        axis, left, features = "", size, 1
        while left > 1 and atoms:
            letter, atom = atoms.pop(0)
            if left % atom == 0:
                left, axis, features = left // atom, axis + letter, features * (1 if letter else atom)
            elif not letter and atom % left == 0:
                atoms.insert(0, ("", atom // left))
                left, features = 1, features * left
            else:
                raise ImportRefused(
                    f"{text} cuts {NAMES[letter]} into pieces; if axes were to be swapped, use transpose or permute"
                )
        if "T" in axis and features > 1:
            raise ImportRefused(
                f"{text} makes one axis of time and features; what follows exists for one length only. Use the last "
                "step, a mean or a maximum over time"
            )
        if axis and features > 1:
            raise ImportRefused(
                f"{text} makes one axis of the batch and features, as attention with several heads does; no layer does "
                "that"
            )
        found.append((axis, features))
    if math.prod(new) != math.prod(old) or atoms:
        raise ImportRefused(f"{text} depends on the data")
    return found


def joined_axes(axes: Sequence[Sequence[str]], shapes: Sequence[Sequence[int]], rank: int) -> tuple[str, ...]:
    """Return the letters of tensors that are broadcast: axes at the same place must mean the same."""
    letters, shown = [""] * rank, list(map(list, shapes))
    for each in axes:
        for back, own in enumerate(reversed(each), 1):
            known = letters[-back]
            if own and known and own != known:
                raise ImportRefused(f"combines {NAMES[own]} with {NAMES[known]} ({shown})")
            letters[-back] = own or known
    for each, shape in zip(axes, shapes, strict=True):
        for back, own in enumerate(reversed(each), 1):
            if letters[-back] and not own and shape[-back] > 1:
                raise ImportRefused(f"combines features with {NAMES[letters[-back]]} ({shown})")
    return tuple(letters)


def batch_first(y: NDArray[Any], axes: Sequence[str], shape: Sequence[int], rows: int) -> NDArray[Any]:
    """Bring an answer with these axes into the layout [B, T, K], or [B, K] without time.

    `shape` is that of y; y may lack some of its axes of size 1. `rows` is the size of the batch.
    """
    letters, sizes = [""], [1]  # K, of one number where no axis is features
    for axis, size in zip(axes, shape, strict=True):
        letters += axis or [""]
        sizes += [rows if letter == "B" else size // rows if len(axis) > 1 else size for letter in axis] or [size]
    if "B" not in letters:
        letters, sizes = ["B", *letters], [1, *sizes]
    order = [letters.index(letter) for letter in "BT" if letter in letters]
    lead = [sizes[axis] for axis in order]
    order += [axis for axis, letter in enumerate(letters) if not letter]
    return y.reshape(sizes).transpose(order).reshape(*lead, -1)
