"""Public names, their signatures and the options of the commands change on purpose only."""

from __future__ import annotations

import difflib
import inspect

from tests.public_names import RECORD, lines, public


def test_public_names_and_signatures_are_those_of_the_record():
    old, new = RECORD.read_text(encoding="utf-8").splitlines(), lines()
    changes = [line for line in difflib.ndiff(old, new) if line[0] in "-+"]
    assert not changes, (
        "Public names have changed. A name or position that goes needs a DeprecationWarning (CONTRIBUTING.md). "
        "Write the record: python -m tests.public_names\n" + "\n".join(changes)
    )


POSITIONAL = {
    ("Network.infer", "lookahead"),
    ("Network.states", "lookahead"),
    ("Network.to_dict", "every_field"),
    ("Predictor.predict", "progress"),
    ("Stream.step", "copy"),
    ("export", "lookahead"),
    ("train", "normalize_targets"),
}
"""Switches of version 0.1, whose positions are promises."""


def test_switches_are_given_by_name():
    """`f(x, True)` does not say what is true."""
    found = set()
    for value in public().values():
        methods = vars(value).items() if inspect.isclass(value) else [("", value)]
        for function in [getattr(f, "__func__", f) for name, f in methods if not name.startswith("_")]:
            if inspect.isfunction(function):
                switches = [p for p in inspect.signature(function).parameters.values() if isinstance(p.default, bool)]
                found |= {(function.__qualname__, p.name) for p in switches if p.kind is not p.KEYWORD_ONLY}
    assert found == POSITIONAL
