"""Compare the graph of a file with the graph that its network is exported as."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from seq2onnx.errors import ModelFileError

CONSTANT_TOLERANCE = 1e-6  # relative: numpy's functions round differently on different processors


class _Tensors:
    """Where the tensors of a graph come from; `outer` is the graph around it, `seen` names what was compared."""

    def __init__(self, graph: onnx.GraphProto, outer: _Tensors | None = None) -> None:
        self.graph = graph
        self.arrays = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes = {name: (node, place) for node in graph.node for place, name in enumerate(node.output) if name}
        self.inputs = {entry.name: place for place, entry in enumerate(graph.input)}
        self.outer, self.seen = outer, set[str]()

    def find(self, name: str) -> tuple[_Tensors, Any]:
        """Return what computes a tensor, and the graph that holds it: (node, output), an array, or an input's place."""
        for table in (self.nodes, self.arrays, self.inputs):
            if name in table:
                return self, table[name]
        if self.outer is None:
            return self, None
        return self.outer.find(name)

    def check_all_seen(self) -> None:
        """Raise ModelFileError if a node or array was not compared, because no output needs it."""
        if more := self.arrays.keys() - self.seen:
            raise ModelFileError(f"the constant {max(more)!r:.100} is not in its network")
        for node in self.graph.node:
            if self.seen.isdisjoint(filter(None, node.output)):
                raise ModelFileError(f"the node {node.name!r:.100} ({node.op_type}) is not in its network")


def compare_graphs(actual: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    """Check that two models compute the same, up to the order and the names of their nodes.

    Raises:
        ModelFileError: they do not; the message names the first difference.
    """
    if sorted(map(str, actual.opset_import)) != sorted(map(str, expected.opset_import)):
        raise ModelFileError("its operators have other versions than its network is exported with")
    for kind in ("input", "output"):
        mine, theirs = ({entry.name: entry.type for entry in getattr(m.graph, kind)} for m in (actual, expected))
        if mine != theirs:
            raise ModelFileError(
                f"its {kind}s {sorted(mine)!r:.300} are not those of its network, {sorted(theirs)!r:.300}"
            )
    names = [entry.name for entry in expected.graph.output]
    tensors = _Tensors(actual.graph)
    _compare(tensors, _Tensors(expected.graph), [(name, name) for name in names], by_place=False)
    tensors.check_all_seen()


def _compare(actual: _Tensors, expected: _Tensors, pairs: list[tuple[str, str]], by_place: bool) -> None:
    """Follow pairs of tensors to what computes them, down to inputs and arrays.

    `by_place`: the inputs are in the same places, as in the body of a node, instead of having the same names.
    """
    seen: set[tuple[str, str]] = set()
    pending = list(pairs)
    while pending:
        pair = pending.pop()
        if pair in seen:
            continue
        seen.add(pair)
        if not all(pair):
            if any(pair):
                raise ModelFileError(f"the tensor {max(pair)!r:.100} is read in one of the two graphs only")
            continue
        (home, mine), (other, theirs) = actual.find(pair[0]), expected.find(pair[1])
        home.seen.add(pair[0])
        differs = ModelFileError(f"the tensor {pair[0]!r:.100} is not computed as in its network")
        if (home is actual) != (other is expected) or type(mine) is not type(theirs) or mine is None:
            raise differs
        if isinstance(mine, int):
            if (mine != theirs) if by_place and home is actual else pair[0] != pair[1]:
                raise differs
        elif isinstance(mine, onnx.TensorProto):
            if not _same_array(mine, theirs):
                raise ModelFileError(f"the constant {pair[0]!r:.100} has other values than in its network")
        elif home is not actual:  # the graph around a body is compared on its own
            _compare(home, other, [pair], by_place=False)
        else:
            (node, place), (twin, its_place) = mine, theirs
            if (node.op_type, node.domain, place) != (twin.op_type, twin.domain, its_place):
                raise differs
            if len(node.input) != len(twin.input) or not _same_attributes(node, twin, actual, expected):
                raise differs
            pending += zip(node.input, twin.input, strict=True)


def _same_attributes(node: Any, twin: Any, actual: _Tensors, expected: _Tensors) -> bool:
    mine, theirs = ({entry.name: entry for entry in n.attribute} for n in (node, twin))
    if mine.keys() != theirs.keys():
        return False
    for name, entry in mine.items():
        if entry.type != onnx.AttributeProto.GRAPH:
            if entry != theirs[name]:
                return False
            continue
        body, its_body = entry.g, theirs[name].g
        for kind in ("input", "output"):
            a, b = ([value.type for value in getattr(graph, kind)] for graph in (body, its_body))
            if a != b:
                return False
        outputs = [(a.name, b.name) for a, b in zip(body.output, its_body.output, strict=True)]
        tensors = _Tensors(body, actual)
        _compare(tensors, _Tensors(its_body, expected), outputs, by_place=True)
        tensors.check_all_seen()
    return True


def _same_array(a: onnx.TensorProto, b: onnx.TensorProto) -> bool:
    mine, theirs = numpy_helper.to_array(a), numpy_helper.to_array(b)
    if mine.dtype != theirs.dtype or mine.shape != theirs.shape:
        return False
    if mine.dtype.kind == "f":
        return bool(np.allclose(mine, theirs, CONSTANT_TOLERANCE, 0))
    return bool(np.array_equal(mine, theirs))
