"""seq2onnx export: a run folder becomes an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seq2onnx.cli.options import Quiet, say


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `seq2onnx train` wrote.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The ONNX file; RUN/model.onnx.")] = None,
    signature: Annotated[
        Literal["full", "sequence", "stream"] | None,
        typer.Option(help="Inputs and outputs; by default full if the network can stream, else sequence."),
    ] = None,
    opset: Annotated[int, typer.Option(help="Version of the ONNX operators.")] = 17,
    lookahead: Annotated[
        bool, typer.Option("--lookahead", help="Stream with a delay where windows read ahead.")
    ] = False,
    activations: Annotated[bool, typer.Option("--activations", help="Make every layer's result an output.")] = False,
    closed_loop: Annotated[
        int | None,
        typer.Option(metavar="K", help="Answer with the K steps that follow, each made from the one before."),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Take words as strings, looked up in the file itself.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write the network of a run folder to one ONNX file."""
    from seq2onnx import export as write
    from seq2onnx.training import load_run

    path = out or run / "model.onnx"
    write(
        load_run(run),
        path,
        signature,
        opset=opset,
        lookahead=lookahead,
        activations=activations,
        closed_loop=closed_loop,
        words=words,
    )
    say(f"{path}: {path.stat().st_size:,} bytes", quiet)
