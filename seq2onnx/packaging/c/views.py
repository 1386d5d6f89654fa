"""The code of operators that move numbers: other strides where they can say it, copies where they cannot."""

from __future__ import annotations

import dataclasses

import numpy as np

from seq2onnx.packaging.c.graph import Node
from seq2onnx.packaging.c.memory import View, copied, dense, gathered, loop
from seq2onnx.packaging.c.program import Program


def write_view(program: Program, node: Node) -> None:
    """Say where the results of a node are, or copy what strides cannot say."""
    graph, x = program.graph, program.view(node.inputs[0])
    if node.op == "Split":
        axis, at = node.attributes.get("axis", 0) % len(x.shape), 0
        for output in node.outputs:
            size = graph.shape(output)[axis]
            program.views[output] = x.cut(axis, at, size)
            at += size
        return None
    (output,) = node.outputs
    shape = graph.shape(output)
    view: View | None
    if node.op == "Transpose":
        view = x.moved(node.attributes.get("perm") or range(len(shape))[::-1])
    elif node.op == "Expand":
        view = x.repeated(shape)
    elif node.op == "Slice":
        view = _sliced(program, node, x)
    elif node.op == "Gather":
        view = _gathered(program, node, x)
        if view is None:
            return _gather(program, node, x)
    else:
        view = x.reshaped(shape)
    if view is None:
        to = program.result(output)
        program.say(copied(x, dataclasses.replace(to, shape=x.shape, strides=dense(x.shape))), [x], [to])
    else:
        program.views[output] = view
    return None


def _sliced(program: Program, node: Node, x: View) -> View:
    graph, shape = program.graph, program.graph.shape(node.outputs[0])
    starts = graph.values(node.inputs[1])
    axes = graph.values(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else range(len(starts))
    steps = graph.values(node.inputs[4]) if len(node.inputs) > 4 else [1] * len(starts)
    for start, axis, step in zip(starts, axes, steps, strict=True):
        size = x.shape[axis]
        first = min(max(start + size if start < 0 else start, 0), size if step > 0 else size - 1)
        x = x.cut(axis % len(x.shape), first, shape[axis], step)
    return x


def _gathered(program: Program, node: Node, x: View) -> View | None:
    index = program.graph.constants.get(node.inputs[1])
    return None if index is None else gathered(x, index, node.attributes.get("axis", 0) % len(x.shape))


def _gather(program: Program, node: Node, x: View) -> None:
    """Copy entries of an axis that an array of places names. Places that a step gives are checked."""
    to, axis = program.result(node.outputs[0]), node.attributes.get("axis", 0) % len(x.shape)
    known = program.graph.constants.get(node.inputs[1])
    if known is None:
        index = program.view(node.inputs[1])
    else:
        entries = np.where(known < 0, known + x.shape[axis], known)
        dtype = np.int16 if x.shape[axis] < 2**15 else np.int32
        index = View.whole(program.array(f"{node.outputs[0]}/places", entries.astype(dtype)), known.shape)
    before, after, rank = x.shape[:axis], x.shape[axis + 1 :], len(index.shape)
    shape = (*before, *index.shape, *after)
    places = View(index.buffer, index.offset, shape, (*[0] * len(before), *index.strides, *[0] * len(after)))
    source = View(x.buffer, x.offset, shape, (*x.strides[:axis], *[0] * rank, *x.strides[axis + 1 :]))
    size = x.shape[axis]
    if known is None:
        checked = program.room(f"{node.outputs[0]}/place", index.shape, "int32")
        allowed = program.names.new(f"{node.outputs[0]}/right")
        lines = loop(
            index.shape,
            [index, checked],
            lambda at: [
                f"{allowed} &= {at[0]} >= {-size} && {at[0]} < {size};",
                f"{at[1]} = {allowed} ? (int32_t)({at[0]} < 0 ? {at[0]} + {size} : {at[0]}) : 0;",
            ],
        )
        program.say([f"int {allowed} = 1;", *lines], [index], [checked])
        program.checks.append(allowed)
        places = dataclasses.replace(places, buffer=checked.buffer, offset=0)
        places = dataclasses.replace(places, strides=(*[0] * len(before), *checked.strides, *[0] * len(after)))
    lines = loop(shape, [to, places, source], lambda at: [f"{at[0]} = {_at(at[2], x.strides[axis], at[1])};"])
    program.say(lines, [x, index, places], [to])


def _at(source: str, stride: int, place: str) -> str:
    """Return the number of an array that lies some strides behind another."""
    start = "" if source.endswith("[0]") else f"{source[source.index('[') + 1 : -1]} + "
    return f"{source[: source.index('[')]}[{start}{place if stride == 1 else f'{stride} * {place}'}]"


def write_rows(program: Program, node: Node) -> None:
    """Copy single rows of a ring."""
    x, to, axis = program.view(node.inputs[0]), program.result(node.outputs[0]), node.attributes["axis"]
    for i, place in enumerate(node.attributes["from"]):
        part = to.cut(axis, i, 1)
        row = View.whole(dataclasses.replace(x.buffer, name=f"({place})"), part.shape)
        program.say(copied(row, part), [x], [to])


def write_concat(program: Program, node: Node) -> None:
    """Copy what is joined and has not been written to its place."""
    whole = program.result(node.outputs[0])
    axis, at = node.attributes["axis"] % len(whole.shape), 0
    for name in node.inputs:
        size = program.graph.shape(name)[axis]
        if program.places.get(name, ("",))[0] != node.outputs[0]:
            program.copy(program.view(name), whole.cut(axis, at, size))
        at += size


def write_store(program: Program, node: Node) -> None:
    """Write what is new to a window."""
    for target in node.attributes["targets"]:
        axis, at = node.attributes["axis"], 0
        for name in node.inputs:
            size = program.graph.shape(name)[axis]
            if program.places.get(name, ("",))[0] != node.outputs[0]:
                program.copy(program.view(name), target.cut(axis, at, size))
            at += size
    program.check_finite(node.attributes["targets"][0])
