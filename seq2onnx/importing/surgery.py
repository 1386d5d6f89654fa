"""The walk over a foreign graph that gives it states: what joins steps gets one, all else must act on each step alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.onnx_graph import DOMAINS, Array, attributes, opset, place, reads
from seq2onnx.importing.rewriting import FAR, Rewriter, label
from seq2onnx.importing.signals import Signal, reshape, squeeze
from seq2onnx.importing.step_rules import RULES, Call, check_features, elementwise
from seq2onnx.importing.tracing import RECURRENT, Trace
from seq2onnx.importing.windows_with_states import convolution, pooling

KEEPS_FINAL = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Concat", "Cast"}
"""Operators that only move the final state of a recurrent operator about."""
LETTERS = {"B": "B", "T": "T", "C": ""}


class NodeRefused(ImportRefused):
    """A node that cannot be followed.

    Attributes:
        reached: how many nodes before it could be followed.
    """

    def __init__(self, message: str, reached: int) -> None:
        super().__init__(message)
        self.reached = reached


@dataclasses.dataclass(frozen=True)
class Foreign:
    """An input of the foreign graph beside the data, and what was computed from it alone."""

    name: str


def give_states(trace: Trace) -> tuple[Rewriter, dict[str, Signal]]:
    """Rewrite a graph so that its states are inputs and outputs.

    Returns:
        The rewritten nodes, and the signal of each tensor that carries data.

    Raises:
        ImportRefused: a node joins steps in another way than recurrent operators and windows do, or joins rows.
    """
    graph = Rewriter(opset(trace.model))
    entry = trace.values[trace.data]
    # A fixed batch of 1 cannot be told from features of size 1.
    letters = ["" if letter == "B" and trace.rows == 1 else LETTERS[letter] for letter in trace.axes]
    signals: dict[str, Signal] = {trace.data: Signal(tuple(letters), entry.shape)}
    foreign = {entry.name: Foreign(entry.name) for entry in trace.model.graph.input if entry.name != trace.data}
    for node in trace.model.graph.node:
        read = reads(node)
        where = place(node)
        if not read & signals.keys():
            for name in read & foreign.keys():
                foreign |= dict.fromkeys(filter(None, node.output), foreign[name])
            graph.keep(node)
            continue
        if node.op_type in ("Shape", "Size"):
            graph.keep(node)
            continue
        try:
            results = _visit(graph, trace, node, signals, foreign)
        except ImportRefused as error:
            raise NodeRefused(f"{where}: {error}", len(graph.nodes)) from None
        if node.op_type not in KEEPS_FINAL and node.op_type not in RECURRENT:
            results = [dataclasses.replace(x, final=False) for x in results]
        signals |= {name: x for name, x in zip(node.output, results, strict=False) if name}
    return graph, signals


def _visit(
    graph: Rewriter, trace: Trace, node: Any, signals: Mapping[str, Signal], foreign: Mapping[str, Foreign]
) -> list[Signal]:
    op = node.op_type
    if node.domain not in DOMAINS:
        raise ImportRefused(f"is an operator of {node.domain}, which is not known to act on each step alone")
    call = _call(trace, node, graph.opset, signals)
    if op in RECURRENT:
        return _recurrent(graph, trace, call, foreign)
    if named := [foreign[name].name for name in node.input if name in foreign]:
        raise ImportRefused(
            f"combines the data with the input {named[0]!r}; give it a value, fixed={{{named[0]!r}: …}}, or if it is a "
            f"state, the output that continues it, states={{{named[0]!r}: …}}"
        )
    if op in HANDLERS:
        return HANDLERS[op](graph, trace, call)
    if op not in RULES:
        raise ImportRefused("is not known to act on each step alone, so it cannot be given states")
    if len(RULES[op](call)) < sum(bool(name) for name in node.output):
        raise ImportRefused("gives more results than one")
    graph.keep(node)
    return RULES[op](call)


def _call(trace: Trace, node: Any, version: int, signals: Mapping[str, Signal]) -> Call:
    def constants(values: Mapping[str, Array] | None) -> list[Array | None]:
        return [None if values is None or name in signals else values.get(name) for name in node.input]

    for name in (*node.output, *node.input):
        if name and name not in trace.values:
            raise ImportRefused(f"has {name!r}, which is no tensor")
    return Call(
        node,
        attributes(node),
        version,
        [signals.get(name) for name in node.input],
        constants(trace.values),
        constants(trace.others),
        [trace.values[name].shape for name in node.output if name],
    )


def _recurrent(graph: Rewriter, trace: Trace, call: Call, foreign: Mapping[str, Foreign]) -> list[Signal]:
    """LSTM, GRU and RNN read their initial states from inputs."""
    node, x, op = call.node, call.signals[0], call.node.op_type
    if call.attributes.get("layout"):
        raise ImportRefused("has layout=1, which onnxruntime does not run")
    direction = call.attributes.get("direction", "forward")
    if direction != "forward":
        both = direction == "bidirectional"
        raise ImportRefused(
            f"runs {'in both directions' if both else 'backward'}: it reads from the end of a sequence, which a stream "
            "does not know"
        )
    if x is None or any(signal is not None for signal in call.signals[1:5]):
        raise ImportRefused("takes its weights or lengths from the data")
    if any(x.pads):
        raise ImportRefused("reads padding of time, or steps that are cut off later")
    if x.axes[0] != "T" or x.axes[1] not in ("B", "") or x.axes[2] or (not x.axes[1] and x.shape[1] > 1):
        raise ImportRefused(
            f"runs along {x.describe(0)} with {x.describe(1)} as its batch; is the order of the axes another? Give axes="
        )
    for numbers, other in zip(call.numbers[1:4], call.others[1:4], strict=False):
        if numbers is not None and other is not None and not np.array_equal(numbers, other):
            raise ImportRefused("has weights that depend on how many steps or rows there are")
    hidden = int(call.numbers[2].shape[2])  # type: ignore[union-attr]
    kinds = "hc"[: RECURRENT[op]]
    kept = graph.keep(node)
    graph.nodes.pop()
    kept.input.extend([""] * (5 + len(kinds) - len(kept.input)))
    kept.output.extend([""] * (1 + len(kinds) - len(kept.output)))
    kept.input[4] = ""  # lengths of padded rows: the chunks of a stream have none
    layer, later = label(node.name or node.output[0]), []
    for index, kind in enumerate(kinds):
        start = _start(trace, call, 5 + index, foreign)
        old, new = graph.state(layer, kind, [hidden])
        named = None if start is None else graph.constant(start, np.float32)
        begin = old if named is None else graph.op("Add", old, named)
        kept.input[5 + index] = graph.unsqueeze(begin, [0])
        kept.output[1 + index] = kept.output[1 + index] or f"s2o_final_{len(graph.states)}"
        later.append((kept.output[1 + index], named, new))
    graph.nodes.append(kept)
    for final, named, new in later:
        if named is None:
            graph.squeeze(final, [0], output=new)
        else:
            graph.op("Sub", graph.squeeze(final, [0]), named, output=new)
    rows = x.shape[1]
    y = Signal(("T", "", x.axes[1], ""), (x.shape[0], 1, rows, hidden))
    return [y, *[Signal(("", x.axes[1], ""), (1, rows, hidden), final=True)] * len(kinds)]


def _start(trace: Trace, call: Call, index: int, foreign: Mapping[str, Foreign]) -> Array | None:
    """Return the initial state [1, hidden] of every row; None: zeros."""
    name = call.node.input[index] if call.has(index) else ""
    if not name or name in foreign:  # a state that the caller carried by hand starts at zero
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


def _reshape(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """Reshape and Flatten; sizes of batch and time that are written as numbers become free."""
    x, shape = call.x, call.shapes[0]
    if call.signals[0] is None or (len(call.signals) > 1 and call.signals[1] is not None):
        raise ImportRefused("takes its shape from the data")
    y = reshape(x, shape, trace.rows, trace.steps)
    node = graph.keep(call.node)
    initial = {tensor.name for tensor in trace.model.graph.initializer}
    if len(call.node.input) > 1 and call.node.input[1] in initial:
        sizes = [int(size) for size in call.numbers[1].ravel()]  # type: ignore[union-attr]
        fixed = [axis for axis, size in enumerate(sizes) if size > 0 and y.axes[axis]]
        if fixed and len(sizes) == len(shape):
            graph.nodes.pop()
            same = [axis < len(x.axes) and x.axes[axis] == y.axes[axis] for axis in range(len(shape))]
            sizes = [0 if same[axis] and y.axes[axis] else shape[axis] for axis in range(len(shape))]
            left = [axis for axis in range(len(shape)) if y.axes[axis] and not same[axis]]
            if len(left) < 2:
                for axis in left:
                    sizes[axis] = -1
                node.input[1] = graph.constant(sizes)
            else:
                parts = [
                    graph.size("x", "BT".index(letter)) if letter in ("B", "T") else graph.constant([size or -1])
                    for letter, size in zip(y.axes, [0 if len(n) > 1 else s for n, s in zip(y.axes, shape, strict=True)], strict=True)
                ]
                node.input[1] = graph.op("Concat", *parts, axis=0)
            graph.nodes.append(node)
    return [y]


def _squeeze(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """Squeeze; without axes it gets them, since it would also remove a time of one step."""
    axes = call.axes() or [axis for axis, size in enumerate(call.x.shape) if size == 1]
    y = squeeze(call.x, axes)
    graph.squeeze(graph.read(call.node.input[0]), axes, output=call.node.output[0])
    return [y]


def _expand(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """Expand along features."""
    if call.signals[0] is None:
        raise ImportRefused("takes its shape from the data")
    x, shape = call.x, call.shapes[0]
    axes = [""] * (len(shape) - len(x.axes)) + list(x.axes)
    old = (*[1] * (len(shape) - len(x.axes)), *x.shape)
    if any(new != size and new in (trace.steps, trace.rows) for size, new in zip(old, shape, strict=True)):
        raise ImportRefused("repeats numbers along time or the batch")
    graph.keep(call.node)
    return [x.with_(axes, shape)]


def _pad(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """Pad; steps of padding are left to the window that reads them."""
    x, rank = call.x, len(call.x.axes)
    axes = call.axes(3) or list(range(rank))
    spec = [int(size) for size in call.get(1, "pads")]
    pads = {axis: (spec[i], spec[len(axes) + i]) for i, axis in enumerate(axes)}
    pads = {axis: pair for axis, pair in pads.items() if pair != (0, 0)}
    if not any(x.axes[axis] for axis in pads):
        graph.keep(call.node)
        return [x.with_(x.axes, call.shapes[0])]
    value = call.get(2, "value", [0.0])
    fill = float(value[0] if isinstance(value, list) else value)
    if call.attributes.get("mode", "constant") != "constant":
        raise ImportRefused(f"pads time by the mode {call.attributes['mode']!r}; only numbers can start a stream")
    if any(x.axes[axis] not in ("", "T") for axis in pads):
        raise ImportRefused("pads the batch")
    before, after = pads.pop(x.time)
    if x.pads[0] and before and fill != x.fill:
        raise ImportRefused("pads time with other numbers than the Pad before it")
    y = _padded(graph, call, before, after, fill)
    if pads:  # of other axes, too
        out = call.node.output[0]
        widths = [pads.get(axis, (0, 0)) for axis in range(rank)]
        sizes = graph.constant([before for before, _ in widths] + [after for _, after in widths])
        graph.op("Pad", graph.aliases.pop(out), sizes, graph.constant(fill, np.float32), output=out)
    return [y]


def _padded(graph: Rewriter, call: Call, before: int, after: int, fill: float = 0.0) -> Signal:
    """Follow steps of padding (negative: cut off) without a node."""
    x = call.x
    pads = (x.pads[0] + before, x.pads[1] + after)
    if min(pads) < 0 or (before < 0 and x.pads[0] == 0):
        raise ImportRefused("cuts steps off the sequence; only padding can be cut off, or all but the last step")
    graph.alias(call.node.output[0], call.node.input[0])
    fill = fill if before > 0 else x.fill if pads[0] else 0.0
    return dataclasses.replace(x, shape=call.shapes[0], pads=pads, fill=fill)


def _slice(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """Slice of features; of time the last step, or what cuts padding off."""
    if call.signals[0] is None:
        raise ImportRefused("takes its bounds from the data")
    x = call.x
    starts, ends = (call.get(index, name) for index, name in ((1, "starts"), (2, "ends")))
    axes = [int(axis) % len(x.axes) for axis in call.get(3, "axes") or range(len(starts))]
    strides = call.get(4, "steps") or [1] * len(starts)
    name, out = call.node.input[0], call.node.output[0]
    kept = []
    for index, (axis, start, end, stride) in enumerate(zip(axes, starts, ends, strides, strict=True)):
        size, letter = x.shape[axis], x.axes[axis]
        begin, stop, step = slice(start, end, stride).indices(size)
        whole = (begin, stop, step) == (0, size, 1)
        if not letter:
            kept.append((axis, start, end, stride))
        elif letter != "T":
            if not whole or _is_number(call, index, end):
                raise ImportRefused(f"cuts {x.describe(axis)}")
        elif step < 0:
            raise ImportRefused("reverses time; a stream does not know the last step before it comes")
        elif len(axes) > 1 and not whole:
            raise ImportRefused("cuts time and another axis in one node")
        elif not whole:
            return _cut_time(graph, trace, call, (begin, size - stop), step)
        elif _is_number(call, index, end):
            raise ImportRefused(f"takes at most {end} steps; the later ones of a longer sequence are lost")
    if len(kept) == len(axes):
        graph.keep(call.node)
    elif not kept:
        graph.alias(out, name)
        return [x]
    else:
        bounds = [graph.constant([entry[i] for entry in kept]) for i in (1, 2, 0, 3)]
        graph.op("Slice", graph.read(name), *bounds, output=out)
    return [x.with_(x.axes, call.shapes[0])]


def _is_number(call: Call, index: int, end: int) -> bool:
    """Whether the end of a slice is the same number of steps in sequences of any length."""
    other = call.others[2]
    return other is not None and int(other.ravel()[index]) == end and 0 <= end < 2**31 - 1


def _cut_time(graph: Rewriter, trace: Trace, call: Call, cut: tuple[int, int], step: int) -> list[Signal]:
    x = call.x
    if trace.others is not None and all(other is not None for other in call.others[1:3]):
        size = trace.others[call.node.input[0]].shape[x.time]
        start, end = (int(other.ravel()[0]) for other in call.others[1:3])  # type: ignore[union-attr]
        begin, stop, _ = slice(start, end).indices(size)
        same = (size - begin, size - stop) == (1, 0) if cut == (x.shape[x.time] - 1, 0) else (begin, size - stop) == cut
        if not same:
            raise ImportRefused("takes or cuts off a number of steps that depends on how many there are")
    if cut == (x.shape[x.time] - 1, 0) and not any(x.pads):
        graph.cut(graph.read(call.node.input[0]), -1, FAR, x.time, output=call.node.output[0])
        return [x.with_(["" if axis == "T" else axis for axis in x.axes], call.shapes[0])]
    if step != 1:
        raise ImportRefused(f"takes every {step}th step")
    return [_padded(graph, call, -cut[0], -cut[1])]


def _gather(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """Gather: rows of a table by tokens, some features, or the last step."""
    table, indices = (*call.signals, None)[:2]
    axis = call.attributes.get("axis", 0)
    if table is None and indices is not None:
        if call.numbers[0] is None:
            raise ImportRefused("looks numbers up in no table")
        inner = call.numbers[0].ndim - 1
        if call.others[0] is not None and not np.array_equal(call.others[0], call.numbers[0]):
            raise ImportRefused("has a table that depends on how many steps there are")
        axis %= inner + 1
        graph.keep(call.node)
        axes = [""] * axis + list(indices.axes) + [""] * (inner - axis)
        return [indices.with_(axes, call.shapes[0])]
    if table is None or indices is not None:
        raise ImportRefused("chooses numbers by other numbers of the data")
    axis %= len(table.axes)
    chosen = call.numbers[1]
    assert chosen is not None
    rest = [*table.axes[:axis], *[""] * chosen.ndim, *table.axes[axis + 1 :]]
    if not table.axes[axis]:
        graph.keep(call.node)
        return [table.with_(rest, call.shapes[0])]
    what, other = table.describe(axis), call.others[1]
    if table.axes[axis] != "T" or chosen.size != 1 or any(table.pads):
        raise ImportRefused(f"takes some of {what}; a stream knows only the last step")
    size = table.shape[axis]
    is_last = int(chosen.ravel()[0]) in (-1, size - 1)
    if other is not None and trace.others is not None:
        is_last &= int(other.ravel()[0]) in (-1, trace.others[call.node.input[0]].shape[axis] - 1)
    if not is_last:
        raise ImportRefused(f"takes step {int(chosen.ravel()[0])} alone; a stream knows only the last step")
    node = graph.keep(call.node)
    node.input[1] = graph.constant(np.full(chosen.shape, -1))
    return [table.with_(rest, call.shapes[0])]


def _zeros_to_zeros(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """An activation after padding: of zeros it makes zeros."""
    x = call.x
    stays = call.node.op_type == "Identity" or not x.fill
    results = [x] if stays else elementwise(call)
    graph.keep(call.node)
    return results


def _tile(graph: Rewriter, trace: Trace, call: Call) -> list[Signal]:
    """Tile along features."""
    repeats = call.get(1, "repeats")
    check_features(call.x, [axis for axis, count in enumerate(repeats) if count != 1], "repeats")
    graph.keep(call.node)
    return [call.x.with_(call.x.axes, call.shapes[0])]


HANDLERS = {
    "AveragePool": lambda graph, trace, call: pooling(graph, call),
    "Conv": lambda graph, trace, call: convolution(graph, call),
    "Expand": _expand,
    "Flatten": _reshape,
    "Gather": _gather,
    "Identity": _zeros_to_zeros,
    "LeakyRelu": _zeros_to_zeros,
    "LpPool": lambda graph, trace, call: pooling(graph, call),
    "MaxPool": lambda graph, trace, call: pooling(graph, call),
    "Pad": _pad,
    "Relu": _zeros_to_zeros,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Tanh": _zeros_to_zeros,
    "Tile": _tile,
}
"""The operators whose nodes may have to change."""
