"""seq2onnx predict: scores and labels for a data file."""

from __future__ import annotations

import csv
import io
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from seq2onnx.cli.options import ModelFile, Quiet, read_data, say
from seq2onnx.errors import SpecError, require
from seq2onnx.files import write_atomically


def predict(
    file: ModelFile,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Sequences: what `data inspect` reads.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help=".csv, .npz or .parquet; without it to standard output.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences in one run.")] = None,
    quiet: Quiet = False,
) -> None:
    """Answer every sequence of a data file.

    A row a sequence: index, label, a column of score for each class. A network that answers per step gets
    a row a step, with the step after the index, as does a closed loop; one without classes has no label.
    """
    from seq2onnx.runtime import load, scores_to_labels

    if out is not None and out.suffix not in (".csv", ".npz", ".parquet"):
        raise SpecError(f"{out}: results are written as .csv, .npz or .parquet, got {out.suffix!r}")
    model = load(file)
    if len(model.outputs) > 1:
        raise SpecError(
            f"{file}: answers with several outputs, {', '.join(model.outputs)}; use model.predict for those"
        )
    scores = model.predict(read_data(data), batch_size=batch_size)
    if model.closed_loop:  # [sequences, steps, …]
        scores = list(scores)
    labels = scores_to_labels(scores, model.classes) if model.classes else None
    names = model.classes or _columns(model.shapes["y"][1 + bool(model.closed_loop) :])
    if out is not None and out.suffix == ".npz":
        content = _npz(scores, labels)
    elif out is not None and out.suffix == ".parquet":
        content = _parquet(scores, labels, names)
    else:
        content = _csv(scores, labels, names)
    if out is None:
        sys.stdout.write(content.decode())
    else:
        write_atomically(out, content)
        say(f"{out}: {len(scores):,} sequences", quiet)


def _columns(shape: list[int | str]) -> list[str]:
    """Names for numbers that are no scores of classes."""
    return [f"y{k}" for k in range(math.prod(size for size in shape if isinstance(size, int)))]


def _csv(scores: Any, labels: Any, names: list[Any]) -> bytes:
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    per_step = isinstance(scores, list)
    writer.writerow(["index", *["step"] * per_step, *["label"] * (labels is not None), *names])
    for index, answer in enumerate(scores):
        for step, row in enumerate(answer.reshape(len(answer) if per_step else 1, -1)):
            label = [] if labels is None else [np.atleast_1d(labels[index])[step]]
            writer.writerow([index, *[step] * per_step, *label, *(f"{score:.7g}" for score in row)])
    return table.getvalue().encode()


def _parquet(scores: Any, labels: Any, names: list[Any]) -> bytes:
    """The columns of the CSV file; a label that is not known is null."""
    require("pyarrow", extra="data")
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {}
    if isinstance(scores, list):
        columns["index"] = np.repeat(np.arange(len(scores)), [len(rows) for rows in scores])
        columns["step"] = np.concatenate([np.arange(len(rows)) for rows in scores])
        scores = np.concatenate(scores)
        labels = None if labels is None else np.concatenate(labels)
    else:
        columns["index"] = np.arange(len(scores))
    if labels is not None:
        columns["label"] = labels.tolist()
    columns |= {str(name): column for name, column in zip(names, scores.reshape(len(scores), -1).T, strict=True)}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _npz(scores: Any, labels: Any) -> bytes:
    """scores (a row a sequence, or a step), labels ("" where there is none), and per step lengths."""
    arrays: dict[str, NDArray[Any]] = {}
    if isinstance(scores, list):
        arrays["lengths"] = np.array([len(rows) for rows in scores], np.int32)
        labels = None if labels is None else np.concatenate(labels)
    arrays["scores"] = np.concatenate(scores) if isinstance(scores, list) else scores
    if labels is not None:
        arrays["labels"] = np.array(["" if label is None else str(label) for label in labels])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
