"""The data of layers: Signal with its Clock, State, Weight, and Value in an ONNX graph."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DType = Literal["float32", "int64", "int32"]
Initializer = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Clock:
    """The time axis of a signal, relative to the inputs of the network.

    Attributes:
        stride: input steps per step of this signal.
        delay: input steps that must follow a step before it can be computed.
        windows: how the number of steps changes on the way, one (padding − d(k−1), stride) for each layer that changes
            it, with kernel size k and dilation d.
        lookahead: whether steps may wait for later ones. The input `end` then says which chunk is the last.
    """

    stride: int = 1
    delay: int = 0
    windows: tuple[tuple[int, int], ...] = ()
    lookahead: bool = False

    def after(self, extra: int, stride: int, delay: int) -> Clock:
        """Return the clock after a window layer; `delay` is in steps of this signal."""
        windows = self.windows
        if windows and extra == windows[-1][0] == 0:
            windows, stride_here = windows[:-1], windows[-1][1] * stride  # ⌈⌈T/a⌉/b⌉ = ⌈T/ab⌉
        else:
            stride_here = stride
        if (extra, stride_here) != (0, 1):
            windows += ((extra, stride_here),)
        return dataclasses.replace(
            self, stride=self.stride * stride, delay=self.delay + delay * self.stride, windows=windows
        )

    def has_same_steps(self, other: Clock) -> bool:
        """Whether signals of both clocks have the same steps. One of them may come later."""
        return (self.stride, self.windows) == (other.stride, other.windows)

    def length(self, steps: int) -> int:
        """Return the steps of this signal for `steps` input steps; 0 for 0."""
        for extra, stride in self.windows:
            steps = max(0, (steps + extra - 1) // stride + 1) if steps else 0
        return steps

    @property
    def fewest_steps(self) -> int:
        """The fewest input steps that give a step of this signal."""
        steps = 1
        for extra, stride in reversed(self.windows):
            steps = max(1, (steps - 1) * stride + 1 - extra)
        return steps


@dataclasses.dataclass(frozen=True)
class Signal:
    """The output of a layer: the shape of a step, its type, and whether it has a time axis.

    Attributes:
        shape: the features of a step, or of the one vector of a sequence.
        has_time: whether there is a time axis.
        dtype: "float32", or "int64" for tokens.
        clock: when its steps come.
        static: True: has no time axis and never changes during a sequence. False without a time axis: a running value.
        missing: whether values may be missing, which are NaN or infinite. Only layers that take them may read it.
    """

    shape: tuple[int, ...]
    has_time: bool = True
    dtype: DType = "float32"
    clock: Clock = Clock()
    static: bool = False
    missing: bool = False

    @property
    def size(self) -> int:
        """Number of features of a step."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        """Return the form that tables and errors show: [batch, time, 12]."""
        return f"[{', '.join(['batch', *['time'] * self.has_time, *map(str, self.shape)])}]"


@dataclasses.dataclass(frozen=True)
class State:
    """A tensor that a layer keeps between chunks. All zeros mean "start".

    Attributes:
        name: unique in its layer.
        shape: without the batch axis.
        dtype: "float32" or "int32".
        kind: what the names in the ONNX file end in. Two states of a layer may have the same kind. "": the name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType = "float32"
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", self.name)  # the class is frozen


@dataclasses.dataclass(frozen=True)
class Weight:
    """An array that a layer learns.

    Attributes:
        shape: its shape.
        initialize: draws its first values from (generator, shape).
        decay: whether L2 regularization applies to it.
        trainable: whether gradients change it. If not, only the layer itself does, or nothing.
    """

    shape: tuple[int, ...]
    initialize: Initializer
    decay: bool = True
    trainable: bool = True


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor in an ONNX graph.

    Attributes:
        name: its name in the graph.
        signal: the signal it carries.
        lengths: name of the tensor with the valid steps of each row. None: every row is valid to its end.
    """

    name: str
    signal: Signal
    lengths: str | None = None
