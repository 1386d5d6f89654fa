"""Make docs/layers.md, the commands of docs/command-line.md and the list of docs/decisions/ from code and pages.

    python tools/make_docs.py

It needs seq2onnx installed.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import typer

from seq2onnx.cli import app
from seq2onnx.layers import KINDS, Layer

Command = Callable[..., Any]
DOCS = Path(__file__).resolve().parent.parent / "docs"
# The sections of a layer's docstring; Shapes may explain its letters in brackets.
SECTION = re.compile(r"((?:Shapes|Args|Raises|State|Weights|ONNX|Example|Source)(?: \(.*\))?):")
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
KINDS_OF_VALUES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "`True`, `False`",
    type(None): "`None`",
    Callable: "a function",
    Sequence: "a list",
    Mapping: "a dict",
}

GROUPS = {
    "Inputs": ("SequenceInput", "FeatureInput", "WordEmbedding", "Missing", "Rescale"),
    "Recurrent": ("LSTM", "GRU", "RNN", "BiLSTM", "BiGRU", "LastStep"),
    "Convolution and pooling": (
        *("Conv1d", "Conv2d", "MaxPool1d", "AvgPool1d", "MaxPool2d", "AvgPool2d"),
        *("GlobalMaxPool1d", "GlobalAvgPool1d", "GlobalStdPool1d", "GlobalSumPool1d", "GlobalAvgPool2d"),
    ),
    "Attention": ("SelfAttention", "AttentionPool"),
    "Weighted sums and shape": ("FullyConnected", "Flatten", "Dropout"),
    "Normalization": ("BatchNorm", "LayerNorm", "RMSNorm"),
    "Activations": (*("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Sigmoid", "HardSigmoid", "Tanh"), "Softmax"),
    "Joins": ("Add", "Multiply", "Concat"),
    "Signals": ("Spectrogram", "MelSpectrogram", "MFCC", "Decimate", "WindowStatistics"),
    "Decisions": ("Alarm",),
}
"""The layers by their purpose, in the order of the page. A layer that is in none comes last, under OTHERS."""
OTHERS = "Other layers"

LAYERS = """# The layers

`tools/make_docs.py` makes this page from the docstrings. A test fails if it is out of date.

The tables show what each layer computes: x is its input, y its output at the same step. A click on the name leads to
its fields, shapes and states.

Fields are positional in the order shown. Every layer also takes `name=`, and `inputs=[names]` if it does not read
the layer before it. In YAML, a layer has the name of its kind, such as `lstm`, which the section of the layer shows. A
layer whose section has no State or Weights keeps nothing between steps, or learns nothing.
"""

COMMANDS = """## All commands

`tools/make_docs.py` makes this part of the page from the help of the commands. A test fails if it is out of date.

Each command also takes `--help`, and `seq2onnx --version` shows the version. Exit codes: 0 for success, 1 if a check
failed, 2 for bad input. Error messages go to standard error.
"""

DECISIONS = """# Decisions

Each page has one decision: the context, what was decided, on what it was measured, and what follows from it. A decision
that is no longer true is removed; its page stays in the history of the repository.

`tools/make_docs.py` makes this list from the pages. The first word of a file's name is its group. To add a decision,
write a page; the menu of the site finds it.
"""


def pages() -> dict[Path, str]:
    """Return the whole text of each page."""
    guide = (DOCS / "command-line.md").read_text(encoding="utf-8").split(COMMANDS.splitlines()[0] + "\n")[0]
    return {
        DOCS / "layers.md": layers_page(),
        DOCS / "command-line.md": guide + commands_section(),
        DOCS / "decisions" / "index.md": decisions_page(),
    }


def layers_page() -> str:
    """Return all groups of layers: a table of each, then the layers one after another."""
    layers = {cls.__name__: cls for cls in KINDS.values() if cls.__module__.startswith("seq2onnx.")}
    groups = {title: [layers.pop(name) for name in names] for title, names in GROUPS.items()}
    groups |= {OTHERS: [layers[name] for name in sorted(layers)]} if layers else {}
    links = [f"[{title}](#{title.lower().replace(' ', '-')})" for title in groups]
    text = f"{LAYERS}\n{', '.join(links)}.\n"
    for title, members in groups.items():
        rows = [f"| [{c.__name__}](#{c.__name__.lower()}) | {summary(c)} | {formula(c)} |" for c in members]
        text += f"\n## {title}\n\n{table('| layer | what it does | formula |', rows)}\n"
        text += "".join(layer_section(cls) for cls in members)
    return text


def formula(cls: type[Layer]) -> str:
    """Return the lines of the first equations that give y, or else the last line."""
    body, _ = split_docstring(inspect.cleandoc(cls.__doc__ or ""))
    equations = next((part for part in re.split(r"\n\s*\n", body) if part.startswith(" ")), "")
    lines = [re.split(r" {3,}", line.strip()) for line in equations.splitlines()]
    shown = [line[0] for line in lines if line[0].startswith("y")] or ["  ".join(line) for line in lines[-1:]]
    # A bar would end the cell, also in code.
    return "<br>".join(f"`{line}`" for line in shown).replace("|", "∣")


def summary(documented: type[Layer] | Command) -> str:
    """Return the first line of the docstring."""
    return inspect.cleandoc(documented.__doc__ or "").splitlines()[0]


def layer_section(cls: type[Layer]) -> str:
    """Return the heading, signature, equations and tables of a layer."""
    fields = [field for field in dataclasses.fields(cls) if field.name not in ("name", "inputs")]
    shown = ", ".join(
        f.name if f.default is dataclasses.MISSING else f"{f.name}={getattr(f.default, 'default', f.default)!r}"
        for f in fields
    )
    body, sections = split_docstring(inspect.cleandoc(cls.__doc__ or ""))
    parts = [f"### {cls.__name__}", f"`{cls.__name__}({shown})`, in YAML `{cls.kind}`"]
    for paragraph in re.split(r"\n\s*\n", body):
        is_equation = paragraph.startswith(" ")
        parts.append(f"```text\n{textwrap.dedent(paragraph)}\n```" if is_equation else paragraph)
    if arguments := entries(sections.pop("Args", "")):
        hints = typing.get_type_hints(cls, include_extras=True)
        rows = [f"| `{name}` | {', '.join(allowed(hints[name]))} | {text} |" for name, text in arguments]
        parts.append(table("| field | values | meaning |", rows))
    rows = []
    for title, text in sections.items():
        name, opening, letters = title.partition(" (")  # the letters of the shapes follow the shapes
        rows.append(f"| {name} | {cell(title, text)}{opening}{letters} |")
    parts.append(table("| property | value |", rows))
    return "\n" + "\n\n".join(parts) + "\n"


def allowed(hint: Any, limits: str = "") -> list[str]:
    """Return each choice of a field, and what else it takes, such as whole numbers and their limits."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind is typing.Annotated:
        rules = [rule for part in parts[1:] for rule in getattr(part, "metadata", ())]
        signs = [(sign, getattr(rule, name, None)) for rule in rules for name, sign in SIGNS.items()]
        limits = " and ".join(f"{sign} {bound:g}" for sign, bound in signs if bound is not None)
        return allowed(parts[0], f" {limits}" if limits else "")
    if kind is Literal:
        return [f'`"{choice}"`' if isinstance(choice, str) else f"`{choice}`" for choice in parts]
    if kind in (typing.Union, types.UnionType):
        return [choice for part in parts for choice in allowed(part)]
    if kind is Sequence and typing.get_origin(parts[0]) is Literal:
        return [f"a list of {', '.join(allowed(parts[0]))}"]
    if kind is tuple:
        return ["a list of them" if parts[-1] is Ellipsis else "a pair of them"]
    return [KINDS_OF_VALUES[kind or hint] + limits] if (kind or hint) in KINDS_OF_VALUES else []


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return what stands before the sections of a layer's docstring, and the text of each section by its title."""
    body: list[str] = []
    sections: dict[str, list[str]] = {}
    lines = body
    for line in text.splitlines():
        if title := SECTION.fullmatch(line):
            lines = sections.setdefault(title[1], [])
        else:
            lines.append(line)
    return "\n".join(body).strip(), {name: textwrap.dedent("\n".join(rows)) for name, rows in sections.items()}


def entries(text: str) -> list[tuple[str, str]]:
    """Return (names, meaning) of each entry of a section; lines that are indented further belong to the one above."""
    found = re.split(r"^(\w+(?:, \w+)*):", text, flags=re.MULTILINE)[1:]
    return [(name, one_line(meaning)) for name, meaning in zip(found[::2], found[1::2], strict=True)]


def cell(title: str, text: str) -> str:
    """Return a section as the content of a table cell: an example as code, an entry a line, else one line."""
    if title == "Example":
        return "<br>".join(f"`{line.removeprefix('>>> ')}`" for line in text.split("\n") if line)
    return "<br>".join(f"{name}: {meaning}" for name, meaning in entries(text)) or one_line(text)


def one_line(text: str) -> str:
    """Return text without line breaks, and with | as a table takes it."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: str, rows: list[str]) -> str:
    """Return a table."""
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])


def decisions_page() -> str:
    """Return the titles of the decisions by group; a title is a sentence that says what was decided."""
    text, last = DECISIONS, ""
    for path in sorted((DOCS / "decisions").glob("*-*.md")):
        group = path.stem.partition("-")[0].capitalize()
        text += "" if group == last else f"\n## {group}\n\n"
        last, title = group, path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        text += f"- [{title}]({path.name})\n"
    return text


def commands_section() -> str:
    """Return a table of the commands, and a section for each."""
    commands = dict(all_commands(app, "seq2onnx"))
    rows = [f"| [{name}](#{name.replace(' ', '-')}) | {summary(command)} |" for name, command in commands.items()]
    sections = "".join(command_section(name, command) for name, command in commands.items())
    return f"{COMMANDS}\n{table('| command | summary |', rows)}\n{sections}"


def all_commands(of: typer.Typer, name: str) -> Iterator[tuple[str, Command]]:
    """Yield the full name and the function of each command."""
    for info in of.registered_commands:
        assert info.callback is not None
        yield f"{name} {info.name or info.callback.__name__}", info.callback
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from all_commands(group.typer_instance, f"{name} {group.name}")


def command_section(name: str, command: Command) -> str:
    """Return the heading, usage, help, arguments and options of a command."""
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
    options = table("| argument or option | meaning | default |", rows)
    text = inspect.cleandoc(command.__doc__ or "")
    return f"\n## {name}\n\n`{' '.join(usage)} [OPTIONS]`\n\n{text}\n\n{options}\n"


def value(kind: Any, metavar: str | None) -> list[str]:
    """Return what follows the name of an option. Nothing follows a flag."""
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
