"""Lengths and initial states of recurrent operators, as both imports read them."""

from __future__ import annotations

from typing import Any

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.onnx.graph_parts import Array
from seq2onnx.importing.onnx.node_calls import NodeCall


def check_lengths(call: NodeCall[Any], steps: int) -> None:
    """Check that the lengths of the rows, if there are any, are an input, or that all rows are whole."""
    if not call.has(4):
        return
    foreign = call.foreign.get(call.node.input[4])
    if foreign is not None and foreign.lengths and foreign.as_given:
        return
    numbers, other = call.numbers[4], call.others[4]
    whole = numbers is not None and (numbers == steps).all()
    if foreign is not None or not whole or (other is not None and (other == steps).any()):
        raise ImportRefused(
            "has lengths of rows that are calculated, or the same in each run; give the lengths as they are"
        )


def initial_state(call: NodeCall[Any], index: int) -> Array | None:
    """Return the initial state [1, hidden] of every row; None: zeros."""
    name = call.node.input[index] if call.has(index) else ""
    if not name or name in call.foreign:  # a state that the caller carried by hand starts at zero
        return None
    if call.signals[index] is not None:
        raise ImportRefused("starts from a state that is computed from the data")
    numbers, other = call.numbers[index], call.others[index]
    if numbers is None:
        return None
    rows = numbers.reshape(-1, numbers.shape[-1])
    if any(each is not None and (each.reshape(-1, each.shape[-1]) != rows[:1]).any() for each in (numbers, other)):
        raise ImportRefused("starts from numbers that differ between rows, or depend on how many steps there are")
    return rows[:1] if rows[:1].any() else None
