"""The shape of what each operator computes, from the shapes of what it reads.

Sizes that a graph calculates, such as the steps of a window, are known numbers here, because the sizes of the inputs
are. A function of this file takes the attributes of a node and what it reads, and returns what it computes. It raises
a ModelFileError where onnxruntime would fail, or where the size is not known.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

from seq2onnx.errors import ModelFileError

FLOAT32, INT8, INT32, INT64, STRING, BOOL, FLOAT16, FLOAT64 = 1, 3, 6, 7, 8, 9, 10, 11
MOST_KNOWN = 64
"""Lists of more integers than these give no sizes, so their values are not followed."""
LARGEST = 2**62


class Known(NamedTuple):
    """What is known of a tensor.

    Attributes:
        shape: its shape.
        dtype: ONNX's number of its element type.
        value: its numbers, of integers that depend only on sizes.
        bound: upper bounds of its numbers, of integers that depend on data.
    """

    shape: tuple[int, ...]
    dtype: int
    value: tuple[int, ...] | None = None
    bound: tuple[int, ...] | None = None


Attributes = dict[bytes, tuple[int, Any]]
Inputs = Sequence[Any]  # of Known; None for an optional input that is left out
ShapeRule = Callable[[Attributes, Inputs], list[Known]]


def _get(attributes: Attributes, name: bytes, default: Any) -> Any:
    attribute = attributes.get(name)
    return default if attribute is None else attribute[1]


def _sizes(x: Known) -> tuple[int, ...]:
    if x.value is None:
        raise ModelFileError("takes a size that depends on data")
    return x.value


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ModelFileError(f"has the axis {axis} of {rank} axes")
    return axis % rank


def _together(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a and b by the rules of broadcasting."""
    if a == b or not b:
        return a
    if len(a) < len(b):
        a, b = b, a
    start = len(a) - len(b)
    result = list(a)
    for i, size in enumerate(b, start):
        if size != result[i]:
            if result[i] == 1:
                result[i] = size
            elif size != 1:
                raise ModelFileError(f"reads shapes that do not go together: {list(a)} and {list(b)}")
    return tuple(result)


def same(attributes: Attributes, xs: Inputs) -> list[Known]:
    """One result like the first input: activations, Identity."""
    return [xs[0]]


def like_first(attributes: Attributes, xs: Inputs) -> list[Known]:
    """One result with the shape of the first input, whose numbers change."""
    x = xs[0]
    return [x if x.value is None else Known(x.shape, x.dtype)]


def arithmetic(compute: Callable[[int, int], int]) -> ShapeRule:
    """Add, Mul and the like, which also calculate sizes."""

    def rule(attributes: Attributes, xs: Inputs) -> list[Known]:
        a, b = xs
        shape = a.shape if a.shape == b.shape else _together(a.shape, b.shape)
        if a.value is None or b.value is None or (count := math.prod(shape)) > MOST_KNOWN:
            return [Known(shape, a.dtype)]
        p = a.value if len(a.value) == count else a.value * count
        q = b.value if len(b.value) == count else b.value * count
        value = tuple(map(compute, p, q)) if len(p) == len(q) == count else None
        # Numbers that int64 cannot hold give no sizes.
        return [Known(shape, a.dtype, value if value and min(value) > -LARGEST and max(value) < LARGEST else None)]

    return rule


def of_many(compute: Callable[[int, int], int]) -> ShapeRule:
    """Min and Max of any number of inputs."""
    rule = arithmetic(compute)

    def joined(attributes: Attributes, xs: Inputs) -> list[Known]:
        result = [xs[0]]
        for x in xs[1:]:
            result = rule(attributes, [result[0], x])
        return result

    return joined


def smaller(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Min, which bounds a number that depends on data by one that does not."""
    (result,) = of_many(min)(attributes, xs)
    known = [x.value for x in xs if x.value is not None and x.shape == result.shape]
    return [result if result.value is not None or not known else result._replace(bound=known[0])]


def divided(compute: Callable[[int, int], int]) -> ShapeRule:
    """Div and Mod: by zero, or by an unknown integer, they would end the process."""
    rule = arithmetic(compute)

    def checked(attributes: Attributes, xs: Inputs) -> list[Known]:
        divisor = xs[1]
        if divisor.dtype not in (FLOAT32, FLOAT64) and (divisor.value is None or min(divisor.value, default=1) < 1):
            raise ModelFileError("divides integers by a number that may be 0")
        return rule(attributes, xs)

    return checked


def truncated_division(a: int, b: int) -> int:
    """Return a / b as ONNX does: toward zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


def broadcast(dtype: int | None = None) -> ShapeRule:
    """One result of all inputs, which calculates no sizes; None: it has the type of the first."""
    return lambda attributes, xs: [Known(reduce(_together, (x.shape for x in xs)), dtype or xs[0].dtype)]


def where(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Choose between the second and the third input."""
    condition, a, b = xs
    return [Known(_together(condition.shape, _together(a.shape, b.shape)), a.dtype)]


def cast(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Change the element type."""
    (x,), dtype = xs, _get(attributes, b"to", 0)
    return [Known(x.shape, dtype, x.value if dtype in (INT32, INT64) else None)]


def shape_of(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Count the elements along axes."""
    value = xs[0].shape[_get(attributes, b"start", 0) : _get(attributes, b"end", None)]
    return [Known((len(value),), INT64, value)]


def range_of(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Count from the first number to the second, or to its bound, so that the result is at least as large as it is."""
    (first,), (last,), (step,) = _sizes(xs[0]), xs[1].bound or _sizes(xs[1]), _sizes(xs[2])
    if step < 1:
        raise ModelFileError("counts in steps below 1")
    count = max(0, -((first - last) // step))
    is_known = count <= MOST_KNOWN and xs[1].bound is None
    return [Known((count,), xs[0].dtype, tuple(range(first, last, step)) if is_known else None)]


def squeeze(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Remove axes of size 1."""
    x = xs[0]
    if len(xs) == 1:
        return [x._replace(shape=tuple([size for size in x.shape if size != 1]))]
    axes = {_axis(axis, len(x.shape)) for axis in _sizes(xs[1])}
    if any(x.shape[axis] != 1 for axis in axes):
        raise ModelFileError(f"removes axes of {list(x.shape)} that are not 1")
    return [Known(tuple([size for axis, size in enumerate(x.shape) if axis not in axes]), x.dtype, x.value)]


def unsqueeze(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Add axes of size 1."""
    x, axes = xs[0], _sizes(xs[1])
    rank = len(x.shape) + len(axes)
    places = sorted(_axis(axis, rank) for axis in axes)
    shape = list(x.shape)
    for place in places:
        shape.insert(place, 1)
    return [Known(tuple(shape), x.dtype, x.value)]


def concat(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Join along an axis."""
    shape = list(xs[0].shape)
    axis = _axis(_get(attributes, b"axis", 0), len(shape))
    for x in xs[1:]:
        if len(x.shape) != len(shape) or any(a != b for i, (a, b) in enumerate(zip(x.shape, shape)) if i != axis):  # noqa: B905
            raise ModelFileError(f"joins shapes that do not go together: {list(shape)} and {list(x.shape)}")
        shape[axis] += x.shape[axis]
    values = [x.value for x in xs]
    value = None if len(shape) > 1 or None in values or shape[0] > MOST_KNOWN else sum(values, ())
    return [Known(tuple(shape), xs[0].dtype, value)]


def cut(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Take a part along axes."""
    x, starts, ends, axes = xs[0], _sizes(xs[1]), _sizes(xs[2]), _sizes(xs[3])
    shape, value = list(x.shape), x.value
    if not len(starts) == len(ends) == len(axes):
        raise ModelFileError("has starts, ends and axes of different lengths")
    for start, end, axis in zip(starts, ends, axes, strict=True):
        part = slice(start, end)
        axis = _axis(axis, len(shape))
        shape[axis] = len(range(shape[axis])[part])
        value = value[part] if value is not None and len(shape) == 1 else None
    return [Known(tuple(shape), x.dtype, value)]


def split(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Cut along an axis into parts of given sizes."""
    x, sizes = xs[0], _sizes(xs[1])
    axis = _axis(_get(attributes, b"axis", 0), len(x.shape))
    if min(sizes, default=0) < 1 or sum(sizes) != x.shape[axis]:
        raise ModelFileError(f"cuts {list(x.shape)} into parts of {list(sizes)}")
    return [Known((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype) for size in sizes]


def pad(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Add zeros, or another number, before and after."""
    x, pads = xs[0], _sizes(xs[1])
    rank = len(x.shape)
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise ModelFileError(f"has the padding {pads} for {rank} axes")
    return [Known(tuple(map(sum, zip(x.shape, pads[:rank], pads[rank:], strict=True))), x.dtype)]


def gather(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Take parts along an axis by their numbers."""
    x, indices = xs
    axis = _axis(_get(attributes, b"axis", 0), len(x.shape))
    return [Known(x.shape[:axis] + indices.shape + x.shape[axis + 1 :], x.dtype)]


def gather_elements(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Take a number along an axis for each place."""
    (x, indices), shape, places = xs, xs[0].shape, xs[1].shape
    axis = _axis(_get(attributes, b"axis", 0), len(shape))
    others = [i for i in range(len(shape)) if i != axis]
    if len(shape) != len(places) or any(places[i] > shape[i] for i in others):
        raise ModelFileError(f"has places {list(places)} along axis {axis} of {list(shape)}")
    return [Known(indices.shape, x.dtype)]


def scatter_elements(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Put numbers along an axis into places."""
    x, indices, updates = xs
    gather_elements(attributes, (x, indices))
    if updates.shape != indices.shape:
        raise ModelFileError(f"puts {list(updates.shape)} into {list(indices.shape)} places")
    return [Known(x.shape, x.dtype)]


def flatten(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Join all axes but the first."""
    return [Known((xs[0].shape[0], math.prod(xs[0].shape[1:])), xs[0].dtype)]


def gather_nd(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Take steps by their numbers, in each row."""
    x, indices = xs
    if len(x.shape) < 2 or len(indices.shape) < 2 or x.shape[0] != indices.shape[0]:
        raise ModelFileError(f"takes steps {list(indices.shape)} of {list(x.shape)}")
    depth = indices.shape[-1]
    if not 1 <= depth < len(x.shape):
        raise ModelFileError(f"takes steps by {depth} numbers of {list(x.shape)}")
    return [Known(indices.shape[:-1] + x.shape[1 + depth :], x.dtype)]


def expand(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Repeat along axes."""
    return [Known(_together(xs[0].shape, _sizes(xs[1])), xs[0].dtype)]


def reshape(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Arrange the same elements in another shape."""
    x, sizes = xs[0], list(_sizes(xs[1]))
    if not _get(attributes, b"allowzero", 0):
        for i, size in enumerate(sizes):
            if size == 0:
                if i >= len(x.shape):
                    raise ModelFileError(f"cannot make {sizes} of {list(x.shape)}")
                sizes[i] = x.shape[i]
    count = math.prod(x.shape)
    if -1 in sizes:
        others = -math.prod(sizes)
        sizes[sizes.index(-1)] = count // others if others > 0 else 0
    if math.prod(sizes) != count or min(sizes, default=0) < 0:
        raise ModelFileError(f"cannot make {list(_sizes(xs[1]))} of {list(x.shape)}")
    return [Known(tuple(sizes), x.dtype)]


def transpose(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Change the order of the axes."""
    x, order = xs[0], _get(attributes, b"perm", ())
    if len(order) != len(x.shape) or sorted(order) != list(range(len(order))):
        raise ModelFileError(f"orders the axes of {list(x.shape)} as {list(order)}")
    return [Known(tuple([x.shape[axis] for axis in order]), x.dtype)]


def reduce_axes(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Reduce axes to one number, and remove them or keep them with size 1."""
    x = xs[0]
    axes = _sizes(xs[1]) if len(xs) > 1 else _get(attributes, b"axes", ())
    if not axes:
        raise ModelFileError("reduces no axes")
    reduced = {_axis(axis, len(x.shape)) for axis in axes}
    kept = [1] if _get(attributes, b"keepdims", 1) else []
    sizes = (kept if axis in reduced else [size] for axis, size in enumerate(x.shape))
    return [Known(tuple(itertools.chain.from_iterable(sizes)), x.dtype)]


def along_axis(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Softmax."""
    _axis(_get(attributes, b"axis", -1), len(xs[0].shape))
    return [Known(xs[0].shape, xs[0].dtype)]


def layer_norm(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Normalize the last axes."""
    x, *weights = xs
    axis = _axis(_get(attributes, b"axis", -1), len(x.shape))
    if any(weight.shape != x.shape[axis:] for weight in weights):
        raise ModelFileError(f"has weights {list(weights[0].shape)} for {list(x.shape[axis:])}")
    return [Known(x.shape, x.dtype)]


def matmul(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Multiply matrices."""
    a, b = xs
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise ModelFileError(f"multiplies {list(a.shape)} by {list(b.shape)}")
    return [Known((*_together(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)]


def gemm(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Multiply by a matrix, perhaps transposed, and add."""
    a, b, c = xs
    order = -1 if _get(attributes, b"transB", 0) else 1
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[::order][0]:
        raise ModelFileError(f"multiplies {list(a.shape)} by {list(b.shape)}{', transposed' if order < 0 else ''}")
    shape = (a.shape[0], b.shape[::order][1])
    if _together(c.shape, shape) != shape:
        raise ModelFileError(f"adds {list(c.shape)} to {list(shape)}")
    return [Known(shape, a.dtype)]


def _windows(attributes: Attributes, x: Known, kernel: tuple[int, ...]) -> tuple[int, ...]:
    axes = len(x.shape) - 2
    strides = _get(attributes, b"strides", (1,) * axes)
    dilations = _get(attributes, b"dilations", (1,) * axes)
    pads = _get(attributes, b"pads", (0,) * (2 * axes))
    if not axes == len(kernel) == len(strides) == len(dilations) == len(pads) / 2 or axes < 1:
        raise ModelFileError(f"has windows {list(kernel)} over {list(x.shape)}")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise ModelFileError(f"has the window {list(kernel)}, stride {list(strides)}, padding {list(pads)}")
    result = []
    for i, size in enumerate(x.shape[2:]):
        room = size + pads[i] + pads[i + axes] - dilations[i] * (kernel[i] - 1) - 1
        if room < 0:
            raise ModelFileError(f"has a window of {kernel[i]} over {size} steps")
        result.append(room // strides[i] + 1)
    return tuple(result)


def conv(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Convolve."""
    x, weight, *bias = xs
    groups = _get(attributes, b"group", 1)
    fits = len(weight.shape) == len(x.shape) > 2 and groups > 0
    if not fits or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ModelFileError(f"convolves {list(x.shape)} with {list(weight.shape)} in {groups} groups")
    if any(b.shape != weight.shape[:1] for b in bias):
        raise ModelFileError(f"has a bias {list(bias[0].shape)} for {weight.shape[0]} filters")
    return [Known((x.shape[0], weight.shape[0], *_windows(attributes, x, weight.shape[2:])), x.dtype)]


def pool(attributes: Attributes, xs: Inputs) -> list[Known]:
    """Pool over windows."""
    x, kernel = xs[0], _get(attributes, b"kernel_shape", ())
    pads = _get(attributes, b"pads", (0,) * (2 * len(kernel)))
    windows = _windows(attributes, x, kernel)
    if any(pad >= kernel[i % len(kernel)] for i, pad in enumerate(pads)):
        raise ModelFileError(f"pads a window of {list(kernel)} by {list(pads)}")
    return [Known((*x.shape[:2], *windows), x.dtype)]


def recurrent(gates: int, finals: int, activations: int) -> ShapeRule:
    """LSTM, GRU and RNN: `gates` blocks of weights, and `finals` states after the last step."""

    def rule(attributes: Attributes, xs: Inputs) -> list[Known]:
        x, w, r, b, lengths, *states = xs
        hidden, both = _get(attributes, b"hidden_size", 0), b"direction" in attributes
        directions = 1 + both
        expected: list[tuple[int, ...]] = [(directions, gates * hidden, size) for size in (x.shape[-1], hidden)]
        expected.append((directions, 2 * gates * hidden))
        if len(x.shape) != 3 or hidden < 1 or [w.shape, r.shape, b.shape] != expected:
            raise ModelFileError(
                f"reads {list(x.shape)} with weights {list(w.shape)}, {list(r.shape)}, {list(b.shape)} of hidden size "
                f"{hidden}"
            )
        state = (directions, x.shape[1], hidden)
        if lengths is not None and lengths.shape != x.shape[1:2]:
            raise ModelFileError(f"has lengths {list(lengths.shape)} for {x.shape[1]} rows")
        if any(given is not None and given.shape != state for given in states):
            raise ModelFileError(f"starts from states that do not have the shape {list(state)}")
        if len(_get(attributes, b"activations", ())) not in (0, directions * activations):
            raise ModelFileError("has another number of activations than its gates need")
        sequence = Known((x.shape[0], directions, x.shape[1], hidden), x.dtype)
        return [sequence, *[Known(state, x.dtype)] * finals]

    return rule


add, subtract, multiply = arithmetic(operator.add), arithmetic(operator.sub), arithmetic(operator.mul)
larger = of_many(max)
# Divisors are at least 1, and ONNX's Mod of integers has the sign of the divisor, as Python's.
divide, remainder = divided(truncated_division), divided(operator.mod)
