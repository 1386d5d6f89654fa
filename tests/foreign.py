"""Small foreign ONNX graphs, as other exporters write them, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

C, H, K = 3, 4, 2


class Graph:
    """Builds a graph node by node; every name is the caller's or counted."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Any, dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int = TensorProto.FLOAT) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, dtype, None))
        return name

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        return self.const((scale * self.rng.normal(size=shape)).astype("f"))

    def const(self, value: Any, dtype: Any = None, name: str | None = None) -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(list(values), np.int64)

    def op(
        self, op: str, *inputs: str, out: str | None = None, outs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        names = [out or f"t{len(self.nodes)}", *(f"t{len(self.nodes)}_{i}" for i in range(1, outs))]
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=f"{op}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return names[0] if outs == 1 else names

    def lstm(self, x: str, size: int = C, h: str = "", c: str = "", op: str = "LSTM", **attributes: Any) -> list[str]:
        """A recurrent operator on x [time, batch, size]; returns its outputs."""
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        n = 2 if attributes.get("direction") == "bidirectional" else 1
        weights = [self.weight(n, gates * H, size), self.weight(n, gates * H, H), self.weight(n, 2 * gates * H)]
        states = [h, c] if op == "LSTM" else [h]
        more = [self.weight(n, 3 * H)] if attributes.pop("peepholes", False) else []
        return self.op(op, x, *weights, "", *states, *more, outs=len(states) + 1, hidden_size=H, **attributes)

    def dense(self, x: str, size: int = H, out: str | None = None) -> str:
        return self.op("Add", self.op("MatMul", x, self.weight(size, K)), self.weight(K), out=out)

    def squeeze(self, x: str, axis: int) -> str:
        return self.op("Squeeze", x, self.ints(axis)) if self.opset >= 13 else self.op("Squeeze", x, axes=[axis])

    def time_first(self, x: str) -> str:
        return self.op("Transpose", x, perm=[1, 0, 2])

    def sequence_lstm(self, x: str, **more: Any) -> str:
        """An LSTM on x [batch, time, C] that answers [batch, time, H]."""
        return self.time_first(self.squeeze(self.lstm(self.time_first(x), **more)[0], 1))

    def model(self, ir_version: int = 8, **opsets: int) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "foreign", self.inputs, self.outputs, self.weights)
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, v) for d, v in opsets.items())]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)

    def save(self, folder: Path, **options: Any) -> Path:
        path = folder / "foreign.onnx"
        onnx.save(self.model(**options), path)
        return path


def plain_lstm(between: Any = None, opset: int = 17, batch: Any = "batch", time: Any = "time") -> Graph:
    """x [batch, time, C] → LSTM → `between` → [batch, time, K]."""
    g = Graph(opset)
    y = g.sequence_lstm(g.input("sound", [batch, time, C]))
    y = between(g, y) if between else y
    g.dense(y, out=g.output("scores"))
    return g
