"""Where onnxruntime runs each node of a file, and why some do not run where they should."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from seq2onnx.errors import SpecError

if TYPE_CHECKING:
    from seq2onnx.runtime.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Placement:
    """A node of the graph as onnxruntime runs it.

    node: its name, which begins with that of the layer; op: its operator; provider: what runs it; reason: why that
    is not the first provider that was asked for, "" where it is
    """

    node: str
    op: str
    provider: str
    reason: str


def placement(model: Predictor) -> list[Placement]:
    """`Predictor.placement`, which see."""
    session = model.session
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise SpecError("placement: this onnxruntime does not tell where nodes run; install onnxruntime 1.24 or newer")
    first = session.get_providers()[0]
    layers = {
        spec["name"]: (kind, spec) for layer in model.metadata["network"]["layers"] for kind, spec in layer.items()
    }
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
    """What is known of the GPU kernels; onnxruntime itself gives no reason."""
    kind, spec = layer or ("", {})
    if op in ("LSTM", "GRU"):
        if spec.get("state_activation", "tanh") != "tanh" or spec.get("gate_activation", "sigmoid") != "sigmoid":
            return f"{kind}: its kernel knows the activations tanh and sigmoid alone"
        if spec.get("reset_gate_mode") == "before_multiplication":
            return f"{kind}: its kernel resets after the multiplication alone"
        return f"{kind}: no kernel for {op} with these inputs"
    return f"no kernel for {op}, or it computes shapes, which onnxruntime keeps on the CPU"
