"""seq2onnx predict: scores and labels for a data file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.cli.answers import answer
from seq2onnx.cli.options import ModelFile, Quiet, read_data, say
from seq2onnx.errors import SpecError
from seq2onnx.files import write_atomically


def predict(
    file: ModelFile,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Sequences: what `data inspect` reads.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help=".csv, .npz or .parquet; without it to standard output.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences in one run.")] = None,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="On a Ray cluster (RAY_ADDRESS, else this machine): DATA is a .parquet file or a folder of them, "
            "--out a new folder, named .parquet, of part files.",
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on the cluster, one CPU each; unless told as many as it has.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Answer every sequence of a data file.

    A row a sequence: index, label, a column of score for each class. A network that answers per step gets
    a row a step, with the step after the index, as does a closed loop; one without classes has no label.
    """
    from seq2onnx.runtime import load

    if workers is not None and not ray:
        raise SpecError("--workers: are processes of a Ray cluster; give --ray too")
    if out is not None and out.suffix not in (".csv", ".npz", ".parquet"):
        raise SpecError(f"{out}: results are written as .csv, .npz or .parquet, got {out.suffix!r}")
    model = load(file)
    if len(model.outputs) > 1:
        raise SpecError(
            f"{file}: answers with several outputs, {', '.join(model.outputs)}; use model.predict for those"
        )
    if ray:
        from seq2onnx.cli.on_ray import predict_on_ray

        parts, count = predict_on_ray(model, data, out, batch_size, workers, progress=not quiet)
        say(f"{out}: {count:,} sequences in {parts:,} files", quiet)
        return
    answers = answer(model, read_data(data), batch_size)
    if out is None:
        sys.stdout.write(answers.csv().decode())
        return
    write_atomically(out, {".csv": answers.csv, ".npz": answers.npz, ".parquet": answers.parquet}[out.suffix]())
    say(f"{out}: {len(answers.scores):,} sequences", quiet)
