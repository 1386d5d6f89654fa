"""The code of operators that calculate: loops over numbers, sums, pools, norms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from seq2onnx.packaging.c.elementwise import expression, repeats
from seq2onnx.packaging.c.graph import Node
from seq2onnx.packaging.c.memory import C_TYPES, Lines, View, copied, filled, loop
from seq2onnx.packaging.c.program import Program
from seq2onnx.packaging.c.refusals import not_in_c
from seq2onnx.packaging.c.text import number

LONG_EXPRESSION = 60
"""Characters from which on a part of an expression gets a line of its own."""


def write_loop(program: Program, group: Sequence[Node]) -> None:
    """Write neighbours that calculate number by number as one loop."""
    graph = program.graph
    made = [node.outputs[0] for node in group]
    inputs = dict.fromkeys(name for node in group for name in node.inputs if name and name not in made)
    arrays = [name for name in inputs if not (name in graph.constants and graph.constants[name].size == 1)]
    kept = [name for name in made if name in graph.outputs or _is_read_outside(program, name, group)]
    reads, writes = [program.view(name) for name in arrays], [program.result(name) for name in kept]
    uses = [name for node in group for name in node.inputs]

    def body(places: list[str]) -> Lines:
        text = {name: _literal(program, name) for name in inputs if name not in arrays}
        text |= dict(zip(arrays, places, strict=False))
        targets = dict(zip(kept, places[len(arrays) :], strict=True))
        lines: Lines = []

        def named(name: str, value: str) -> str:
            local = program.names(f"v/{name}")
            lines.append(f"const {C_TYPES[graph.dtype(name)]} {local} = {value};")
            return local

        for node in group:
            (output,) = node.outputs
            if repeats(node.op) and node.inputs[0] in made and "(" in text[node.inputs[0]]:
                text[node.inputs[0]] = named(node.inputs[0], text[node.inputs[0]])
            operands = [text[name] if name else "" for name in node.inputs]
            types = graph.dtype(node.inputs[0]), graph.dtype(output)
            value = expression(node.op, operands, node.attributes, *types)
            if output in targets and output not in uses:
                lines.append(f"{targets[output]} = {value};")
                continue
            is_short = uses.count(output) == 1 and len(value) < LONG_EXPRESSION
            text[output] = value if is_short and output not in targets else named(output, value)
            if output in targets:
                lines.append(f"{targets[output]} = {text[output]};")
        return lines

    program.say(loop(graph.shape(group[0].outputs[0]), [*reads, *writes], body), reads, writes)


def _is_read_outside(program: Program, name: str, group: Sequence[Node]) -> bool:
    return any(user not in group for user in program.graph.users.get(name, []))


def _literal(program: Program, name: str) -> str:
    array = program.graph.constants[name]
    return number(array.flat[0], array.dtype.name)


def write_reduce(program: Program, node: Node) -> None:
    """Write a sum, mean, largest or smallest number over axes."""
    graph, x = program.graph, program.view(node.inputs[0])
    given = node.attributes.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1]:
        given = graph.values(node.inputs[1])
    if not given and node.attributes.get("noop_with_empty_axes", 0):
        raise not_in_c(f"a node {node.op} has no axes")
    rank = len(x.shape)
    axes = {axis % rank for axis in given} if given else set(range(rank))
    to = program.result(node.outputs[0])
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    narrow = to if node.attributes.get("keepdims", 1) else _with_axes(to, kept, axes)
    count, dtype = math.prod(x.shape) // math.prod(kept), x.buffer.dtype
    if dtype != "float32":
        raise not_in_c(f"a node {node.op} is of {dtype}")
    x, stride = in_line(program, node, x, sorted(axes))
    call = f"{_REDUCERS[node.op]}(&{{1}}, {stride}, {count})"
    call = {"ReduceMean": f"{call} / {number(count, dtype)}", "ReduceL2": f"sqrtf({call})"}.get(node.op, call)
    views = [narrow, dataclasses.replace(x, shape=kept)]
    program.say(loop(kept, views, lambda at: [f"{at[0]} = {call.format(*at)};"]), [x], [to])


_REDUCERS = {
    "ReduceL2": "squares_of",
    "ReduceMax": "largest_of",
    "ReduceMean": "sum_of",
    "ReduceMin": "smallest_of",
    "ReduceSum": "sum_of",
    "ReduceSumSquare": "squares_of",
}


def in_line(program: Program, node: Node, x: View, axes: Sequence[int]) -> tuple[View, int]:
    """Return an array whose numbers over some axes have one distance, and that distance: a copy if it has not."""
    sizes = tuple(x.shape[axis] for axis in axes)
    inner = View(x.buffer, 0, sizes, tuple(x.strides[axis] for axis in axes)).reshaped((math.prod(sizes),))
    if inner is not None:
        return x, inner.strides[0]
    others = [axis for axis in range(len(x.shape)) if axis not in axes]
    copy = program.kept(x.moved([*others, *axes]), f"{node.outputs[0]}/copy")
    back = [[*others, *axes].index(axis) for axis in range(len(x.shape))]
    return copy.moved(back), 1


def _with_axes(to: View, kept: Sequence[int], axes: set[int]) -> View:
    """Return a result without the axes that a sum removed as one that has them with one entry."""
    left = iter(to.strides)
    return View(to.buffer, to.offset, tuple(kept), tuple(0 if k in axes else next(left) for k in range(len(kept))))


def write_softmax(program: Program, node: Node) -> None:
    """Call the function for each row; before opset 13, a row is all axes from one on."""
    x, to = program.view(node.inputs[0]), program.result(node.outputs[0])
    is_old = program.graph.opset < 13
    axis = node.attributes.get("axis", 1 if is_old else -1) % len(x.shape)
    axes = range(axis, len(x.shape) if is_old else axis + 1)
    (x, x_stride), (to, stride) = in_line(program, node, x, axes), in_line(program, node, to, axes)
    rows = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    count = math.prod(x.shape) // math.prod(rows)
    call = f"softmax(&{{0}}, {x_stride}, {count}, &{{1}}, {stride});"
    views = [dataclasses.replace(view, shape=rows) for view in (x, to)]
    program.say(loop(rows, views, lambda at: [call.format(*at)]), [x], [to])


def write_layer_normalization(program: Program, node: Node) -> None:
    """Call the function for each row; the axes that are normalized must lie in one piece."""
    x, to = program.view(node.inputs[0]), program.result(node.outputs[0])
    axis = node.attributes.get("axis", -1) % len(x.shape)
    count = math.prod(x.shape[axis:])
    if not x.inner(axis).is_dense:
        x = program.kept(x, f"{node.outputs[0]}/copy")
    scale = program.view(node.inputs[1])
    bias = program.view(node.inputs[2]).pointer if len(node.inputs) > 2 and node.inputs[2] else "NULL"
    rows = (*x.shape[:axis], *[1] * (len(x.shape) - axis))
    epsilon = number(node.attributes.get("epsilon", 1e-5), "float32")
    if math.prod(scale.shape) != count or not to.inner(axis).is_dense:
        raise not_in_c("a LayerNormalization has scales of another shape than its rows")
    call = f"normalize(&{{0}}, {count}, {epsilon}, {scale.pointer}, {bias}, &{{1}});"
    views = [dataclasses.replace(view, shape=rows) for view in (x, to)]
    program.say(loop(rows, views, lambda at: [call.format(*at)]), [x, scale], [to])


def write_pool(program: Program, node: Node) -> None:
    """Write the largest or mean number of windows over one or two axes."""
    attributes, x, to = node.attributes, program.view(node.inputs[0]), program.result(node.outputs[0])
    kernel = attributes["kernel_shape"]
    dims, is_largest = len(kernel), node.op == "MaxPool"
    strides, dilations = attributes.get("strides", [1] * dims), attributes.get("dilations", [1] * dims)
    pads = window_pads(node, kernel)
    is_counted = any(pads) and not is_largest and not attributes.get("count_include_pad", 0)
    counts = window_counts(x.shape[2:], kernel, strides, dilations, pads) if is_counted else None
    x = padded(program, node, x, pads, -math.inf if is_largest else 0.0)
    taps = tuple(kernel)
    shape = (*to.shape, *taps)
    moves = [s * step for s, step in zip(x.strides[2:], strides, strict=True)]
    inner = [s * step for s, step in zip(x.strides[2:], dilations, strict=True)]
    source = View(x.buffer, x.offset, shape, (*x.strides[:2], *moves, *inner))
    wide = View(to.buffer, to.offset, shape, (*to.strides, *[0] * dims))
    start = "-INFINITY" if is_largest else "0.0f"
    update = "{0} = larger({0}, {1});" if is_largest else "{0} += {1};"
    lines = filled(to, start) + loop(shape, [wide, source], lambda at: [update.format(*at)])
    reads = [x]
    if not is_largest and counts is None:
        lines += loop(to.shape, [to], lambda at: [f"{at[0]} /= {number(math.prod(kernel), 'float32')};"])
    elif counts is not None:
        array = View.whole(program.array(f"{node.outputs[0]}/counts", counts), counts.shape)
        lines += loop(to.shape, [to, array], lambda at: [f"{at[0]} /= {at[1]};"])
        reads.append(array)
    program.say(lines, reads, [to])


def window_pads(node: Node, kernel: Sequence[int]) -> list[int]:
    """Return how much is added before and after each axis.

    Raises:
        SpecError: the node rounds sizes up, or leaves the padding to names such as SAME_UPPER.
    """
    attributes = node.attributes
    if attributes.get("ceil_mode", 0) or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise not_in_c(f"a node {node.op} has ceil_mode or auto_pad")
    return list(attributes.get("pads", [0] * 2 * len(kernel)))


def window_counts(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int]
) -> np.ndarray:
    """Return how many numbers of each window are no padding."""
    counts = np.ones((1, 1), np.float32)
    for k, size in enumerate(sizes):
        before, after = pads[k], pads[k + len(sizes)]
        span = dilations[k] * (kernel[k] - 1) + 1
        starts = np.arange(0, size + before + after - span + 1, strides[k]) - before
        inside = [sum(0 <= s + dilations[k] * t < size for t in range(kernel[k])) for s in starts]
        counts = counts[..., None] * np.array(inside, np.float32)
    return counts


def padded(program: Program, node: Node, x: View, pads: Sequence[int], value: float) -> View:
    """Return a copy with numbers around the axes from the third on, or what is given where there is no padding."""
    dims = len(x.shape) - 2
    if not any(pads):
        return x
    shape = (*x.shape[:2], *(n + pads[k] + pads[k + dims] for k, n in enumerate(x.shape[2:])))
    whole = program.room(f"{node.outputs[0]}/padded", shape, x.buffer.dtype)
    inside = whole
    for k in range(dims):
        inside = inside.cut(2 + k, pads[k], x.shape[2 + k])
    program.say(filled(whole, number(value, x.buffer.dtype)) + copied(x, inside), [x], [whole])
    return whole


def write_pad(program: Program, node: Node) -> None:
    """Write numbers around an array."""
    x, to = program.view(node.inputs[0]), program.result(node.outputs[0])
    before = program.graph.values(node.inputs[1])[: len(x.shape)]
    inside = to
    for axis, first in enumerate(before):
        inside = inside.cut(axis, first, x.shape[axis])
    value = _literal(program, node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else number(0, x.buffer.dtype)
    program.say(filled(to, value) + copied(x, inside), [x], [to])
