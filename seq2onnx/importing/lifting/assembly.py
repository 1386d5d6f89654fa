"""From nodes to a network: layers answer with their last step, and all get names."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seq2onnx.errors import ImportRefused, Seq2OnnxError, require
from seq2onnx.importing.lifting.layer_node import Array, LayerNode, acts_on_each_step, in_order, rebuilt
from seq2onnx.layers import BatchNorm, BiGRU, BiLSTM, LastStep, Rescale
from seq2onnx.layers.base import Layer
from seq2onnx.limits import LAYERS
from seq2onnx.network import Network

if TYPE_CHECKING:
    from seq2onnx.building import SequenceModule


def assemble(answers: Sequence[tuple[str, LayerNode]], name: str) -> SequenceModule:
    """Make a network of nodes, with their weights; an answer named "" is named after its last layer."""
    ends = _with_early_last_steps([found for _, found in answers])
    for i, end in enumerate(ends):
        if end in ends[:i] or not end.reads:  # an answer of its own needs a layer of its own
            ends[i] = dataclasses.replace(end, layer=Rescale(1.0), reads=(end,), weights={})
    wanted = {end: legal(label) for (label, _), end in zip(answers, ends, strict=True) if label}
    nodes = in_order(ends)
    if len(nodes) > LAYERS:
        raise ImportRefused(f"has {len(nodes):,} layers; a network has at most {LAYERS:,}")
    names = _names(nodes, wanted)
    layers = [
        dataclasses.replace(_layer(found), name=label, inputs=[names[read] for read in found.reads] or None)
        for found, label in names.items()
    ]
    try:
        network = Network(layers, [names[end] for end in ends], name)
    except Seq2OnnxError as error:
        raise ImportRefused(str(error)) from None
    return _module(network, {label: found.weights for found, label in names.items()})


def _module(network: Network, weights: Mapping[str, Mapping[str, Array]]) -> SequenceModule:
    require("torch", extra="train")
    import numpy as np
    import torch

    from seq2onnx.building import build

    with torch.random.fork_rng(devices=[]):
        module = build(network)
    state = {
        f"layers.{layer}.{name}": torch.from_numpy(np.ascontiguousarray(array, np.float32))
        for layer, arrays in weights.items()
        for name, array in arrays.items()
    }
    module.load_state_dict(state)
    return module.eval()


def _layer(found: LayerNode) -> Layer:
    if found.layer is None:
        raise ImportRefused(found.barred)
    return found.layer


def _with_early_last_steps(ends: Sequence[LayerNode]) -> list[LayerNode]:
    """Let recurrent layers answer with the last step alone where nothing else is read of them."""
    readers = Counter(read for found in in_order(ends) for read in found.reads)
    readers.update(ends)
    known: dict[LayerNode, LayerNode] = {}
    for found in in_order(ends):
        reads = tuple(known[read] for read in found.reads)
        known[found] = dataclasses.replace(found, reads=reads)
        if isinstance(found.layer, LastStep) and (early := _last_of(found.reads[0], readers, known)):
            known[found] = early
    return [known[end] for end in ends]


def _last_of(found: LayerNode, readers: Counter[LayerNode], known: Mapping[LayerNode, LayerNode]) -> LayerNode | None:
    """Return a node of the last step, if it costs no second run of what it reads."""

    def reads(one: LayerNode) -> tuple[LayerNode, ...]:
        # In training the statistics of a BatchNorm must stay those of all steps.
        stops = not one.has_time or readers[one] > 1 or hasattr(one.layer, "output_mode")
        return () if stops or isinstance(one.layer, BatchNorm) or not acts_on_each_step(one) else one.reads

    def last(one: LayerNode, before: list[LayerNode | None]) -> LayerNode | None:
        return _last_step(one, readers, known, [read for read in before if read] if all(before) else [])

    return rebuilt(found, reads, last)


def _last_step(
    found: LayerNode, readers: Counter[LayerNode], known: Mapping[LayerNode, LayerNode], reads: Sequence[LayerNode]
) -> LayerNode | None:
    """Return a node of the last step; `reads` are those of what it reads, if there are any."""
    if not found.has_time:
        return known[found]
    if readers[found] > 1:
        return None
    signal = dataclasses.replace(found.signal, has_time=False)
    if hasattr(found.layer, "output_mode"):
        fields: dict[str, Any] = {"output_mode": "last"}
        if isinstance(found.layer, BiLSTM | BiGRU):
            fields["last"] = "last_step"
        layer = dataclasses.replace(_layer(found), **fields)
        return dataclasses.replace(known[found], layer=layer, signal=signal)
    if not reads:
        return None
    try:
        _layer(found).infer(*(read.signal for read in reads))
    except Seq2OnnxError:  # a convolution of kernel size 1 acts on each step, but needs a time axis
        return None
    return dataclasses.replace(found, reads=tuple(reads), signal=signal)


def legal(name: str) -> str:
    """Return a name that a layer may have."""
    legal = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return legal + "_" if legal.endswith("_lengths") else legal


def _names(nodes: Sequence[LayerNode], wanted: Mapping[LayerNode, str]) -> dict[LayerNode, str]:
    names: dict[LayerNode, str] = {}
    taken = set(wanted.values())
    for found in nodes:
        labels = _labels(legal(found.path), _layer(found).kind)
        names[found] = wanted.get(found) or next(label for label in labels if label not in taken)
        taken.add(names[found])
    return names


def _labels(path: str, kind: str) -> Iterator[str]:
    if path:
        yield path
        yield f"{path}_{kind}"
    yield from (f"{path or kind}_{number}" for number in itertools.count(2 if path else 1))
