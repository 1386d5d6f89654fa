"""The table of tools/mutate.py fits the code."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tools.mutations import MUTATIONS, places

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_place_of_a_mutation_is_in_the_code_once_and_its_tests_exist(mutation):
    assert len(places(mutation, ROOT)) == 1
    assert mutation.new != mutation.old
    files = [argument for argument in shlex.split(mutation.tests) if argument.startswith("tests/")]
    assert files
    assert all((ROOT / file).is_file() for file in files)


def test_names_of_mutations_differ():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
