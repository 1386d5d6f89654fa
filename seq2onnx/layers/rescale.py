"""Rescale: a fixed scale and offset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Signal


def _plain(value: Any) -> Any:
    """Convert to a number or a tuple of numbers, which YAML and JSON can hold."""
    array = np.asarray(value, float)
    if not np.isfinite(array).all() or array.ndim > 1:
        raise ValueError("must be a finite number, or one for each channel")
    return tuple(array.tolist()) if array.ndim else array.item()


Numbers = Annotated[Any, BeforeValidator(_plain)]


@final
@layer
class Rescale(Layer):
    """A fixed scale and offset, such as the one that converts a normalized target back to its unit.

        y = x · scale + offset, and with a limit min(max(y, −limit), limit)

    Shapes:
        y as x

    Args:
        scale: a number, or one for each channel (the first axis of a step).
        offset: a number, or one for each channel.
        limit: the largest magnitude of y. None: there is none.

    Raises:
        ShapeError: there are not as many numbers as channels.

    ONNX:
        Mul, Add; with a limit Clip

    Example:
        >>> Rescale(12.5, 180)

    Source:
        ONNX operators Mul-14, Add-14
    """

    scale: Numbers
    offset: Numbers = 0.0
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] | None = None

    kind: ClassVar[str] = "rescale"
    later_fields: ClassVar[tuple[str, ...]] = ("limit",)

    def _arrays(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        def shaped(value: Any) -> NDArray[np.float64]:
            array = np.asarray(value, float)
            return array.reshape(-1, *[1] * (len(shape) - 1)) if array.ndim else array

        return shaped(self.scale), shaped(self.offset)

    def infer(self, *signals: Signal) -> Signal:
        x = numeric_input(self, signals)
        for name in ("scale", "offset"):
            count = np.size(getattr(self, name))
            if count not in (1, x.shape[0]):
                raise ShapeError(f"{self.label}: {name} has {count} numbers, x {x} has {x.shape[0]} channels")
        return x

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x, shape = call.x, tuple(call.x.shape[call.first_feature_axis :])
        scale, offset = (torch.from_numpy(array).to(x) for array in self._arrays(shape))
        y = x * scale + offset
        return y if self.limit is None else y.clamp(-self.limit, self.limit), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x
        scale, offset = (graph.constant(a.astype(np.float32)) for a in self._arrays(x.signal.shape))
        y = graph.op("Add", graph.op("Mul", x.name, scale), offset)
        if self.limit is not None:
            y = graph.op("Clip", y, *(graph.constant(np.array(v, np.float32)) for v in (-self.limit, self.limit)))
        return y, call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(2, -1.5), (Signal((3,)),)),
            Example(cls([1, -2, 0.5], [3, 2, 1]), (Signal((3, 2)),)),
            Example(cls(2, 0.5, 1.5), (Signal((3,)),)),
            Example(cls(-3), (Signal((3,), has_time=False, static=True),)),
        ]
