"""Add and Concat: layers with several inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, final

from seq2onnx.errors import NotStreamable, ShapeError, SpecError
from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Clock, Signal, State, Value

if TYPE_CHECKING:
    from torch import Tensor


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
        y = _join(self, signals)
        for x in signals:
            if x.shape != y.shape:
                raise ShapeError(f"{self.label}: expected signals of the same shape, got {_listed(self, signals)}")
        return y

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return _states(self, signals)

    def forward(self, call: ForwardCall) -> Forwarded:
        y, *others = _with_time_axis(call.xs)
        for x in others:
            y = y + x
        return y, call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        (y, *others), lengths, new_states = _align(graph, call)
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
        y = _join(self, signals)
        for x in signals:
            if x.shape[1:] != y.shape[1:]:
                raise ShapeError(
                    f"{self.label}: expected signals whose shapes differ only in their channels, got "
                    f"{_listed(self, signals)}"
                )
        return dataclasses.replace(y, shape=(sum(x.shape[0] for x in signals), *y.shape[1:]))

    def states(self, *signals: Signal) -> tuple[State, ...]:
        return _states(self, signals)

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        if call.lengths is None:
            return torch.cat(call.xs, 1), None, {}
        steps = max(call.xs, key=lambda x: x.ndim).shape[1]
        spread = [x.expand(-1, steps, *x.shape[2:]) for x in _with_time_axis(call.xs)]
        return torch.cat(spread, 2), call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        names, lengths, new_states = _align(graph, call)
        timed = [x.signal.has_time for x in call.xs]
        if any(timed):
            sizes = graph.op("Shape", names[timed.index(True)], start=0, end=2)
            features = len(call.x.signal.shape)
            repeated = graph.op("Concat", sizes, graph.ints(*[1] * features), axis=0)
            names = [
                name if has_time else graph.op("Expand", name, repeated)
                for name, has_time in zip(names, timed, strict=True)
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


def _join(layer: Layer, signals: tuple[Signal, ...]) -> Signal:
    """Infer what two or more signals have in common: time axis and clock."""
    if len(signals) < 2:
        raise SpecError(f"{layer.label}: joins two or more layers, it reads {len(signals)}; name them in inputs=[…]")
    if any(x.dtype != "float32" for x in signals):
        raise ShapeError(f"{layer.label}: expected numbers, got {_listed(layer, signals)}")
    timed = [x for x in signals if x.has_time]
    if not timed:
        return dataclasses.replace(signals[0], static=all(x.static for x in signals), clock=_latest(signals))
    for x in timed:
        if not x.clock.has_same_steps(timed[0].clock):
            raise ShapeError(
                f"{layer.label}: expected signals with the same steps, got {_listed(layer, signals)} with "
                f"strides {timed[0].clock.stride} and {x.clock.stride} or different padding; give the branches the "
                "same strides and padding"
            )
    return dataclasses.replace(timed[0], clock=_latest(timed))


def _latest(signals: Sequence[Signal]) -> Clock:
    return max((x.clock for x in signals), key=lambda clock: clock.delay)


def _listed(layer: Layer, signals: tuple[Signal, ...]) -> str:
    names = layer.inputs or ["?"] * len(signals)
    return ", ".join(f"{name} {signal}" for name, signal in zip(names, signals, strict=False))


def _waiting_steps(signals: Sequence[Signal]) -> list[int]:
    """Count for each input how many of its steps may have to wait for the latest input."""
    latest = max((x.clock.delay for x in signals if x.has_time), default=0)
    return [math.ceil((latest - x.clock.delay) / x.clock.stride) if x.has_time else 0 for x in signals]


def _states(layer: Layer, signals: tuple[Signal, ...]) -> tuple[State, ...]:
    has_time = any(x.has_time for x in signals)
    if has_time and any(not x.has_time and not x.static for x in signals):
        raise NotStreamable(
            f"{layer.label}: joins steps to a value known only at the end of a sequence; a stream would use the "
            'running value and get another result; use output_mode="sequence", or signature="sequence"'
        )
    if not signals[0].clock.lookahead:
        return ()
    found: list[State] = []
    for index, (x, steps) in enumerate(zip(signals, _waiting_steps(signals), strict=True)):
        if steps:
            found.append(State(f"skip_{index}", (steps, *x.shape), kind="skip"))
            found.append(State(f"count_{index}", (1,), "int32", kind="count"))
    return tuple(found)


def _with_time_axis(xs: tuple[Tensor, ...]) -> list[Tensor]:
    """Give all inputs a time axis, if one has it."""
    dimensions = max(x.ndim for x in xs)
    return [x if x.ndim == dimensions else x.unsqueeze(1) for x in xs]


def _align(graph: GraphBuilder, call: EmitCall) -> tuple[list[str], str | None, Mapping[str, str]]:
    """Bring the inputs to the same steps; return them, their lengths, and the new states."""
    xs, states = call.xs, call.states
    if not any(x.signal.has_time for x in xs):
        return [x.name for x in xs], call.lengths, {}
    names = [x.name if x.signal.has_time else graph.op("Unsqueeze", x.name, graph.ints(1)) for x in xs]
    if not states:
        return names, call.lengths, {}
    # Available of each input is what waited and what came. As many steps come out as all inputs have.
    waits = _waiting_steps([x.signal for x in xs])
    timed = [i for i, x in enumerate(xs) if x.signal.has_time]
    some_count = next(name for key, name in states.items() if key.startswith("count"))
    fresh = {i: _fresh(graph, xs[i], some_count) for i in timed}
    available = {i: graph.op("Add", states[f"count_{i}"], fresh[i]) if waits[i] else fresh[i] for i in timed}
    out = graph.op("Min", *available.values()) if len(timed) > 1 else available[timed[0]]
    count = graph.steps(xs[next(i for i in timed if not waits[i])].name)
    new_states: dict[str, str] = {}
    for i in timed:
        if not waits[i]:
            continue
        joined = graph.op("Concat", states[f"skip_{i}"], names[i], axis=1)
        new_states[f"skip_{i}"] = graph.gather_steps(joined, fresh[i], graph.ints(waits[i]))
        new_states[f"count_{i}"] = graph.op("Sub", available[i], out)
        start = graph.op("Sub", graph.number(waits[i]), states[f"count_{i}"])
        names[i] = graph.gather_steps(joined, start, count)
    return names, graph.op("Squeeze", out, graph.ints(1)), new_states


def _fresh(graph: GraphBuilder, x: Value, count: str) -> str:
    """Count the new steps of each row, int32 [batch, 1]; any state `count` says how many rows there are."""
    if x.lengths is None:
        same = graph.cast(graph.steps(x.name), "int32")
        return graph.op("Add", graph.op("Mul", count, graph.number(0)), same)
    return graph.op("Unsqueeze", x.lengths, graph.ints(1))
