"""seq2onnx verify: the parity table of an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.cli.options import AllowChanged, DataOptions, ModelFile, Quiet, say, with_data_options


@with_data_options
def verify(
    file: ModelFile,
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="The run folder that the file was exported from.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Also check these sequences. Formats: see `seq2onnx data inspect`."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the random sequences.")] = 0,
    allow_changed: AllowChanged = False,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Check that torch and onnxruntime agree, for whole sequences, batches and single steps.

    The exit code is 1 if they do not.
    """
    from seq2onnx import load, verify as check

    module = None
    if run is not None:
        from seq2onnx.training import load_run

        module = load_run(run)
    sequences = None if data is None else options.read(data, load(file, allow_changed=allow_changed).channels)
    report = check(file, module, sequences, seed=seed, allow_changed=allow_changed)
    say(report, quiet)
    if not report.ok:
        raise typer.Exit(1)
