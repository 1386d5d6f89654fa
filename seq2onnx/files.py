"""Atomic writing: a file or folder appears complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that `path` always holds all of the old or all of the new content.

    Raises:
        OSError: the file cannot be written; the error names the path.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary file in the same folder, which is renamed to `path` on success and deleted on failure.

    Raises:
        OSError: the file cannot be written; the error names the path.
    """
    path = Path(path).resolve()  # a link stays a link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {path.parent} does not exist")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # an error on an open file, such as a full disk, does not name it
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which is renamed to `path` on success and deleted on failure.

    Raises:
        FileExistsError: `path` exists.
        FileNotFoundError: the parent of `path` does not exist.
    """
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {path.parent} does not exist")
    if os.path.lexists(path):
        raise FileExistsError(f"{path}: exists and is not overwritten; remove it, or choose another name")
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        temporary.rename(path)
    except BaseException:
        for _ in range(20):  # another process may still be writing to it
            shutil.rmtree(temporary, ignore_errors=True)
            if not temporary.exists():
                break
            time.sleep(0.1)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
