"""Errors of the libraries that parse files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from seq2onnx.errors import DataError, Seq2OnnxError, require


@contextlib.contextmanager
def parsing(path: str | Path, kind: str) -> Iterator[None]:
    """Turn any error into a DataError that says that `path` is not `kind`; damaged files raise many types."""
    try:
        yield
    except Seq2OnnxError:
        raise
    except Exception as error:
        raise DataError(f"{path}: is not {kind}, or is incomplete: {type(error).__name__}: {error}") from error


def check_readable(path: str | Path, *modules: str) -> None:
    """Raise MissingExtra without `modules`, and OSError where the system refuses the file."""
    require(*modules, extra="data")
    with Path(path).open("rb"):
        pass
