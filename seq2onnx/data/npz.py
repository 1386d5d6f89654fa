"""Data sets as .npz files: plain arrays, no pickles."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2onnx.errors import DataError
from seq2onnx.files import write_atomically
from seq2onnx.sequences import Array

if TYPE_CHECKING:
    from seq2onnx.data.dataset import SequenceDataset


def save_npz(data: SequenceDataset, path: str | Path) -> None:
    """Write what `SequenceDataset.save` describes."""
    if list(data.parts) != [""]:
        raise DataError(f"{path}: an .npz holds one input, this data set has {', '.join(data.parts)}")
    values = np.concatenate(list(data.parts[""]))
    arrays: dict[str, Array] = {"values": values.astype(np.str_) if values.dtype == object else values}
    arrays["lengths"] = data.lengths
    if data.targets is not None:
        targets: Any = list(data.targets) if data.classes is None else data.labels
        arrays["targets"] = np.concatenate(list(targets)) if data.per_step else np.asarray(targets)
        if data.ignore is not None:
            arrays["ignore"] = np.array(data.ignore)
        if data.per_step:
            arrays["target_lengths"] = np.array([len(row) for row in data.targets], np.int32)
        if data.classes is not None:
            arrays["classes"] = np.array(data.classes)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def load_npz(path: str | Path) -> SequenceDataset:
    """Read what `save_npz` writes. Without target_lengths there is a target for each step, or sequence."""
    from seq2onnx.data.dataset import SequenceDataset

    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: is not an .npz of plain arrays, or not all of one: {error}") from None
    for name in ("values", "lengths"):
        if name not in arrays:
            raise DataError(f"{path}: has no array {name!r}, only {sorted(arrays)}; see SequenceDataset.save")
    values = arrays["values"]
    if not values.ndim:
        raise DataError(f"{path}: expected values [all steps, features], got one number")
    cuts = _cuts(path, arrays, "lengths", len(values))
    targets: Any = arrays.get("targets")
    if targets is not None:
        count, rows = len(cuts) + 1, len(targets) if targets.ndim else 0
        if "target_lengths" in arrays:
            targets = np.split(targets, _cuts(path, arrays, "target_lengths", rows))
        elif rows == len(values) and count != rows:
            targets = np.split(targets, cuts)
        elif rows != count:
            raise DataError(
                f"{path}: expected targets with a row for each of the {count} sequences or each of the "
                f"{len(values)} steps, got {rows}"
            )
    per_step = None if targets is None else isinstance(targets, list)
    ignore = arrays["ignore"].item() if "ignore" in arrays else None
    return SequenceDataset(np.split(values, cuts), targets, arrays.get("classes"), ignore=ignore, per_step=per_step)


def _cuts(path: str | Path, arrays: dict[str, Array], name: str, rows: int) -> Array:
    """Where one sequence ends and the next begins."""
    lengths = arrays[name]
    good = lengths.ndim == 1 and len(lengths) and lengths.dtype.kind in "iu" and lengths.min() >= 0
    if not good or lengths.sum() != rows:
        raise DataError(
            f"{path}: expected {name} [sequences], one at least, integers that are not negative and add up to {rows}, "
            f"got {lengths.dtype} {list(lengths.shape)}{f' that add up to {lengths.sum()}' if good else ''}"
        )
    return np.cumsum(lengths)[:-1]
