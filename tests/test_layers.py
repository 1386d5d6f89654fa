"""The laws for every example of every layer. A new layer is tested without a line here."""

from __future__ import annotations

import copy
import dataclasses
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import given, settings, strategies as st

from seq2onnx.errors import NotStreamable
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.layers import KINDS
from tests import c_laws, form_laws, laws, portable_laws, reference, step_laws
from tests.comparison import SAME
from tests.networks import network_of

EXAMPLES = [
    pytest.param(example, id=f"{kind}-{number}")
    for kind, cls in KINDS.items()
    for number, example in enumerate(cls.examples())
]


@pytest.fixture(scope="module", params=EXAMPLES)
def shared(request):
    """A network of an example, exported, with open sessions. pytest runs all tests of one example before the next."""
    subject = laws.Subject(network_of(request.param))
    assert subject.sessions
    return subject


@pytest.fixture
def subject(shared):
    """What `shared` has, with random numbers that do not depend on the tests before."""
    found = copy.copy(shared)
    found.rng = copy.deepcopy(shared.rng)
    return found


def test_torch_and_onnxruntime_and_the_equations_agree(subject):
    laws.three_agree(subject)


def test_a_row_does_not_depend_on_the_other_rows(subject):
    laws.rows_stand_alone(subject)


chunks = st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(sum)


def test_whole_equals_any_chunks(subject):
    @settings(max_examples=12)
    @given(st.lists(chunks, min_size=1, max_size=3))
    def holds(splits):
        laws.whole_equals_chunks(subject, splits)

    holds()


def test_the_spec_survives_yaml_json_and_onnx(subject, tmp_path):
    laws.survives(subject, tmp_path)


@pytest.mark.parametrize("opset", [18, 22])
def test_later_opsets_give_the_same_numbers(subject, opset):
    """The numbers of the usual opset, which other tests compare with torch and with the equations."""
    later = copy.copy(subject)
    later.sessions = {}
    for signature in subject.models.keys() & {"full", "sequence", "stream"}:
        model = build_model(subject.network, subject.weights, ExportOptions(signature, opset))
        onnx.checker.check_model(model, full_check=True)
        later.sessions[signature] = laws.open_session(model)
    for rows, time in (([5, 0, 3, 1, 7], 9), ([0, 0], 0), ([6, 6], 6)):
        lengths = np.array(rows, "i4")
        x, states = subject.x(len(rows), time), subject.state(len(rows))
        for signature in later.sessions:
            if signature != "stream" or {*rows} == {time}:
                run = (signature, x, lengths, None if signature == "sequence" else states)
                where = f"opset {opset} {signature} {rows}"
                laws.agree(later.onnxruntime(*run), subject.onnxruntime(*run), SAME, where)


def test_a_step_file_gives_the_same_numbers_with_plain_arithmetic(subject, tmp_path):
    if subject.states is not None and not step_laws.is_late(subject):
        step_laws.all_of_them(subject, tmp_path)
        return
    reason = 'form="step" runs step by step' if subject.states is None else 'form="step" must give one; use padding='
    with pytest.raises(NotStreamable, match=reason):
        step_laws.step_model(subject)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc; tools/ci_setup.sh installs it")
def test_c_code_gives_the_same_numbers(subject, tmp_path):
    if subject.states is not None and not step_laws.is_late(subject):
        c_laws.all_of_them(subject, tmp_path)


def test_a_portable_file_gives_the_same_numbers_and_needs_no_lengths_in_operators(subject, tmp_path):
    if form_laws.has_form(subject, "portable"):
        portable_laws.all_of_them(subject, tmp_path)
    else:
        assert not form_laws.has_portable_form(subject.network)


def test_every_layer_has_a_reference():
    assert sorted(reference.REFERENCES) == sorted(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_examples_use_every_option(kind):
    """Each field has at least two values among the examples, so that every option is held to the laws."""
    cls, layers = KINDS[kind], [example.layer for example in KINDS[kind].examples()]
    for field in dataclasses.fields(cls):
        if field.name not in ("name", "inputs", "size", "vectors"):
            values = {repr(getattr(layer, field.name)) for layer in layers}
            assert len(values) > 1, f"{kind}.{field.name}: the examples have only {values}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_docstrings_say_what_matters(kind):
    text = KINDS[kind].__doc__ or ""
    for part in ("Shapes", "ONNX:", "Example:"):
        assert part in text, f"{kind}: its docstring has no {part}"
    examples = KINDS[kind].examples()
    assert "Weights:" in text or not any(example.layer.weights(*example.signals) for example in examples)
    assert "State:" in text or not any(map(keeps_state, examples))


def keeps_state(example):
    try:
        return bool(example.layer.states(*example.signals))
    except NotStreamable:
        return True
