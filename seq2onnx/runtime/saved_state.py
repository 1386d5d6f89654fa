"""The state of a stream as a file: an .npz archive whose comment says which model it belongs to."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.errors import StateError, plain
from seq2onnx.files import write_atomically
from seq2onnx.runtime.model import Model
from seq2onnx.sequences import Array

MOST_OTHER_BYTES = 2**20
"""The bytes that an unpacked file of a state may have beside the state itself."""


def save(path: str | Path, state: Mapping[str, Array], model: Model) -> None:
    """Write a state."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **state)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = json.dumps(_owner(model)).encode()
    write_atomically(path, buffer.getvalue())


def load(path: str | Path, model: Model) -> dict[str, Array]:
    """Read what `save` wrote. Files of version 0.1 do not say which model they belong to.

    Raises:
        StateError: it is not such a file, or belongs to another model.
        FileNotFoundError: there is no such file.
    """
    if Path(path).exists() and not Path(path).is_file():  # reading a pipe or a device might never end
        raise StateError(f"{path}: is not a state that Stream.save wrote: it is no file")
    content = Path(path).read_bytes()
    most = sum(4 * info.zeros(1).nbytes for info in model.stream_states) + MOST_OTHER_BYTES
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
            owner = json.loads(archive.zip.comment) if archive.zip.comment else None
            state = {name: archive[name] for name in archive.files}
    except Exception as error:  # noqa: BLE001 (zipfile and numpy raise a dozen classes of errors on damaged files)
        raise StateError(f"{path}: is not a state that Stream.save wrote: {plain(str(error)):.300}") from None
    if owner is not None and owner != _owner(model):
        raise StateError(
            f"{path}: belongs to another model than {model.path}: its weights or its form are different; load it into "
            "a stream of the model that wrote it"
        )
    return state


def _owner(model: Model) -> dict[str, Any]:
    return {"seq2onnx": 1, "form": model.contract.form, "weights": model.weights_checksum}
