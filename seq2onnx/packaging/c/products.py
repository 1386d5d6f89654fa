"""The code of products with matrices, and of convolutions, which are such products."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from seq2onnx.packaging.c.eight_bits import FEW_ROWS, FEW_WEIGHTS
from seq2onnx.packaging.c.graph import Array, Graph, Node
from seq2onnx.packaging.c.memory import View, copied, filled, loop
from seq2onnx.packaging.c.operators import padded, window_pads
from seq2onnx.packaging.c.program import Program
from seq2onnx.packaging.c.refusals import not_in_c

FEW_COLUMNS = 4
"""Columns below which numbers that lie apart are read where they are, not copied."""
MANY_PLACES = 8
"""Results of a filter from which on a loop over them is the inner one."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Weights [rows, columns] of a product y += x w.

    Attributes:
        name: of the tensor.
        values: float32.
        small, scale: the same as whole numbers of 8 bits times a scale for each column, or as float16; None: the file
            has float32.
    """

    name: str
    values: Array
    small: Array | None = None
    scale: Array | None = None

    @classmethod
    def of(cls, graph: Graph, name: str, arranged: Callable[[Array], Array], part: str = "") -> Matrix:
        """Return a constant as a matrix; `arranged` gives it the shape [rows, columns]."""
        values, stored = graph.constants[name], graph.stored.get(name)
        if stored is not None:
            small, scale = (arranged(np.broadcast_to(array, values.shape)) for array in stored)
            if (scale == scale[:1]).all():
                return cls(name + part, arranged(values), small, scale[0])
        return cls(name + part, arranged(values))


Call = Callable[[str, str], str]


def product_call(program: Program, matrix: Matrix) -> tuple[Call, list[View]]:
    """Return what makes C code of y += x w from two pointers, and the room that it uses."""
    rows, columns = matrix.values.shape
    is_int8 = matrix.small is not None and matrix.small.dtype == np.int8
    if matrix.values.size < FEW_WEIGHTS or (is_int8 and rows < FEW_ROWS):
        matrix = Matrix(matrix.name, matrix.values)
    if matrix.small is None or matrix.scale is None:
        program.kernels["product"] = None
        w = program.array(f"{matrix.name}/blocks", _in_blocks(matrix.values))
        return f"add_product({w.name}, {{}}, {rows}, {columns}, {{}});".format, []
    if matrix.small.dtype == np.float16:
        program.kernels["product_float16"] = None
        w = program.array(f"{matrix.name}/float16", np.ascontiguousarray(matrix.small).view(np.uint16))
        return f"add_product_float16({w.name}, {{}}, {rows}, {columns}, {{}});".format, []
    program.kernels["product_int8"] = None
    w = program.array(f"{matrix.name}/int8", np.ascontiguousarray(matrix.small.T))
    scale = program.array(f"{matrix.name}/scale", np.ascontiguousarray(matrix.scale))
    room = program.room(f"{matrix.name}/rounded", (-(-rows // 4) * 4,), "int16")
    return f"add_product_int8({w.name}, {scale.name}, {{}}, {rows}, {columns}, {{}}, {room.pointer});".format, [room]


def _in_blocks(w: Array) -> Array:
    """Return weights in the order of add_product: blocks of 4 rows and 16 columns, then the last columns and rows."""
    rows, columns = w.shape
    whole, wide = rows - rows % 4, columns - columns % 16
    blocks = w[:whole, :wide].reshape(whole // 4, 4, wide // 16, 16).swapaxes(1, 2)
    return np.concatenate([part.ravel() for part in (blocks, w[:whole, wide:], w[whole:])]).reshape(w.shape)


def write_gemm(program: Program, node: Node) -> None:
    """Write y = x w + bias; `simpler.gemm` removed its other attributes.

    A sum that only the next product goes on adding to is the same array.
    """
    graph, attributes = program.graph, node.attributes
    is_turned = bool(attributes.get("transB", 0))
    bias = program.view(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if node.inputs[1] not in graph.constants:
        b = program.view(node.inputs[1])
        return _general(program, node, b.moved((1, 0)) if is_turned else b, bias)
    to = program.views[node.outputs[0]] = program.result(_end_of_sums(graph, node.outputs[0]))
    matrix = Matrix.of(graph, node.inputs[1], np.transpose if is_turned else np.asarray)
    return _product(program, matrix, program.view(node.inputs[0]), to, bias)


def write_matmul(program: Program, node: Node) -> None:
    """Write a product: of a constant matrix as the function for it, of others as loops."""
    x, b = node.inputs
    if b not in program.graph.constants or program.graph.constants[b].ndim != 2 or len(program.graph.shape(x)) < 2:
        return _general(program, node, program.view(b), None)
    to = program.result(node.outputs[0])
    return _product(program, Matrix.of(program.graph, b, np.asarray), program.view(x), to, None)


def _end_of_sums(graph: Graph, name: str) -> str:
    """Return the last of the results that are one sum: each is read by the next product alone, as its bias."""
    while graph.is_read_once(name):
        (user,) = graph.users[name]
        is_bias = user.op == "Gemm" and user.inputs[2:] == [name] and user.inputs[1] in graph.constants
        if not is_bias or graph.shape(name) != graph.shape(user.outputs[0]):
            break
        name = user.outputs[0]
    return name


def _product(program: Program, matrix: Matrix, x: View, to: View, start: View | None) -> None:
    """Write y = x w + start; where the start is y itself, the product is added to it."""
    rows, columns = matrix.values.shape
    is_narrow = math.prod(x.shape[:-1]) > 1 and x.strides[-1] != 1 and columns < FEW_COLUMNS
    if rows > 1 and x.strides[-1] != 1 and not is_narrow:
        x = program.kept(x, f"{matrix.name}/copy")
    in_pieces = columns > 1 and to.strides[-1] != 1 and not is_narrow
    sums = program.room(f"{matrix.name}/sums", to.shape, "float32") if in_pieces else to
    used = [x, sums]
    if start is None:
        lines = filled(sums, "0.0f")
    else:
        lines = [] if start == sums else copied(start.repeated(to.shape), sums)
        used.append(start)
    if is_narrow:
        w = program.array(matrix.name, np.ascontiguousarray(matrix.values))
        shape = (*x.shape[:-1], columns)
        views = [sums, dataclasses.replace(x, shape=(*x.shape[:-1], 1)), View(w, 0, (columns,), (1,))]
        line = f"{{0}} += dot_of(&{{1}}, {x.strides[-1]}, &{{2}}, {columns}, {rows});"
        lines += loop(shape, views, lambda at: [line.format(*at)])
    else:
        call, room = product_call(program, matrix)
        used += room
        if math.prod(x.shape[:-1]) == 1:
            lines.append(call(x.pointer, sums.pointer))
        else:
            shape = (*x.shape[:-1], 1)
            views = [dataclasses.replace(view, shape=shape) for view in (x, sums)]
            lines += loop(shape, views, lambda at: [call(f"&{at[0]}", f"&{at[1]}")])
    program.say(lines, used, [])
    if sums is not to:
        program.copy(sums, to)


def _general(program: Program, node: Node, b: View, start: View | None) -> None:
    """Write a product of two arrays that change, as loops."""
    a, to = program.view(node.inputs[0]), program.result(node.outputs[0])
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise not_in_c("a MatMul has a vector as operand")
    outer, (rows, columns), inner = to.shape[:-2], to.shape[-2:], a.shape[-1]
    shape, rank = (*outer, rows, inner, columns), len(outer)
    first, second = a.repeated((*outer, rows, inner)), b.repeated((*outer, inner, columns))
    views = [
        View(to.buffer, to.offset, shape, (*to.strides[:-1], 0, to.strides[-1])),
        View(a.buffer, a.offset, shape, (*first.strides, 0)),
        View(b.buffer, b.offset, shape, (*second.strides[:rank], 0, *second.strides[rank:])),
    ]
    lines = filled(to, "0.0f") if start is None else copied(start.repeated(to.shape), to)
    lines += loop(shape, views, lambda at: [f"{at[0]} += {at[1]} * {at[2]};"])
    program.say(lines, [a, b, *([] if start is None else [start])], [to])


def write_conv(program: Program, node: Node) -> None:
    """Write a convolution: over time as products, others as loops."""
    graph, attributes = program.graph, node.attributes
    if node.inputs[1] not in graph.constants:
        raise not_in_c("a Conv has weights that only a step knows")
    filters, channels, *kernel = graph.shape(node.inputs[1])
    dims, groups = len(kernel), attributes.get("group", 1)
    strides, dilations = attributes.get("strides", [1] * dims), attributes.get("dilations", [1] * dims)
    x = padded(program, node, program.view(node.inputs[0]), window_pads(node, kernel), 0.0)
    bias = program.view(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if dims == 1 and groups == 1 and x.shape[0] == 1:
        return _conv_of_steps(program, node, x, bias, strides[0], dilations[0])
    to = program.result(node.outputs[0])
    w = program.view(node.inputs[1])
    per, none = filters // groups, (0,) * dims
    steps = tuple(s * n for s, n in zip(x.strides[2:], strides, strict=True))
    taps = tuple(s * n for s, n in zip(x.strides[2:], dilations, strict=True))
    # Sizes, and the strides of the result, the input and the weights: of filters, of what a sum is over, of places.
    outer = (
        (x.shape[0], groups, per),
        (to.strides[0], per * to.strides[1], to.strides[1]),
        (x.strides[0], channels * x.strides[1], 0),
        (0, per * w.strides[0], w.strides[0]),
    )
    inside = ((channels, *kernel), (0, *none), (x.strides[1], *taps), w.strides[1:])
    places = (to.shape[2:], to.strides[2:], steps, none)
    is_wide = math.prod(to.shape[2:]) >= MANY_PLACES  # compilers calculate several numbers of the inner loop at once
    shape, *found = (
        a + b + c for a, b, c in zip(outer, *((inside, places) if is_wide else (places, inside)), strict=True)
    )
    views = [View(v.buffer, v.offset, shape, part) for v, part in zip((to, x, w), found, strict=True)]
    if bias is None:
        lines = filled(to, "0.0f")
    else:
        lines = copied(View.whole(bias.buffer, (filters, *[1] * dims)).repeated(to.shape), to)
    lines += loop(shape, views, lambda at: [f"{at[0]} += {at[1]} * {at[2]};"])
    program.say(lines, [x, w, *([] if bias is None else [bias])], [to])
    return None


def _conv_of_steps(program: Program, node: Node, x: View, bias: View | None, stride: int, dilation: int) -> None:
    """Write a convolution over time: y[t] = bias + Σ_u x[stride · t + dilation · u] w[u]."""
    graph, name = program.graph, node.inputs[1]
    filters, channels, taps = graph.shape(name)
    steps = graph.shape(node.outputs[0])[2]
    to = program.result(node.outputs[0], (filters * steps, 1, filters)).moved((0, 2, 1))
    x = x.moved((0, 2, 1))  # [1, steps, channels]
    if channels > 1 and x.strides[2] != 1:
        x = program.kept(x, f"{name}/copy")
    row = x.strides[1]
    in_one_piece = taps == 1 or (dilation == 1 and row == channels)
    parts = [slice(None)] if in_one_piece else [slice(u, u + 1) for u in range(taps)]
    for u, part in enumerate(parts):

        def arranged(w: Array, part: slice = part) -> Array:
            return w.transpose(2, 1, 0)[part].reshape(-1, filters)

        matrix = Matrix.of(graph, name, arranged, "" if in_one_piece else f"/tap_{u}")
        shape = (1, steps, len(matrix.values))
        rows = View(x.buffer, x.offset + u * dilation * row, shape, (0, stride * row, 1))
        _product(program, matrix, rows, to, to if u else bias)
