"""Errors of the libraries that parse files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from seq2onnx.errors import DataError, Seq2OnnxError, require
from seq2onnx.files import check_regular_file


@contextlib.contextmanager
def parsing(path: str | Path, kind: str) -> Iterator[None]:
    """Turn any error into a DataError that says that `path` is not `kind`; damaged files raise many types."""
    try:
        yield
    except Seq2OnnxError:
        raise
    except OSError as error:
        if error.filename:  # of the system; libraries that parse files name none
            raise
        raise DataError(f"{path}: is not {kind}, or is incomplete: {error}") from error
    except Exception as error:
        raise DataError(f"{path}: is not {kind}, or is incomplete: {type(error).__name__}: {error}") from error


def check_readable(path: str | Path, *modules: str) -> None:
    """Raise MissingExtra without `modules`, and OSError where it is no file or the system refuses it."""
    require(*modules, extra="data")
    check_regular_file(path)
    with Path(path).open("rb"):
        pass


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file; raise DataError if it is not UTF-8."""
    check_readable(path)
    try:
        return Path(path).read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
