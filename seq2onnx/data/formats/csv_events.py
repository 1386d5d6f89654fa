"""CSV files of events: a line for each event, with the name of its sequence, its start and its end in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seq2onnx.data.formats.csv_text import read_table
from seq2onnx.errors import DataError
from seq2onnx.sequences.channels import listed

Seconds = tuple[float, float]


def read_event_file(path: Path, ids: Sequence[str], label: str | None = None) -> list[list[Seconds]]:
    """Read the events (start, end) of each sequence from a file with the columns file, start, end and perhaps label.

    A sequence without a line has no events. In the file, the ending of its name may be missing.

    Args:
        path: the file.
        ids: the name of each sequence.
        label: which events count, if there is a column label. None: all.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of events")
    table = read_table(path, ["file"])
    places = {name.rpartition(".")[0]: i for i, name in enumerate(ids)} | {name: i for i, name in enumerate(ids)}
    has_labels = label is not None and "label" in (table.names or ())
    names, labels = table.text("file"), table.text("label") if has_labels else None
    starts, ends = (table.numbers(table.place(name)).tolist() for name in ("start", "end"))
    if unknown := [name for name in names if name not in places]:
        raise DataError(f"{path}: has events of {listed(unknown)}, but there are no such sequences, only {listed(ids)}")
    if labels is not None and label not in labels:
        raise DataError(f"{path}: has no event with the label {label!r}")
    found: list[list[Seconds]] = [[] for _ in ids]
    for row, (name, start, end) in enumerate(zip(names, starts, ends, strict=True)):
        if not 0 <= start < end:
            raise DataError(
                f"{table.where(table.place('end'), row)}: an event must end after its start, which is not below 0; got "
                f"{start:g} to {end:g} s"
            )
        if labels is None or labels[row] == label:
            found[places[name]].append((start, end))
    return found
