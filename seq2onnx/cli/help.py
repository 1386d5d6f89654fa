"""The help of the commands, without the types that typer shows."""

from __future__ import annotations

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
        descriptor = getattr(parameter, "type_descriptor", None)  # earlier versions of typer have none, nor such types
        if descriptor is None:
            continue
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None  # the name of the argument says it
        elif parameter.metavar is None and not descriptor.is_choice:
            kind = descriptor.annotation
            parameter.metavar = "" if kind is bool else "NUMBER" if kind in (int, float) else "TEXT"
    return parameters
