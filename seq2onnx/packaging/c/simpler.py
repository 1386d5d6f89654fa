"""Nodes as simpler ones, and what they are made with: Pad, Gemm, BatchNormalization, pools over everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto, helper

from seq2onnx.packaging.c.refusals import not_in_c

if TYPE_CHECKING:
    from seq2onnx.packaging.c.graph import Graph


class Nodes(list[NodeProto]):
    """Nodes that stand for one, with names of their own."""

    def __init__(self, graph: Graph, node: NodeProto) -> None:
        super().__init__()
        self.graph, self.stem = graph, node.output[0] or node.name

    def name(self) -> str:
        """Return a name that no tensor has."""
        return f"{self.stem}/{len(self.graph.tensors)}_{len(self)}"

    def constant(self, values: Any) -> str:
        """Add an array to the graph, and return its name."""
        array = np.asarray(values)
        return self.graph.add_constant(self.name(), array.astype(np.int64) if array.dtype.kind == "i" else array)

    def add(self, op: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its result."""
        output = to or self.name()
        self.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def split(self, whole: str, count: int, size: int) -> list[str]:
        """Add a Split into parts of one size along axis 1, and return their names."""
        outputs = [f"{self.name()}.{k}" for k in range(count)]
        if self.graph.opset < 13:
            self.append(helper.make_node("Split", [whole], outputs, axis=1, split=[size] * count))
        else:
            self.append(helper.make_node("Split", [whole, self.constant([size] * count)], outputs, axis=1))
        return outputs

    def scaled(self, x: str, factor: float) -> str:
        """Return the name of x times a factor."""
        return x if factor == 1 else self.add("Mul", x, self.constant(np.array(factor, self.graph.dtype(x))))

    def with_axes(self, x: str, axes: list[int]) -> str:
        """Return the name of x with more axes of one entry."""
        if self.graph.opset < 13:
            return self.add("Unsqueeze", x, axes=axes)
        return self.add("Unsqueeze", x, self.constant(axes))


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def pad(graph: Graph, node: NodeProto) -> list[NodeProto] | None:
    """Return a Pad that repeats, mirrors or cuts off numbers as Gathers; None: it adds the same number everywhere."""
    nodes, x, sizes = Nodes(graph, node), node.input[0], graph.shape(node.input[0])
    mode = attributes_of(node).get("mode", b"constant").decode()
    value, axes = [*node.input[2:], "", ""][:2]
    places = graph.values(axes) if axes else range(len(sizes))
    if mode not in ("constant", "reflect", "edge") or (value and value not in graph.constants):
        raise not_in_c(f"a Pad has the mode {mode} or a value that only a step knows")
    given, amounts = np.reshape(graph.values(node.input[1]), (2, -1)), np.zeros((2, len(sizes)), int)
    amounts[:, places] = given
    if mode == "constant" and not axes and (given >= 0).all():
        return None
    for axis, size in enumerate(sizes):
        before, after = (int(amount) for amount in amounts[:, axis])
        kept = np.arange(max(-before, 0), size - max(-after, 0))
        if mode != "constant":
            if mode == "reflect" and max(before, after) >= len(kept):
                raise not_in_c("a Pad mirrors more numbers than there are")
            kept = np.pad(kept, (max(before, 0), max(after, 0)), mode=mode)
        if not np.array_equal(kept, np.arange(size)):
            x = nodes.add("Gather", x, nodes.constant(kept), axis=axis)
    if mode == "constant":
        added = nodes.constant(np.ravel(np.maximum(amounts, 0)))
        nodes.add("Pad", x, added, *filter(None, [value]), to=node.output[0])
    else:
        nodes.add("Identity", x, to=node.output[0])
    return nodes


def gemm(graph: Graph, node: NodeProto) -> list[NodeProto] | None:
    """Return a Gemm without transA, alpha and beta; None: it has none of them."""
    nodes, attributes = Nodes(graph, node), attributes_of(node)
    x, w, bias = [*node.input, ""][:3]
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if not attributes.get("transA", 0) and alpha == beta == 1:
        return None
    x = nodes.scaled(x, alpha)
    if attributes.get("transA", 0):
        x = nodes.add("Transpose", x, perm=[1, 0])
    bias = nodes.scaled(bias, beta) if bias else ""
    nodes.add("Gemm", x, w, bias, to=node.output[0], transB=attributes.get("transB", 0))
    return nodes


def batch_normalization(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """Return x · scale + offset, from the statistics of the training."""
    nodes, attributes = Nodes(graph, node), attributes_of(node)
    if attributes.get("training_mode", 0) or any(name not in graph.constants for name in node.input[1:]):
        raise not_in_c("a BatchNormalization has statistics that only a step knows")
    scale, offset, mean, variance = (graph.constants[name] for name in node.input[1:])
    factor = scale / np.sqrt(variance + np.float32(attributes.get("epsilon", 1e-5)))
    shape = (-1, *[1] * (len(graph.shape(node.input[0])) - 2))
    scaled = nodes.add("Mul", node.input[0], nodes.constant(factor.reshape(shape)))
    nodes.add("Add", scaled, nodes.constant((offset - mean * factor).reshape(shape)), to=node.output[0])
    return nodes


def global_pool(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """Return a pool over everything as one with a window of this size."""
    nodes, op = Nodes(graph, node), node.op_type.removeprefix("Global")
    nodes.add(op, node.input[0], to=node.output[0], kernel_shape=graph.shape(node.input[0])[2:])
    return nodes
