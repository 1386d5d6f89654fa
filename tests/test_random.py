"""The laws, on random networks; tools/fuzz.py runs as many as asked."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests import form_laws, laws
from tests.networks import networks

chunks = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(sum)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(networks(), st.lists(chunks, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_random_networks_have_the_properties_of_every_network(folder, network, splits, seed):
    subject = laws.Subject(network, seed)
    for form in form_laws.FORMS:
        if form_laws.has_form(subject, form):
            form_laws.FORMS[form](subject, splits, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("random")
