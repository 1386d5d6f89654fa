"""What all subcommands share: their common arguments and their messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")]
ModelFile = Annotated[Path, typer.Argument(metavar="FILE", help="An exported ONNX file.")]


def say(text: object, quiet: bool) -> None:
    """Print a message unless `quiet` is set."""
    if not quiet:
        typer.echo(text)
