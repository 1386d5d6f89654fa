"""Mistakes in the fields of a layer or of options, in plain words."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any

from pydantic import ValidationError

# What a value must be, by pydantic's type of mistake.
RULES = {
    "literal_error": "must be {expected}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "string_type": "must be text",
    **dict.fromkeys(("tuple_type", "list_type", "is_instance_of"), "must be a list"),
    "dict_type": "must be a mapping",
    "callable_type": "must be a function",
}
LIMITS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be finite",
    "too_short": "must have at least {min_length} values",
    "too_long": "must have at most {max_length} values",
    "string_pattern_mismatch": "must have only letters, digits and underscores",
    "value_error": "{error}",
}


def explain(error: ValidationError, cls: type[Any]) -> list[str]:
    """Describe each mistake in a line: field, rule, and the value received, or the fields that exist.

    Each line continues the name of the layer: ".field: rule", or ": rule" if several fields do not fit together.
    """
    fields = [field.name for field in dataclasses.fields(cls)]
    fields.sort(key=lambda name: name in ("name", "inputs"))
    lines = []
    by_field: dict[Any, list[Any]] = {}
    for mistake in error.errors():
        if not mistake["loc"]:
            lines.append(f": {_rule(mistake)}")
            continue
        first = mistake["loc"][0]
        # pydantic reports a positional argument by its place.
        first = fields[first] if isinstance(first, int) and first < len(fields) else first
        if mistake["type"] in ("missing", "missing_argument"):
            lines.append(f".{first}: is missing; {cls.__name__} needs it")
        elif mistake["type"] == "unexpected_positional_argument":
            lines.append(
                f".{first}: takes no value by its place, got {mistake['input']!r}; write it with its name. The fields "
                f"are {', '.join(fields)}"
            )
        elif "unexpected" in mistake["type"]:
            lines.append(f".{first}: is not a field of {cls.__name__}; its fields are {', '.join(fields)}")
        else:
            by_field.setdefault(first, []).append(mistake)
    return lines + [line for first, mistakes in by_field.items() for line in _explain_field(first, mistakes)]


def _explain_field(name: str, mistakes: list[Any]) -> list[str]:
    """Describe the mistakes of one field.

    If a field may have several forms, pydantic reports a mistake for each. Those of the form that fits best are shown:
    the deepest ones, such as those of a number in a list, and a limit rather than a kind.
    """
    places = [tuple(part for part in mistake["loc"][1:] if not _is_form(part)) for mistake in mistakes]
    ranks = [(len(place), mistake["type"] not in RULES) for place, mistake in zip(places, mistakes, strict=True)]
    if any(map(_is_form, itertools.chain(*(mistake["loc"][1:] for mistake in mistakes)))):
        best = max(ranks)
        chosen = [rank == best for rank in ranks]
        places, mistakes = (list(itertools.compress(values, chosen)) for values in (places, mistakes))
    rules: dict[tuple[Any, ...], list[str]] = {}
    values = {}
    for place, mistake in zip(places, mistakes, strict=True):
        rules.setdefault(place, []).append(_rule(mistake))
        values[place] = mistake["input"]
    lines = []
    for place, (rule, *others) in rules.items():
        choices = ", or ".join([rule, *(other.removeprefix("must be ").removeprefix("must ") for other in others)])
        lines.append(f".{'.'.join(map(str, (name, *place)))}: {choices}; got {values[place]!r}")
    return lines


def _rule(mistake: Any) -> str:
    form: str | None = (RULES | LIMITS).get(mistake["type"])
    return form.format(**mistake.get("ctx", {})) if form else mistake["msg"][0].lower() + mistake["msg"][1:]


def _is_form(part: str | int) -> bool:
    """Return whether a part of pydantic's path is a form that a field may have, such as "literal['same']"."""
    forms = r"[\w-]+\[.*\]|constrained-\w+|int|float|str|bool|callable"
    return isinstance(part, str) and bool(re.fullmatch(forms, part))
