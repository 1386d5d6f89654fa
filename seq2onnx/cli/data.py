"""seq2onnx data: describe and convert data files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.cli.help import Command, Group
from seq2onnx.cli.options import DataOptions, Quiet, say, show, with_data_options
from seq2onnx.data.description import describe
from seq2onnx.data.formats import readable, writable

data = typer.Typer(cls=Group, no_args_is_help=True, help="Describe and convert data files.")

Source = Annotated[Path, typer.Argument(metavar="DATA", help=f"What to read: {readable()}.")]


@data.command(cls=Command)
@with_data_options
def inspect(source: Source, *, options: DataOptions, quiet: Quiet = False) -> None:
    """Show the number and lengths of the sequences, their time stamps, channels, labels and gaps.

    Below, the command warns of data from which a network learns nothing, or the wrong thing.
    """
    del quiet  # results are printed with --quiet too
    show(describe(*options.read_timed(source)))


@data.command(cls=Command)
@with_data_options
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help=f"The file to write: {writable()}.")],
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Write a data set as .parquet, .h5 or .npz.

    .parquet and .h5 files are read in parts, so they may be larger than memory.
    """
    found = options.read(source)
    found.save(out)
    say(f"{out}: {found}", quiet)
