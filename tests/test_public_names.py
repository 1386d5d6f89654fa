"""Public names, their signatures and the options of the commands change on purpose only."""

from __future__ import annotations

import difflib

from tests.public_names import RECORD, lines


def test_public_names_and_signatures_are_those_of_the_record():
    old, new = RECORD.read_text(encoding="utf-8").splitlines(), lines()
    changes = [line for line in difflib.ndiff(old, new) if line[0] in "-+"]
    assert not changes, (
        "Public names have changed. A name or position that goes needs a DeprecationWarning (CONTRIBUTING.md). "
        "Write the record: python -m tests.public_names\n" + "\n".join(changes)
    )
