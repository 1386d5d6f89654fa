"""The laws of each form of a file, for the tests and for tools/fuzz.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import seq2onnx as s2o
from seq2onnx.errors import NotStreamable, SpecError
from seq2onnx.exporting import ExportOptions, build_model
from tests import laws, portable_laws, step_laws

FORMS: dict[str, Callable[[laws.Subject, list[list[int]], Path], None]] = {
    "dynamic": laws.all_of_them,
    "step": lambda subject, splits, folder: step_laws.all_of_them(subject, folder),
    "portable": lambda subject, splits, folder: portable_laws.all_of_them(subject, folder),
}
"""By form, the function that checks its laws for a network and some splits into chunks."""


def has_form(subject: laws.Subject, form: str) -> bool:
    """Whether a network can be exported in a form; raise if the refusal has another reason than the network."""
    try:
        build_model(subject.network, subject.weights, ExportOptions(form=form))
    except (NotStreamable, SpecError):
        assert form != "dynamic"
        assert form != "step" or subject.states is None or step_laws.is_late(subject)
        assert form != "portable" or not has_portable_form(subject.network)
        return False
    return True


def has_portable_form(network: s2o.Network) -> bool:
    """Whether no recurrent layer has an activation that other runtimes lack in recurrent operators."""
    lacking = {"softsign", "hard_sigmoid", "hard_sigmoid_6"}
    fields = ("state_activation", "gate_activation")
    return not any(getattr(layer, field, None) in lacking for layer in network.layers for field in fields)
