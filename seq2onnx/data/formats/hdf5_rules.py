"""The allowed content of an HDF5 file: arrays stored in the file itself, with filters that are part of HDF5."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from seq2onnx.errors import DataError
from seq2onnx.limits import check_unpacked

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""The filters by their number. Others are loaded from elsewhere, or may need much memory."""


def find(group: Any, name: str, path: str | Path) -> Any:
    """Return the entry of a group by name, or None; raise DataError for a link to more than the root of this file."""
    import h5py

    link = group.get(name, getlink=True)
    if isinstance(link, h5py.SoftLink):
        target = link.path.removeprefix("/")
        if "/" in target or not isinstance(group.get(target, getlink=True), h5py.HardLink):
            raise DataError(f"{path}: {name!r:.40} is a link to {link.path!r:.200}; copy the data to its place")
    elif link is not None and not isinstance(link, h5py.HardLink):
        other = getattr(link, "filename", "elsewhere")
        raise DataError(f"{path}: {name!r:.40} is a link to another file, {other!r:.200}; copy the data into this file")
    return group.get(name)


def check_is_inside(dataset: Any, path: str | Path) -> None:
    """Raise DataError if an array is stored in another file. HDF5 opens that file where it is asked for the shape."""
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{path}: {dataset.name} is stored in other files; copy the data into this file")


def check_dataset(dataset: Any, path: str | Path, trusted: bool, kinds: str = "fiubSU") -> None:
    """Raise DataError if an array is stored in another file, or in a way that is not read; it is not read here.

    `kinds` has the kinds of dtypes that it may have; "O" are texts of different lengths, or references.
    """
    import h5py

    name = dataset.name
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: {name} is no array")
    check_is_inside(dataset, path)
    if dataset.shape is None:
        raise DataError(f"{path}: {name} is no array")
    stored = dataset.id.get_create_plist()
    filters = [stored.get_filter(number)[0] for number in range(stored.get_nfilters())]
    if odd := [number for number in filters if number not in FILTERS]:
        raise DataError(
            f"{path}: {name} has the filter {odd[0]}; expected {', '.join(FILTERS.values())}. Write it with one of them"
        )
    dtype = dataset.dtype
    is_known = h5py.check_string_dtype(dtype) is not None or h5py.check_ref_dtype(dtype) is h5py.Reference
    if dtype.kind not in kinds or (dtype.kind == "O" and not is_known):
        raise DataError(f"{path}: {name}: expected numbers or texts, got the type {dtype!s:.100}")
    size = Path(path).stat().st_size
    check_unpacked(path, dataset.size * dataset.dtype.itemsize, size, trusted)
    check_unpacked(path, math.prod(dataset.chunks or ()) * dataset.dtype.itemsize, size, trusted)
