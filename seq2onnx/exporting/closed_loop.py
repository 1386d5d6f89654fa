"""The closed loop: a network that goes on from its own answers, K steps in one run.

    y_1 = f(x)        the answer to the last step of the history
    y_k = f(y_{k−1})  k = 2 … K

A Scan runs K − 1 steps of the network. Its body is made by the layers themselves, on one step
(`GraphBuilder.one_step`), and reads the weights of the graph around it. The states that come out are those after
y_{K−1}: the next run's x begins with y_K, where the loop is to go on, or with what came in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.exporting.emission import Weights, emit_layers
from seq2onnx.exporting.graph import GraphBuilder
from seq2onnx.network import Network, NetworkState


def check_closed_loop(network: Network, steps: int, lookahead: bool, activations: bool) -> None:
    """Raise SpecError or NotStreamable unless the network can go on from its own answers for so many steps."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise SpecError(f"closed_loop: must be a whole number of steps, at least 1, got {steps!r}")
    if lookahead or activations:
        raise SpecError(
            f"closed_loop: has no {'lookahead' if lookahead else 'activations'}; export a second file with them"
        )
    inputs, outputs = [layer.label for layer in network.inputs], list(network.outputs)
    if len(inputs) > 1 or len(outputs) > 1:
        raise SpecError(
            f"closed_loop: needs one input and one output, which is fed back into it, got {inputs} and {outputs}; "
            "model.forecast takes known future values of other inputs, and loops outside the file"
        )
    source, answer = network.signals[inputs[0]], network.signals[outputs[0]]
    if not answer.has_time:
        raise SpecError(
            f"closed_loop: {outputs[0]} answers once a sequence, {answer}; an answer each step is needed: use "
            'output_mode="sequence" and no global pooling'
        )
    if (source.shape, source.dtype) != (answer.shape, answer.dtype):
        raise SpecError(
            f"closed_loop: what {outputs[0]} answers, {answer.dtype} {answer}, is fed back into {inputs[0]}, which "
            f"takes {source.dtype} {source}; a network that goes on from its own answers answers with all that it reads"
        )
    if answer.clock.stride != 1:
        raise SpecError(
            f"closed_loop: {outputs[0]} answers every {answer.clock.stride} steps; an answer each step is needed: use "
            "stride=1"
        )
    try:
        network.states()
    except NotStreamable as error:
        raise NotStreamable(f"closed_loop: runs a step at a time, without lookahead. {error}") from None


def emit_closed_loop(
    graph: GraphBuilder,
    network: Network,
    weights: Weights,
    x: str,
    lengths: str | None,
    carried: Sequence[NetworkState] | None,
    steps: int,
) -> tuple[str, list[str]]:
    """(y [batch, steps, …], the new states) of the history x; `carried` None: states start at zero.

    A row of no steps keeps its state; its y is finite and says nothing.
    """
    states, (source,), output = network.states(), network.inputs, network.outputs[0]
    old = [state.input_name if carried else _start(graph, x, state) for state in states]
    history = emit_layers(graph, network, weights, network.signals, {source.label: x}, lengths, _owned(states, old))

    # A step of zeros in front of the answers is what a row of no steps has in the place of its last.
    answers = graph.pad_steps(history.values[output].name, 1, 0, 2 + len(network.signals[output].shape))
    if lengths is None:
        y = graph.op("Slice", answers, graph.ints(-1), graph.ints(2**31 - 1), graph.ints(1))
        seen = graph.op("Cast", graph.steps(x), to=graph.types["bool"])
    else:
        y = graph.rows(answers, graph.op("Unsqueeze", lengths, graph.ints(1)), graph.ints(1))
        seen = graph.op("Cast", lengths, to=graph.types["bool"])
    if steps == 1:
        return y, history.new_states
    y, new_states = _scan(graph, network, weights, y, history.new_states, steps)

    def kept(state: NetworkState, new: str, before: str) -> str:
        axes = graph.ints(*range(1, 1 + len(state.state.shape)))
        return graph.op("Where", seen if lengths is None else graph.op("Unsqueeze", seen, axes), new, before)

    return y, [kept(*row) for row in zip(states, new_states, old, strict=True)]


def _scan(
    graph: GraphBuilder, network: Network, weights: Weights, first: str, states: Sequence[str], steps: int
) -> tuple[str, list[str]]:
    """The answers from `first` [batch, 1, …] on, and the states after the last but one."""
    (source,), output, infos = network.inputs, network.outputs[0], network.states()
    shape = network.signals[output].shape
    body = graph.inner("step/")
    body.one_step = True
    names = [f"step/{state.input_name}" for state in infos]
    emitted = emit_layers(body, network, weights, network.signals, {source.label: "step/x"}, None, _owned(infos, names))

    # What enters a step leaves it as a row of the answers, and what it answers enters the next.
    answer = body.op("Squeeze", "step/x", body.ints(1))
    body.input("step/x", "float32", ["batch", 1, *shape])
    body.output("step/y", emitted.values[output].name, "float32", ["batch", 1, *shape])
    starts, lifted = [], []
    for info, name, new, start in zip(infos, names, emitted.new_states, states, strict=True):
        new, axes = body.unsqueezed(name, new)
        sizes: list[int | str] = ["batch", *info.state.shape]
        if axes is not None:
            at = graph.initializers[axes].tolist()
            for axis in at:
                sizes.insert(axis, 1)
            start = graph.op("Unsqueeze", start, axes)
        body.input(name, info.state.dtype, sizes)
        body.output(f"step/{info.output_name}", new, info.state.dtype, sizes)
        starts.append(start)
        lifted.append(axes)
    body.input("step/tick", "float32", [])
    body.output("step/answer", answer, "float32", ["batch", *shape])

    ticks = graph.constant(np.zeros(steps - 1, np.float32))  # a Scan is as long as what it reads
    results = graph.ops(
        "Scan",
        first,
        *starts,
        ticks,
        results=2 + len(starts),
        body=body.body("step"),
        num_scan_inputs=1,
        scan_output_axes=[1],
    )
    new_states = [
        state if axes is None else graph.op("Squeeze", state, axes)
        for state, axes in zip(results[1:-1], lifted, strict=True)
    ]
    return graph.op("Concat", results[-1], results[0], axis=1), new_states


def _owned(states: Sequence[NetworkState], names: Sequence[str]) -> list[tuple[str, str]]:
    return [(state.layer, name) for state, name in zip(states, names, strict=True)]


def _start(graph: GraphBuilder, x: str, state: NetworkState) -> str:
    """A state of zeros, for as many rows as x has."""
    sizes = graph.op("Concat", graph.op("Shape", x, start=0, end=1), graph.ints(*state.state.shape), axis=0)
    return graph.op("Expand", graph.constant(np.zeros(1, state.state.dtype)), sizes)
