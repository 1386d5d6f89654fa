"""The nodes that networks are exported as: a change of them must raise EMISSION, which files record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

import seq2onnx as s2o
from seq2onnx.errors import NotStreamable
from seq2onnx.exporting import ExportOptions
from seq2onnx.exporting.emission import EMISSION
from seq2onnx.exporting.forms import emit
from seq2onnx.exporting.options import ExportPlan
from seq2onnx.layers import KINDS
from seq2onnx.layers.nodes import Graph
from tests.networks import network_of

RECORD = Path(__file__).parent / "emission.json"


def described(graph: Graph) -> list:
    """Everything of a graph but the values of its weights."""
    nodes = [
        [node.op, node.inputs, node.outputs, node.name, node.domain]
        + [
            [key, described(value) if isinstance(value, Graph) else repr(value)]
            for key, value in node.attributes.items()
        ]
        for node in graph.nodes
    ]
    arrays = [
        [name, array.dtype.str, array.shape, None if "." in name else repr(array.tolist())]
        for name, array in graph.initializers.items()
    ]
    return [nodes, arrays, [repr(tensor) for tensor in (*graph.inputs, *graph.outputs)]]


def plans() -> list[ExportPlan]:
    """Every example of every layer, in every signature and form that it can have; a closed loop; a file with words."""
    networks = [
        network_of(example)
        for kind, cls in sorted(KINDS.items())
        if cls.__module__.startswith("seq2onnx.")
        for example in cls.examples()
    ]
    options = [ExportOptions(signature) for signature in ("full", "sequence", "stream")]
    options += [ExportOptions(form="step")]
    options += [ExportOptions("full", opset=19), ExportOptions(lookahead=True), ExportOptions(activations=True)]
    cases = [(network, option) for network in networks for option in options]
    loop = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3), s2o.GRU(3), s2o.FullyConnected(2)])
    cases += [(loop, ExportOptions(signature, closed_loop=3)) for signature in ("full", "sequence", "stream")]
    words = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(2, ["a", "b"]), s2o.LSTM(3, "last")])
    found = []
    for network, option in [*cases, (words, ExportOptions(words=True))]:
        try:
            found.append(ExportPlan.of(network, option))
        except NotStreamable:
            continue
    return found


def empty_weights(plan: ExportPlan) -> dict:
    """Weights of the right shapes."""
    return {
        layer.label: {
            name: np.zeros(weight.shape, "f")
            for name, weight in layer.weights(*plan.network.signals_into(layer.label)).items()
        }
        for layer in plan.network.layers
    }


def test_a_change_of_the_emitted_nodes_raises_the_emission_number():
    checksum = hashlib.sha256()
    for plan in plans():
        checksum.update(json.dumps(described(emit(plan, empty_weights(plan)))).encode())
    found = {"emission": EMISSION, "sha256": checksum.hexdigest()}
    recorded = json.loads(RECORD.read_text())
    assert found == recorded, (
        f"The exported nodes have changed. Raise EMISSION in seq2onnx/exporting/emission.py, unless this is version "
        f"{recorded['emission'] + 1} already, and write {json.dumps(found)} into {RECORD.name}."
    )


def test_no_node_is_one_that_earlier_runtimes_calculate_wrongly():
    """tools/check_runtimes.py runs files in them; this needs none of them."""
    for plan in plans():
        graph = emit(plan, empty_weights(plan))
        for node in graph.nodes:
            left = node.op == "MatMul" and node.inputs[0] in graph.initializers
            assert plan.options.form == "step" or not left, f"{node.name}: fails without rows before onnxruntime 1.32"
            if node.op == "AveragePool" and node.attributes["count_include_pad"]:
                pads = node.attributes["pads"]
                assert pads[: len(pads) // 2] == pads[len(pads) // 2 :], f"{node.name}: wrong before onnxruntime 1.25"
