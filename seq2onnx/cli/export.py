"""seq2onnx export: write an ONNX file from a run folder, or from another exported file."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from seq2onnx.cli.options import DataOptions, Quiet, say, show, with_data_options
from seq2onnx.contract import Form, Signature, Storage
from seq2onnx.errors import SpecError


@with_data_options
def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder that `seq2onnx train` wrote, or an exported file. Options that are not given are then those "
            "of the file.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The ONNX file. Default: model.onnx in the run folder.")
    ] = None,
    signature: Annotated[
        Signature | None,
        typer.Option(
            help="The inputs and outputs of the file. Default: full if the network can stream, else sequence."
        ),
    ] = None,
    opset: Annotated[int | None, typer.Option(help="The version of the ONNX operators. Default: 17.")] = None,
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
        Form | None,
        typer.Option(
            help="How the graph is written. dynamic: for onnxruntime. step: one step in each run, for any runtime and "
            "for C. portable: batches, for runtimes that ignore lengths."
        ),
    ] = None,
    weights: Annotated[
        Storage | None,
        typer.Option(help="How the weights are stored. float16: half of the size; int8: a third. Default: float32."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Show how scores and metrics change: from SOURCE if it is a file, else from float32 weights. The exit "
            "code is 1 if scores change by more than is promised. Formats: see `seq2onnx data inspect`.",
        ),
    ] = None,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Write a trained network to one ONNX file."""
    from seq2onnx import export as write, restore
    from seq2onnx.exporting.restorer import read_options
    from seq2onnx.training import load_run

    is_file = source.suffix == ".onnx"
    if is_file and (out is None or out.resolve() == source.resolve()):
        raise SpecError(f"--out: name another file than {source}, which stays as it is")
    module = restore(source) if is_file else load_run(source)
    given: dict[str, Any] = {
        "form": form,
        "signature": signature,
        "opset": opset,
        "closed_loop": closed_loop,
        "weights": weights,
    }
    given |= {"lookahead": lookahead or None, "activations": activations or None, "words": words or None}
    arguments = dataclasses.asdict(read_options(source)) if is_file else {}
    if is_file and form not in (None, arguments["form"]):  # another form may not be able to have the other options
        arguments = {"weights": arguments["weights"]}
    arguments |= {name: value for name, value in given.items() if value is not None}
    path = out or source / "model.onnx"
    write(module, path, **arguments)
    say(f"{path}: {path.stat().st_size:,} bytes", quiet)
    if data is not None:
        from seq2onnx import compare_files, load

        found = options.read(data, load(path).channels)
        with tempfile.TemporaryDirectory() as folder:
            before = source if is_file else Path(folder) / "float32.onnx"
            if not is_file:
                write(module, before, **arguments | {"weights": "float32"})
            report = compare_files(before, path, found)
        show(report)
        if not report.ok:
            raise typer.Exit(1)
