"""The arguments and results of `forward` and `emit`: one object for each call of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from seq2onnx.layers.signal import Value

if TYPE_CHECKING:
    from torch import Tensor

Forwarded = tuple["Tensor", "Tensor | None", Mapping[str, "Tensor"]]
"""y, the valid steps of each row (None without a time axis), and the new states by name."""
Emitted = tuple[str, str | None, Mapping[str, str]]
"""The same as names in the graph; lengths None: every row is valid to its end."""


class ForwardCall(NamedTuple):
    """The arguments of `Layer.forward`.

    Attributes:
        xs: the inputs of the layer, each [batch, time, …], or [batch, …] without a time axis.
        lengths: the valid steps of each row, integers [batch]. None: no input has a time axis.
        states: the states by name. None: the caller passes none and needs none back.
        weights: the weights by name.
        training: whether the module is in training mode.
        synchronized: torch's processes train together, each on some rows of a batch. What a layer computes over rows
            must then include the rows of all processes.
    """

    xs: tuple[Tensor, ...]
    lengths: Tensor | None
    states: Mapping[str, Tensor] | None
    weights: Mapping[str, Tensor]
    training: bool = False
    synchronized: bool = False

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.xs[0]

    @property
    def row_lengths(self) -> Tensor:
        """The lengths, for layers whose input always has a time axis."""
        assert self.lengths is not None
        return self.lengths

    @property
    def first_feature_axis(self) -> int:
        """The axis of x at which the features of a step begin."""
        return 1 if self.lengths is None else 2


class EmitCall(NamedTuple):
    """The arguments of `Layer.emit`.

    Attributes:
        xs: the inputs of the layer.
        lengths: name of the valid steps of each row, int32 [batch]. None: every row is valid to its end.
        states: the names of the states by name. None: the file carries no states.
        weights: the weights by name. Add them with `graph.weight`. Only rearrange their entries, never calculate with
            them: `restore` depends on it.
    """

    xs: tuple[Value, ...]
    lengths: str | None
    states: Mapping[str, str] | None
    weights: Mapping[str, NDArray[Any]]

    @property
    def x(self) -> Value:
        """The first input."""
        return self.xs[0]
