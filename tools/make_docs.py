"""Make docs/layers.md and docs/cli.md from the code: python tools/make_docs.py (seq2onnx installed)."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import typer

from seq2onnx.cli import app
from seq2onnx.layers import KINDS, Layer

Command = Callable[..., Any]
DOCS = Path(__file__).resolve().parent.parent / "docs"

LAYERS = """# The layers

Made from the docstrings by `tools/make_docs.py`; a test fails where this page is stale.

Fields are positional in the order shown. Every layer also takes `name=`, and `inputs=[names]` where it does not
simply read the one before it. The name in YAML is the kind.

| layer | kind in YAML | |
|---|---|---|
"""

COMMANDS = """# The commands

Made from the help of the commands by `tools/make_docs.py`; a test fails where this page is stale.

Each command also takes `--help`; `seq2onnx --version` shows the version. Exit codes: 0; 1 for a check that failed; 2
for bad input, with its message on standard error.

| command | |
|---|---|
"""


def pages() -> dict[Path, str]:
    """The full text of each page."""
    return {DOCS / "layers.md": layers_page(), DOCS / "cli.md": commands_page()}


def layers_page() -> str:
    """The page of the layers: a table, and a section for each layer."""
    layers = sorted((cls for cls in KINDS.values() if cls.__module__.startswith("seq2onnx.")), key=lambda c: c.__name__)
    rows = [f"| [{c.__name__}](#{c.__name__.lower()}) | `{c.kind}` | {summary(c)} |" for c in layers]
    return LAYERS + "\n".join(rows) + "\n" + "".join(layer_section(c) for c in layers)


def summary(documented: type[Layer] | Command) -> str:
    """The first sentence of the docstring."""
    return inspect.cleandoc(documented.__doc__ or "").splitlines()[0]


def layer_section(cls: type[Layer]) -> str:
    """Heading, signature and docstring of a layer."""
    fields = [field for field in dataclasses.fields(cls) if field.name not in ("name", "inputs")]
    shown = ", ".join(
        f.name if f.default is dataclasses.MISSING else f"{f.name}={getattr(f.default, 'default', f.default)!r}"
        for f in fields
    )
    first, *rest = inspect.cleandoc(cls.__doc__ or "").split("\n", 1)
    return (
        f"\n## {cls.__name__}\n\n`{cls.__name__}({shown})`\n\n{first}\n\n```text\n{''.join(rest).strip(chr(10))}\n```\n"
    )


def commands_page() -> str:
    """The page of the commands: a table, and a section for each command."""
    commands = dict(all_commands(app, "seq2onnx"))
    rows = [f"| [{name}](#{name.replace(' ', '-')}) | {summary(command)} |" for name, command in commands.items()]
    return COMMANDS + "\n".join(rows) + "\n" + "".join(command_section(*entry) for entry in commands.items())


def all_commands(of: typer.Typer, name: str) -> Iterator[tuple[str, Command]]:
    """The full name of each command, and its function."""
    for info in of.registered_commands:
        assert info.callback is not None
        yield f"{name} {info.callback.__name__}", info.callback
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from all_commands(group.typer_instance, f"{name} {group.name}")


def command_section(name: str, command: Command) -> str:
    """Heading, usage, help, arguments and options of a command."""
    usage, rows = [name], []
    hints = typing.get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        kind, info = typing.get_args(hints[parameter.name])[:2]
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, typer.models.ArgumentInfo):
            shown = str(info.metavar)
            usage.append(shown if required else f"[{shown}]")
        else:
            first = [info.default] if isinstance(info.default, str) else []  # typer has the first name there
            names = [*first, *(info.param_decls or ())] or [f"--{parameter.name.replace('_', '-')}"]
            shown = " ".join([", ".join(names), *value(kind, info.metavar)])
        unsaid = required or parameter.default is None or parameter.default is False  # but 0 is said
        default = "" if unsaid else f"`{parameter.default}`"
        rows.append(f"| `{shown}` | {info.help} | {default} |")
    table = "| argument or option | | unless given |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    return f"\n## {name}\n\n`{' '.join(usage)} [OPTIONS]`\n\n{inspect.cleandoc(command.__doc__ or '')}\n\n{table}"


def value(kind: Any, metavar: str | None) -> list[str]:
    """The placeholder after the name of an option; a flag has none."""
    kinds = [kind, *typing.get_args(kind)]
    if bool in kinds:
        return []
    choices = [choice for one in kinds if typing.get_origin(one) is Literal for choice in typing.get_args(one)]
    if metavar or choices:
        return [metavar or f"{{{','.join(choices)}}}"]
    return ["NUMBER" if int in kinds or float in kinds else "TEXT"]


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path)
