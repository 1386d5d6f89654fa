"""Atomic writing: a file or folder appears complete or not at all. And locks, and what may be read.

A writer holds a lock on its temporary file, which ends with its process. So the next writer of the same file knows
which temporary files are left from writers that were killed, and removes them. Windows has no such locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_held: set[int] = set()  # descriptors with locks, which a forked process must not keep


def check_regular_file(path: str | Path) -> None:
    """Raise OSError unless `path` is a file: a pipe or a device might never end.

    Raises:
        FileNotFoundError: it does not exist.
        OSError: it is something else than a file, or the system refuses it.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"Is {kind}, expected a file", str(path))


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
        OSError: the file cannot be written, or `path` is a folder, a pipe or a device; the error names the path.
    """
    path = _writable(Path(path).resolve())  # a link stays a link
    if path.exists():
        check_regular_file(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    else:
        mode = None
    try:
        temporary, descriptor = _new_file(path, 0o666 if mode is None else mode)
    except OSError as error:
        error.filename = str(path)  # not the temporary file
        raise
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.filename in (None, str(temporary))) and error.errno:
            error.filename, error.filename2 = str(path), None  # a full disk, which names no file or the temporary one
        raise
    finally:
        _close(descriptor)


@contextmanager
def atomic_folder(path: str | Path, *, may_be_empty: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which is renamed to `path` on success and deleted on failure.

    Args:
        path: the folder.
        may_be_empty: whether `path` may be an empty folder, which is then replaced.

    Raises:
        FileExistsError: `path` exists.
        FileNotFoundError: the parent of `path` does not exist.
    """
    path = _writable(Path(path).absolute())
    replaces = may_be_empty and path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    if os.path.lexists(path) and not replaces:
        raise FileExistsError(f"{path}: exists and is not overwritten; remove it, or choose another name")
    temporary = _temporary(path)
    temporary.mkdir()
    descriptor = None if fcntl is None else os.open(temporary, os.O_RDONLY)
    try:
        if descriptor is not None:
            _lock(descriptor)
        yield temporary
        if replaces:
            path.rmdir()  # Windows does not rename a folder to one that exists
        temporary.rename(path)
    except BaseException:
        for _ in range(20):  # another process may still be writing to it
            shutil.rmtree(temporary, ignore_errors=True)
            if not temporary.exists():
                break
            time.sleep(0.1)
        raise
    finally:
        _close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock, a file at `path`, which ends with this process. False: another process holds it.

    Where the system has no locks, as on Windows, nothing is locked and the value is True.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        free = _lock(descriptor)
        if not free or _is(path, descriptor):  # else its last holder has just removed it
            break
        _close(descriptor)
    try:
        yield free
    finally:
        if free:
            path.unlink(missing_ok=True)
        _close(descriptor)


def _writable(path: Path) -> Path:
    """Return the path after removing what killed writers of it have left; its folder must exist."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {path.parent} does not exist")
    if fcntl is None:
        return path
    prefix = _prefix(path)
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        stale = [Path(e.path) for e in entries if e.name.startswith(prefix) and e.name.endswith(".tmp")]
        for place in stale:
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            if _lock(descriptor, or_unknown=False):
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    shutil.rmtree(place, ignore_errors=True)
                else:
                    place.unlink(missing_ok=True)
            _close(descriptor)
    return path


def _prefix(path: Path) -> str:
    return f".{path.name[:60]}."  # a long name would make the temporary one too long


def _temporary(path: Path) -> Path:
    return path.with_name(f"{_prefix(path)}{secrets.token_hex(6)}.tmp")


def _new_file(path: Path, mode: int) -> tuple[Path, int | None]:
    """Make a temporary file and lock it. The system applies the umask to its mode."""
    while True:
        temporary = _temporary(path)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode | 0o600)
        if fcntl is None:
            os.close(descriptor)  # an open file cannot be renamed
            return temporary, None
        if _lock(descriptor) and _is(temporary, descriptor):
            return temporary, descriptor
        _close(descriptor)  # another writer took it for a stale one before it was locked


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock(descriptor: int, or_unknown: bool = True) -> bool:
    """Lock an open file; return whether that succeeded, and `or_unknown` where the file system has no locks."""
    _held.add(descriptor)
    if fcntl is None:
        return or_unknown
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return or_unknown
    return True


def _close(descriptor: int | None) -> None:
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def _close_all() -> None:
    for descriptor in list(_held):
        _close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
