"""from_onnx: a foreign ONNX file as a network of layers, with its weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from seq2onnx.errors import ImportRefused, MissingExtra, NotStreamable, Seq2OnnxError
from seq2onnx.importing import equivalence
from seq2onnx.importing.axes import Axes
from seq2onnx.importing.joined_inputs import Input, entering, hold_vectors
from seq2onnx.importing.lifting.assembly import assemble
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.lifting.reading import answer
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.importing.lifting.windows import TooFewSteps
from seq2onnx.importing.onnx import carried_states, inputs
from seq2onnx.importing.onnx.graph import RunFailed, open_session, read_graph
from seq2onnx.importing.onnx.joining import JOINED, join_inputs
from seq2onnx.importing.onnx.limits import check_limits
from seq2onnx.importing.onnx.source_runs import FileOutput, OnnxSource, with_wide_sums
from seq2onnx.importing.onnx.tracing import Draw, Trace, traces, without_sizes
from seq2onnx.importing.onnx.walk import Walked, walk
from seq2onnx.importing.refusals import NodeRefused, OptionNeeded
from seq2onnx.integers import whole_number

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule


def from_onnx(
    path: str | Path,
    *,
    axes: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    features: int | None = None,
    window: int | None = None,
) -> SequenceModule:
    """Turn an ONNX file of another program into a network of layers with the same weights.

    The result is like that of `train`: export it, stream it, or train it further. Before it is returned, it is compared
    with the file, which runs in onnxruntime: on whole sequences of four lengths and a long one, a batch of several, in
    single steps and in random chunks.

    Args:
        path: the file.
        axes: the order of the axes of its input. B is the batch, T time, C features: "BTC", "TBC", "BCT", "TC"; of
            images also H and W, such as "BCTW" for [batch, 1, time, features]; "BT" for tokens, or one number a step.
            None: the order in which something in the graph joins steps, if there is only one that makes layers of it.
        fixed: inputs that become constants, with their values, such as {"sr": 16000}. Other inputs can be lengths and
            start states, which must go into a recurrent operator; a stream starts them with zeros.
        outputs: the outputs to keep. None: all but the final states of recurrent operators. In each, axes of features
            become one.
        features: the features of a step, where the file does not say.
        window: for a network that flattens a fixed number of steps, this number; 1 where its convolutions and poolings
            leave one step. The result takes sequences of any length and answers for each window. Export it with
            lookahead=True for streams, whose first answer then comes with the last step of the first window.

    Raises:
        ImportRefused: the file calculates something that no layer does, its result depends on the number of steps or on
            the other sequences of the batch, or the comparison failed. It was written by seq2onnx: `restore` opens it.
        ModelFileError: the file is damaged, or has its weights in other files.
        SpecError: an argument is wrong.

    Example:
        >>> module = from_onnx("network.onnx")
        >>> export(module, "stream.onnx")
    """
    return import_layers(path, axes, fixed, outputs, features, window)[1]


def import_layers(
    path: str | Path,
    axes: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    features: int | None = None,
    window: int | None = None,
) -> tuple[str, SequenceModule]:
    """Return the axes of the input as they were read, and the network of `from_onnx`."""
    inputs.check_axes(axes)
    window = None if window is None else whole_number(window, "window")
    model = read_graph(path, fixed)
    try:
        if outputs is not None:
            model = inputs.choose_outputs(model, outputs)
        return _from_onnx(model, Path(path).stem, axes, outputs is not None, features, window)
    except ImportRefused as error:
        proposed = carried_states.proposed(model, features)
        if not proposed or carried_states.are_only_starts(model):
            raise ImportRefused(f"{path}: {error}") from None
        raise ImportRefused(
            f"{path}: {error}. The file seems to carry its states itself; try add_states with {proposed}"
        ) from None


def _from_onnx(
    model: ModelProto, name: str, axes: str | None, chosen: bool, features: int | None, window: int | None
) -> tuple[str, SequenceModule]:
    data = inputs.data_input(model)
    rank = inputs.rank_of(model, data, axes)
    draw, _ = inputs.drawer(model, data)
    orders = [axes] if axes else [order for order in inputs.ORDERS.get(rank, ()) if "T" in order]
    if not orders or any("T" not in order for order in orders):
        raise inputs.no_order(data, rank, axes)
    made = inputs.in_each_order(
        orders,
        lambda order: _lifted(model, data, order, name, chosen, features, window, draw),
        lambda order: traces(*_one_input(model, data, order)[:2], order, features, draw, window=window),
    )
    if axes is None and not any(_confirms_axes(module) for module in made.values()):
        raise inputs.unknown_order([*made])
    if len(made) > 1:
        raise inputs.several_orders([*made])
    return next(iter(made.items()))


def _confirms_axes(module: SequenceModule) -> bool:
    """Whether a layer joins steps and one has weights for features. Else other axes may fit as well."""
    try:
        joins = bool(module.network.states())
    except NotStreamable:
        joins = True
    return joins and any(True for _ in module.parameters())


def _lifted(
    model: ModelProto,
    data: str,
    axes: str,
    name: str,
    chosen: bool,
    features: int | None,
    window: int | None,
    draw: Draw,
) -> SequenceModule:
    model, data, parts = _one_input(model, data, axes)
    trace = next(traces(model, data, axes, features, draw, window=window))
    try:
        walked = walk(trace, window, parts)
    except TooFewSteps as error:
        if window or not trace.free_steps:
            raise _fixed_window(error, trace.steps, window) from None
        trace = next(traces(model, data, axes, features, draw, long=True, window=window))
        walked = walk(trace, window, parts)
    answers = _answers(trace, walked, chosen)
    try:
        if not trace.free_steps and not window:
            raise ImportRefused(
                f"its operators run with {trace.steps} steps only, and a network of layers takes any number; export it "
                "with time as a dynamic axis. add_states takes it as it is, if it only looks back"
            )
        nodes = [(label if len(answers) > 1 else "", answer(x, f"output {label}:")) for label, x in answers.items()]
        made = assemble(nodes, name)
        if window:
            _check_windows(made, answers, window)
        longest = not (window or check_limits(trace))
        _compare(trace, model, walked, answers, made, draw, longest, window is not None, parts)
    except MissingExtra:
        raise
    except Seq2OnnxError as error:  # also that a network has too many states, or that no layer has this size
        text = str(error)
        if window and isinstance(error, equivalence.ProofFailed):
            text += (
                ". Each window must be calculated from its own steps; a recurrent layer before the steps are flattened "
                "goes on from the window before, and padding stands at the start of the sequence alone. add_states "
                f"with window={trace.steps} runs the file as it is on each window"
            )
        raise NodeRefused(text, len(trace.model.graph.node)) from None
    return made


def _one_input(model: ModelProto, data: str, axes: str) -> tuple[ModelProto, str, list[Input]]:
    """Return a graph of one input, the name of this input, and the inputs that are parts of it; none if it is one."""
    joined, parts = join_inputs(model, data, axes)
    return joined, JOINED if parts else data, parts


def _fixed_window(error: TooFewSteps, steps: int, window: int | None) -> ImportRefused:
    """Return the refusal of a file whose windows leave too few of the only steps that it takes."""
    if window == 1:
        return ImportRefused(f"window=1: a convolution or pooling {error}")
    return OptionNeeded(
        f"a convolution or pooling {error}. If the network always reads {steps} steps and gives one answer, give "
        "window=1: it then answers for each window",
        window=[1],
    )


def _check_windows(made: SequenceModule, answers: Mapping[str, TracedTensor], window: int) -> None:
    """Refuse answers that do not come once for each window."""
    once = not all(made.network.signals[name].has_time for name in made.network.outputs)
    if once or any(x.has_time for x in answers.values()):
        raise ImportRefused(
            f"window={window}: an output does not come from steps that are flattened; leave window= out"
        )


def _answers(trace: Trace, walked: Walked, chosen: bool) -> dict[str, TracedTensor]:
    named, answers = [entry.name for entry in trace.model.graph.output], {}
    for name in inputs.answers_among(named, walked.values, walked.finals, chosen):
        x = walked.values[name]
        if isinstance(x, ImportRefused):
            raise x
        answers[name] = x
    return answers


def _compare(
    trace: Trace,
    model: ModelProto,
    walked: Walked,
    answers: Mapping[str, TracedTensor],
    made: SequenceModule,
    draw: Draw,
    longest: bool,
    in_windows: bool,
    parts: Sequence[Input],
) -> None:
    """Compare the layers with the file, whose declared sizes of batch and time do not matter.

    `in_windows`: each answer of the layers is that of the file for the steps of a window.
    """
    free, shown = without_sizes(model), deepcopy(model)  # the second says the sizes of states
    data, size = (next(each for each in part.graph.input if each.name == trace.data) for part in (free, shown))
    if not trace.free_rows and "B" in trace.axes:
        data.type.tensor_type.shape.dim[trace.axes.index("B")].dim_value = trace.rows
    size.CopyFrom(data)
    outputs = [
        FileOutput(name, label, made.network.signals[label].shape, x.has_time, "float32")
        for (name, x), label in zip(answers.items(), made.network.outputs, strict=True)
    ]
    signals = {name: Axes(x.axes, x.shape) for name, x in answers.items()}
    source = OnnxSource(shown, open_session(free), trace.data, trace.axes, outputs, signals)
    wide = dataclasses.replace(source, session=open_session(with_wide_sums(free, trace.values)))

    fewest = max(signal.clock.fewest_steps for signal in made.network.signals.values())

    stride = made.network.signals[made.network.outputs[0]].clock.stride

    def run(x: Array, lengths: Array | None, source: OnnxSource = source) -> list[Array]:
        if x.shape[1] < fewest:  # onnxruntime answers, but its windows read what is not there
            raise RunFailed(f"a window needs {fewest} steps")
        if in_windows:
            views = np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, trace.steps, 1)[:, ::stride], -1, 2)
            found = source(views.reshape(-1, *views.shape[2:]))
            return [found[answer.layer].reshape(*views.shape[:2], -1) for answer in outputs]
        found = source(x, lengths)
        return [found[answer.layer] for answer in outputs]

    shape = trace.step or ()

    def samples(rng: np.random.Generator, rows: int, steps: int) -> Array:
        x = draw(rng, (rows, steps, *shape))
        hold_vectors(x, parts)
        return x

    rng = np.random.default_rng(0)
    first = trace.steps if in_windows else fewest
    needed = in_windows or first > equivalence.LENGTHS[-1]
    more = [samples(rng, equivalence.ROWS, first + extra * stride) for extra in (0, 5)] if needed else []
    for lengths in (False, True) if any(foreign.lengths for foreign in walked.foreign.values()) else (False,):
        drawn = equivalence.Samples(samples, lengths, more, longest)
        enter = functools.partial(entering, made.network, parts)
        equivalence.prove(made, run, drawn, functools.partial(run, source=wide), enter)
