"""append and without: layers without weights after a trained network, and their removal."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from seq2onnx.building.module import SequenceModule
from seq2onnx.errors import SpecError
from seq2onnx.layers import Layer
from seq2onnx.network import Network, named_layers


def append(module: SequenceModule, layers: Layer | Sequence[Layer]) -> SequenceModule:
    """Return a new module that has more layers after the output of a trained one, such as an Alarm.

    Args:
        module: the trained module. It does not change, and the new one has weights of its own.
        layers: layers without weights. The first one reads the output of the network, unless it names its `inputs`.
            Outputs that none of them reads remain outputs.

    Raises:
        SpecError: a layer has weights or is an input layer, or the network has several outputs and the first layer
            does not name what it reads.
        ShapeError: the layers do not fit the output.

    Example:
        >>> module = append(result.module, [Alarm(0.8, release=0.5, hold=100)])
        >>> export(module, "alarm.onnx")
    """
    network = _network(module, "append")
    added = [layers] if isinstance(layers, Layer) else list(layers)
    if not added or not all(isinstance(layer, Layer) for layer in added):
        raise SpecError(f"append: expected a list of layers such as [Alarm(0.8)], got {layers!r:.100}")
    if not added[0].inputs:
        if len(network.outputs) > 1:
            raise SpecError(
                f"append: the network has the outputs {', '.join(network.outputs)}; write which one "
                f"{added[0].label} reads, such as inputs=[{network.outputs[0]!r}]"
            )
        added[0] = dataclasses.replace(added[0], inputs=[network.outputs[0]])
    named = named_layers([*network.layers, *added])
    first = len(network.layers)
    # A layer without `inputs` reads the one before it.
    read = {source for i in range(first, len(named)) for source in named[i].inputs or [named[i - 1].label]}
    candidates = [*network.outputs, *(layer.label for layer in named[first:])]
    made = Network(named, [name for name in candidates if name not in read], network.name)
    for layer in named[first:]:
        if layer.is_input or layer.weights(*made.signals_into(layer.label)):
            reason = "is an input layer" if layer.is_input else "has weights"
            raise SpecError(
                f"append: {layer.label} {reason}; only layers without weights can follow a trained network. Build the "
                "whole network, and train it"
            )
    return _with_network(module, made)


def without(module: SequenceModule, names: str | Sequence[str]) -> SequenceModule:
    """Return a new module without some layers; it undoes `append`, so that the module can be trained further.

    What reads a removed layer then reads what this one has read.

    Args:
        module: the module. It does not change.
        names: the layers to remove. They have no weights, and one input each.

    Raises:
        SpecError: there is no such layer, or it cannot be removed.
        ShapeError: the other layers do not fit together without them.

    Example:
        >>> result = train(without(restore("alarm.onnx"), ["alarm_1"]), data)
    """
    network = _network(module, "without")
    removed = [names] if isinstance(names, str) else list(names)
    for name in removed:
        layer = network[name]
        if layer.weights(*network.signals_into(name)) or len(network.reads[name]) != 1:
            raise SpecError(f"without: {name} has weights, or does not read exactly one layer; it cannot be removed")

    def source(name: str) -> str:
        while name in removed:
            name = network.reads[name][0]
        return name

    layers = [
        dataclasses.replace(layer, inputs=[*map(source, network.reads[layer.label])])
        if {*network.reads[layer.label]} & {*removed}
        else layer
        for layer in network.layers
        if layer.label not in removed
    ]
    outputs = list(dict.fromkeys(map(source, network.outputs)))
    return _with_network(module, Network(layers, outputs, network.name))


def _network(module: Any, where: str) -> Network:
    if not isinstance(module, SequenceModule):
        raise SpecError(f"{where}: expected a module, such as result.module, got {type(module).__name__}")
    return module.network


def _with_network(module: SequenceModule, network: Network) -> SequenceModule:
    """Return a module of another network, with copies of the layers that both have."""
    with torch.random.fork_rng(devices=[]):  # new weights, which are replaced, change no later random number
        made = SequenceModule(network)
    for name, layer in module.layers.items():
        if name in network.reads:
            specified = network[name]
            made.layers._modules[name] = copied = copy.deepcopy(layer)
            copied.layer = specified
    has_same_scores = (
        network.signals[network.outputs[0]].shape == module.network.signals[module.network.outputs[0]].shape
    )
    made.data_info = copy.deepcopy(module.data_info)
    if not has_same_scores:
        made.classes = None
    if not has_same_scores or network[network.outputs[0]].decides:
        made.quantiles = None
    return made.train(module.training)
