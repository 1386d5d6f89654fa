"""CSV files of labels: a line for each sequence, with its name and its targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seq2onnx.data.formats.csv_text import as_names, read_table, target_rows
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, positions
from seq2onnx.sequences.channels import listed


def find_labels(labels: str | Path, data: Path) -> Path:
    """Return the path of a file of labels, which is in the folder of the data, beside the data, or elsewhere."""
    places = [data / labels, data.parent / labels, Path(labels)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(f"{labels}: there is no such file in {data} or beside it")
    return found


def read_labels(path: Path, key: str, columns: str | Sequence[str] | None, ids: Sequence[str]) -> Array:
    """Read the target of each sequence from a file with a header and a line for each.

    Args:
        path: the file.
        key: the column with the names of the sequences.
        columns: the columns with the targets. None: the other column, if there are two.
        ids: the name of each sequence. For file names, the ending .csv or .wav may be missing on either side.
    """
    table = read_table(path, [key])
    keys = [_stem(cell) for cell in table.text(key)]
    names = as_names(columns)
    if not names:
        names = [name for name in table.names or [] if name != key]
        if len(names) != 1:
            raise DataError(f"{path}: name the columns of the targets with targets=; it has {listed(names)}")
    positions(table.names or [], names, str(path))
    if repeated := [cell for cell, count in Counter(keys).items() if count > 1]:
        raise DataError(f"{path}: has several lines for {repeated[0]}; keep one")
    rows = {cell: row for row, cell in enumerate(keys)}
    wanted = {_stem(name): name for name in ids}
    if missing := [name for stem, name in wanted.items() if stem not in rows]:
        raise DataError(f"{path}: has no line for {listed(missing)}")
    if surplus := [cell for cell in keys if cell not in wanted]:
        raise DataError(f"{path}: has lines for {listed(surplus)}, but there are no such sequences")
    order = [rows[stem] for stem in wanted]
    return target_rows([table.text(name) for name in names], names)[order]


def _stem(name: str) -> str:
    """Return the name of a file without .csv or .wav."""
    name = name.replace("\\", "/").removeprefix("./")
    return name[:-4] if name.lower().endswith((".csv", ".wav")) else name
