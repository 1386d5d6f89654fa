"""The public names with their signatures, and the commands with their options: promises of records/public_names.txt.

`python -m tests.public_names` writes the record.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import seq2onnx as s2o
from seq2onnx import cli

RECORD = Path(__file__).parent / "records/public_names.txt"
API = Path(__file__).parents[1] / "docs/api"


def lines() -> list[str]:
    """A line for each function, class, method, property and command."""
    found, first = [], {}
    for name, value in public().items():
        known = first.setdefault(id(value), name)
        found += described(name, value) if known == name else [f"{name} is {known}"]
    return [*found, *commands(typer.main.get_command(cli.app), "seq2onnx")]


def public() -> dict[str, Any]:
    """The public names of seq2onnx and of its public modules, and what docs/api describes."""
    found: dict[str, Any] = {}
    for name in dir(s2o):
        value = getattr(s2o, name)
        found[name] = value
        if isinstance(value, types.ModuleType):
            for member in getattr(value, "__all__", ()) or own(value):
                found[f"{name}.{member}"] = getattr(value, member)
    known = {id(value) for value in found.values()}
    for page in sorted(API.glob("*.md")):
        for path, options in re.findall(r"^::: (\S+)\n((?: .*\n)*)", page.read_text(encoding="utf-8"), re.MULTILINE):
            value = pkgutil.resolve_name(path)
            named = path.split(".")[-1]
            if not named.startswith("_") and (id(value) not in known or "full_path" in options):
                found[path.removeprefix("seq2onnx.") if "full_path" in options else named] = value
    return dict(sorted(found.items(), key=lambda entry: (entry[0].count("."), entry[0])))


def own(module: types.ModuleType) -> list[str]:
    """The public classes and functions of a module without __all__."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def described(name: str, value: Any) -> Iterator[str]:
    """The lines of a name."""
    if isinstance(value, type):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})"
        if issubclass(value, Exception):
            return
        yield f"{name}{signature(value)}"
        for member, thing in members(value).items():
            if isinstance(thing, property):
                yield f"{name}.{member}{annotated(inspect.signature(thing.fget).return_annotation, ': ')}"
            elif callable(getattr(value, member)):
                yield f"{name}.{member}{signature(getattr(value, member))}"
            else:
                yield f"{name}.{member} = {thing!r}" if isinstance(thing, str) else f"{name}.{member}"
    elif isinstance(value, types.ModuleType):
        yield f"module {name}"
    elif callable(value):
        yield f"{name}{signature(value)}"
    else:
        yield name


def members(cls: type) -> dict[str, Any]:
    """The public members that a class, or a private base of it, adds to its bases and to the fields."""
    found: dict[str, Any] = {}
    fields = inspect.signature(cls).parameters
    for base in cls.__mro__:
        if base is cls or (base.__name__.startswith("_") and base.__module__.startswith("seq2onnx.")):
            found |= {name: value for name, value in vars(base).items() if not name.startswith(("_", "model_"))}
        else:
            found = {name: value for name, value in found.items() if name not in vars(base)}
    return {name: value for name, value in sorted(found.items()) if name not in fields}


def signature(function: Any) -> str:
    """The parameters with their annotations as they are written: what inspect prints depends on the Python version."""
    found, star = [], False
    read = inspect.signature(function)
    for parameter in read.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            found.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
        text += annotated(parameter.annotation, ": ")
        if parameter.default is not parameter.empty:
            text += f" = {getattr(parameter.default, '__name__', None) or repr(parameter.default)}"
        found.append(text)
    answer = "" if isinstance(function, type) else annotated(read.return_annotation, " -> ")
    return f"({', '.join(found)}){answer}"


def annotated(annotation: Any, sign: str) -> str:
    """An annotation as it is written, but without the modules of the names."""
    if annotation is inspect.Parameter.empty:
        return ""
    text = getattr(annotation, "__forward_arg__", annotation)  # those of a NamedTuple
    text = text if isinstance(text, str) else getattr(text, "__name__", "…")
    return sign + re.sub(r"\b[a-z_]\w*\.(?=[A-Z])", "", text)


def commands(command: Any, name: str) -> Iterator[str]:
    """A line for each command: its arguments and options."""
    inner = getattr(command, "commands", {})
    options = [
        "/".join([*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "option"
        else parameter.name.upper()
        for parameter in command.params
    ]
    yield " ".join([name, *options])
    for key in sorted(inner):
        yield from commands(inner[key], f"{name} {key}")


def write() -> None:
    """Write the record."""
    RECORD.write_text("\n".join(lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
