"""Folders with a file for each sequence: their files, and the labels that subfolders give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seq2onnx.data.formats.csv_text import natural_key
from seq2onnx.errors import DataError


def files_in(folder: Path, suffix: str) -> list[Path]:
    """Return all files with a suffix in a folder and its subfolders, in natural order."""
    files = [file for file in folder.rglob("*") if file.suffix.lower() == suffix and file.is_file()]
    return sorted(files, key=lambda file: [natural_key(part) for part in file.relative_to(folder).parts])


def labels_of_folders(files: Sequence[Path], folder: Path, suffix: str) -> list[str] | None:
    """Return the name of the subfolder of each file, or None if all are directly in the folder; refuse a mixture."""
    parents = [file.parent.relative_to(folder).as_posix() for file in files]
    if set(parents) == {"."}:
        return None
    if "." in parents:
        raise DataError(
            f"{folder}: has {suffix} files both directly and in subfolders; sort all of them into subfolders (their "
            'labels), or none. If one of them has the labels of the others, name it: labels="labels.csv"'
        )
    return parents
