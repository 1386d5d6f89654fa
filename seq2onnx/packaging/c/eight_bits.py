"""Weights as whole numbers of 8 bits, with a scale for each output."""

from __future__ import annotations

import numpy as np

from seq2onnx.packaging.c.graph import Graph, Stored

FEW_WEIGHTS = 64
"""Matrices of fewer numbers stay float32: 8 bits would save nothing."""
FEW_ROWS = 4
"""Matrices of fewer rows stay float32: their scales take as much flash, and each output takes time."""


def to_eight_bits(graph: Graph) -> None:
    """Round the weights of products and convolutions that the file has as float32."""
    for node in graph.nodes:
        name = node.inputs[1] if len(node.inputs) > 1 else ""
        if node.op not in ("Conv", "Gemm", "MatMul") or name not in graph.constants or name in graph.stored:
            continue
        values = graph.constants[name]
        if values.size < FEW_WEIGHTS or values.ndim < 2 or (node.op == "MatMul" and values.ndim > 2):
            continue
        is_row = node.op == "Conv" or bool(node.attributes.get("transB", 0))  # whether an output is an entry of axis 0
        axes = tuple(range(1, values.ndim)) if is_row else (0,)
        scale = np.abs(values).max(axes, keepdims=True) / np.float32(127)
        if values.size < FEW_ROWS * scale.size or scale.size == 1:  # one output, such as a mean, stays exact
            continue
        scale[scale == 0] = 1
        whole = np.rint(values / scale).astype(np.int8)
        graph.stored[name] = Stored(whole, scale)
        graph.constants[name] = whole * scale
