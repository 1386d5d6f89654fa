"""What the axes of a foreign tensor are: batch, time or features. No pattern of operators is looked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from seq2onnx.errors import ImportRefused

NAMES = {"": "features", "B": "the batch", "T": "time", "BT": "batch and time", "TB": "batch and time"}


@dataclasses.dataclass(frozen=True)
class Signal:
    """A foreign tensor that carries data.

    Attributes:
        axes: for each axis "B" (batch), "T" (time), "BT" or "TB" (both, the second fastest) or "" (features).
        shape: its shape in the traced run.
        pads: steps of padding that stand before and after the steps of the input.
        fill: the number in these steps.
        final: whether it is the final state of a recurrent operator.
        state: the new state that is its last step, if it is the output of a recurrent operator; else "".
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    pads: tuple[int, int] = (0, 0)
    fill: float = 0.0
    final: bool = False
    state: str = ""

    @property
    def has_time(self) -> bool:
        """Whether it has a number for each step."""
        return any("T" in axis for axis in self.axes)

    @property
    def time(self) -> int:
        """The axis that is time alone."""
        if "T" not in self.axes:
            raise ImportRefused("reads batch and time in one axis, or no time at all")
        return self.axes.index("T")

    def describe(self, axis: int) -> str:
        """Name an axis for people."""
        return NAMES[self.axes[axis]]

    def with_(self, axes: Sequence[str], shape: Sequence[int]) -> Signal:
        """Return it with other axes and another shape; the padding stays."""
        assert len(axes) == len(shape), (axes, shape)
        return dataclasses.replace(self, axes=tuple(axes), shape=tuple(shape))


def transpose(x: Signal, order: Sequence[int]) -> Signal:
    """Reorder the axes."""
    return x.with_([x.axes[axis] for axis in order], [x.shape[axis] for axis in order])


def squeeze(x: Signal, axes: Sequence[int]) -> Signal:
    """Remove axes of size 1."""
    if any(x.axes[axis] for axis in axes):
        raise ImportRefused("removes the batch or time axis; export with another size there than 1")
    kept = [axis for axis in range(len(x.axes)) if axis not in axes]
    return x.with_([x.axes[axis] for axis in kept], [x.shape[axis] for axis in kept])


def unsqueeze(x: Signal, axes: Sequence[int]) -> Signal:
    """Insert axes of size 1."""
    count = len(x.axes) + len(axes)
    new = {axis % count for axis in axes}
    old = iter(zip(x.axes, x.shape, strict=True))
    pairs = [("", 1) if axis in new else next(old) for axis in range(count)]
    return x.with_([axis for axis, _ in pairs], [size for _, size in pairs])


def reshape(x: Signal, shape: Sequence[int], rows: int, steps: int) -> Signal:
    """Split and merge axes in row-major order.

    Args:
        x: the tensor.
        shape: the new shape in the traced run.
        rows: the size of the batch in the traced run.
        steps: the number of steps in the traced run.
    """
    atoms: list[tuple[str, int]] = []
    for axis, size in zip(x.axes, x.shape, strict=True):
        parts = {"B": rows, "T": steps + sum(x.pads)}
        atoms += [(letter, parts[letter]) for letter in axis] if axis else [("", size)]
    atoms = [atom for atom in atoms if atom[1] != 1]
    axes = []
    for size in shape:
        axis, left, features = "", size, 1
        while left > 1 and atoms:
            letter, atom = atoms.pop(0)
            if left % atom == 0:
                left, axis, features = left // atom, axis + letter, features * (1 if letter else atom)
            elif not letter and atom % left == 0:
                atoms.insert(0, ("", atom // left))
                left, features = 1, features * left
            else:
                what = NAMES[letter]
                raise ImportRefused(f"reshapes {list(x.shape)} to {list(shape)}, which cuts {what} into pieces")
        if axis and features > 1:
            what = "time" if "T" in axis else "the batch"
            raise ImportRefused(
                f"reshapes {list(x.shape)} to {list(shape)}, which makes one axis of {what} and features. What follows "
                "has weights for one number of steps and cannot run step by step"
            )
        axes.append(axis)
    if math.prod(shape) != math.prod(x.shape) or atoms:
        raise ImportRefused(f"reshapes {list(x.shape)} to {list(shape)}, which depends on the data")
    return x.with_(axes, shape)


def join(xs: Sequence[Signal], shape: Sequence[int]) -> Signal:
    """Broadcast signals: their axes of equal place must mean the same."""
    axes = [""] * len(shape)
    for x in xs:
        for back in range(1, len(x.axes) + 1):
            own, known = x.axes[-back], axes[-back]
            if own and known and own != known:
                raise ImportRefused(f"combines {NAMES[own]} with {NAMES[known]} ({[list(x.shape) for x in xs]})")
            axes[-back] = own or known
    for x in xs:
        for back in range(1, len(x.axes) + 1):
            if axes[-back] and not x.axes[-back] and x.shape[-back] > 1:
                raise ImportRefused(f"combines features with {NAMES[axes[-back]]} ({[list(x.shape) for x in xs]})")
    if len({x.has_time for x in xs}) > 1:
        raise ImportRefused("combines every step with the last one, which a stream does not know before it comes")
    if len({x.pads for x in xs}) > 1:
        raise ImportRefused(
            f"combines tensors that are padded or cut by different numbers of steps, {[x.pads for x in xs]}"
        )
    return dataclasses.replace(xs[0], axes=tuple(axes), shape=tuple(shape), final=all(x.final for x in xs))
