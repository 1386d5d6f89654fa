"""seq2onnx report: describe a model on one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.cli.options import AllowChanged, DataOptions, Quiet, say, with_data_options
from seq2onnx.errors import SpecError
from seq2onnx.files import atomic_file


@with_data_options
def report(
    model: Annotated[
        Path, typer.Argument(metavar="RUN or FILE", help="A folder that `seq2onnx train` wrote, or an ONNX file.")
    ],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Sequences and targets. Formats: see `seq2onnx data inspect`.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="The page to write. Default: RUN/report.html, or FILE.html."),
    ] = None,
    allow_changed: AllowChanged = False,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Describe a model on one HTML page.

    The page shows the network, the inputs and outputs of the file, the training, the results on DATA, the parity of
    torch and onnxruntime, and the latency on this machine. It needs no other file and no network connection.

    For a RUN, the command uses RUN/model.onnx. If that does not exist, it exports the network first, as
    `seq2onnx export` does. The exit code is 1 if parity fails, as in `seq2onnx verify`.
    """
    from seq2onnx.reporting.report import build_report

    out = out or (model / "report.html" if model.is_dir() else model.with_suffix(".html"))
    if out.suffix not in (".html", ".htm"):
        raise SpecError(f"{out}: a report is an .html file, got the suffix {out.suffix!r}")
    with atomic_file(out) as beside:
        content, ok = build_report(model, data, options.read, allow_changed)
        beside.write_bytes(content)
    say(f"{out}: {len(content):,} bytes", quiet)
    if not ok:
        raise typer.Exit(1)
