"""Atomic writing: a file or folder appears complete or not at all. And locks, and what may be read.

A writer holds a lock on its temporary file, which ends with its process. So the next writer of the same file knows
which temporary files are left from writers that were killed, and removes them. Windows has no such locks.

A link in place of a file is replaced by the file and never followed: a stranger's folder may have one to any file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seq2onnx.errors import WriteFailed
from seq2onnx.limits import SPEC_BYTES

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
    stat.S_IFLNK: "a link",
}
_held: set[int] = set()  # descriptors with locks, which a forked process must not keep


def check_regular_file(path: str | Path, *, links: bool = True) -> None:
    """Raise OSError unless `path` is a file, or with `links` a link to one: a pipe or a device might never end."""
    _check_mode(os.stat(path, follow_symlinks=links).st_mode, path)  # noqa: PTH116


def _check_mode(mode: int, path: str | Path) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"Is {kind}, expected a file", str(path))


def read_own(path: Path, most: int = SPEC_BYTES) -> bytes:
    """Read a file of a folder that this package writes. It may be a stranger's, so links are not followed."""
    check_regular_file(path, links=False)
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        _check_mode(found.st_mode, path)
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"Has {found.st_size:,} bytes, more than {most:,}", str(path))
        return file.read()


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that `path` always holds all of the old or all of the new content, or raise WriteFailed."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary file in the same folder, which is renamed to `path` on success and deleted on failure.

    Raises:
        WriteFailed: the file cannot be written; the error names the path.
        OSError: `path` is a folder, a pipe or a device, or a link to one; or its folder does not exist.
    """
    path = Path(path)
    path = _writable(path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve())
    if path.exists():
        _check_output(path)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() and not path.is_symlink() else None
    with _named(path, path):
        temporary, descriptor = _new_file(path, 0o666 if mode is None else mode)
    try:
        with _named(path, temporary):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that has become read-only
            temporary.unlink(missing_ok=True)
        raise
    finally:
        _close(descriptor)


def _check_output(path: Path) -> None:
    """Raise OSError if `path` may not be replaced: it is no file, or a link of the system, such as /dev/stdout."""
    check_regular_file(path.resolve())
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):
        raise OSError(errno.EINVAL, "Is a link to an open file, expected a file", str(path))


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Turn an error of writing, which names the temporary file or none, into one that names `path`."""
    try:
        yield
    except (WriteFailed, ConnectionError):
        raise
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else temporary
        if error.errno and named.is_relative_to(temporary):
            raise write_failed(error, path / named.relative_to(temporary)) from error
        if error.errno and (named.parent, named.name[:1], named.suffix) == (path.parent, ".", ".tmp"):
            raise write_failed(error, path) from error
        raise


def write_failed(error: OSError, path: str | Path) -> WriteFailed:
    """Return an error of the system as one that names the file."""
    return WriteFailed(error.errno, (error.strerror or str(error)).rstrip("."), str(path))


@contextmanager
def atomic_folder(path: str | Path, *, may_be_empty: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which is renamed to `path` on success and deleted on failure.

    Args:
        path: the folder.
        may_be_empty: whether `path` may be an empty folder, which is then replaced.

    Raises:
        FileExistsError: `path` exists.
        WriteFailed: a file cannot be written; the error names its place in `path`.
    """
    path = _writable(Path(path).absolute())
    replaces = may_be_empty and path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    if os.path.lexists(path) and not replaces:
        raise FileExistsError(f"{path}: exists and is not overwritten; remove it, or choose another name")
    temporary = _temporary(path)
    with _named(path, temporary):
        temporary.mkdir()
    descriptor = None if fcntl is None else os.open(temporary, os.O_RDONLY)
    try:
        if descriptor is not None:
            _lock(descriptor)
        with _named(path, temporary):
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
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        if os.path.lexists(path):
            check_regular_file(path, links=False)
        with _named(path, path):
            descriptor = os.open(path, flags, 0o666)
        free = _lock(descriptor)
        if not free or _is(path, descriptor):  # else its last holder has just removed it
            break
        _close(descriptor)
    try:
        yield free
    finally:
        if free and not os.fstat(descriptor).st_size:  # a file with content is not of this package
            path.unlink(missing_ok=True)
        _close(descriptor)


def _writable(path: Path) -> Path:
    """Return the path after removing what killed writers of it have left; its folder must exist."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {path.parent} does not exist")
    remove_left_overs(path)
    return path


def remove_left_overs(path: Path) -> None:
    """Remove what killed writers of a file or folder have left: what has the name of a temporary file and no lock."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for stale in [Path(entry.path) for entry in entries if _is_temporary(entry.name, path)]:
            _remove_stale(stale)


def _remove_stale(stale: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(stale, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _lock(descriptor, or_unknown=False):
                if stat.S_ISDIR(mode := os.fstat(descriptor).st_mode):
                    shutil.rmtree(stale, ignore_errors=True)
                elif stat.S_ISREG(mode):
                    stale.unlink(missing_ok=True)
        finally:
            _close(descriptor)


def _prefix(path: Path) -> str:
    return f".{path.name[:60]}."  # a long name would make the temporary one too long


def _temporary(path: Path) -> Path:
    random = secrets.token_hex(6)
    return path.with_name(f"{_prefix(path)}{random}{_mark(path, random)}.tmp")


def _mark(path: Path, random: str) -> str:
    """The second half of a temporary name follows from the rest, so that no file of a user has such a name."""
    return f"{zlib.crc32(f'seq2onnx {_prefix(path)}{random}'.encode(errors='surrogateescape')):08x}"


def _is_temporary(name: str, path: Path) -> bool:
    found = re.fullmatch(r"([0-9a-f]{12})([0-9a-f]{8})\.tmp", name.removeprefix(_prefix(path)))
    return bool(found) and name.startswith(_prefix(path)) and found[2] == _mark(path, found[1])  # type: ignore[index]


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
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
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
