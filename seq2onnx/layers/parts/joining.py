"""Shared code of the layers with several inputs: what the inputs have in common, and steps that wait for others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seq2onnx.errors import NotStreamable, ShapeError, SpecError
from seq2onnx.layers.base import Layer
from seq2onnx.layers.calls import EmitCall
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.signal import Clock, Signal, State, Value

if TYPE_CHECKING:
    from torch import Tensor


def infer(layer: Layer, signals: tuple[Signal, ...]) -> Signal:
    """Infer what two or more signals have in common: time axis and clock."""
    if len(signals) < 2:
        raise SpecError(f"{layer.label}: joins two or more layers, it reads {len(signals)}; name them in inputs=[…]")
    if any(x.dtype != "float32" for x in signals):
        raise ShapeError(f"{layer.label}: expected numbers, got {listed(layer, signals)}")
    timed = [x for x in signals if x.has_time]
    if not timed:
        return dataclasses.replace(signals[0], static=all(x.static for x in signals), clock=_latest(signals))
    for x in timed:
        if not x.clock.has_same_steps(timed[0].clock):
            raise ShapeError(
                f"{layer.label}: expected signals with the same steps, got {listed(layer, signals)} with "
                f"strides {timed[0].clock.stride} and {x.clock.stride} or different padding; give the branches the "
                "same strides and padding"
            )
    return dataclasses.replace(timed[0], clock=_latest(timed))


def infer_same_shape(layer: Layer, signals: tuple[Signal, ...]) -> Signal:
    """Infer the output of a layer whose inputs must have the same shape."""
    y = infer(layer, signals)
    for x in signals:
        if x.shape != y.shape:
            raise ShapeError(f"{layer.label}: expected signals of the same shape, got {listed(layer, signals)}")
    return y


def _latest(signals: Sequence[Signal]) -> Clock:
    return max((x.clock for x in signals), key=lambda clock: clock.delay)


def listed(layer: Layer, signals: tuple[Signal, ...]) -> str:
    """List the inputs with their signals, for errors."""
    names = layer.inputs or ["?"] * len(signals)
    return ", ".join(f"{name} {signal}" for name, signal in zip(names, signals, strict=False))


def _waiting_steps(signals: Sequence[Signal]) -> list[int]:
    """Count for each input how many of its steps may have to wait for the latest input."""
    latest = max((x.clock.delay for x in signals if x.has_time), default=0)
    return [math.ceil((latest - x.clock.delay) / x.clock.stride) if x.has_time else 0 for x in signals]


def states(layer: Layer, signals: tuple[Signal, ...]) -> tuple[State, ...]:
    """Return the states with the steps that wait; raise NotStreamable if a running value joins steps."""
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


def with_time_axis(xs: tuple[Tensor, ...]) -> list[Tensor]:
    """Give all inputs a time axis, if one has it."""
    dimensions = max(x.ndim for x in xs)
    return [x if x.ndim == dimensions else x.unsqueeze(1) for x in xs]


def align(graph: GraphBuilder, call: EmitCall) -> tuple[list[str], str | None, Mapping[str, str]]:
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
    fresh = graph.row_steps(x.name, x.lengths)
    return fresh if x.lengths else graph.op("Add", graph.op("Mul", count, graph.number(0)), fresh)
