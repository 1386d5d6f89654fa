"""Add and Concat: layers that read several others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

from seq2onnx.errors import NotStreamable, ShapeError, SpecError
from seq2onnx.layers.base import Clock, Example, Layer, Signal, State, layer

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder, Value
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class Add(Layer):
    """The sum of several signals of one shape: a skip connection, say.

        y_t = Σ_i x_{i,t}

    Shapes:  y as each x; a signal without time joined to one with time is added to each of its steps
    State:   none; with lookahead, for each input that comes earlier than the latest, skip, its steps that wait
             [B, K, C], and count, how many they are [B, 1]
    Args:    inputs: the names of two layers or more
    ONNX:    Add
    Raises:  ShapeError (shapes or clocks that differ); NotStreamable for signatures with states, where what is
             known only at the end is added to steps
    Example: >>> Add(inputs=["relu_2", "conv1d_1"])
    Source:  ONNX operator Add-14
    """

    kind: ClassVar[str] = "add"

    def infer(self, *signals: Signal) -> Signal:
        y = _join(self, signals)
        for x in signals:
            if x.shape != y.shape:
                raise ShapeError(f"{self.label}: expected signals of one shape, got {_listed(self, signals)}")
        return y

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return _states(self, signals)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        y, *others = _spread(xs)
        for x in others:
            y = y + x
        return y, lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        names, lengths, new_states = _align(graph, xs, lengths, states)
        y, *others = names
        for x in others:
            y = graph.op("Add", y, x)
        return y, lengths, new_states

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
class Concat(Layer):
    """Several signals side by side: two sensors, or a sequence and what is known of the whole.

        y_t = [x_{1,t}, x_{2,t}, …]

    Shapes:  on the channel axis, the first of a step: x [B, T, C1], [B, T, C2] -> y [B, T, C1 + C2]; a signal
             without time joined to one with time is repeated over its steps
    State:   as Add
    Args:    inputs: the names of two layers or more
    ONNX:    Concat
    Raises:  as Add; shapes may differ in their channels
    Example: >>> Concat(inputs=["lstm_1", "machine"])
    Source:  ONNX operator Concat-13
    """

    kind: ClassVar[str] = "concat"

    def infer(self, *signals: Signal) -> Signal:
        y = _join(self, signals)
        for x in signals:
            if x.shape[1:] != y.shape[1:]:
                raise ShapeError(f"{self.label}: expected shapes alike but for channels, got {_listed(self, signals)}")
        return dataclasses.replace(y, shape=(sum(x.shape[0] for x in signals), *y.shape[1:]))

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return _states(self, signals)

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        if lengths is None:
            return torch.cat(xs, 1), None, ()
        steps = max(xs, key=lambda x: x.ndim).shape[1]
        return torch.cat([x.expand(-1, steps, *x.shape[2:]) for x in _spread(xs)], 2), lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        has_time = any(x.signal.has_time for x in xs)
        names, lengths, new_states = _align(graph, xs, lengths, states)
        if has_time:
            like = next(name for name, x in zip(names, xs, strict=True) if x.signal.has_time)
            sizes = graph.op("Shape", like, start=0, end=2)
            features = len(xs[0].signal.shape)
            repeated = graph.op("Concat", sizes, graph.ints(*[1] * features), axis=0)
            names = [
                name if x.signal.has_time else graph.op("Expand", name, repeated)
                for name, x in zip(names, xs, strict=True)
            ]
        return graph.op("Concat", *names, axis=2 if has_time else 1), lengths, new_states

    @classmethod
    def examples(cls) -> Sequence[Example]:
        signal, static = Signal((3,)), Signal((2,), has_time=False, static=True)
        return [
            Example(cls(), (signal, Signal((2,)))),
            Example(cls(), (static, signal, static)),
            Example(cls(), (static, static)),
            Example(cls(), (Signal((2, 3)), Signal((1, 3)))),
        ]


def _join(layer: Layer, signals: tuple[Signal, ...]) -> Signal:
    """What two signals or more have in common: time and clock."""
    if len(signals) < 2:
        raise SpecError(f"{layer.label}: joins two layers or more, it reads {len(signals)}; name them in inputs=[…]")
    if any(x.dtype != "float32" for x in signals):
        raise ShapeError(f"{layer.label}: expected numbers, got {_listed(layer, signals)}")
    timed = [x for x in signals if x.has_time]
    if not timed:
        return dataclasses.replace(signals[0], static=all(x.static for x in signals), clock=_latest(signals))
    for x in timed:
        if not x.clock.ticks_with(timed[0].clock):
            raise ShapeError(
                f"{layer.label}: expected signals with the same steps, got {_listed(layer, signals)}, one with a step "
                f"for each {timed[0].clock.stride} of the input and another for each {x.clock.stride}, or with other "
                "padding; give the branches the same strides and padding"
            )
    return dataclasses.replace(timed[0], clock=_latest(timed))


def _latest(signals: Sequence[Signal]) -> Clock:
    return max((x.clock for x in signals), key=lambda clock: clock.delay)


def _listed(layer: Layer, signals: tuple[Signal, ...]) -> str:
    names = layer.inputs or ["?"] * len(signals)
    return ", ".join(f"{name} {signal}" for name, signal in zip(names, signals, strict=False))


def _waiting(signals: Sequence[Signal]) -> list[int]:
    """How many steps of each input may have to wait for the latest."""
    latest = max((x.clock.delay for x in signals if x.has_time), default=0)
    return [math.ceil((latest - x.clock.delay) / x.clock.stride) if x.has_time else 0 for x in signals]


def _states(layer: Layer, signals: tuple[Signal, ...]) -> tuple[State, ...]:
    has_time = any(x.has_time for x in signals)
    if has_time and any(not x.has_time and not x.static for x in signals):
        raise NotStreamable(
            f"{layer.label}: joins steps to what is known only at the end of a sequence; in a stream that would be "
            'the value so far, and another result; use output_mode="sequence", or signature="sequence"'
        )
    if not signals[0].clock.lookahead:
        return ()
    found: list[State] = []
    for x, steps in zip(signals, _waiting(signals), strict=True):
        if steps:
            found += [State("skip", (steps, *x.shape)), State("count", (1,), "int32")]
    return tuple(found)


def _spread(xs: Tensors) -> list[Tensor]:
    """All with a time axis, where one has it."""
    dimensions = max(x.ndim for x in xs)
    return [x if x.ndim == dimensions else x.unsqueeze(1) for x in xs]


def _align(
    graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None
) -> tuple[list[str], str | None, Names]:
    """The inputs step by step beside each other, their lengths, and what waits for the next chunk."""
    if not any(x.signal.has_time for x in xs):
        return [x.name for x in xs], lengths, ()
    names = [x.name if x.signal.has_time else graph.op("Unsqueeze", x.name, graph.ints(1)) for x in xs]
    waits = _waiting([x.signal for x in xs])
    if not states:
        return names, lengths, ()
    # What is there of each input: what waited, and what came; as many steps come out as all of them have.
    left, there = list(states), []
    buffers: list[tuple[str, str] | None] = []
    for wait in waits:
        buffers.append((left.pop(0), left.pop(0)) if wait else None)
    steps = [_fresh(graph, x, states[1]) for x in xs if x.signal.has_time]
    timed = [i for i, x in enumerate(xs) if x.signal.has_time]
    fresh = dict(zip(timed, steps, strict=True))
    for i in timed:
        held = buffers[i]
        there.append(fresh[i] if held is None else graph.op("Add", held[1], fresh[i]))
    out = graph.op("Min", *there) if len(there) > 1 else there[0]
    slowest = next(i for i in timed if not waits[i])
    count = graph.steps(xs[slowest].name)
    new_states: list[str] = []
    for i, have in zip(timed, there, strict=True):
        held = buffers[i]
        if held is None:
            continue
        room = graph.number(waits[i])
        every = graph.op("Concat", held[0], names[i], axis=1)
        remaining = graph.op("Sub", have, out)
        new_states += [graph.rows(every, fresh[i], graph.ints(waits[i])), remaining]
        names[i] = graph.rows(every, graph.op("Sub", room, held[1]), count)
    return names, graph.op("Squeeze", out, graph.ints(1)), tuple(new_states)


def _fresh(graph: GraphBuilder, x: Value, count: str) -> str:
    """New steps of each row, int32 [batch, 1]."""
    if x.lengths is None:
        same = graph.cast(graph.steps(x.name), "int32")
        return graph.op("Add", graph.op("Mul", count, graph.number(0)), same)
    return graph.op("Unsqueeze", x.lengths, graph.ints(1))
