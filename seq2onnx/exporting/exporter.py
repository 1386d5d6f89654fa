"""export: the whole network as one ONNX file, after the contract of docs/onnx-contract.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx

import seq2onnx
from seq2onnx import metadata
from seq2onnx.errors import DataError, NotStreamable, SpecError
from seq2onnx.exporting.closed_loop import check_closed_loop, emit_closed_loop
from seq2onnx.exporting.emission import Weights, emit_layers
from seq2onnx.exporting.graph import GraphBuilder
from seq2onnx.exporting.words import emit_look_up, vocabularies, words_to_look_up
from seq2onnx.files import write_atomically
from seq2onnx.layers import Signal
from seq2onnx.network import Network, NetworkState
from seq2onnx.sequences import MASKED, PaddingPolicy

if TYPE_CHECKING:
    from seq2onnx.training.module import SequenceModule

Signature = Literal["full", "sequence", "stream"]
OLDEST_OPSET = 17  # the first with LayerNormalization


def export(
    module: SequenceModule,
    path: str | Path,
    signature: Signature | None = None,
    classes: Sequence[str | int] | None = None,
    opset: int = 17,
    lookahead: bool = False,
    *,
    activations: Sequence[str] | bool = (),
    closed_loop: int | None = None,
    words: bool = False,
) -> None:
    """Write a trained module to one ONNX file that holds all that running it needs.

    Args:
        module: what `build` or `train` gave
        path: the file; it appears whole or not at all
        signature: which inputs and outputs it has, of
            "full" (x, lengths, states), "sequence" (x, lengths) and "stream" (x, states);
            "full" if the network can stream, else "sequence"
        classes: the labels of the scores, in order; None: those that the module was trained on, if any
        opset: of the ONNX operators; the file's IR version follows from it
        lookahead: the file streams with a delay where windows read ahead: it has the input `end`, 1 in a row's
            last chunk, and always `y_lengths`
        activations: names of layers whose results are outputs too, or True for all
        closed_loop: K: y is [batch, K, features], the K steps that follow x, each made from the one before; for
            networks of one input and one output of its size, that answer each step
        words: x is strings [batch, time], which the file itself looks up in the vocabulary of its WordEmbedding; ""
            is padding. For networks of one input, SequenceInput("tokens")
    Raises: SpecError, NotStreamable (a signature with states, or a closed loop, of a network that cannot stream)
    Example: >>> export(result.module, "vowels.onnx", classes=data.classes)
    """
    # Duck typing would go wrong far from here: a Network or a TrainingResult is an easy mistake.
    if not hasattr(module, "network") or not hasattr(module, "layers"):
        raise SpecError(f"export: expected a module, such as result.module, got {type(module).__name__}")
    weights = {
        name: {key: tensor.detach().cpu().float().numpy() for key, tensor in layer.state_dict().items()}
        for name, layer in module.layers.items()
    }
    for name, arrays in weights.items():
        for key, array in arrays.items():
            if not np.isfinite(array).all():
                raise DataError(f"{name}.{key}: has NaN or infinity in it; train again, with a lower learning rate")
    classes = module.classes if classes is None else classes
    model = build_model(
        module.network,
        weights,
        signature,
        classes,
        opset,
        lookahead=lookahead,
        activations=activations,
        closed_loop=closed_loop,
        words=words,
        policy=module.policy,
    )
    write_atomically(path, model.SerializeToString())


def build_model(
    network: Network,
    weights: Weights,
    signature: Signature | None = None,
    classes: Sequence[str | int] | None = None,
    opset: int = 17,
    lookahead: bool = False,
    *,
    activations: Sequence[str] | bool = (),
    closed_loop: int | None = None,
    words: bool = False,
    policy: PaddingPolicy = MASKED,
) -> onnx.ModelProto:
    """The ONNX model of `network` with `weights` [layer][weight]; numpy arrays, so torch is not needed.

    Arguments and errors as `export`; policy: by which prediction pads.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise SpecError(f"opset: must be from {OLDEST_OPSET} to {newest}, got {opset}")
    if closed_loop is not None:
        check_closed_loop(network, closed_loop, lookahead, bool(activations))
    if not isinstance(words, bool):
        raise SpecError(f"words: must be True or False, got {words!r:.60}; which words, the WordEmbedding says")
    signature, states = choose_signature(network, signature, lookahead)
    classes = check_classes(network, classes)
    graph = build_graph(
        network,
        weights,
        signature,
        lookahead,
        _activations(network, activations),
        opset,
        closed_loop,
        words_to_look_up(network) if words else None,
    )
    about = {
        "format_version": metadata.FORMAT_VERSION,
        "network": network.to_dict(every_field=True),
        "classes": classes,
        "signature": signature,
        "states": [
            {
                "in": state.input_name,
                "out": state.output_name,
                "shape": [None, *state.state.shape],
                "dtype": state.state.dtype,
                "kind": state.state.kind,
                "layer": state.layer,
            }
            for state in states or ()
        ],
        "time_stride": max(network.signals[name].clock.stride for name in network.outputs),
        "min_length": max(getattr(layer, "min_length", 1) for layer in network.inputs),
        "delay_steps": max(network.signals[name].clock.delay for name in network.outputs),
        "data_policy": dataclasses.asdict(policy),
        "vocabulary": vocabularies(network),
        "writer": f"seq2onnx {seq2onnx.__version__}",
    }
    if closed_loop is not None:
        about["closed_loop"] = closed_loop
    properties = {metadata.KEY: json.dumps(about)}
    if classes is not None:
        properties["classes"] = json.dumps(classes)
    return graph.model(network.name or "network", properties, ("seq2onnx", seq2onnx.__version__))


def choose_signature(
    network: Network, signature: Signature | None, lookahead: bool = False
) -> tuple[Signature, tuple[NetworkState, ...] | None]:
    """The signature, by default the fullest, and the states that go in and out (None: there are none)."""
    if signature not in (None, "full", "sequence", "stream"):
        raise SpecError(f"signature: must be 'full', 'sequence' or 'stream', got {signature!r}")
    if signature == "sequence":
        if lookahead:
            raise SpecError('lookahead: is for files that stream; signature "sequence" has no states to stream with')
        return signature, None
    try:
        return signature or "full", network.states(lookahead)
    except NotStreamable as error:
        if signature is None and not lookahead:
            return "sequence", None
        raise NotStreamable(f'{error}. Or export with signature="sequence", for whole sequences alone') from None


def check_classes(network: Network, classes: Sequence[str | int] | None) -> list[str | int] | None:
    """The classes as plain strings or integers, one for each score of the network."""
    if classes is None:
        return None
    plain: list[str | int] = [np.asarray(label).item() for label in classes]
    for label in plain:
        if not isinstance(label, str | int):
            raise SpecError(f"classes: must be strings or integers, got {label!r}")
    if len({str(label) for label in plain}) != len(plain):
        raise SpecError(f"classes: must differ, got {plain}")
    size = network.signals[network.outputs[0]].size
    if len(plain) != size:
        raise SpecError(f"classes: {network.outputs[0]} gives {size} scores, got {len(plain)} classes: {plain}")
    return plain


def _activations(network: Network, activations: Sequence[str] | bool) -> list[str]:
    if isinstance(activations, bool):
        return [layer.label for layer in network.layers] if activations else []
    if isinstance(activations, str):
        raise SpecError(f"activations: expected a list of layer names, got the string {activations!r}")
    return [network[name].label for name in dict.fromkeys(activations)]


def input_names(network: Network) -> dict[str, str]:
    """The name in the ONNX file of each input layer's data: x, or with several inputs x_{layer}."""
    names = [layer.label for layer in network.inputs]
    return {name: "x" if len(names) == 1 else f"x_{name}" for name in names}


def output_names(network: Network) -> dict[str, str]:
    """The name in the ONNX file of each output: y, or with several y_{layer}."""
    return {name: "y" if len(network.outputs) == 1 else f"y_{name}" for name in network.outputs}


def build_graph(
    network: Network,
    weights: Weights,
    signature: Signature,
    lookahead: bool = False,
    activations: Sequence[str] = (),
    opset: int = 17,
    closed_loop: int | None = None,
    words: Sequence[str] | None = None,
) -> GraphBuilder:
    """A graph with all nodes, inputs and outputs of the network; words: x is strings, looked up in them."""
    graph, signals = GraphBuilder(opset), network.infer(lookahead)
    _, states = choose_signature(network, signature, lookahead)
    entering = {}
    for label, name in input_names(network).items():
        dtype = signals[label].dtype if words is None else "string"
        entering[label] = graph.input(name, dtype, _shape(label, signals[label]))
        if words is not None:
            entering[label] = emit_look_up(graph, label, entering[label], words)
    start = None if signature == "stream" else graph.input("lengths", "int32", ["batch"])
    if lookahead:
        graph.end = graph.input("end", "int32", ["batch"])
    for state in states or ():
        graph.input(state.input_name, state.state.dtype, ["batch", *state.state.shape])
    if closed_loop is not None:
        (x,) = entering.values()
        y, new_states = emit_closed_loop(graph, network, weights, x, start, states, closed_loop)
        graph.output("y", y, "float32", ["batch", closed_loop, *signals[network.outputs[0]].shape])
        return _with_states(graph, states, new_states)
    own = None if states is None else [(state.layer, state.input_name) for state in states]
    values, new_states, finite = emit_layers(graph, network, weights, signals, entering, start, own)

    def answer(output: str, label: str) -> None:
        value = values[label]
        name, signal = value.name, value.signal
        if signal.has_time and value.lengths and label not in finite:
            name = graph.masked(value, value.lengths)
        lengths = value.lengths
        if lookahead and signal.has_time and lengths is None:  # as long as x in every row
            rows = graph.op("Shape", value.name, start=0, end=1)
            lengths = graph.op("Expand", graph.cast(graph.steps(value.name), "int32"), rows)
        graph.output(output, name, signal.dtype, _shape(label, signal))
        if signal.has_time and (signal.clock.windows or lookahead) and lengths:
            graph.output(f"{output}_lengths", lengths, "int32", ["batch"])

    for label, output in output_names(network).items():
        answer(output, label)
    for label in activations:
        answer(f"act_{label}", label)
    return _with_states(graph, states, new_states)


def _with_states(graph: GraphBuilder, states: Sequence[NetworkState] | None, new_states: Sequence[str]) -> GraphBuilder:
    """The graph, its new states among its outputs where it has states."""
    for state, value in zip(states or (), new_states if states else (), strict=True):
        graph.output(state.output_name, value, state.state.dtype, ["batch", *state.state.shape])
    return graph


def _shape(label: str, signal: Signal) -> list[int | str]:
    """The dimensions of a layer's signal; steps of another clock than the inputs' have a name of their own."""
    time = f"time_{label}" if signal.clock.windows or signal.clock.delay else "time"
    return ["batch", *([time] if signal.has_time else []), *signal.shape]
