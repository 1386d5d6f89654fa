"""Parquet files: a row for each sequence, with its target."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.apart import read_apart
from seq2onnx.data.formats.parquet_column import KIND, ParquetColumn, kind_of, numbers, open_parquet
from seq2onnx.data.formats.parsing import check_readable, parsing
from seq2onnx.data.inputs import has_time
from seq2onnx.data.targets import Targets, take_rows
from seq2onnx.errors import DataError, require
from seq2onnx.files import atomic_file
from seq2onnx.limits import check_unpacked
from seq2onnx.sequences import Array, chunk

Names = str | Sequence[str]
RowGroup = tuple[dict[str, list[Array]], Any]
"""The sequences of each input, and their targets, labels or numbers, or None."""

KEY = b"seq2onnx"
TARGET_NAMES = ("target", "targets", "label", "labels")
ROW_GROUP_BYTES = 8 * 2**20


def read(
    path: str | Path,
    *,
    sequences: Names | Mapping[str, Names] | None = None,
    targets: str | None = None,
    trusted: bool = False,
) -> Contents:
    """Read a file that `write` wrote, or any parquet file with list columns. Sequences are read when they are needed.

    Args:
        path: the file.
        sequences: the column with the sequences, or a list with a column for each feature, in this order; for several
            inputs a dict of these by input layer. None: all list columns except the targets, or a column of texts
            called text.
        targets: the column with the targets, "" for none. None: target, targets, label or labels, if there is one.
        trusted: whether a row group may take any memory.

    Raises:
        DataError: the columns cannot be used. The message names the file, and the column, row group or row.
    """
    check_readable(path, "pyarrow")
    if not trusted:
        read_apart(f"{__name__}:probe", path, kind=KIND)
    with parsing(path, KIND):
        return _read(path, sequences, targets, trusted)


def probe(path: str) -> None:
    """Look at every part of the metadata: pyarrow ends the process where the one of a column is damaged."""
    with open_parquet(path) as file:
        for group in range(file.metadata.num_row_groups):
            for column in range(file.metadata.num_columns):
                file.metadata.row_group(group).column(column)


def _read(
    path: str | Path, sequences: Names | Mapping[str, Names] | None, targets: str | None, trusted: bool
) -> Contents:
    schema, rows = read_schema(path)
    check_unpacked(path, 8 * sum(rows), Path(path).stat().st_size, trusted)  # of whole columns, such as the lengths
    about = _saved_description(schema)
    chosen = about.get("targets") if targets is None else targets
    if chosen not in schema.names and targets is None:
        chosen = next((name for name in TARGET_NAMES if name in schema.names), None)
    if about and sequences is None:
        found: Any = {layer: part["column"] for layer, part in about["parts"].items()}
    else:
        found = sequences or _sequence_columns(path, schema, chosen)
    by_layer = found if isinstance(found, Mapping) else {"": found}
    columns = {layer: [names] if isinstance(names, str) else list(names) for layer, names in by_layer.items()}
    _check_columns(path, schema, [*itertools.chain(*columns.values())], chosen)
    lengths = _saved_lengths(path, about["lengths"]) if about else None
    saved = about.get("parts", {}).values()
    steps = {part["column"]: part["step"] for part in saved}
    saved_channels = {part["column"]: part.get("channels") for part in saved}
    parts = {
        layer: ParquetColumn(path, names, lengths, steps.get(names[0]), trusted) for layer, names in columns.items()
    }
    # With a column for each feature, the columns have the names of the features.
    channels = {layer: names if len(names) > 1 else saved_channels.get(names[0]) for layer, names in columns.items()}
    ids = _whole_column(path, about["ids"]).to_pylist() if about.get("ids") in schema.names else None
    rate = about.get("sample_rate")
    if not chosen:
        return Contents(parts, channels=channels, ids=ids, sample_rate=rate)
    known = about if about.get("targets") == chosen else {}
    options = {name: known.get(name) for name in ("classes", "ignore", "per_step")}
    found_targets = _read_targets(path, chosen, schema.field(chosen).type, trusted)
    return Contents(parts, found_targets, **options, channels=channels, ids=ids, sample_rate=rate)


def read_schema(path: str | Path) -> tuple[Any, list[int]]:
    """Return the schema of a file, and the number of rows in each row group."""
    with open_parquet(path) as file:
        about = file.metadata
        return file.schema_arrow, [about.row_group(group).num_rows for group in range(about.num_row_groups)]


def _saved_description(schema: Any) -> dict[str, Any]:
    """Return the description that `write` saved; empty if one of its columns has been removed since."""
    about: dict[str, Any] = json.loads((schema.metadata or {}).get(KEY, b"{}"))
    needed = {part["column"] for part in about.get("parts", {}).values()} | {about.get("lengths", "")}
    return about if needed <= set(schema.names) else {}


def _check_columns(path: str | Path, schema: Any, sequences: list[str], targets: str | None) -> None:
    for name in [*sequences, *([targets] if targets else [])]:
        if name not in schema.names:
            raise DataError(f"{path}: has no column {name!r}; its columns are {', '.join(schema.names)}")
    for name in sequences:
        kind = schema.field(name).type
        if kind_of(kind) not in ("list", "vector", "text"):
            raise DataError(f"{path}: column {name}: expected a list or a text in each row, got {kind}")


def _sequence_columns(path: str | Path, schema: Any, targets: str | None) -> list[str]:
    """Return the columns that hold the sequences, if no argument names them."""
    kinds = {field.name: kind_of(field.type) for field in schema if field.name != targets}
    found = [name for name, kind in kinds.items() if kind in ("list", "vector")]
    if not found and kinds.get("text") == "text":
        return ["text"]
    flat = all(kinds[n] == "list" and kind_of(schema.field(n).type.value_type) != "list" for n in found)
    if not found or (len(found) > 1 and not flat):
        raise DataError(
            f"{path}: expected one column of sequences, or one column of number lists for each feature, got "
            f"{', '.join(f'{f.name} ({f.type})' for f in schema)}; name it with sequences="
        )
    return found


def _saved_lengths(path: str | Path, name: str) -> Array:
    """Return the column of lengths that `write` saved."""
    column = _whole_column(path, name)
    lengths: Array = column.to_numpy(zero_copy_only=False)
    if lengths.dtype.kind not in "iu" or (lengths.size and not 0 <= lengths.min() <= lengths.max() < 2**31):
        raise DataError(
            f"{path}: column {name}: expected the steps of each sequence, got {column.type}; write it again"
        )
    return lengths.astype(np.int32)


def _read_targets(path: str | Path, name: str, arrow_type: Any, trusted: bool) -> Targets:
    """Return targets of steps as a column, and those of sequences as an array."""
    kind = kind_of(arrow_type)
    if kind == "list":
        # One number a step is [time], as in memory, and not [time, 1].
        nested = kind_of(arrow_type.value_type) in ("list", "vector")
        return ParquetColumn(path, [name], None, None if nested else (), trusted)
    column = _whole_column(path, name)
    if column.null_count:
        row = next(i for i, value in enumerate(column) if not value.is_valid)
        raise DataError(
            f"{path}: row {row}: {name} is null; leave the row out, or replace null by a value that means no target"
        )
    if kind == "vector":
        return numbers(column.flatten(), Path(path), name).reshape(len(column), -1)
    import pyarrow as pa

    values: Array = column.to_numpy() if pa.types.is_floating(arrow_type) else np.array(column.to_pylist())
    return values


def _whole_column(path: str | Path, name: str) -> Any:
    import pyarrow.parquet as pq

    found = pq.read_table(path, columns=[name], memory_map=True, pre_buffer=False).column(name)
    found.validate(full=True)
    return found.combine_chunks()


def write(contents: Contents, path: str | Path) -> None:
    """Write a data set, with no more of it in memory than a row group."""
    columns, targets = contents.sequences, contents.targets
    count = len(next(iter(columns.values())))
    steps = max(1, *(int(column.lengths.sum()) for column in columns.values()))
    row_bytes = sum(math.prod(column.shape) * column.dtype.itemsize for column in columns.values()) * steps / count
    rows = min(max(int(ROW_GROUP_BYTES / row_bytes), 1), 2**20)
    row_groups = (
        ({name: column.take(indices) for name, column in columns.items()}, take_rows(targets, indices))
        for indices in chunk(np.arange(count), rows)
    )
    write_row_groups(path, row_groups, contents)


def write_row_groups(path: str | Path, row_groups: Iterable[RowGroup], contents: Contents) -> None:
    """Write a file with the given row groups, of which there is at least one; `contents` has what is not in them."""
    require("pyarrow", extra="data")
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = contents.channels if isinstance(contents.channels, Mapping) else {"": contents.channels}
    with atomic_file(path) as beside:
        writer, written = None, 0
        for parts, targets in row_groups:
            arrays = {_column_name(name): _as_arrow(part, has_time(part[0])) for name, part in parts.items()}
            timed = next(part for part in parts.values() if has_time(part[0]))
            arrays["length"] = pa.array([len(x) for x in timed], pa.int32())
            if targets is not None:
                arrays["target"] = _as_arrow([np.asarray(t) for t in targets], bool(contents.per_step))
            if contents.ids is not None:
                arrays["id"] = pa.array(contents.ids[written : written + len(timed)], pa.string())
                written += len(timed)
            if writer is None:
                steps = {name: list(part[0].shape[1:]) if part[0].ndim > 2 else None for name, part in parts.items()}
                about = {
                    "parts": {
                        name: {"column": _column_name(name), "step": step, "channels": names.get(name)}
                        for name, step in steps.items()
                    },
                    "ids": None if contents.ids is None else "id",
                    "lengths": "length",
                    "targets": None if targets is None else "target",
                    "per_step": bool(contents.per_step),
                    "classes": None if contents.classes is None else list(contents.classes),
                    "ignore": contents.ignore,
                } | ({} if contents.sample_rate is None else {"sample_rate": contents.sample_rate})
                schema = pa.schema({name: a.type for name, a in arrays.items()}, {KEY: json.dumps(about).encode()})
                writer = pq.ParquetWriter(beside, schema, use_dictionary=["target"], write_page_checksum=True)
            writer.write_table(pa.table(arrays, schema=writer.schema))
        if writer is None:
            raise DataError(f"{path}: there are no sequences to write")
        writer.close()


def _column_name(layer: str) -> str:
    """Return the name of the column of an input, which is not that of the lengths, targets or ids."""
    return f"{layer}_" if layer in ("length", "target", "id") else layer or "values"


def _as_arrow(rows: list[Array], is_list: bool) -> Any:
    """Return arrays [time, …] as lists; or where not `is_list` numbers, labels or vectors as they are."""
    import pyarrow as pa

    flat = np.concatenate(rows) if is_list else np.stack(rows)
    values = pa.array(flat.ravel().tolist() if flat.dtype.kind in "UO" else flat.ravel())
    if flat.ndim > 1:
        values = pa.FixedSizeListArray.from_arrays(values, math.prod(flat.shape[1:]))
    if not is_list:
        return values
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, rows)]), pa.int32()), values)
