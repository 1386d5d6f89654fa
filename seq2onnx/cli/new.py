"""seq2onnx new: write a network from a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.cli.options import Quiet, say, show
from seq2onnx.errors import SpecError
from seq2onnx.files import write_atomically
from seq2onnx.tables import text_table


def new(
    template: Annotated[
        str | None, typer.Argument(metavar="TEMPLATE", help="The name of a template; --list shows them.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")] = Path("network.yaml"),
    list_templates: Annotated[bool, typer.Option("--list", help="List the templates.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a network from a template: a YAML file with one layer per line."""
    from seq2onnx import Network, templates

    if list_templates:
        show(text_table(list(templates.descriptions().items())))
        return
    if template is None:
        raise SpecError("new: needs the name of a template; `seq2onnx new --list` shows them")
    content = templates.text(template)
    if out.exists():
        raise SpecError(f"{out}: already exists; choose another name with --out")
    write_atomically(out, content.encode())
    say(f"{out}\n\n{Network.load(out).summary()}", quiet)
