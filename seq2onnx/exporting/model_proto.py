"""A finished Graph as an ONNX model. Layers and forms write graphs without the onnx package."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper, numpy_helper

from seq2onnx.exporting.words import ML_DOMAIN, ML_OPSET
from seq2onnx.layers.nodes import DATA_TYPES, Graph, Node


def to_model(graph: Graph, opset: int, name: str, properties: dict[str, str], version: str) -> onnx.ModelProto:
    """Convert a graph to a model, with the IR version that belongs to its opset; `version` is that of seq2onnx."""
    tensors = [numpy_helper.from_array(array, key) for key, array in graph.initializers.items()]
    opsets = [helper.make_opsetid("", opset)]
    if any(node.domain == ML_DOMAIN for node in graph.nodes):
        opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
    proto = _graph(graph, name, tensors)
    model = helper.make_model(proto, opset_imports=opsets, producer_name="seq2onnx", producer_version=version)
    model.ir_version = helper.find_min_ir_version_for(opsets)
    helper.set_model_props(model, properties)
    return model


def _graph(graph: Graph, name: str, tensors: list[onnx.TensorProto]) -> onnx.GraphProto:
    inputs, outputs = (
        [helper.make_tensor_value_info(entry.name, DATA_TYPES[entry.dtype], entry.shape) for entry in entries]
        for entries in (graph.inputs, graph.outputs)
    )
    return helper.make_graph([_node(node) for node in graph.nodes], name, inputs, outputs, tensors)


def _node(node: Node) -> onnx.NodeProto:
    attributes: dict[str, Any] = {
        key: _graph(value, f"{node.name}.{key}", []) if isinstance(value, Graph) else value
        for key, value in node.attributes.items()
    }
    domain = {"domain": node.domain} if node.domain else {}
    return helper.make_node(node.op, node.inputs, node.outputs, name=node.name or None, **domain, **attributes)
