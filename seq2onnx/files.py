"""Writing files so that no half-written one is ever seen."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write beside, then rename: `path` holds all of `content`, or what it held before.

    Raises: OSError, with the path
    """
    with written_beside(path) as beside:
        beside.write_bytes(content)


@contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place once all went well, and else is gone."""
    path = Path(path).resolve()  # a link stays a link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {path.parent} does not exist")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        beside.chmod(mode)
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # an error on an open file, such as a full disk, does not say which
        raise


@contextmanager
def folder_beside(path: str | Path) -> Iterator[Path]:
    """A folder beside `path` to fill, which becomes `path` once all went well, and else is gone.

    Raises: FileExistsError where something is there already, FileNotFoundError where its own folder is not
    """
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {path.parent} does not exist")
    if os.path.lexists(path):
        raise FileExistsError(f"{path}: is there already, and is not overwritten; remove it, or name another")
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        beside.chmod(0o777 & ~_umask())
        yield beside
        beside.rename(path)
    except BaseException:
        for _ in range(20):  # another process may be about to write there
            shutil.rmtree(beside, ignore_errors=True)
            if not beside.exists():
                break
            time.sleep(0.1)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
