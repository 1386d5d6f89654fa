"""The laws for step files: plain arithmetic on fixed shapes, with the numbers of every other form."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import seq2onnx as s2o
from seq2onnx.contract import input_names, output_names
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.exporting.restorer import read_model
from seq2onnx.network import NetworkState
from tests.comparison import FLOAT32, close
from tests.laws import Subject, open_session

PLAIN = {
    *(
        "Abs",
        "Add",
        "AveragePool",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Conv",
        "Div",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Gather",
        "Gemm",
    ),
    *(
        "Greater",
        "HardSigmoid",
        "Identity",
        "LeakyRelu",
        "Less",
        "Log",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "ReduceMax",
    ),
    *("ReduceMean", "ReduceSum", "Relu", "Reshape", "Sigmoid", "Slice", "Softmax", "Softsign", "Split", "Sqrt"),
    *("ReduceMin", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"),
}
RUNS = 3


def all_of_them(subject: Subject, folder: Path) -> None:
    """Every law of a network that can stream."""
    for opset in (13, 18):  # a reduction takes its axes in another way from 18 on
        model = step_model(subject, opset)
        is_plain(subject, model, f"opset {opset}")
        gives_the_same_numbers(subject, open_session(model))
    opens(subject, step_model(subject), folder)


def step_model(subject: Subject, opset: int = 17) -> onnx.ModelProto:
    return build_model(subject.network, subject.weights, ExportOptions(form="step", opset=opset, activations=True))


def is_late(subject: Subject) -> bool:
    """Whether a layer gives no result in the first run, as frames that must be full do: there is no step file."""
    clocks = [signal.clock for signal in subject.network.signals.values() if signal.has_time]
    return any(clock.length(run_length(subject)) != run_length(subject) // clock.stride for clock in clocks)


def is_plain(subject: Subject, model: onnx.ModelProto, what: str) -> None:
    """Only plain operators on fixed shapes; the names of a stream file; nodes with names."""
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    assert {node.op_type for node in graph.node} <= PLAIN
    names = [node.name for node in graph.node]
    assert all(names)
    assert len({*names}) == len(names), f"{what}: two nodes have the same name"
    computed = {name for node in graph.node for name in node.output}
    shapes = {entry.name: shape_of(entry) for entry in (*graph.value_info, *graph.output, *graph.input)}
    assert computed <= shapes.keys(), f"{what}: shapes are unknown of {computed - shapes.keys()}"
    for name, shape in shapes.items():
        assert all(size > 0 for size in shape), f"{what}: {name} has the shape {shape}"
    assert [entry.name for entry in graph.input] == [
        *input_names(in_and_out(subject)[0]).values(),
        *(entry.input_name for entry in states_of(subject)),
    ]
    expected = {entry.output_name: entry.state.shape for entry in states_of(subject)}
    for label, name in output_names(subject.network.outputs).items():
        signal = subject.network.signals[label]
        expected[name] = (*[run_length(subject) // signal.clock.stride] * signal.has_time, *signal.shape)
    found = {entry.name: tuple(shape_of(entry)) for entry in graph.output if not entry.name.startswith("act_")}
    assert found == {name: (1, *shape) for name, shape in expected.items()}


def shape_of(entry: onnx.ValueInfoProto) -> list[int]:
    """Return the sizes; 0 for one that is not fixed."""
    return [dim.dim_value for dim in entry.type.tensor_type.shape.dim]


def states_of(subject: Subject) -> list[NetworkState]:
    """Return the states of a step file: those of every other form, without phases."""
    assert subject.states is not None
    return [entry for entry in subject.states if entry.state.kind != "phase"]


def run_length(subject: Subject) -> int:
    return math.lcm(*(signal.clock.stride for signal in subject.network.signals.values()))


def gives_the_same_numbers(subject: Subject, session: onnxruntime.InferenceSession) -> None:
    """A few runs, from the start and from states of the middle of a sequence, give what torch gives."""
    steps = run_length(subject)
    assert subject.states is not None
    kept = [number for number, entry in enumerate(subject.states) if entry.state.kind != "phase"]
    lengths = np.array([steps], "i4")
    middle = subject.torch(subject.x(1, 5 * steps), 5 * lengths, subject.zeros(1)).states
    inputs, outputs = (f(layers) for f, layers in zip((input_names, output_names), in_and_out(subject), strict=True))
    for states in (subject.zeros(1), middle):
        held = {subject.states[number].input_name: states[number] for number in kept}
        for number in range(RUNS):
            x = subject.x(1, steps)
            expected = subject.torch(x, lengths, states)
            states = expected.states
            feeds = {inputs[name]: array for name, array in x.items()} | held
            found = dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True))
            for name, output in outputs.items():
                close(found[output][0], expected.y[name][0], FLOAT32, f"y of {name} in run {number}", "step form")
            held = {subject.states[n].input_name: found[subject.states[n].output_name] for n in kept}
            after = [held.get(entry.input_name, states[n]) for n, entry in enumerate(subject.states)]
            close(subject.numbers(after), subject.numbers(states), FLOAT32, f"states in run {number}", "step form")


def in_and_out(subject: Subject) -> tuple[list[str], list[str]]:
    return [layer.label for layer in subject.network.inputs], list(subject.network.outputs)


def opens(subject: Subject, model: onnx.ModelProto, folder: Path) -> None:
    """`restore` reads the weights; `predict` and streams give the numbers of torch, and refuse NaN."""
    path = folder / "step.onnx"
    path.write_bytes(model.SerializeToString())
    network, weights, _ = read_model(path)
    assert network == subject.network
    for layer, arrays in subject.weights.items():
        for name, array in arrays.items():
            assert np.array_equal(weights[layer][name], array), f"{layer}.{name}: restored otherwise"
    steps, file = run_length(subject), s2o.load(path)
    least = max(layer.fewest_steps for layer in subject.network.inputs)
    rows = [subject.x(1, steps * (least + extra)) for extra in (1, 2, 0)]
    sequences = {name: [row[name][0] for row in rows] for name in rows[0]}
    whole = file.predict(sequences)
    whole = whole if isinstance(whole, dict) else {subject.network.outputs[0]: whole}
    expected = [
        subject.torch(row, np.array([steps * (least + extra)], "i4")).y
        for row, extra in zip(rows, (1, 2, 0), strict=True)
    ]
    for name, ys in whole.items():
        close([*ys], [y[name][0] for y in expected], FLOAT32, f"predict of {name}", "step form")
    stream = file.stream()
    timed = {name for name in sequences if subject.network.signals[name].has_time}
    for at in range(1 + least):
        cut = slice(at * steps, (at + 1) * steps)
        chunk = {name: rows[0][name][0][cut] if name in timed else rows[0][name][0] for name in sequences}
        answer = stream.step(chunk)
    answer = answer if isinstance(answer, dict) else {subject.network.outputs[0]: answer}
    for name, y in answer.items():
        close(y, whole[name][0][-len(y) :], FLOAT32, f"{name} of a stream", "step form")
    floats = [n for n, array in chunk.items() if array.dtype == np.float32 and not subject.network.signals[n].missing]
    if floats:
        before = stream.state
        chunk[floats[0]] = np.full_like(chunk[floats[0]], np.nan)
        with pytest.raises(s2o.DataError, match="NaN"):
            stream.step(chunk)
        close(stream.state, before, 0, "the state after a refused step")
