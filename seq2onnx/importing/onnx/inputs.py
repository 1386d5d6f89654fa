"""The input and the outputs of a foreign graph, as its user and the order of its axes choose them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TypeVar

import numpy as np
from onnx import ModelProto

from seq2onnx.errors import ImportRefused, SpecError
from seq2onnx.importing.axes import FEATURES
from seq2onnx.importing.onnx.graph_parts import remove_unused, replace
from seq2onnx.importing.onnx.tracing import Draw, Trace, declared, dtype_of
from seq2onnx.importing.refusals import OptionNeeded
from seq2onnx.importing.states.walk import doubts

Made = TypeVar("Made")

ORDERS = {1: ("C",), 2: ("BT", "TB", "TC"), 3: ("BTC", "TBC", "BCT")}
"""The orders of axes that are tried, by their number."""
LAYOUT_OPS = {"Cast", "Identity", "Transpose", "Unsqueeze", "Squeeze", "Reshape"}


def check_axes(axes: str | None) -> None:
    """Raise SpecError unless `axes` is None or has letters B, T, C, H and W, each at most once."""
    if axes is not None and (not axes or set(axes) - {*"BT", *FEATURES} or len(set(axes)) < len(axes)):
        raise SpecError(
            "axes: expected the letters B (batch), T (time) and C (features), of images also H and W, each at most "
            f"once, got {axes!r}"
        )


def no_order(data: str, rank: int, axes: str | None = None) -> ImportRefused:
    """Return the refusal of an input whose axes cannot be read as given, or are not tried."""
    if axes is not None:
        return ImportRefused(f"the axes {axes!r} of the input {data} have no time, T; a sequence has steps")
    return OptionNeeded(
        f"the input {data} has {rank} axes, whose meaning the file does not say; give axes=: B is the batch, T time, "
        "C, H and W are features, such as 'BCTW' for [batch, 1, time, features], or 'BTWC' if the 1 is last",
        axes=[axes for axes in ("BCTW", "BTWC") if len(axes) == rank],
    )


def several_orders(made: Sequence[str]) -> ImportRefused:
    """Return the refusal of an input that can have its axes in more than one order."""
    return OptionNeeded(f"its input could have the axes {' or '.join(made)}; give axes=", axes=made)


def unknown_order(made: Sequence[str]) -> ImportRefused:
    """Return the refusal of an input of which nothing shows the order of its axes."""
    return OptionNeeded(
        "nothing in the graph joins steps, or nothing has weights, so that the order of its axes is unknown; give "
        f"axes=, such as {made[0]!r}",
        axes=made,
    )


def rank_of(model: ModelProto, data: str, axes: str | None) -> int:
    """Return how many axes the input has, or may have where the file does not say."""
    entry = next(entry for entry in model.graph.input if entry.name == data)
    return len(declared(entry)) if entry.type.tensor_type.HasField("shape") else len(axes or "BTC")


def in_each_order(
    orders: Sequence[str], make: Callable[[str], Made], traces_in: Callable[[str], Iterator[Trace]]
) -> dict[str, Made]:
    """Make something with each order of axes that allows it.

    If none does, raise the refusal that came furthest, of an order that no operator contradicts if there is one.
    """
    made: dict[str, Made] = {}
    refusals: dict[str, ImportRefused] = {}
    for order in orders:
        try:
            made[order] = make(order)
        except ImportRefused as error:
            refusals[order] = error
    if made:
        return made

    def doubts_in(order: str) -> tuple[bool, bool, int]:
        try:
            contradicted, joined = doubts(next(traces_in(order)))
        except ImportRefused:
            contradicted = joined = True
        return contradicted, joined, -getattr(refusals[order], "reached", -1)

    order = min(refusals, key=doubts_in) if len(refusals) > 1 else next(iter(refusals))
    hint = f" (the axes of its input read as {order}; give axes= if they are others)" if len(refusals) > 1 else ""
    raise ImportRefused(f"{refusals[order]}{hint}") from refusals[order]


def answers_among(named: Sequence[str], known: Container[str], finals: Container[str], chosen: bool) -> list[str]:
    """Return the outputs that answer: those that are `known`, and no final state unless the user has `chosen` them."""
    found = [name for name in named if name in known and (chosen or name not in finals)]
    found = found or [name for name in named if name in known][:1]
    if not found or (chosen and len(found) < len(named)):
        raise ImportRefused("has an output that does not depend on the data")
    return found


def choose_outputs(model: ModelProto, outputs: Sequence[str], more: Sequence[str] = ()) -> ModelProto:
    """Return a copy with these outputs alone, and `more`."""
    known = [entry.name for entry in model.graph.output]
    if isinstance(outputs, str) or not outputs:
        raise SpecError(f"outputs: expected a list of names, got {outputs!r}")
    for name in outputs:
        if name not in known:
            raise ImportRefused(f"outputs: the file has no output {name!r}, only {', '.join(known)}")
    copy, kept = deepcopy(model), {*outputs, *more}
    replace(copy.graph.output, [entry for entry in copy.graph.output if entry.name in kept])
    remove_unused(copy.graph)
    return copy


def data_input(model: ModelProto, states: Mapping[str, str] | None = None) -> str:
    """Return the input that is the sequence: the first that is no state."""
    for entry in model.graph.input:
        if entry.name not in (states or {}):
            if dtype_of(entry) not in (np.float32, np.int64, np.int32):
                raise ImportRefused(
                    f"its input {entry.name} is {dtype_of(entry)}; expected float32, or int64 and int32 for tokens"
                )
            return str(entry.name)
    raise ImportRefused("has no input beside its states")


def drawer(model: ModelProto, data: str) -> tuple[Draw, int | None]:
    """Return a function that draws random data, and the number of tokens."""
    dtype = dtype_of(next(entry for entry in model.graph.input if entry.name == data))
    if dtype.kind == "f":
        return lambda rng, shape: rng.normal(size=shape).astype(np.float32), None
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    same, count = {data}, 10
    for node in model.graph.node:
        if node.op_type in LAYOUT_OPS and node.input[0] in same:
            same.update(node.output)
        elif node.op_type == "Gather" and node.input[1] in same and node.input[0] in sizes:
            axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
            count = int(sizes[node.input[0]][axis])
    return lambda rng, shape: rng.integers(0, count, shape), count
