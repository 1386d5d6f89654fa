"""The gate orders, and what a wrong one does."""

from __future__ import annotations

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.layers.parts import gates
from tests import laws, step_laws


def test_permute_moves_the_blocks_of_the_gates():
    stacked = np.arange(8).reshape(8, 1)  # i0 i1 f2 f3 g4 g5 o6 o7
    assert gates.permute(stacked, "ifgo", "iofg").ravel().tolist() == [0, 1, 6, 7, 2, 3, 4, 5]
    assert gates.permute(np.arange(3), gates.GRU["torch"], gates.GRU["onnx"]).tolist() == [1, 0, 2]


@pytest.mark.parametrize("orders", [gates.LSTM, gates.GRU])
def test_permuting_there_and_back_changes_nothing(orders):
    stacked = np.random.default_rng(0).normal(size=(12, 5))
    for source in orders.values():
        for target in orders.values():
            assert np.array_equal(gates.permute(gates.permute(stacked, source, target), target, source), stacked)


def test_orders_of_different_gates_are_refused():
    with pytest.raises(ValueError, match="cannot permute"):
        gates.permute(np.zeros((4, 1)), "ifgo", "rzn")


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
@pytest.mark.parametrize("name", ["input_weights", "recurrent_weights", "bias"])
def test_a_swap_of_two_gate_blocks_is_detected(name, one, other):
    """The laws would not pass if the exporter exchanged two gates in any of the arrays."""
    subject = laws.Subject(s2o.Network([s2o.SequenceInput(3), s2o.LSTM(4)]))
    assert subject.sessions  # exported before the swap
    step = laws.open_session(step_laws.step_model(subject))
    blocks = subject.weights["lstm_1"][name].reshape(4, 4, -1)
    blocks[[one, other]] = blocks[[other, one]]  # what the reference and torch read, not what was exported
    with pytest.raises(AssertionError, match="sequence .* y of lstm_1"):
        laws.three_agree(subject)
    with pytest.raises(AssertionError, match="y of lstm_1 in run"):
        step_laws.gives_the_same_numbers(subject, step)
