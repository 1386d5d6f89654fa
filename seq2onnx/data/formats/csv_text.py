"""The cells of a CSV file: delimiter, header, numbers, times and targets."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2onnx.data.formats.parsing import read_lines
from seq2onnx.errors import DataError
from seq2onnx.sequences import Array, Names, positions

WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d*)")
NUMBER_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
TIME = re.compile(r"(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|\d{1,2}:\d{2}.*)")
NUMBER_WITH_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


def is_number(cell: str) -> bool:
    """Return whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_header(cells: Sequence[str], channels: Sequence[str] | None = None) -> bool:
    """Return whether the first line of numeric data is a header.

    A line that contains all known channels is one, and any other line in which no cell holds a number.
    """
    if channels and set(channels) <= set(cells):
        return True
    return any(cells) and not any(is_number(cell.replace(",", ".")) for cell in cells)


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV file, without blanks around them.

    Attributes:
        path: the file, for error messages.
        names: the header, None if there is none.
        columns: the cells of each column, below the header.
        lines: the number of the line of each row.
    """

    path: Path
    names: Names | None
    columns: list[tuple[str, ...]]
    lines: list[int]

    def place(self, name: str) -> int:
        """Return the place of a column; raise DataError if there is none of this name."""
        if self.names is None:
            raise DataError(f"{self.path}: has no header line, so no column is called {name!r}; write one")
        return positions(self.names, [name], str(self.path))[0]

    def where(self, place: int, row: int) -> str:
        """Return where a cell is, for an error message."""
        name = repr(self.names[place]) if self.names else place + 1
        return f"{self.path}, line {self.lines[row]}, column {name}"

    def text(self, name: str) -> tuple[str, ...]:
        """Return the cells of a column; raise DataError if one is empty."""
        place = self.place(name)
        cells = self.columns[place]
        if "" in cells:
            raise DataError(f"{self.where(place, cells.index(''))}: has no value; fill it in, or remove the line")
        return cells

    def numbers(self, place: int) -> NDArray[np.float64]:
        """Return a column of numbers; an empty cell is a missing value, NaN."""
        values = np.empty(len(self.lines))
        for row, cell in enumerate(self.columns[place]):
            try:
                values[row] = float(cell) if cell else np.nan
            except ValueError:
                raise DataError(
                    f"{self.where(place, row)}: expected a number, got {cell!r:.40}; {self._remedy(place, cell)}"
                ) from None
        return values

    def matrix(self, places: Iterable[int]) -> NDArray[np.float64]:
        """Return several columns of numbers, [lines, columns]."""
        return np.column_stack([self.numbers(place) for place in places])

    def _remedy(self, place: int, cell: str) -> str:
        if NUMBER_WITH_COMMA.fullmatch(cell):
            return "write numbers with a decimal point"
        if not self.names:
            return "a header line must contain only names"
        if TIME.fullmatch(cell):
            return f"leave a column of times out with time={self.names[place]!r} (--time)"
        return (
            "leave it out: choose the columns with channels=[…] (--channels). If it has the targets, name it with "
            "targets=; if this file has the labels of the others, name the file with labels="
        )

    def times(self, name: str) -> Array:
        """Return a column of numbers or of dates in ISO 8601, as values that can be compared."""
        cells = self.text(name)
        if all(map(is_number, cells)):
            return self.numbers(self.place(name))
        times = []
        for row, cell in enumerate(cells):
            try:
                time = datetime.datetime.fromisoformat(cell)
                times.append(time.astimezone(datetime.UTC).replace(tzinfo=None) if time.tzinfo else time)
            except (ValueError, OverflowError):
                raise DataError(
                    f"{self.where(self.place(name), row)}: expected a number or a time such as 2024-05-31 12:00:00, "
                    f"got {cell!r:.40}; rewrite it, or leave the column out by choosing the others: channels=[…]"
                ) from None
        return np.array(times, "datetime64[us]")

    def sorted_times(self, name: str) -> Array:
        """Return `times`; raise DataError unless the rows are in their order."""
        times = self.times(name)
        if (before := np.flatnonzero(times[1:] < times[:-1])).size:
            row = int(before[0]) + 1
            raise DataError(
                f"{self.where(self.place(name), row)}: {self.text(name)[row]} comes after {self.text(name)[row - 1]}; "
                "sort the lines by time"
            )
        return times


def read_table(path: Path, channels: Sequence[str] | None = None) -> CsvTable:
    """Read a CSV file in UTF-8; a DataError names file and line.

    The delimiter is the first of tab, semicolon and comma that the first line contains. In a file with semicolons, the
    numbers may have decimal commas. Cells may be in double quotes. For `channels` see `is_header`.
    """
    lines = read_lines(path)
    rows: list[list[str]] = []
    numbers: list[int] = []
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((mark for mark in "\t;" if mark in re.sub('"[^"]*"', "", first)), ",")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            row = [field.strip() for field in fields]
            if len(row) < 2 and not any(row):
                continue
            if rows and len(row) != len(rows[0]):
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {len(rows[0])} cells as in the first line, "
                    f"got {len(row)}"
                )
            rows.append(row)
            numbers.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if not rows:
        raise DataError(f"{path}: contains no numbers")
    # Some programs put names in quotes but not numbers, so that names may look like numbers.
    is_quoted = first.lstrip().startswith('"') and '"' not in "".join(lines[numbers[0] :])
    names = None
    if is_quoted or is_header(rows[0], channels):
        names = rows.pop(0)
        del numbers[0]
    if not rows:
        raise DataError(f"{path}: has a header, but no lines below it")
    columns = list(zip(*rows, strict=True))
    if names is not None:
        names, columns = _without_unnamed(path, names, columns)
    return CsvTable(path, names, _with_points(path, columns) if delimiter == ";" else columns, numbers)


def _without_unnamed(path: Path, names: Names, columns: list[tuple[str, ...]]) -> tuple[Names, list[tuple[str, ...]]]:
    """Leave out columns without name and content, which come from a delimiter at the end of each line."""
    for place, name in enumerate(names, 1):
        if not name and any(columns[place - 1]):
            raise DataError(
                f"{path}: column {place} has no name; write one in the header. If it is the index of a data frame, "
                "write the file without: to_csv(index=False)"
            )
    kept = [place for place, name in enumerate(names) if name]
    return [names[place] for place in kept], [columns[place] for place in kept]


def _with_points(path: Path, columns: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Replace decimal commas by points; raise DataError if some numbers have a decimal point already."""
    cells = [cell for column in columns for cell in column]
    comma = next((cell for cell in cells if NUMBER_WITH_COMMA.fullmatch(cell)), None)
    if comma is None:
        return columns
    if point := next((cell for cell in cells if NUMBER_WITH_POINT.fullmatch(cell)), None):
        raise DataError(f"{path}: has the numbers {comma} and {point}; write all with a decimal point, or all with ,")
    return [
        tuple(cell.replace(",", ".") if NUMBER_WITH_COMMA.fullmatch(cell) else cell for cell in column)
        for column in columns
    ]


def _typed(cells: Sequence[str], name: str) -> Array:
    """Return targets as labels, integers or strings, or as floats if all are numbers and some have a fraction."""
    if comma := next((cell for cell in cells if NUMBER_WITH_COMMA.fullmatch(cell)), None):
        raise DataError(f"targets: got {comma} in {name!r}; write numbers with a decimal point")
    if all(map(WHOLE_NUMBER.fullmatch, cells)):
        try:
            return np.array(cells, np.int64)
        except (OverflowError, ValueError):
            longest = max(cells, key=len)
            raise DataError(
                f"targets: got {longest:.40} in {name!r}; whole numbers are labels of 64 bits, and names begin with a "
                "letter"
            ) from None
    has_leading_zeros = any(re.fullmatch(r"-?0\d+", cell) for cell in cells)  # 007 is a name
    return np.array(cells, None if has_leading_zeros or not all(map(is_number, cells)) else np.float64)


def target_rows(columns: Sequence[Sequence[str]], names: Sequence[str]) -> Array:
    """Return the targets of each row: those of one column, or a vector of the numbers of several columns."""
    if len(columns) == 1:
        return _typed(columns[0], names[0])
    for name, cells in zip(names, columns, strict=True):
        if odd := [cell for cell in cells if not is_number(cell)]:
            raise DataError(f"targets: several columns must hold numbers, got {odd[0]!r:.40} in {name!r}")
    return np.array(columns, np.float64).T


def as_names(columns: str | Sequence[str] | None) -> Names:
    """Return the columns that an argument names; "" and None name none."""
    return ([columns] if columns else []) if isinstance(columns, str) else list(columns or [])


def check_features(names: Names, others: Names, where: str) -> None:
    """Raise DataError if there are no features, or one of them is also the id, the time or a target."""
    if not names:
        raise DataError(f"{where}: has no columns of features besides {', '.join(others)}")
    if overlap := [name for name in names if name in others]:
        raise DataError(f"channels: {overlap[0]!r} is the id, the time or the target; leave it out of the channels")


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Return a key that sorts r2 before r10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
