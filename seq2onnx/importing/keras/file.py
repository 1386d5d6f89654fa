"""Keras files, read without Keras: the configuration of a model, and its weights by where they are stored.

Nothing in a file is run. A process of its own reads it, since a damaged HDF5 file can crash the library or fill memory.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.formats.apart import read_apart
from seq2onnx.data.formats.hdf5_rules import check_dataset, check_is_inside
from seq2onnx.data.formats.parsing import parsing
from seq2onnx.errors import DataError, ModelFileError, SpecError, require
from seq2onnx.files import check_regular_file
from seq2onnx.limits import LAYERS, SPEC_BYTES, TRUST, UNPACKED_BYTES, UNPACKED_PER_BYTE

Array = NDArray[Any]

KIND = "a model saved by Keras as .keras or .h5"
SAVE = 'save the whole model with model.save("model.keras")'
MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
MOST_GROUPS = 20 * LAYERS
"""A file may have so many groups and arrays. A group that contains itself has endlessly many."""


@dataclasses.dataclass(frozen=True)
class KerasFile:
    """Contents of a file.

    Attributes:
        config: the configuration of the model.
        version: the version of Keras that wrote it.
        arrays: the floating-point arrays. Of a .keras file by their path; of an .h5 file by layer and the name of the
            weight, "lstm/lstm/lstm_cell/kernel:0", in the order of Keras.
        is_legacy: whether it is an .h5 file.
    """

    config: Any
    version: str
    arrays: Mapping[str, Array]
    is_legacy: bool


def read_file(path: str | Path) -> KerasFile:
    """Read a .keras or .h5 file.

    Raises:
        ModelFileError: it is no such file, or is damaged.
        OSError: it cannot be read.
    """
    from seq2onnx.specs import parse_spec  # not in the process that reads, where its imports take half of the time

    require("h5py", extra="data")
    if Path(path).is_dir():
        raise ModelFileError(f"{path}: is a folder, such as a SavedModel, which has no layers; {SAVE}")
    check_regular_file(path)
    try:
        found = read_apart(f"{__name__}:contents", path, kind=KIND)
        # HDF5 gives bytes that are not UTF-8 as half surrogates, which then are no JSON.
        config = parse_spec(found["config"].encode(errors="surrogatepass"), f"{path}: the configuration", "JSON")
        if not found["is_legacy"]:
            found["version"] = str(
                parse_spec(found["version"].encode(errors="surrogatepass"), str(path), "JSON")["keras_version"]
            )
    except (DataError, SpecError) as error:
        raise ModelFileError(str(error).removesuffix(TRUST)) from None  # from_keras has no such argument
    except (KeyError, TypeError):
        raise ModelFileError(f"{path}: its metadata.json does not name the version of Keras") from None
    return KerasFile(config, found["version"], found["arrays"], found["is_legacy"])


def contents(path: str) -> dict[str, Any]:
    """Read the texts and arrays of a file. This runs in a process of its own."""
    import h5py

    size = Path(path).stat().st_size
    with parsing(path, KIND):
        if not zipfile.is_zipfile(path):
            with h5py.File(path, "r") as file:
                return _legacy(file, path)
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if missing := [name for name in MEMBERS if name not in members]:
                raise DataError(f"{path}: has no {missing[0]}, so it is not {KIND}")
            for name, most in zip(MEMBERS, (SPEC_BYTES, SPEC_BYTES, _most(size)), strict=True):
                if members[name].file_size > most:
                    raise DataError(f"{path}: {name} would take {members[name].file_size:,} bytes, more than {most:,}")
            metadata, config, weights = (archive.read(members[name]) for name in MEMBERS)
        with h5py.File(io.BytesIO(weights), "r") as file:
            arrays = _arrays(_items(file, path, skipped={"optimizer"}), path)
        return {"config": config.decode(), "version": metadata.decode(), "arrays": arrays, "is_legacy": False}


def _most(size: int) -> int:
    return UNPACKED_BYTES + UNPACKED_PER_BYTE * size


def _legacy(file: Any, path: str) -> dict[str, Any]:
    """Read a file that is HDF5 as a whole. Attributes list the weights of each layer in their order."""
    if "model_config" not in file.attrs:
        raise DataError(f"{path}: has weights, or other data, but no configuration of a model; {SAVE}")
    items = _items(file, path, skipped={*file} - {"model_weights"})
    if "model_weights" not in items:
        raise DataError(f"{path}: has no group model_weights, so it is not {KIND}")
    stored, ordered = _arrays(items, path), {}
    # Names of layers are looked up among the items: HDF5 would follow "/other" and links to anywhere.
    for layer in _texts(items["model_weights"], "layer_names"):
        place = f"model_weights/{layer}"
        for name in _texts(items[place], "weight_names") if place in items else ():
            if (key := f"{place}/{name}") in stored:
                ordered[f"{layer}/{name}"] = stored[key]
    config, version = _text(file.attrs["model_config"]), _text(file.attrs.get("keras_version", "2"))
    return {"config": config, "version": version, "arrays": ordered, "is_legacy": True}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _texts(group: Any, name: str) -> list[str]:
    """Return a list of texts. Keras cuts a long one into name0, name1, and so on."""
    parts = takewhile(group.attrs.__contains__, (f"{name}{part}" for part in count()))
    return [_text(value) for key in ([name] if name in group.attrs else parts) for value in group.attrs[key]]


def _items(root: Any, path: str, skipped: set[str]) -> dict[str, Any]:
    """Return all groups and arrays below a group, by their path. None is opened through a link."""
    import h5py

    found: dict[str, Any] = {}
    groups = [("", root)]
    while groups:
        prefix, group = groups.pop()
        for name in group:
            place = f"{prefix}{name}"
            if place in skipped:
                continue
            if len(found) >= MOST_GROUPS or len(place) > 1000:
                raise DataError(f"{path}: has more than {MOST_GROUPS:,} groups and arrays, or groups within themselves")
            # HDF5 reads a name with a slash as a path, which may lead through a link.
            if "/" in name or name == "." or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise DataError(f"{path}: {place!r:.200} is a link; the weights must be in the file itself, in place")
            found[place] = group[name]
            if isinstance(found[place], h5py.Group):
                groups.append((f"{place}/", found[place]))
    return found


def _arrays(items: Mapping[str, Any], path: str) -> dict[str, Array]:
    """Read the floating-point arrays among the items."""
    import h5py

    found: dict[str, Array] = {}
    total, most = 0, _most(Path(path).stat().st_size)
    for place, item in items.items():
        if isinstance(item, h5py.Dataset):
            check_is_inside(item, path)
            if item.dtype.kind == "f" and item.shape is not None:
                total += item.size * item.dtype.itemsize
                if total > most:
                    raise DataError(f"{path}: its arrays would take {total:,} bytes, more than the limit of {most:,}")
                check_dataset(item, path, False)
                found[place] = np.asarray(item[()])
    return found
