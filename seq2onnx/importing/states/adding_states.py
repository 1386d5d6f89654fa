"""add_states: a foreign ONNX file gets explicit states; its operators and weights stay."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto

from seq2onnx.contract import output_names
from seq2onnx.errors import ImportRefused, SpecError
from seq2onnx.files import atomic_file
from seq2onnx.importing.onnx import carried_states, inputs
from seq2onnx.importing.onnx.graph import open_session, read_graph
from seq2onnx.importing.onnx.joining import further_inputs
from seq2onnx.importing.onnx.limits import check_limits
from seq2onnx.importing.onnx.source_runs import OnnxSource
from seq2onnx.importing.onnx.tracing import Trace, declared, traces, without_sizes
from seq2onnx.importing.refusals import NodeRefused, OptionNeeded
from seq2onnx.importing.states.file_runs import compare_file
from seq2onnx.importing.states.sliding_windows import over_windows
from seq2onnx.importing.states.stateful_file import Body, finish, free_names, read_x, unique_labels, write_answer
from seq2onnx.importing.states.step_models import carry_states, check_inputs, check_states
from seq2onnx.importing.states.walk import give_states
from seq2onnx.integers import whole_number
from seq2onnx.parity import ParityReport

STEP_ORDERS = {1: ("C",), 2: ("BC",), 3: ("BTC",)}
"""The order of a file that carries its states as inputs and outputs."""


def add_states(
    path: str | Path,
    out: str | Path,
    *,
    axes: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    states: Mapping[str, str] | None = None,
    features: int | None = None,
    window: int | None = None,
) -> ParityReport:
    """Give a foreign ONNX file explicit states, so that it runs step by step; the rest of its graph stays as it is.

    LSTM, GRU and RNN get their states as inputs and outputs, convolutions and poolings with causal padding the last
    steps of their input. Every other operator must act on each step alone. The new file has the names of the ONNX
    contract and opens with `load`. Before it is written, it is compared with its source: whole sequences of four
    lengths in batches, single steps, and random chunks.

    Args:
        path: the foreign file.
        out: the file to write.
        axes: the order of the axes of its input. B is the batch, T time, C features: "BTC", "TBC", "BCT", "TC"; of
            images also H and W, such as "BCTW" for [batch, 1, time, features]; "BT" for tokens, or one number a step;
            "BC" if each run is one step. None: the order in which something in the graph joins steps.
        fixed: inputs that become constants, with their values, such as {"sr": 16000}.
        outputs: the outputs to keep. None: all but the final states of recurrent operators.
        states: for a file whose states are inputs and outputs already, the output that continues each input, such as
            {"h_in": "h_out"}. They start at zero.
        features: the features of a step, where the file does not say.
        window: for a file that reads a fixed number of steps and answers once, this number. The new file keeps
            window - 1 earlier steps as its state, and runs the graph for the window that ends with each step. The first
            window - 1 steps of a sequence have no answer.

    Returns:
        The comparisons: `ok`, and `rows` with check, tensor, max_abs, max_rel, tolerance.

    Raises:
        ImportRefused: the network cannot run step by step, or differs from its source; the message names the operator.
        ModelFileError: the file is damaged, or has its weights in other files.
        SpecError: an argument is wrong.

    Example:
        >>> report = add_states("matlab_network.onnx", "stream.onnx")
        >>> stream = load("stream.onnx").stream()
    """
    return write_states(path, out, axes, fixed, outputs, states, features, window)[1]


def write_states(
    path: str | Path,
    out: str | Path,
    axes: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    states: Mapping[str, str] | None = None,
    features: int | None = None,
    window: int | None = None,
) -> tuple[str, ParityReport]:
    """Return the axes of the input as they were read, and the report of `add_states`."""
    inputs.check_axes(axes)
    window = 0 if window is None else whole_number(window, "window")
    if window == 1:
        raise ImportRefused(f"{path}: window=1: one step needs no window; give the number of steps that the file takes")
    if window and states:
        raise SpecError("window: a file that carries states= runs step by step, without windows; leave one of them out")
    model = read_graph(path, fixed)
    proposed = carried_states.proposed(model, features, states)
    try:
        return _add_states(model, Path(out), axes, outputs, dict(states or {}), features, window)
    except ImportRefused as error:
        hint = f". The file seems to carry its states itself; try {proposed}" if proposed else ""
        raise ImportRefused(f"{path}: {error}{hint}") from None


def _add_states(
    model: ModelProto,
    out: Path,
    axes: str | None,
    outputs: Sequence[str] | None,
    states: dict[str, str],
    features: int | None,
    window: int,
) -> tuple[str, ParityReport]:
    check_states(model, states)
    if outputs is not None:
        model = inputs.choose_outputs(model, outputs, [*states.values()])
    old_names = free_names(model)
    new_names = {old: new for new, old in old_names.items()}
    states = {new_names.get(a, a): new_names.get(b, b) for a, b in states.items()}
    data = inputs.data_input(model, states)
    if states:
        check_inputs(model, data, states)
    rank = inputs.rank_of(model, data, axes)
    draw, tokens = inputs.drawer(model, data)
    orders = (axes,) if axes else (STEP_ORDERS if states else inputs.ORDERS).get(rank, ())
    if not orders:
        raise inputs.no_order(old_names.get(data, data), rank)

    def made_in(order: str) -> tuple[Body, bool, OnnxSource, bool]:
        # with fewer and fewer sizes that are free
        for trace in traces(model, data, order, features, draw, window=window or None):
            try:
                found = _rewrite(trace, model, states, outputs is not None, old_names, window)
            except ImportRefused as error:
                refusal = error
                continue
            return found
        if window or states or trace.free_steps or trace.steps < 2:
            raise refusal
        text = f"{refusal}. If the network always reads {trace.steps} steps and answers once, give window={trace.steps}"
        reached, behind = getattr(refusal, "reached", -1), getattr(refusal, "behind", None)
        raise NodeRefused(text, reached, behind) from OptionNeeded(text, window=[trace.steps])

    try:
        made = inputs.in_each_order(
            orders, made_in, lambda order: traces(model, data, order, features, draw, window=window or None)
        )
    except ImportRefused as error:
        text = str(error)
        if others := {*further_inputs(model, data)} - {*states}:
            text += f". add_states takes one sequence; if {', '.join(sorted(others))} is data, too, from_onnx takes it"
        for new, old in old_names.items():
            text = text.replace(new, old)
        raise ImportRefused(text) from None
    if axes is None:
        joining = {order: found for order, found in made.items() if found[0].graph.states}
        if len(joining) != 1:
            raise inputs.several_orders([*joining]) if joining else inputs.unknown_order([*made])
        made = joining
    ((order, (body, one_row, source, complete)),) = made.items()
    body.tokens = tokens
    with atomic_file(out) as temporary:

        def written(by_row: bool) -> ParityReport:
            temporary.write_bytes(finish(body, model, by_row).SerializeToString())
            return ParityReport(str(out), compare_file(temporary, source, draw, not complete, window))

        if one_row and "B" in order:
            # Often only the initial states fix a batch of 1, and they are inputs now. A Scan over rows is slow.
            with contextlib.suppress(ImportRefused):
                return order, written(False)
        return order, written(one_row)


def _rewrite(
    found: Trace, source: ModelProto, states: Mapping[str, str], chosen: bool, old_names: Mapping[str, str], window: int
) -> tuple[Body, bool, OnnxSource, bool]:
    model, data, axes = found.model, found.data, found.axes
    named = [entry.name for entry in model.graph.output if entry.name not in states.values()]
    labels = dict(zip(named, unique_labels([old_names.get(name, name) for name in named]), strict=True))
    if states:
        body, one_row, signals = carry_states(found, states, labels)
        sizes = dict(zip(axes, declared(next(e for e in source.graph.input if e.name == data)), strict=False))
        # A file that declares one step is compared step by step, so that its states carry something.
        by_step = "T" not in axes or not found.free_steps or sizes.get("T") == 1
        runs = OnnxSource(source, open_session(source), data, axes, body.answers, signals, dict(states), by_step)
    elif "T" not in axes:
        raise ImportRefused("has no axis of time, and states= names no state that it carries itself")
    elif window:
        layer = unique_labels([old_names.get(data, data)])[0]
        body, signals = over_windows(found, window, layer, labels)
        one_row, runs = (
            False,
            OnnxSource(source, open_session(without_sizes(source)), data, axes, body.answers, signals),
        )
    else:
        graph, signals, finals = give_states(found)
        answers = inputs.answers_among(named, signals, finals, chosen)
        body = Body(graph, list(model.graph.initializer), found.step, "")
        tensors = output_names(labels[name] for name in answers)
        for name in answers:
            answer, tensor = write_answer(body, found, name, labels[name], signals[name])
            body.answers.append(answer)
            body.outputs[tensors[answer.layer]] = tensor
        read_x(body, found)
        one_row = "B" not in axes or found.rows == 1
        runs = OnnxSource(source, open_session(source), data, axes, body.answers, signals)
    body.layer = unique_labels([old_names.get(data, data)])[0]
    return body, one_row, runs, check_limits(found)
