"""LayerNorm and RMSNorm: normalize each step by its own statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, final

import numpy as np
from pydantic import Field

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, PositiveInt, layer, numeric_input
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.initializers import ones, zeros
from seq2onnx.layers.signal import Signal, Value, Weight

if TYPE_CHECKING:
    from torch import Tensor

Epsilon = Annotated[float, Field(gt=0)]


@final
@layer
class LayerNorm(Layer):
    """Normalize each step to mean 0 and variance 1 over its features, then apply a learned scale and offset.

        y = (x − mean(x)) / √(var(x) + ε) ⊙ γ + β

    Shapes:
        y as x; mean and var over all features of a step, or over those of a group

    Args:
        epsilon: ε, > 0.
        groups: in how many groups of equal size the channels are split, in their order. Each group is normalized by
            itself, with the height and width of its channels: a GroupNorm of each step. With as many groups as
            channels, it is an InstanceNorm of each step.

    Raises:
        ShapeError: the input is tokens, or the channels cannot be split into the groups.

    Weights:
        scale γ and offset β, of the shape of a step

    ONNX:
        LayerNormalization; with groups, and in a step file, ReduceMean, Sub, Mul, Add, Sqrt, Div

    Example:
        >>> LayerNorm()
        >>> LayerNorm(groups=4)

    Source:
        Ba, Kiros & Hinton 2016; Wu & He 2018; ONNX operator LayerNormalization-17
    """

    epsilon: Epsilon = 1e-5
    groups: PositiveInt = 1

    kind: ClassVar[str] = "layer_norm"
    later_fields: ClassVar[tuple[str, ...]] = ("groups",)

    def infer(self, *signals: Signal) -> Signal:
        return _infer(self, signals)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = signals[0].shape
        return {"scale": Weight(shape, ones, decay=False), "offset": Weight(shape, zeros, decay=False)}

    def forward(self, call: ForwardCall) -> Forwarded:
        from torch.nn.functional import layer_norm

        scale, offset = call.weights["scale"], call.weights["offset"]
        if self.groups == 1:
            return layer_norm(call.x, scale.shape, scale, offset, self.epsilon), call.lengths, {}
        x = _split(call, self.groups)
        y = layer_norm(x, x.shape[-1:], eps=self.epsilon).reshape(call.x.shape)
        return y * scale + offset, call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        names = [graph.weight(name, call.weights[name]) for name in ("scale", "offset")]
        x, axes = _emit_split(graph, self, call.x)
        if self.groups == 1 and not graph.is_fixed:  # in a step file: the operator is known to few programs
            return graph.op("LayerNormalization", x, *names, axis=axes[0], epsilon=self.epsilon), call.lengths, {}
        centered = graph.op("Sub", x, graph.reduce("ReduceMean", x, *axes, keep=True))
        y = _emit_scaled(graph, self, call.x.signal, centered, axes)
        return graph.op("Add", y, names[1]), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(), (Signal((4,)),)),
            Example(cls(0.1), (Signal((2, 3)),)),
            Example(cls(groups=2), (Signal((6,)),)),
            Example(cls(groups=2), (Signal((4, 3, 2)),)),
            Example(cls(groups=3), (Signal((6,), has_time=False, static=True),)),
        ]


@final
@layer
class RMSNorm(Layer):
    """Divide each step by the root of the mean square of its features, then apply a learned scale.

        y = x / √(mean(x²) + ε) ⊙ γ

    With γ = 1 / √n, for n features, and a tiny ε, it divides each step by its length: an L2 normalization.

    Shapes:
        y as x; mean over all features of a step, or over those of a group

    Args:
        epsilon: ε, > 0.
        groups: in how many groups of equal size the channels are split, in their order. Each is normalized by itself,
            with the height and width of its channels.

    Raises:
        ShapeError: the input is tokens, or the channels cannot be split into the groups.

    Weights:
        scale γ, of the shape of a step

    ONNX:
        Mul, ReduceMean, Add, Sqrt, Div. The operator RMSNormalization needs opset 23

    Example:
        >>> RMSNorm()
        >>> RMSNorm(1e-6, groups=4)

    Source:
        Zhang & Sennrich 2019; ONNX operator RMSNormalization-23
    """

    epsilon: Epsilon = 1e-5
    groups: PositiveInt = 1

    kind: ClassVar[str] = "rms_norm"

    def infer(self, *signals: Signal) -> Signal:
        return _infer(self, signals)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        return {"scale": Weight(signals[0].shape, ones, decay=False)}

    def forward(self, call: ForwardCall) -> Forwarded:
        x = _split(call, self.groups)
        y = x / (x.square().mean(-1, keepdim=True) + self.epsilon).sqrt()
        return y.reshape(call.x.shape) * call.weights["scale"], call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        graph.weight("scale", call.weights["scale"])
        x, axes = _emit_split(graph, self, call.x)
        return _emit_scaled(graph, self, call.x.signal, x, axes), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(), (Signal((4,)),)),
            Example(cls(0.1), (Signal((2, 3)),)),
            Example(cls(groups=2), (Signal((6,)),)),
            Example(cls(groups=2), (Signal((4, 3, 2)),)),
            Example(cls(groups=3), (Signal((6,), has_time=False, static=True),)),
        ]


def _infer(layer: LayerNorm | RMSNorm, signals: Sequence[Signal]) -> Signal:
    x = numeric_input(layer, signals)
    if x.shape[0] % layer.groups:
        raise ShapeError(f"{layer.label}: groups {layer.groups} must divide the channels, got x {x}")
    return x


def _split(call: ForwardCall, groups: int) -> Tensor:
    """Give each step the shape [groups, features of a group]."""
    rows, step = call.x.shape[: call.first_feature_axis], call.x.shape[call.first_feature_axis :]
    return call.x.reshape(*rows, groups, step.numel() // groups)


def _emit_split(graph: GraphBuilder, layer: LayerNorm | RMSNorm, x: Value) -> tuple[str, range]:
    """Return x with the groups of each step as an axis, and the axes to normalize."""
    if layer.groups == 1:
        return x.name, range(-len(x.signal.shape), 0)
    return graph.step_shape(x.name, x.signal, layer.groups, x.signal.size // layer.groups), range(-1, 0)


def _emit_scaled(graph: GraphBuilder, layer: LayerNorm | RMSNorm, signal: Signal, values: str, axes: range) -> str:
    """Divide values by the root of their mean square, give each step its own shape, and multiply it with the scale."""
    squares = graph.reduce("ReduceMean", graph.op("Mul", values, values), *axes, keep=True)
    spread = graph.op("Sqrt", graph.op("Add", squares, graph.constant(np.float32(layer.epsilon))))
    y = graph.op("Div", values, spread)
    if layer.groups > 1:
        y = graph.step_shape(y, signal, *signal.shape)
    return graph.op("Mul", y, f"{graph.layer}.scale")
