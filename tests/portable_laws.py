"""The laws for portable files: the numbers of dynamic files, in onnxruntime and where lengths are ignored."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.exporting.restorer import read_model
from tests.comparison import FLOAT32, SAME, close
from tests.laws import Subject, agree, open_session, poisoned

BATCHES = (([5, 0, 3, 1, 7], 40), ([0, 0], 0), ([6, 6], 6))
"""Lengths of rows, and the steps of x. What stands behind the rows is NaN."""
RECURRENT = ("LSTM", "GRU", "RNN")


def all_of_them(subject: Subject, folder: Path) -> None:
    """Every law of a network that has a portable form."""
    models = {name: portable_model(subject, name) for name in subject.models if "stream" not in name}
    for name, model in models.items():
        has_no_graphs_in_it(model)
        assert names(model) == names(subject.models[name])
    # Sums are float32 in a portable file.
    sums = {layer.kind for layer in subject.network.layers if getattr(layer, "axis", "time") == "time"}
    is_exact = not sums & {"global_avg_pool1d", "global_sum_pool1d", "global_std_pool1d", "attention_pool"}
    gives_the_same_numbers(subject, models, is_exact)
    keeps_the_weights(subject, models["sequence"], folder / "portable.onnx")


def portable_model(subject: Subject, name: str) -> onnx.ModelProto:
    """Export a network; `name` is that of its dynamic file in `subject.models`."""
    options = ExportOptions(name.split()[-1], lookahead="lookahead" in name, form="portable")
    return build_model(subject.network, subject.weights, options)


def names(model: onnx.ModelProto) -> list[str]:
    return [entry.name for entry in (*model.graph.input, *model.graph.output)]


def has_no_graphs_in_it(model: onnx.ModelProto) -> None:
    """No If, Scan and Loop, and no other operator with a graph."""
    onnx.checker.check_model(model, full_check=True)
    for node in model.graph.node:
        assert not any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute), node.op_type


def ignoring_lengths(model: onnx.ModelProto) -> onnx.ModelProto:
    """Change a file so that its recurrent operators run over the padding of every row, as in other runtimes."""
    found = copy.deepcopy(model)
    nodes = list(found.graph.node)
    del found.graph.node[:]
    for node in nodes:
        if node.op_type in RECURRENT and len(node.input) > 4 and node.input[4]:
            x, own = node.input[0], f"{node.name}/all_steps"
            found.graph.node.extend(
                [
                    helper.make_node("Shape", [x], [f"{own}/time"], start=0, end=1),
                    helper.make_node("Shape", [x], [f"{own}/batch"], start=1, end=2),
                    helper.make_node("Cast", [f"{own}/time"], [f"{own}/time_32"], to=onnx.TensorProto.INT32),
                    helper.make_node("Expand", [f"{own}/time_32", f"{own}/batch"], [own]),
                ]
            )
            node.input[4] = own
        found.graph.node.append(node)
    return found


def gives_the_same_numbers(subject: Subject, models: dict[str, onnx.ModelProto], is_exact: bool) -> None:
    """The results of the dynamic file, also past the end of rows; of valid steps, also where lengths are ignored."""
    portable, ignoring = copy.copy(subject), copy.copy(subject)
    portable.sessions = {name: open_session(model) for name, model in models.items()}
    ignoring.sessions = {name: open_session(ignoring_lengths(model)) for name, model in models.items()}
    for rows, time in BATCHES:
        lengths = np.array(rows, "i4")
        x = poisoned(subject.network, subject.x(len(rows), time), lengths)
        end = np.arange(len(rows), dtype="i4") % 2
        for name in models:
            states = None if name == "sequence" else subject.state(len(rows))
            if "lookahead" in name:
                states = subject.zeros(len(rows), True)
            run = (name, x, lengths, states, end if "lookahead" in name else None)
            expected, found = subject.onnxruntime(*run), portable.onnxruntime(*run)
            tolerance = 0 if is_exact else FLOAT32
            agree(found, expected, tolerance, f"portable {name} {rows}")
            if is_exact:
                close(found.raw, expected.raw, 0, f"portable {name} {rows} past the end")
            other = ignoring.onnxruntime(*run)
            agree(other, found, SAME, f"portable {name} {rows}, lengths ignored")
            for output, array in other.raw.items():
                assert np.isfinite(array).all(), f"{name} y of {output}: not finite past the end"


def keeps_the_weights(subject: Subject, model: onnx.ModelProto, path: Path) -> None:
    """`restore` reads the weights, and finds the graph as it was written."""
    path.write_bytes(model.SerializeToString())
    network, weights, contract = read_model(path)
    assert network == subject.network
    assert contract.form == "portable"
    for layer, arrays in subject.weights.items():
        for name, array in arrays.items():
            assert np.array_equal(weights[layer][name], array), f"{layer}.{name}: restored otherwise"
