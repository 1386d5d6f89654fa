"""seq2onnx verify: the parity table of an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.cli.options import ModelFile, Quiet, read_data, say


def verify(
    file: ModelFile,
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="The run folder that it came from.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Real sequences: what `data inspect` reads.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random sequences.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Check that torch, whole sequences, batches and steps give the same numbers.

    Exit code 1 where they do not.
    """
    from seq2onnx import verify as check

    module = None
    if run is not None:
        from seq2onnx.training import load_run

        module = load_run(run)
    report = check(file, module, None if data is None else read_data(data), seed=seed)
    say(report, quiet)
    if not report.ok:
        raise typer.Exit(1)
