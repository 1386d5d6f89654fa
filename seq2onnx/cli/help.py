"""The help of the commands, without the types that typer shows."""

from __future__ import annotations

import copy
from typing import Any, final

from typer.core import TyperCommand, TyperGroup


@final
class Command(TyperCommand):
    """A command whose help names no types."""

    def get_params(self, ctx: Any) -> Any:
        """Return its parameters."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose help names no types."""

    def get_params(self, ctx: Any) -> Any:
        """Return its parameters."""
        return _without_types(super().get_params(ctx))


def _without_types(parameters: list[Any]) -> list[Any]:
    """Replace types such as <bool> and <path> by what a user needs to know: nothing, NUMBER or TEXT."""
    for parameter in parameters:
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is None:
            _show_as_later(parameter)
        elif parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None  # the name of the argument says it
        elif parameter.metavar is None and not descriptor.is_choice:
            kind = descriptor.annotation
            parameter.metavar = "" if kind is bool else "NUMBER" if kind in (int, float) else "TEXT"
    return parameters


def _show_as_later(parameter: Any) -> None:
    """Make a parameter of typer before 0.29, which has other types and names, look as in later versions."""
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper() + ("" if parameter.nargs == 1 else "...")
        usage = f"{{{name}}}" if parameter.required else f"[{name}]"
        parameter.opts, parameter.metavar = [name], name
        parameter.type = copy.copy(parameter.type)  # other parameters share it
        parameter.type.name, parameter.type.get_metavar = "", lambda **_: ""
        parameter.make_metavar = lambda ctx: ""
        parameter.get_usage_pieces = lambda ctx: [usage]
        parameter.get_error_hint = lambda ctx: f"'{name}'"
    elif parameter.metavar is None:
        kind = parameter.type.name
        is_number = kind.startswith(("int", "float"))
        parameter.metavar = "" if kind == "boolean" else "NUMBER" if is_number else "TEXT"
        if kind == "choice":
            parameter.metavar = f"<{'|'.join(map(str, parameter.type.choices))}>"
