"""Add, Multiply and Concat: layers with several inputs."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import ClassVar, final

from seq2onnx.errors import ShapeError
from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts import joining
from seq2onnx.layers.signal import Signal, State


@final
@layer
class Add(Layer):
    """Sum of several signals of the same shape, as in a skip connection.

        y_t = Σ_i x_{i,t}

    Shapes:
        y as each x. A signal without a time axis is added to every step of the others.

    Args:
        inputs: the names of two or more layers.

    Raises:
        ShapeError: shapes or time axes differ.
        NotStreamable: the signature has states, and a value known only at the end of a sequence is added to its steps.

    State:
        none. With lookahead, each input that arrives before the latest one has skip [B, K, C], its waiting steps, and
        count [B, 1], their number

    ONNX:
        Add

    Example:
        >>> Add(inputs=["relu_2", "conv1d_1"])

    Source:
        ONNX operator Add-14
    """

    kind: ClassVar[str] = "add"

    def infer(self, *signals: Signal) -> Signal:
        return joining.infer_same_shape(self, signals)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return joining.states(self, signals)

    def forward(self, call: ForwardCall) -> Forwarded:
        return functools.reduce(operator.add, joining.with_time_axis(call.xs)), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        names, lengths, new_states = joining.align(graph, call)
        return functools.reduce(functools.partial(graph.op, "Add"), names), lengths, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, static = Signal((3,)), Signal((3,), has_time=False, static=True)
        return [
            Example(cls(), (signal, signal)),
            Example(cls(), (signal, static, signal)),
            Example(cls(), (static, static)),
        ]


@final
@layer
class Multiply(Layer):
    """Product of several signals of the same shape, as in a gate.

        y_t = Π_i x_{i,t}

    Shapes:
        y as each x. A signal without a time axis multiplies every step of the others.

    Args:
        inputs: the names of two or more layers.

    Raises:
        ShapeError: shapes or time axes differ.
        NotStreamable: the signature has states, and a value known only at the end of a sequence multiplies its steps.

    State:
        as in Add

    ONNX:
        Mul

    Example:
        >>> Multiply(inputs=["sigmoid_1", "conv1d_1"])

    Source:
        ONNX operator Mul-14
    """

    kind: ClassVar[str] = "multiply"

    def infer(self, *signals: Signal) -> Signal:
        return joining.infer_same_shape(self, signals)

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return joining.states(self, signals)

    def forward(self, call: ForwardCall) -> Forwarded:
        return functools.reduce(operator.mul, joining.with_time_axis(call.xs)), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        names, lengths, new_states = joining.align(graph, call)
        return functools.reduce(functools.partial(graph.op, "Mul"), names), lengths, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, static = Signal((3,)), Signal((3,), has_time=False, static=True)
        return [
            Example(cls(), (signal, signal)),
            Example(cls(), (static, signal, signal)),
            Example(cls(), (static, static)),
            Example(cls(), (Signal((2, 3)), Signal((2, 3)))),
        ]


@final
@layer
class Concat(Layer):
    """Several signals side by side, such as two sensors, or a sequence and the static features of its machine.

        y_t = [x_{1,t}, x_{2,t}, …]

    Shapes:
        On the channel axis, the first axis of a step: x [B, T, C1], [B, T, C2] -> y [B, T, C1 + C2]. A signal without a
        time axis is repeated at every step of the others.

    Args:
        inputs: the names of two or more layers.

    Raises:
        ShapeError: time axes differ, or shapes differ in more than their channels.
        NotStreamable: as in Add.

    State:
        as in Add

    ONNX:
        Concat

    Example:
        >>> Concat(inputs=["lstm_1", "machine"])

    Source:
        ONNX operator Concat-13
    """

    kind: ClassVar[str] = "concat"

    def infer(self, *signals: Signal) -> Signal:
        y = joining.infer(self, signals)
        for x in signals:
            if x.shape[1:] != y.shape[1:]:
                raise ShapeError(
                    f"{self.label}: expected signals whose shapes differ only in their channels, got "
                    f"{joining.listed(self, signals)}"
                )
        return dataclasses.replace(y, shape=(sum(x.shape[0] for x in signals), *y.shape[1:]))

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return joining.states(self, signals)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        if call.lengths is None:
            return torch.cat(call.xs, 1), None, {}
        steps = max(call.xs, key=lambda x: x.ndim).shape[1]
        spread = [x.expand(-1, steps, *x.shape[2:]) for x in joining.with_time_axis(call.xs)]
        return torch.cat(spread, 2), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        names, lengths, new_states = joining.align(graph, call)
        timed = [x.signal.has_time for x in call.xs]
        if any(timed):
            first, ones = timed.index(True), [1] * len(call.x.signal.shape)
            if graph.is_fixed:
                steps = graph.fixed_steps(call.xs[first].signal)
                repeated, timed = graph.ints(1, steps, *ones), [has_time or steps == 1 for has_time in timed]
            else:
                sizes = graph.op("Shape", names[first], start=0, end=2)
                repeated = graph.op("Concat", sizes, graph.ints(*ones), axis=0)
            names = [
                name if is_full else graph.op("Expand", name, repeated)
                for name, is_full in zip(names, timed, strict=True)
            ]
        return graph.op("Concat", *names, axis=2 if any(timed) else 1), lengths, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, static = Signal((3,)), Signal((2,), has_time=False, static=True)
        return [
            Example(cls(), (signal, Signal((2,)))),
            Example(cls(), (static, signal, static)),
            Example(cls(), (static, static)),
            Example(cls(), (Signal((2, 3)), Signal((1, 3)))),
        ]
