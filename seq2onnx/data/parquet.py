"""Parquet files of sequences: a row each, and their targets."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.data.parquet_column import ParquetColumn, is_list, is_text, numbers
from seq2onnx.errors import DataError, require
from seq2onnx.files import atomic_file
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.data.dataset import SequenceDataset

Names = str | Sequence[str]

KEY = b"seq2onnx"
ROW_GROUP_BYTES = 8 * 2**20


def read_parquet(
    path: str | Path, sequences: Names | Mapping[str, Names] | None = None, targets: str | None = None
) -> SequenceDataset:
    """A data set in a parquet file, a row a sequence, read as it is used.

    Args:
        path: what `SequenceDataset.save` wrote; or any parquet file with list columns
        sequences: the column with the sequences, or several with a list for each feature, in this order; for several
            inputs a dict of those by input layer; None: all list columns but the targets, or a column of texts called
            text
        targets: the column with the targets, "" for none; None: target, targets, label or labels, where there is one
    Raises: DataError naming the file, and the column, row group or row
    """
    require("pyarrow", extra="data")
    import pyarrow as pa

    from seq2onnx.data.dataset import SequenceDataset

    schema, groups = look(path)
    about = json.loads((schema.metadata or {}).get(KEY, b"{}"))
    saved = {part["column"]: part["step"] for part in about.get("parts", {}).values()}
    if not {*saved, about.get("lengths") or "length"} <= set(schema.names):
        about = {}  # somebody took columns out
    chosen = about.get("targets") if targets is None else targets
    if chosen not in schema.names and targets is None:
        chosen = next((name for name in ("target", "targets", "label", "labels") if name in schema.names), None)
    if about and sequences is None:
        found: Any = {layer: part["column"] for layer, part in about["parts"].items()}
    else:
        found = sequences or _list_columns(path, schema, chosen)
    by_layer = found if isinstance(found, Mapping) else {"": found}
    columns = {layer: [names] if isinstance(names, str) else list(names) for layer, names in by_layer.items()}
    for name in [*itertools.chain(*columns.values()), *([chosen] if chosen else [])]:
        if name not in schema.names:
            raise DataError(f"{path}: has no column {name!r}; they are {', '.join(schema.names)}")
    for name in itertools.chain(*columns.values()):
        if not _holds_sequences(schema.field(name).type):
            raise DataError(
                f"{path}: column {name}: expected a list or a text in each row, got {schema.field(name).type}"
            )
    lengths = _column(path, about["lengths"]).to_numpy() if about else None
    parts = {
        layer: ParquetColumn(path, names, lengths, saved.get(names[0]) if about else None)
        for layer, names in columns.items()
    }
    options = {}
    if about and chosen == about["targets"]:
        options = {"classes": about["classes"], "ignore": about["ignore"], "per_step": about["per_step"]}
    if not chosen:
        return SequenceDataset(parts)
    kind = schema.field(chosen).type
    if is_list(kind):
        # One number a step is [time], as in memory, and not [time, 1].
        nested = is_list(kind.value_type) or pa.types.is_fixed_size_list(kind.value_type)
        return SequenceDataset(parts, ParquetColumn(path, [chosen], None, None if nested else ()), **options)
    column = _column(path, chosen)
    if column.null_count:
        row = next(i for i, value in enumerate(column) if not value.is_valid)
        raise DataError(f"{path}: row {row}: {chosen} is null; leave the row out, or name what stands for no target")
    if pa.types.is_fixed_size_list(kind):
        return SequenceDataset(parts, numbers(column.flatten(), Path(path), chosen).reshape(sum(groups), -1), **options)
    single = column.to_numpy() if pa.types.is_floating(kind) else np.array(column.to_pylist())
    return SequenceDataset(parts, single, **options)


def look(path: str | Path) -> tuple[Any, list[int]]:
    """(schema, rows of each row group) of a file.

    Raises: DataError
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            about = file.metadata
            return file.schema_arrow, [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: is not a parquet file, or not all of one: {error}") from None


def _column(path: str | Path, name: str) -> Any:
    """A whole column of single values."""
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=[name], memory_map=True, pre_buffer=False).column(name).combine_chunks()


def _holds_sequences(kind: Any) -> bool:
    import pyarrow as pa

    return is_list(kind) or is_text(kind) or bool(pa.types.is_fixed_size_list(kind))


def _list_columns(path: str | Path, schema: Any, targets: str | None) -> list[str]:
    import pyarrow as pa

    found = [
        field.name
        for field in schema
        if field.name != targets and (is_list(field.type) or pa.types.is_fixed_size_list(field.type))
    ]
    if not found and "text" in schema.names and targets != "text" and is_text(schema.field("text").type):
        return ["text"]
    plain = all(is_list(schema.field(n).type) and not is_list(schema.field(n).type.value_type) for n in found)
    if not found or (len(found) > 1 and not plain):
        raise DataError(
            f"{path}: expected one column of sequences, or a list of numbers for each feature, got "
            f"{', '.join(f'{f.name} ({f.type})' for f in schema)}; name it with sequences="
        )
    return found


def save_parquet(data: SequenceDataset, path: str | Path) -> None:
    """Write a data set, a row a sequence, without holding more of it than a row group."""

    def pieces() -> Iterator[tuple[dict[str, list[Array]], Any]]:
        steps = max(int(data.lengths.sum()), 1)
        row_bytes = sum(math.prod(p.shape) * p.dtype.itemsize for p in data.parts.values()) * steps / len(data)
        rows = min(max(int(ROW_GROUP_BYTES / row_bytes), 1), 2**20)
        for start in range(0, len(data), rows):
            indices = np.arange(start, min(start + rows, len(data)))
            parts, targets = data.take(indices)
            if targets is not None and data.classes is not None:
                names: Any = np.array([*data.classes, *([] if data.ignore is None else [data.ignore])])
                targets = [names[row] for row in targets] if data.per_step else names[targets]
            yield parts, targets

    write_parquet(path, pieces(), data.classes, data.ignore, data.per_step)


def write_parquet(
    path: str | Path,
    pieces: Iterable[tuple[dict[str, list[Array]], Any]],
    classes: Sequence[str | int] | None,
    ignore: str | float | None,
    per_step: bool,
) -> None:
    """Write pieces of (sequences of each part, targets or None), each of them as a row group."""
    require("pyarrow", extra="data")
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_file(path) as beside:
        writer = None
        for parts, targets in pieces:
            arrays = {_column_of(name): _as_arrow(part) for name, part in parts.items()}
            timed = next(part for part in parts.values() if part[0].ndim > 1 or part[0].dtype.kind in "iO")
            arrays["length"] = pa.array([len(x) for x in timed], pa.int32())
            if targets is not None:
                arrays["target"] = _as_arrow([np.asarray(t) for t in targets], per_step)
            if writer is None:
                steps = {name: list(part[0].shape[1:]) if part[0].ndim > 2 else None for name, part in parts.items()}
                about = {
                    "parts": {name: {"column": _column_of(name), "step": step} for name, step in steps.items()},
                    "lengths": "length",
                    "targets": None if targets is None else "target",
                    "per_step": per_step,
                    "classes": classes,
                    "ignore": ignore,
                }
                schema = pa.schema({name: a.type for name, a in arrays.items()}, {KEY: json.dumps(about).encode()})
                writer = pq.ParquetWriter(beside, schema, use_dictionary=["target"], write_page_checksum=True)
            writer.write_table(pa.table(arrays, schema=writer.schema))
        if writer is None:
            raise DataError(f"{path}: there are no sequences to write")
        writer.close()


def _column_of(name: str) -> str:
    """The column of an input; not one of those that lengths and targets are in."""
    return f"{name}_" if name in ("length", "target") else name or "values"


def _as_arrow(rows: list[Array], is_list: bool | None = None) -> Any:
    """Arrays [time, …] as lists, integers and vectors of a whole sequence as they are; is_list: of targets."""
    import pyarrow as pa

    first = rows[0]
    if is_list is False or (is_list is None and first.ndim == 1 and first.dtype.kind == "f"):
        values = np.stack(rows)
        if values.ndim == 1:
            return pa.array(values.tolist() if values.dtype.kind == "U" else values)
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    flat = np.concatenate(rows)
    values = pa.array(flat.ravel().tolist() if flat.dtype.kind in "UO" else flat.ravel())
    if flat.ndim > 1:
        values = pa.FixedSizeListArray.from_arrays(values, int(np.prod(flat.shape[1:])))
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, rows)]), pa.int32()), values)
