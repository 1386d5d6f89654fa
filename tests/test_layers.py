"""The laws for every example of every layer. A new layer is tested without a line here."""

from __future__ import annotations

import dataclasses

import onnx
import pytest
from hypothesis import given, settings, strategies as st

from seq2onnx.errors import NotStreamable
from seq2onnx.exporting import ExportOptions, build_model
from seq2onnx.layers import KINDS
from tests import form_laws, laws, portable_laws, reference, step_laws
from tests.networks import network_of

EXAMPLES = [
    pytest.param(example, id=f"{kind}-{number}")
    for kind, cls in KINDS.items()
    for number, example in enumerate(cls.examples())
]
each_example = pytest.mark.parametrize("example", EXAMPLES)


@each_example
def test_torch_and_onnxruntime_and_the_equations_agree(example):
    laws.three_agree(laws.Subject(network_of(example)))


@each_example
def test_a_row_does_not_depend_on_the_other_rows(example):
    laws.rows_stand_alone(laws.Subject(network_of(example)))


chunks = st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(sum)


@each_example
def test_whole_equals_any_chunks(example):
    subject = laws.Subject(network_of(example))

    @settings(max_examples=12)
    @given(st.lists(chunks, min_size=1, max_size=3))
    def holds(splits):
        laws.whole_equals_chunks(subject, splits)

    holds()


@each_example
def test_the_spec_survives_yaml_json_and_onnx(example, tmp_path):
    laws.survives(laws.Subject(network_of(example)), tmp_path)


@each_example
@pytest.mark.parametrize("opset", [18, 22])
def test_later_opsets_give_the_same_numbers(example, opset):
    subject = laws.Subject(network_of(example))
    for signature in ("full", "sequence", "stream"):
        if signature in subject.models:
            model = build_model(subject.network, subject.weights, ExportOptions(signature, opset=opset))
            onnx.checker.check_model(model, full_check=True)
            subject.sessions[signature] = laws.open_session(model)
    laws.three_agree(subject)


@each_example
def test_a_step_file_gives_the_same_numbers_with_plain_arithmetic(example, tmp_path):
    subject = laws.Subject(network_of(example))
    if subject.states is not None and not step_laws.is_late(subject):
        step_laws.all_of_them(subject, tmp_path)
        return
    reason = 'form="step" runs step by step' if subject.states is None else 'form="step" must give one; use padding='
    with pytest.raises(NotStreamable, match=reason):
        step_laws.step_model(subject)


@each_example
def test_a_portable_file_gives_the_same_numbers_and_needs_no_lengths_in_operators(example, tmp_path):
    subject = laws.Subject(network_of(example))
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
    for part in ("Shapes", "State:", "ONNX:", "Example:"):
        assert part in text, f"{kind}: its docstring has no {part}"
