"""LSTM, GRU and RNN get their states as inputs and outputs."""

from __future__ import annotations

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes, AxesRefused
from seq2onnx.importing.onnx.node_calls import Call, same
from seq2onnx.importing.onnx.recurrent_inputs import check_lengths, initial_state
from seq2onnx.importing.onnx.tracing import RECURRENT
from seq2onnx.importing.states.rewriting import Rewriter, label


def recurrent(graph: Rewriter, call: Call) -> list[Axes]:
    """Let a recurrent operator read its initial state from an input, and write its final state to an output."""
    node, x, op = call.node, call.signals[0], call.node.op_type
    if call.attributes.get("layout"):
        raise ImportRefused("has layout=1, which onnxruntime does not run")
    direction = call.attributes.get("direction", "forward")
    if direction != "forward":
        both = direction == "bidirectional"
        raise ImportRefused(
            f"runs {'in both directions' if both else 'backward'}: it reads from the end of a sequence, which a stream "
            "does not know"
        )
    if x is None or any(signal is not None for signal in call.signals[1:5]):
        raise ImportRefused("takes its weights or lengths from the data")
    check_lengths(call, x.shape[0])
    if any(x.pads):
        raise ImportRefused("reads padding of time, or steps that are cut off later")
    if x.axes[0] != "T" or x.axes[1] not in ("B", "") or x.axes[2] or (not x.axes[1] and x.shape[1] > 1):
        raise AxesRefused(
            f"runs along {x.describe(0)} with {x.describe(1)} as its batch; is the order of the axes another? axes="
        )
    for numbers, other in zip(call.numbers[1:4], call.others[1:4], strict=True):
        same(numbers, other)
    hidden = int(call.numbers[2].shape[2])  # type: ignore[union-attr]
    kinds = "hc"[: RECURRENT[op]]
    kept = graph.keep(node)
    graph.nodes.pop()
    kept.input.extend([""] * (5 + len(kinds) - len(kept.input)))
    kept.output.extend([""] * (1 + len(kinds) - len(kept.output)))
    kept.input[4] = ""  # lengths of padded rows: the chunks of a stream have none
    layer, later = label(node.name or node.output[0]), []
    for index, kind in enumerate(kinds):
        start = initial_state(call, 5 + index)
        old, new = graph.state(layer, kind, [hidden])
        named = None if start is None else graph.constant(start, "float32")
        begin = old if named is None else graph.op("Add", old, named)
        kept.input[5 + index] = graph.unsqueeze(begin, [0])
        kept.output[1 + index] = kept.output[1 + index] or f"s2o_final_{len(graph.states)}"
        later.append((kept.output[1 + index], named, new))
    graph.nodes.append(kept)
    for final, named, new in later:
        if named is None:
            graph.squeeze(final, [0], output=new)
            if final in node.output:  # what reads it reads the state, which chunks of no steps keep
                graph.alias(final, graph.unsqueeze(new, [0]))
        else:
            graph.op("Sub", graph.squeeze(final, [0]), named, output=new)
    rows = x.shape[1]
    _, named, new = later[0]
    if named is None:
        graph.last_steps[node.output[0]] = new
    y = Axes(("T", "", x.axes[1], ""), (x.shape[0], 1, rows, hidden))
    return [y, *[Axes(("", x.axes[1], ""), (1, rows, hidden))] * len(kinds)]
