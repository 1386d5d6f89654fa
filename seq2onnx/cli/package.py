"""seq2onnx package: a folder with a file and what runs it in another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seq2onnx.cli.options import ModelFile, Quiet, say
from seq2onnx.limits import STACK


def package(
    file: ModelFile,
    target: Annotated[Literal["c", "cpp", "triton", "web"], typer.Option("--for", help="What the package is for.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The new folder.")],
    runtime_folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For web: the folder with onnxruntime-web. Default: npm downloads it."),
    ] = None,
    weights: Annotated[
        Literal["float32", "int8"] | None,
        typer.Option(help="For c: how the code has the weights. Default: as the file stores them."),
    ] = None,
    stack: Annotated[int, typer.Option(metavar="BYTES", help="For c: how much stack a step may take.")] = STACK,
    quiet: Quiet = False,
) -> None:
    """Write a folder with the file and everything that runs it elsewhere.

    README.md in the folder begins with the command that builds and runs it. A sample with its expected result is there,
    too.
    """
    from seq2onnx import package as write

    write(file, target, out, runtime_folder=runtime_folder, weights=weights, stack=stack)
    say(f"{out}: for {target}; {out / 'README.md'} says how to run it", quiet)
