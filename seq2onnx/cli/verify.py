"""seq2onnx verify: the parity table of an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seq2onnx.cli.options import AllowChanged, DataOptions, ModelFile, Quiet, say, with_data_options
from seq2onnx.errors import SpecError

if TYPE_CHECKING:
    from seq2onnx.parity import ParityReport


@with_data_options
def verify(
    file: ModelFile,
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="The run folder that the file was exported from.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DATA", help="Also check these sequences. Formats: see `seq2onnx data inspect`."
        ),
    ] = None,
    runtime: Annotated[
        Literal["openvino", "cpp", "node", "c"] | None,
        typer.Option(help="Run the file in another runtime instead, and compare it with onnxruntime here."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the random sequences.")] = 0,
    allow_changed: AllowChanged = False,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Check that torch and onnxruntime agree, for whole sequences, batches and single steps.

    The exit code is 1 if they do not. With --runtime, the same cases run in onnxruntime here and in another runtime:
    openvino, cpp (onnxruntime's C++ API), node (onnxruntime-node) or c (the package for C).
    """
    if runtime is not None:
        from seq2onnx.hosts import check_host

        if run is not None or data is not None:
            raise SpecError("--runtime: takes the file alone, without RUN and --data")
        _finish(check_host(file, runtime), quiet)
        return
    from seq2onnx import load, verify as check

    module = None
    if run is not None:
        from seq2onnx.training import load_run

        module = load_run(run)
    sequences = None if data is None else options.read(data, load(file, allow_changed=allow_changed).channels)
    _finish(check(file, module, sequences, seed=seed, allow_changed=allow_changed), quiet)


def _finish(report: ParityReport, quiet: bool) -> None:
    """Print the table; exit with 1 if a row failed."""
    say(report, quiet)
    if not report.ok:
        raise typer.Exit(1)
