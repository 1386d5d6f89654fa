"""Where onnxruntime runs each node of a file, and why some do not run on the device asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

from seq2onnx.errors import SpecError
from seq2onnx.layer_facts import gpu_gap
from seq2onnx.runtime.model import Model


@dataclasses.dataclass(frozen=True)
class Placement:
    """A node of the graph as onnxruntime runs it.

    Attributes:
        node: its name, which begins with the name of the layer.
        op: its operator.
        provider: the execution provider that runs it.
        reason: why that is not the first provider that was asked for; "" if it is.
    """

    node: str
    op: str
    provider: str
    reason: str


def placement(model: Model) -> list[Placement]:
    """Do what `Predictor.placement` says."""
    session = model.session
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise SpecError(
            "placement: this onnxruntime does not report where nodes run; install onnxruntime 1.24 or newer"
        )
    first, layers = session.get_providers()[0], model.contract.layers
    return [
        Placement(
            node.name,
            node.op_type,
            group.ep_name,
            "" if group.ep_name == first else _reason(node.op_type, layers.get(node.name.split("/")[0])),
        )
        for group in session.get_provider_graph_assignment_info()
        for node in group.get_nodes()
    ]


def _reason(op: str, layer: tuple[str, dict[str, Any]] | None) -> str:
    """Derive the reason from what GPU kernels support; onnxruntime itself gives none."""
    kind, fields = layer or ("", {})
    if op in ("LSTM", "GRU"):
        return f"{kind}: {gpu_gap(fields) or f'no kernel for {op} with these inputs'}"
    return f"no kernel for {op}, or it computes shapes, which onnxruntime keeps on the CPU"
