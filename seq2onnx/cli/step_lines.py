"""The lines that `seq2onnx stream` reads and writes: CSV or JSON, one step each."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from seq2onnx import limits
from seq2onnx.cli.options import write_data, write_row
from seq2onnx.data.formats.csv_text import is_header
from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import positions

if TYPE_CHECKING:
    from seq2onnx.runtime.inputs import Input


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where the features are in a line of CSV with a header.

    width: the number of columns, without the id; places: of the features.
    """

    width: int
    places: list[int]

    @classmethod
    def of(cls, header: list[str], entry: Input, where: str) -> Columns | None:
        """Find the channels in a header; None if the model has no names."""
        if entry.channels is None:
            return None
        return cls(len(header), positions(header, entry.channels, where))

    def select(self, cells: list[str]) -> list[str]:
        """Return the cells of the features."""
        if len(cells) != self.width:
            raise ValueError(f"the header has {self.width} columns, the line {len(cells)}")
        return [cells[place] for place in self.places]


def read_header(raw: bytes, entry: Input, has_id: bool) -> list[str] | None:
    """Return the names in the first line, without that of the id; None if it is a step. Words have no header."""
    text = raw.decode(errors="replace").strip()
    if entry.is_tokens or text.startswith(("[", "{")):
        return None
    try:
        cells = [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True))][has_id:]
    except csv.Error:
        return None
    if entry.channels is None and len(cells) != np.prod(entry.shape, dtype=int):  # rather a mistake
        return None
    return cells if is_header(cells, entry.channels) else None


@dataclasses.dataclass
class Line:
    """One step as text.

    as_json: whether it is JSON or CSV; id: of its stream, as it was written; step: None if it is invalid.
    """

    as_json: bool
    has_id: bool
    id: Any = None
    step: Any = None

    @property
    def name(self) -> str:
        """The name of the stream: the ids 7 in JSON and in CSV are the same."""
        return str(self.id)

    def read(self, raw: bytes, entry: Input, columns: Columns | None = None) -> None:
        """Set id and step; raise DataError or ShapeError if the step cannot run."""
        from seq2onnx.runtime.steps import not_finite

        if len(raw) > limits.LINE_BYTES:
            raise DataError(f"expected a step, got a line of more than {limits.LINE_BYTES:,} bytes")
        try:
            text = raw.decode().strip()
            values: Any = self._read_json(text) if self.as_json else self._read_cells(text)
            if not self.as_json and entry.is_tokens:
                word = ",".join(values)
                is_number = not entry.takes_words and word.lstrip("-").isdigit()
                values = int(word) if is_number else word
            elif not self.as_json:
                cells = values if columns is None else columns.select(values)
                values = [math.nan if entry.missing and not cell.strip() else float(cell) for cell in cells]
            if not entry.is_tokens:
                values = np.asarray(values, np.float64)
        except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
            expected = "a word" if entry.is_tokens else "numbers"
            raise DataError(f"expected {expected}, such as {self._example(entry.is_tokens)}: {error}") from None
        step = entry.convert(np.asarray(values), "step")
        if step.shape != entry.shape:
            if entry.is_tokens:
                raise ShapeError(f"expected one word, got a list of {step.size}")
            raise ShapeError(f"expected {np.prod(entry.shape, dtype=int)} numbers, got {step.size}")
        if not entry.accepts(step):
            raise DataError(not_finite("step"))
        self.step = step

    def _read_json(self, text: str) -> Any:
        """The step; the id is stored."""
        found = json.loads(text)
        if not self.has_id:
            return found
        self.id = found.get("id")
        if not isinstance(self.id, str | int) or "x" not in found:
            raise ValueError('a line needs "id" (text or a whole number) and "x"')
        return found["x"]

    def _read_cells(self, text: str) -> list[str]:
        cells = next(csv.reader([text]))
        if self.has_id:
            self.id, *cells = cells
        return cells

    def _example(self, is_word: bool) -> str:
        row, data = ("good", '"good"') if is_word else ("0.1,0.2", "[0.1, 0.2]")
        return f'pump 7,{row} or {{"id": "pump 7", "x": {data}}}' if self.has_id else f"{row} or {data}"

    def print_events(self, time: dict[str, Any], labels: list[Any]) -> None:
        """Print the time and the labels of the alarms that begin then; in CSV nothing but the id if there is none."""
        self._print(time | {"events": labels}, [*time.values(), *labels] if labels else [])

    def print_result(self, labels: list[Any], scores: Any) -> None:
        """Print the result; labels: the label, or empty without classes; scores: empty if there is no result."""
        y = [None if np.isnan(score) else float(f"{score:.7g}") for score in scores]
        label = {"label": labels[0]} if labels else {}
        self._print(label | {"y": y or None}, [*labels, *(f"{score:.7g}" for score in scores)])

    def _print(self, values: dict[str, Any], cells: list[Any]) -> None:
        """Print values by name as JSON, or cells of CSV; the id is the first."""
        if self.as_json:
            write_data(json.dumps(({"id": self.id} if self.has_id else {}) | values) + "\n")
        else:
            write_row([*([self.id] if self.has_id else []), *cells])  # None is an empty cell


def read_lines(file: BinaryIO) -> Iterator[list[bytes]]:
    """Wait for lines, and give those that have arrived. Lines are cut behind LINE_BYTES."""
    parts: list[bytes] = []  # of a line whose end has not arrived
    room = limits.LINE_BYTES + 1  # for the rest of this line
    while data := file.read1(2**16):  # type: ignore[attr-defined]
        *ends, rest = data.split(b"\n")
        lines: list[bytes] = []
        for end in ends:
            lines.append(b"".join([*parts, end[:room]]))
            parts, room = [], limits.LINE_BYTES + 1
        if lines:
            yield lines
        parts += [rest[:room]] if rest and room else []
        room = max(room - len(rest), 0)
    if parts:
        yield [b"".join(parts)]
