"""Rescale: from normalized numbers to the user's unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, Signal, layer, numbers

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


def _plain(value: Any) -> Any:
    """A number, or a tuple of numbers, which YAML and JSON hold."""
    array = np.asarray(value, float)
    if not np.isfinite(array).all() or array.ndim > 1:
        raise ValueError("must be a finite number, or one for each channel")
    return tuple(array.tolist()) if array.ndim else array.item()


Numbers = Annotated[Any, BeforeValidator(_plain)]


@final
@layer
class Rescale(Layer):
    """A fixed scale and offset: what turns a normalized target back into the user's unit.

        y = x · scale + offset

    Shapes:  y as x
    State:   none
    Args:    scale, offset: a number, or one for each channel (the first axis of a step)
    ONNX:    Mul, Add
    Raises:  ShapeError where there are not as many numbers as channels
    Example: >>> Rescale(12.5, 180)
    Source:  ONNX operators Mul-14, Add-14
    """

    scale: Numbers
    offset: Numbers = 0.0

    kind: ClassVar[str] = "rescale"

    def _arrays(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        def one(value: Any) -> NDArray[np.float64]:
            array = np.asarray(value, float)
            return array.reshape(-1, *[1] * (len(shape) - 1)) if array.ndim else array

        return one(self.scale), one(self.offset)

    def infer(self, *signals: Signal) -> Signal:
        x = numbers(self, signals)
        for name in ("scale", "offset"):
            count = np.size(getattr(self, name))
            if count not in (1, x.shape[0]):
                raise ShapeError(f"{self.label}: {name} has {count} numbers, x {x} has {x.shape[0]} channels")
        return x

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        (x,) = xs
        shape = x.shape[1:] if lengths is None else x.shape[2:]
        scale, offset = (torch.from_numpy(array).to(x) for array in self._arrays(tuple(shape)))
        return x * scale + offset, lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        (x,) = xs
        scale, offset = (graph.constant(a.astype(np.float32)) for a in self._arrays(x.signal.shape))
        return graph.op("Add", graph.op("Mul", x.name, scale), offset), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(2, -1.5), (Signal((3,)),)),
            Example(cls([1, -2, 0.5], [3, 2, 1]), (Signal((3, 2)),)),
            Example(cls(-3), (Signal((3,), has_time=False, static=True),)),
        ]
