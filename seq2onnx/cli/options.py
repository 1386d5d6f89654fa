"""Arguments that several subcommands take, and how they read data and speak."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.data import SequenceDataset, read

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages: results and errors alone.")]
ModelFile = Annotated[Path, typer.Argument(metavar="FILE", help="An exported ONNX file.")]


def read_data(path: Path) -> SequenceDataset:
    """The data set at a path."""
    return read(path)


def say(text: object, quiet: bool) -> None:
    """Print unless told to be quiet."""
    if not quiet:
        typer.echo(text)
