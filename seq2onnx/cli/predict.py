"""seq2onnx predict: scores and labels for a data file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seq2onnx.cli.options import AllowChanged, DataOptions, ModelFile, Quiet, say, with_data_options, write_data
from seq2onnx.errors import SpecError
from seq2onnx.files import write_atomically


@with_data_options
def predict(
    file: ModelFile,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Sequences. Formats: see `seq2onnx data inspect`.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .csv, .npz or .parquet file to write. Default: CSV on standard output."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences per batch.")] = None,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Run on the Ray cluster at RAY_ADDRESS, or on this machine. DATA is a .parquet file or a folder of "
            "them; --out is a new folder NAME.parquet for the results.",
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on the cluster, with one CPU each. Default: one for each CPU.")
    ] = None,
    allow_changed: AllowChanged = False,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Compute scores and labels for each sequence of a data file.

    The table has one row per sequence: its index, its id if the data has names such as files, its label, and one score
    for each class. If the network gives a
    result for each step, or forecasts in a closed loop, it has one row per step, with the column step before the
    label. If the file has no classes, there is no label column. Quantiles have the columns q0.05, q0.5 and so on.

    If the network ends with an Alarm, the table has one row for each alarm that begins: its step, its seconds if the
    file has a sample rate, its label, and its score if the file also outputs the scores (activations).
    """
    from seq2onnx.runtime import load

    if workers is not None and not ray:
        raise SpecError("--workers: sets the processes of a Ray cluster; use it with --ray")
    if ray and options != DataOptions():
        raise SpecError("--ray: reads the columns that .parquet files name; leave the options of DATA out")
    if out is not None and out.suffix not in (".csv", ".npz", ".parquet"):
        raise SpecError(f"{out}: results are written as .csv, .npz or .parquet, got {out.suffix!r}")
    model = load(file, allow_changed=allow_changed)
    if len(model.outputs) > 1:
        raise SpecError(
            f"{file}: has several outputs ({', '.join(model.outputs)}), the command takes files with one. In Python, "
            "use model.predict."
        )
    if ray:
        from seq2onnx.cluster.driver import predict_on_ray

        parts, count = predict_on_ray(model, data, out, batch_size, workers, progress=not quiet)
        say(f"{out}: {count:,} sequences in {parts:,} files", quiet)
        return
    from seq2onnx.evaluation.predictions import predict_table

    table = predict_table(model, options.read(data, model.channels), batch_size)
    if out is None:
        write_data(table.csv().decode(errors="surrogateescape"))
        return
    write_atomically(out, {".csv": table.csv, ".npz": table.npz, ".parquet": table.parquet}[out.suffix]())
    say(f"{out}: {table.sequences:,} sequences", quiet)
