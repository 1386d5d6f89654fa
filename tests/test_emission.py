"""The nodes that networks are exported as: a change of them must raise EMISSION, which files record.

`python -m tests.test_emission` writes the record, emission.json: a checksum for each layer and form.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
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


OPTIONS = {
    "full": ExportOptions("full"),
    "sequence": ExportOptions("sequence"),
    "stream": ExportOptions("stream"),
    "step": ExportOptions(form="step"),
    "opset 19": ExportOptions("full", opset=19),
    "lookahead": ExportOptions(lookahead=True),
    "activations": ExportOptions(activations=True),
}


def plans() -> dict[str, dict[str, list[ExportPlan]]]:
    """Every example of every layer, in every signature and form that it can have; a closed loop; a file with words."""
    cases = [
        (kind, form, network_of(example), options)
        for kind, cls in sorted(KINDS.items())
        if cls.__module__.startswith("seq2onnx.")
        for form, options in OPTIONS.items()
        for example in cls.examples()
    ]
    loop = s2o.Network([s2o.SequenceInput(2), s2o.LSTM(3), s2o.GRU(3), s2o.FullyConnected(2)])
    for signature in ("full", "sequence", "stream"):
        cases.append(("closed loop", signature, loop, ExportOptions(signature, closed_loop=3)))
    words = s2o.Network([s2o.SequenceInput("tokens"), s2o.WordEmbedding(2, ["a", "b"]), s2o.LSTM(3, "last")])
    cases.append(("words", "full", words, ExportOptions(words=True)))
    found: dict[str, dict[str, list[ExportPlan]]] = {}
    for name, form, network, options in cases:
        with contextlib.suppress(NotStreamable):
            plan = ExportPlan.of(network, options)
            found.setdefault(name, {}).setdefault(form, []).append(plan)
    return found


def all_plans() -> list[ExportPlan]:
    return [plan for forms in plans().values() for some in forms.values() for plan in some]


def empty_weights(plan: ExportPlan) -> dict:
    """Weights of the right shapes."""
    return {
        layer.label: {
            name: np.zeros(weight.shape, "f")
            for name, weight in layer.weights(*plan.network.signals_into(layer.label)).items()
        }
        for layer in plan.network.layers
    }


def checksum(plans: list[ExportPlan]) -> str:
    found = hashlib.sha256()
    for plan in plans:
        found.update(json.dumps(described(emit(plan, empty_weights(plan)))).encode())
    return found.hexdigest()[:16]


def emitted() -> dict[str, dict[str, str]]:
    """The checksum of the graphs of each layer and form."""
    return {name: {form: checksum(some) for form, some in forms.items()} for name, forms in plans().items()}


def write(kinds: list[str]) -> None:
    """Write the record, a line for each kind of layer. If `kinds` are given, the other lines stay as they are."""
    found = emitted()
    if kinds:
        before = json.loads(RECORD.read_text(encoding="utf-8"))["graphs"]
        found = {name: found[name] if name in kinds else before[name] for name in found if name in {*kinds, *before}}
    lines = [f"{json.dumps(name)}: {json.dumps(forms)}" for name, forms in found.items()]
    text = ",\n    ".join(lines)
    RECORD.write_text(f'{{\n  "emission": {EMISSION},\n  "graphs": {{\n    {text}\n  }}\n}}\n', encoding="utf-8")


def test_a_change_of_the_emitted_nodes_raises_the_emission_number():
    recorded, found = json.loads(RECORD.read_text(encoding="utf-8")), emitted()
    pairs = {(name, form) for graphs in (recorded["graphs"], found) for name in graphs for form in graphs[name]}
    changed = [
        f"{name} ({form})"
        for name, form in sorted(pairs)
        if recorded["graphs"].get(name, {}).get(form) != found.get(name, {}).get(form)
    ]
    assert not changed, (
        f"The exported nodes have changed: {', '.join(changed)}. If that is not what you wanted, it is a fault. "
        "Otherwise raise EMISSION in seq2onnx/exporting/emission.py, unless this is version "
        f"{recorded['emission'] + 1} already or the layer is new, and write the record: "
        "python -m tests.test_emission [kind of layer …]"
    )
    assert recorded["emission"] == EMISSION, "Write the record: python -m tests.test_emission"


def test_no_node_is_one_that_earlier_runtimes_calculate_wrongly():
    """tools/check_runtimes.py runs files in them; this needs none of them."""
    for plan in all_plans():
        graph = emit(plan, empty_weights(plan))
        for node in graph.nodes:
            left = node.op == "MatMul" and node.inputs[0] in graph.initializers
            assert plan.options.form == "step" or not left, f"{node.name}: fails without rows before onnxruntime 1.32"
            if node.op == "AveragePool" and node.attributes["count_include_pad"]:
                pads = node.attributes["pads"]
                assert pads[: len(pads) // 2] == pads[len(pads) // 2 :], f"{node.name}: wrong before onnxruntime 1.25"


if __name__ == "__main__":
    write(sys.argv[1:])
