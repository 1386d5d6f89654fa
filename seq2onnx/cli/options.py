"""Arguments that several subcommands take, and how they read data and speak."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.data import SequenceDataset
from seq2onnx.errors import DataError

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages: results and errors alone.")]
ModelFile = Annotated[Path, typer.Argument(metavar="FILE", help="An exported ONNX file.")]


def read_data(path: Path) -> SequenceDataset:
    """The data set in a file, by its suffix."""
    if path.suffix != ".npz":
        raise DataError(f"{path}: data is read from .npz files (values, lengths, targets), got {path.suffix!r}")
    return SequenceDataset.load(path)


def say(text: object, quiet: bool) -> None:
    """Print unless told to be quiet."""
    if not quiet:
        typer.echo(text)
