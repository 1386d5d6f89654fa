"""Files of a fixed number of steps, which run on the last steps of a stream: a state keeps what came before a chunk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import TensorProto, helper

from seq2onnx.contract import lengths_name, output_names
from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes
from seq2onnx.importing.onnx.graph import RunFailed, opset
from seq2onnx.importing.onnx.graph_parts import Array, remove_unused
from seq2onnx.importing.onnx.source_runs import OnnxSource
from seq2onnx.importing.onnx.tracing import Trace
from seq2onnx.importing.states.rewriting import FAR, MADE, Rewriter
from seq2onnx.importing.states.stateful_file import Body, to_foreign_input, write_answer
from seq2onnx.importing.states.windows import count_steps

OLDEST_OPSET = 12
"""The first version of the operators that has all that windows need."""


def over_windows(trace: Trace, window: int, layer: str, labels: Mapping[str, str]) -> tuple[Body, dict[str, Axes]]:
    """Run a graph once for each window of steps.

    All windows of a chunk are rows of one batch. The answers begin with the first whole window, and their lengths say
    how many there are.

    Returns:
        The graph, and the axes of each output as the source gives it for one window.
    """
    model, graph = trace.model, Rewriter(opset(trace.model))
    _check(trace, window, graph.opset)
    tokens = trace.step is None
    shape, dtype = trace.step or (), "int64" if tokens else "float32"
    body = Body(graph, list(model.graph.initializer) if trace.free_rows else [], trace.step, layer)
    old, new = graph.state(layer, "buf", (window - 1, *shape), dtype)
    both = graph.op("Concat", old, "x", axis=1)
    graph.cut(both, 1 - window, FAR, 1, output=new)
    steps = graph.size("x", 1)
    places = graph.op("Range", graph.constant(0), graph.squeeze(steps, [0]), graph.constant(1))
    of_window = graph.op("Add", graph.unsqueeze(places, [1]), graph.constant(np.arange(window)))
    every = graph.op("Gather", both, of_window, axis=1)
    rows = graph.op("Reshape", every, graph.constant([-1, window, *shape]))
    if trace.free_rows:
        _run_graph(graph, trace, rows)
    else:
        _run_each(graph, trace, rows, labels)

    seen = count_steps(graph, layer, "x", 1, window - 1)
    missing = graph.op("Sub", graph.constant(window - 1, np.int32), seen)
    steps_32 = graph.op("Cast", steps, to=TensorProto.INT32)
    count = graph.squeeze(graph.op("Sub", steps_32, graph.op("Min", missing, steps_32)), [1])
    # The first whole window of each row comes first; behind the last one, it is repeated.
    first = graph.op("Add", graph.op("Cast", places, to=TensorProto.INT32), missing)
    chosen = graph.op("Min", first, graph.op("Sub", steps_32, graph.constant(1, np.int32)))
    signals = {}
    tensors = output_names(labels.values())
    for name, label in labels.items():
        signals[name] = _of_window(trace, name)
        size = math.prod(n for n, letter in zip(signals[name].shape, signals[name].axes, strict=True) if not letter)
        flat = graph.op(
            "Reshape", graph.read(name), graph.op("Concat", graph.size("x", 0), steps, graph.constant([size]), axis=0)
        )
        index = graph.op("Expand", graph.unsqueeze(chosen, [2]), graph.op("Shape", flat))
        graph.alias(name, graph.op("GatherElements", flat, index, axis=1))
        signal = Axes(("B", "T", ""), (trace.rows, trace.steps, size))
        answer, found = write_answer(body, trace, name, label, signal)
        body.answers.append(answer)
        body.outputs[tensors[label]] = found
        body.outputs[lengths_name(tensors[label])] = graph.op("Identity", count)
    return body, signals


def _check(trace: Trace, window: int, version: int) -> None:
    if trace.steps != window:
        raise ImportRefused(f"takes {trace.steps} steps, not the window={window}; give window={trace.steps}")
    if not trace.free_rows and trace.rows != 1:
        raise ImportRefused(f"takes batches of {trace.rows} rows only; export it with a batch of any size, or of 1")
    if version < OLDEST_OPSET:
        raise ImportRefused(f"has operators of opset {version}; windows need {OLDEST_OPSET} or newer, export it again")
    if others := [entry.name for entry in trace.model.graph.input if entry.name != trace.data]:
        raise ImportRefused(f"has the input {others[0]!r} beside the data, which no window has; give fixed=")


def _run_graph(graph: Rewriter, trace: Trace, rows: str) -> None:
    to_foreign_input(graph, trace, rows, trace.contract_axes)
    for node in trace.model.graph.node:
        graph.keep(node)


def _run_each(graph: Rewriter, trace: Trace, rows: str, outputs: Iterable[str]) -> None:
    """Run a graph that takes one row once for each window, by a Scan."""
    inner, x = Rewriter(graph.opset, f"{MADE}window_"), f"{MADE}one_window"
    _run_graph(inner, trace, inner.unsqueeze(x, [0]))
    kinds = {name: helper.np_dtype_to_tensor_dtype(trace.values[name].dtype) for name in outputs}
    results = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    kind = TensorProto.INT64 if trace.step is None else TensorProto.FLOAT
    weights = [*trace.model.graph.initializer, *inner.initializers]
    one = [helper.make_tensor_value_info(x, kind, None)]
    body = helper.make_graph(inner.nodes, "window", one, results, weights)
    remove_unused(body)
    every = {name: f"{MADE}every_{name}" for name in kinds}
    graph.nodes.append(helper.make_node("Scan", [rows], [*every.values()], "windows", body=body, num_scan_inputs=1))
    for name, found in every.items():
        graph.alias(name, found)


def _of_window(trace: Trace, name: str) -> Axes:
    """Return the axes of an output of one run, which are rows and features."""
    shape = trace.values[name].shape
    if trace.steps in shape[1:-1]:
        raise ImportRefused(f"output {name}: has the shape {list(shape)}, an answer for each step; leave window= out")
    if not trace.free_rows:
        is_batch = "B" in trace.axes and shape[:1] == (1,)
        return Axes(("B" if is_batch else "", *[""] * (len(shape) - 1))[: len(shape)], shape)
    assert trace.others is not None
    other = trace.others[name].shape
    if shape[:1] != (trace.rows,) or shape[1:] != other[1:] or shape == other:
        raise ImportRefused(f"output {name}: has the shape {list(shape)} for {trace.rows} rows; expected rows first")
    return Axes(("B", *[""] * (len(shape) - 1)), shape)


@dataclasses.dataclass(frozen=True)
class WindowSource:
    """The source of a file that runs on windows: it is asked for each window by itself."""

    source: OnnxSource
    window: int

    def __call__(self, x: Array, lengths: Array | None = None) -> dict[str, Array]:
        """Return each answer by its layer, [batch, windows, K], for x [batch, time, …]."""
        if x.shape[1] < self.window:
            raise RunFailed(f"a window needs {self.window} steps")
        views = np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, self.window, 1), -1, 2)
        answers = [dataclasses.replace(answer, has_time=False) for answer in self.source.answers]
        found = dataclasses.replace(self.source, answers=answers)(views.reshape(-1, *views.shape[2:]))
        return {name: y.reshape(*views.shape[:2], -1) for name, y in found.items()}
