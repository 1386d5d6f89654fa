"""The facts about layers in layer_facts.py are what the layers themselves say."""

from __future__ import annotations

import dataclasses

import pytest

from seq2onnx import layer_facts
from seq2onnx.errors import NotStreamable
from seq2onnx.layers import GRU, KINDS, LSTM
from tests.networks import network_of

OURS = {kind: cls for kind, cls in KINDS.items() if cls.__module__.startswith("seq2onnx.")}
REMEDY = "add it to seq2onnx/layer_facts.py"


def examples(kind):
    """The network of each example of a layer, the layer, and its fields as in the metadata of a file."""
    for example in OURS[kind].examples():
        network = network_of(example)
        layer = next(layer for layer in network.layers if layer.kind == kind)
        ((_, fields),) = network.to_dict(every_field=True)["layers"][network.layers.index(layer)].items()
        yield network, layer, fields


def test_the_input_layers_are_known():
    found = {
        kind: network.signals[layer.label].has_time
        for kind in OURS
        for network, layer, _ in examples(kind)
        if layer.is_input
    }
    assert found == layer_facts.INPUT_HAS_TIME, REMEDY


def test_the_layers_that_take_samples_are_known():
    assert {kind for kind, cls in OURS.items() if cls.takes_samples} == layer_facts.TAKES_SAMPLES, REMEDY


@pytest.mark.parametrize("kind", OURS)
def test_the_layers_that_keep_a_state_are_known(kind):
    for network, layer, fields in examples(kind):
        try:
            expected = any(state.layer == layer.label for state in network.states(lookahead=True))
        except NotStreamable:
            expected = None
        found = layer_facts.keeps_state(kind, fields)
        if expected is None:
            assert found is not False, f"{fields}: {REMEDY}"
        elif kind not in ("add", "concat"):  # with lookahead, these keep steps, too
            assert found == expected, f"{fields}: {REMEDY}"


@pytest.mark.parametrize("kind", OURS)
def test_the_layers_that_read_later_steps_are_known(kind):
    for network, layer, fields in examples(kind):
        before = max((signal.clock.delay for signal in network.signals_into(layer.label)), default=0)
        if network.signals[layer.label].clock.delay != before:
            assert layer_facts.may_read_later_steps(kind, fields), f"{fields}: {REMEDY}"


@pytest.mark.parametrize("kind", OURS)
def test_the_largest_phase_is_that_of_the_stride(kind):
    for network, layer, fields in examples(kind):
        try:
            kept = {entry.state.kind for entry in network.states(lookahead=True) if entry.layer == layer.label}
        except NotStreamable:
            continue
        (signal, *_) = network.signals_into(layer.label) or (None,)
        largest = layer_facts.largest_phase(fields)
        if "phase" in kept and largest is not None:
            assert largest == network.signals[layer.label].clock.stride // signal.clock.stride - 1


@pytest.mark.parametrize("kind", OURS)
def test_fields_that_the_facts_name_exist(kind):
    names = {field.name for field in dataclasses.fields(OURS[kind])}
    assert layer_facts._WINDOW_SIZES.get(kind, "name") in names
    if kind in layer_facts._WINDOW_SIZES:
        assert {"stride", "padding", "axis"} <= names
    if kind in layer_facts._GLOBAL:
        assert "axis" in names


def test_the_gaps_of_gpu_kernels_are_by_fields_of_the_layers():
    for usual in (LSTM(3), GRU(3)):
        assert layer_facts.gpu_gap(dataclasses.asdict(usual)) is None
        changed = dataclasses.replace(usual, state_activation="relu")
        assert "activations" in layer_facts.gpu_gap(dataclasses.asdict(changed))
    changed = GRU(3, reset_gate_mode="before_multiplication")
    assert "reset" in layer_facts.gpu_gap(dataclasses.asdict(changed))
