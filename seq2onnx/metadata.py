"""What an exported file says of itself, under the key "seq2onnx" of its metadata: JSON, read and checked here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2onnx.errors import ModelFileError

KEY = "seq2onnx"
FORMAT_VERSION = 1


def read(properties: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    """The metadata of the file at `path`; raises ModelFileError where it is not of a version known here."""
    if KEY not in properties:
        raise ModelFileError(f"{path}: is an ONNX file without seq2onnx metadata; take one that seq2onnx exported")
    try:
        metadata = json.loads(properties[KEY])
        version = int(metadata["format_version"])
        for state in metadata.get("states", []):
            state["in"], state["out"], state["dtype"], list(state["shape"])
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: its seq2onnx metadata is damaged: {error!r}") from None
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: has format version {version}, this seq2onnx reads up to {FORMAT_VERSION}: update seq2onnx"
        )
    missing = {"network", "classes", "signature", "states", "min_length"} - set(metadata)
    if missing:
        raise ModelFileError(f"{path}: its seq2onnx metadata is damaged: it lacks {', '.join(sorted(missing))}")
    return dict(metadata)
