"""The rules for the graph of a file: its operators, the sizes that it computes, and its weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from seq2onnx.errors import ModelFileError
from seq2onnx.modelfile import operators
from seq2onnx.modelfile.operators import ML_DOMAIN, OPERATORS, Operator
from seq2onnx.modelfile.protos import FileContent, ParsedGraph, ParsedNode, Tensor, TensorInfo, show
from seq2onnx.modelfile.shapes import FLOAT16, FLOAT32, INT32, INT64, MOST_KNOWN, Known

ROWS, STEPS = 17, 19
"""The batch for which sizes are computed: sizes that features seldom have, so that no axis is taken for another."""
MOST_BYTES_OF_STEP = 2**26
"""The largest tensor that a graph may compute for a step of a row, unless its input is large."""
MOST_BYTES_OF_LARGE_STEP, MOST_TIMES_INPUT = 2**28, 64
"""The largest tensor where a step of the input is large, and how many times larger than the input it may be."""
MOST_CONSTANT_BYTES = 2**24
"""The largest tensor that a graph may compute from constants alone, beside four bytes for each byte of the file."""

_KINDS: dict[int, np.dtype[Any]] = {FLOAT32: np.dtype("<f4"), FLOAT16: np.dtype("<f2")}
_FACTORS = np.full(2**13, 1e-20, np.float32)  # for so many weights at once, which stay in the processor's cache


class Checked(NamedTuple):
    """What the check found out about the graph.

    Attributes:
        shapes: the shape of each output for ROWS rows of STEPS steps.
        reads: the inputs that each output depends on.
        reads_backward: whether a recurrent node reads from the end of a sequence.
    """

    shapes: dict[bytes, tuple[int, ...]]
    reads: dict[bytes, frozenset[bytes]]
    reads_backward: bool


def check_values(content: bytes, tensors: Iterable[Tensor]) -> None:
    """Check that initializers have as many values as they declare, and no NaN or infinity.

    Raises:
        ModelFileError: one of them does not.
    """
    for tensor in tensors:
        start = f"the initializer {show(tensor.name)} has"
        check_size(tensor, operators.INITIALIZER_BYTES, start, "; files of seq2onnx do not")
        _check_finite(content, tensor)


def check_size(tensor: Tensor, sizes: Mapping[int, int], start: str, remedy: str = "") -> None:
    """Check that a tensor has as many values as it declares; `sizes` are the bytes of each type that it may have.

    `start` and `remedy` begin and end the message of the ModelFileError.
    """
    size = sizes.get(tensor.dtype)
    if size is None or tensor.raw is None or tensor.typed:
        raise ModelFileError(f"{start} the element type {tensor.dtype}, or values that are not raw bytes{remedy}")
    begin, end = tensor.raw
    expected = size * math.prod(tensor.dims)
    if end - begin != expected:
        raise ModelFileError(
            f"{start} the shape {list(tensor.dims)} and {end - begin} bytes of values; expected {expected}"
        )


def _check_finite(content: bytes, tensor: Tensor) -> None:
    """Raise ModelFileError if weights contain NaN or infinity."""
    kind, (start, stop) = _KINDS.get(tensor.dtype), tensor.raw or (0, 0)
    if kind and (stop - start) % kind.itemsize == 0 and not _is_finite(content, start, stop, tensor.dtype):
        raise ModelFileError(f"the weights {show(tensor.name)} contain NaN or infinity; train and export again")


def _is_finite(content: bytes, start: int, stop: int, dtype: int) -> bool:
    kind = _KINDS[dtype]
    together = _FACTORS.size * kind.itemsize
    for at in range(start, stop, together):
        numbers = np.frombuffer(content, kind, min(together, stop - at) // kind.itemsize, at)
        # NaN and infinity carry over to the product, and the factors prevent overflow. Unlike dot, vdot does not warn.
        if not math.isfinite(np.vdot(numbers, _FACTORS[: numbers.size])):
            return False
    return True


def check_graph(content: bytes, file: FileContent) -> Checked:
    """Check the operators of a graph and the sizes that it computes.

    Raises:
        ModelFileError: the graph has something that files of seq2onnx do not have, or is too large.
    """
    if file.extras or file.graph.extras:
        raise ModelFileError(f"contains {(file.extras + file.graph.extras)[0]}, which files of seq2onnx do not have")
    for domain, version in file.opsets.items():
        if version not in operators.OPSETS.get(domain, ()):
            raise ModelFileError(f"uses version {version} of the operators of {show(domain)}")
    if b"" not in file.opsets:
        raise ModelFileError("does not say which version of the operators it uses")
    graph = file.graph
    check_values(content, graph.initializers)
    by_name: Tensors = {}
    for bit, entry in enumerate(graph.inputs):
        _new(by_name, entry.name, (_of_input(entry), 1 << bit))
    # Where all sizes are constants, as in step files, a run is one step.
    is_fixed = all(isinstance(size, int) for entry in graph.inputs for size in entry.dims or ())
    places = 1 if is_fixed else ROWS * STEPS
    size = max((4 * math.prod(known.shape) for known, _ in by_name.values()), default=0) // places
    most = max(MOST_BYTES_OF_STEP, min(MOST_TIMES_INPUT * size, MOST_BYTES_OF_LARGE_STEP))
    if most < size:
        raise ModelFileError(f"takes steps of {size:,} bytes; at most {most:,} are allowed")
    limits = _Limits(places * most // 4, MOST_CONSTANT_BYTES // 4 + len(content))
    for tensor in graph.initializers:
        _new(by_name, tensor.name, (_of_initializer(content, tensor), 0))
    given = set(by_name)
    backward = _evaluate(graph, by_name, limits, ML_DOMAIN in file.opsets)
    names = [entry.name for entry in graph.inputs]
    shapes, reads = {}, {}
    for entry in graph.outputs:
        if entry.name not in by_name or entry.name in given or entry.name in shapes:
            raise ModelFileError(f"the output {show(entry.name)} is not computed by the graph, or is there twice")
        known, mask = by_name[entry.name]
        _check_declared(entry, known, 1 if is_fixed else ROWS)
        shapes[entry.name] = known.shape
        reads[entry.name] = frozenset(name for bit, name in enumerate(names) if mask >> bit & 1)
    return Checked(shapes, reads, backward)


Tensors = dict[bytes, tuple[Known, int]]
"""What is known of each tensor, and the inputs of the graph whose data it depends on, a bit for each."""


class _Limits(NamedTuple):
    """The most elements of a tensor, and of one that depends on no data."""

    any: int
    constant: int


def _new(by_name: Tensors, name: bytes, entry: tuple[Known, int]) -> None:
    if name in by_name or not name:
        raise ModelFileError(f"two tensors have the name {show(name)}" if name else "a tensor has no name")
    by_name[name] = entry


def _of_input(entry: TensorInfo) -> Known:
    if entry.dims is None or None in entry.dims:
        raise ModelFileError(f"the input {show(entry.name)} does not declare its shape")
    sizes = [size if isinstance(size, int) else STEPS if axis else ROWS for axis, size in enumerate(entry.dims)]
    if any(not 0 <= size < 2**31 for size in sizes):
        raise ModelFileError(f"the input {show(entry.name)} declares the shape {entry.dims!r:.100}")
    return Known(tuple(sizes), entry.dtype)


def _of_initializer(content: bytes, tensor: Tensor) -> Known:
    count = math.prod(tensor.dims)
    if tensor.dtype not in (INT32, INT64) or count > MOST_KNOWN or tensor.raw is None:
        return Known(tensor.dims, tensor.dtype)
    values = np.frombuffer(content, "<i4" if tensor.dtype == INT32 else "<i8", count, tensor.raw[0])
    return Known(tensor.dims, tensor.dtype, tuple(values.tolist()))


def _evaluate(graph: ParsedGraph, by_name: Tensors, limits: _Limits, words: bool) -> bool:
    """Add what the nodes compute to `by_name`; return whether a recurrent node reads backward."""
    backward = False
    for node in graph.nodes:
        table = OPERATORS if not node.domain else operators.ML_OPERATORS if words and node.domain == ML_DOMAIN else {}
        rule = table.get(node.op)
        if rule is None:
            raise ModelFileError(f"has the operator {show(node.op)} of {show(node.domain)}, {_NOT_OURS}")
        try:
            inputs, outputs = node.inputs, node.outputs
            if node.attributes or rule.needs or len(inputs) != rule.required or b"" in inputs or len(outputs) != 1:
                _check_node(node, rule)  # not for most nodes
            mask = 0
            reads: list[Known | None] = []
            for name in inputs:
                if name:
                    known, depends = by_name[name]
                    reads.append(known)
                    mask |= depends
                else:
                    reads.append(None)
            if rule.shape is None:
                results, mask, inner = _inner(node, mask, by_name, limits)
                backward |= inner
            else:
                results = rule.shape(node.attributes, reads)
                backward |= b"direction" in node.attributes
            if rule.heavy and not mask:
                raise ModelFileError("does not depend on data")
            if node.op == b"Shape":
                mask = 0
            most = limits.any if mask else limits.constant
            for name, known in zip(outputs, results):  # noqa: B905 (later results may be left out)
                if name:
                    if math.prod(known.shape) > most:
                        raise ModelFileError(f"computes a tensor of the shape {list(known.shape)!r:.100}")
                    if name in by_name:
                        raise ModelFileError(f"two tensors have the name {show(name)}")
                    by_name[name] = (known, mask)
        except ModelFileError as error:
            raise ModelFileError(f"the node {show(node.name)} ({show(node.op)}) {error}, {_NOT_OURS}") from None
        except KeyError as error:
            (name,) = error.args
            shown = name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
            raise ModelFileError(
                f"its initializer {shown:.100} is missing: the node {show(node.name)} ({show(node.op)}) reads it, and "
                "no node before computes it"
            ) from None
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise ModelFileError(
                f"the node {show(node.name)} ({show(node.op)}) has wrong inputs, {_NOT_OURS}: {error!r:.100}"
            ) from None
    return backward


_NOT_OURS = "which files of seq2onnx do not have"


def _check_node(node: ParsedNode, rule: Operator) -> None:
    inputs, attributes = node.inputs, node.attributes
    if not rule.required <= len(inputs) <= rule.most or b"" in inputs[: rule.required]:
        raise ModelFileError(f"has {len(inputs)} inputs")
    if len(node.outputs) > rule.results:
        raise ModelFileError(f"has {len(node.outputs)} results")
    for name, (kind, value) in attributes.items():
        if rule.attributes.get(name) != kind:
            raise ModelFileError(f"has the attribute {show(name)} of type {kind}")
        choices = operators.CHOICES.get((node.op, name))
        if choices is not None and value not in choices:
            raise ModelFileError(f"has the attribute {show(name)} = {value!r:.60}")
    for name in rule.needs:
        if name not in attributes:
            raise ModelFileError(f"lacks the attribute {show(name)}")


def _inner(node: ParsedNode, mask: int, by_name: Tensors, limits: _Limits) -> tuple[list[Known], int, bool]:
    """Return what an If or a Scan computes, the inputs that this depends on, and whether it reads backward."""
    graphs = [value for kind, value in node.attributes.values() if isinstance(value, ParsedGraph)]
    for graph in graphs:
        if graph.initializers or graph.extras:
            raise ModelFileError("has a graph with initializers or declared types")
        for inner in graph.nodes:
            if any(isinstance(value, ParsedGraph) for _, value in inner.attributes.values()):
                raise ModelFileError("has graphs in its graphs")
    given = [by_name[name] for name in node.inputs if name]
    results: list[list[Known]] = []
    backward = False
    for graph in graphs:
        here = dict(by_name)
        own = _scan_inputs(node, given) if node.op == b"Scan" else []
        for entry, known in zip(graph.inputs, own, strict=True):
            _new(here, entry.name, (known, mask))
        backward |= _evaluate(graph, here, limits, False)
        outputs = [here[entry.name] for entry in graph.outputs]
        for _, reads in outputs:
            mask |= reads
        results.append([known for known, _ in outputs])
    first = results[0]
    if len(first) != len(node.outputs) or any([k.shape for k in r] != [k.shape for k in first] for r in results):
        raise ModelFileError("has graphs that compute different results")
    if node.op == b"Scan":
        first = _scan_results(node, given, first)
    return [Known(known.shape, known.dtype) for known in first], mask, backward


def _scan_inputs(node: ParsedNode, given: list[tuple[Known, int]]) -> list[Known]:
    ticks = given[-1][0]
    if node.attributes[b"num_scan_inputs"][1] != 1 or len(ticks.shape) != 1 or given[-1][1]:
        raise ModelFileError("does not count its steps with a constant")
    return [*[Known(known.shape, known.dtype) for known, _ in given[:-1]], Known((), ticks.dtype)]


def _scan_results(node: ParsedNode, given: list[tuple[Known, int]], results: list[Known]) -> list[Known]:
    *states, answer = results
    if node.attributes[b"scan_output_axes"][1] != (1,) or not answer.shape:
        raise ModelFileError("does not join its answers along the time axis")
    if [known.shape for known in states] != [known.shape for known, _ in given[:-1]]:
        raise ModelFileError("changes the shapes of its states")
    steps = given[-1][0].shape[0]
    return [*states, Known((answer.shape[0], steps, *answer.shape[1:]), answer.dtype)]


def _check_declared(entry: TensorInfo, known: Known, rows: int) -> None:
    """Check that an output is what it declares to be."""
    fits = entry.dims is not None and len(entry.dims) == len(known.shape) and entry.dtype == known.dtype
    for axis, (declared, size) in enumerate(zip(entry.dims or (), known.shape, strict=False)):
        fits &= size == declared if isinstance(declared, int) else axis > 0 or size == rows
    if not fits:
        raise ModelFileError(
            f"the output {show(entry.name)} declares type {entry.dtype} and shape {entry.dims!r:.100}, but the graph "
            f"computes type {known.dtype} and shape {known.shape!r:.100} for {rows} rows of {STEPS} steps"
        )


def check_changed(content: bytes, file: FileContent) -> None:
    """Check a file that another program may have changed: its weights are finite, and are all in the file.

    Raises:
        ModelFileError: they are not.
    """
    for tensor in file.graph.initializers:
        _check_finite(content, tensor)
