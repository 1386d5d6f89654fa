"""seq2onnx export: write an ONNX file from a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seq2onnx.cli.options import Quiet, say


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `seq2onnx train` wrote.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The ONNX file. Default: RUN/model.onnx.")] = None,
    signature: Annotated[
        Literal["full", "sequence", "stream"] | None,
        typer.Option(
            help="The inputs and outputs of the file. Default: full if the network can stream, else sequence."
        ),
    ] = None,
    opset: Annotated[int, typer.Option(help="The version of the ONNX operators.")] = 17,
    lookahead: Annotated[
        bool, typer.Option("--lookahead", help="Stream layers that read future steps; results come with a delay.")
    ] = False,
    activations: Annotated[bool, typer.Option("--activations", help="Add the output of every layer.")] = False,
    closed_loop: Annotated[
        int | None, typer.Option(metavar="K", help="Forecast K steps in one run: each output is the next input.")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Take words as strings; the file contains the vocabulary.")
    ] = False,
    form: Annotated[
        Literal["dynamic", "step", "portable"],
        typer.Option(
            help="How the graph is written. dynamic: for onnxruntime. step: one step in each run, for any runtime and "
            "for C. portable: batches, for runtimes that ignore lengths."
        ),
    ] = "dynamic",
    quiet: Quiet = False,
) -> None:
    """Write a trained network to one ONNX file."""
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
        form=form,
    )
    say(f"{path}: {path.stat().st_size:,} bytes", quiet)
