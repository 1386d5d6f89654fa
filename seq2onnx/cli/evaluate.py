"""seq2onnx evaluate: compare the predictions of a file with the targets of a data set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from seq2onnx.cli.options import (
    AllowChanged,
    DataOptions,
    DataWithTargets,
    ModelFile,
    Quiet,
    show,
    with_data_options,
    write_json,
)
from seq2onnx.data import SequenceDataset
from seq2onnx.data.formats.csv_labels import find_labels, read_labels
from seq2onnx.errors import DataError, SpecError


@with_data_options
def evaluate(
    file: ModelFile,
    data: DataWithTargets,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP",
            help='Also show each group of sequences: "file", "folder", or a column of the file of --labels.',
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write all figures to a JSON file.")
    ] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="Also show how much worse each channel makes it that is replaced.")
    ] = False,
    allow_changed: AllowChanged = False,
    *,
    options: DataOptions,
    quiet: Quiet = False,
) -> None:
    """Compare the predictions of an exported file with the targets of a data set.

    For labels, the command shows the accuracy, the F1 of each class, their mean (macro F1), and the confusion matrix.
    For numbers, it shows the root mean square error (RMSE), the mean absolute error (MAE) and R². For quantiles, it
    shows how many targets lie below each quantile and in each band. Targets of steps are compared step by step. With a
    closed loop, the file forecasts the last steps of each sequence.

    With --importance, each channel is replaced by that of another sequence, drawn at random, five times. The table
    shows how much the accuracy or R² falls, or the pinball loss rises, with the interval in which this lies with 95 %.
    """
    from seq2onnx.evaluation.importance import importance as measure_importance
    from seq2onnx.evaluation.scores import NothingToCompare, evaluate as compare
    from seq2onnx.evaluation.tables import evaluation_data, evaluation_text
    from seq2onnx.runtime import load

    del quiet  # results are printed with --quiet too
    model = load(file, allow_changed=allow_changed)
    found = options.read(data, model.channels)
    groups = _groups(found, by, options, data)
    try:
        evaluation = compare(model, found)
    except NothingToCompare as error:
        raise DataError(f"{data}: {error}") from None
    parts = {name: evaluation.of(indices) for name, indices in groups.items()}
    needed = measure_importance(model, found) if importance else None
    if out is not None:
        about = {"model": str(file), "data": str(data), "sequences": len(found)}
        more = {} if needed is None else {"importance": [row._asdict() for row in needed.table]}
        write_json(out, about | evaluation_data(evaluation, parts, by) | more)
    show(evaluation_text(evaluation, parts, by))
    if needed is not None:
        show(f"\n{needed}")


def _groups(found: SequenceDataset, by: str | None, options: DataOptions, data: Path) -> dict[str, list[int]]:
    """The indices of the sequences of each group."""
    if by is None:
        return {}
    ids = found.ids or [str(index) for index in range(len(found))]
    if by == "file":
        names = ids
    elif by == "folder":
        names = [str(PurePosixPath(name).parent) for name in ids]
    elif options.labels is None:
        raise SpecError(f'--by: expected "file" or "folder", or a column of a file of --labels, got {by!r}')
    else:
        names = read_labels(find_labels(options.labels, data), options.id or "file", by, ids).astype(str).tolist()
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name, []).append(index)
    return groups
