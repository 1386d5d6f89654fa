"""Writing files so that no half-written one is ever seen."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write beside, then rename: `path` holds all of `content`, or what it held before.

    Raises: OSError, with the path
    """
    path = Path(path).resolve()  # a link stays a link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {path.parent} does not exist")
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        Path(beside).chmod(mode)
        Path(beside).replace(path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # an error on an open file, such as a full disk, does not say which
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
