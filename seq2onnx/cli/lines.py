"""The lines of seq2onnx stream: a step in CSV or JSON, and its answer in kind."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from seq2onnx.errors import DataError, ShapeError
from seq2onnx.sequences import is_finite

if TYPE_CHECKING:
    from seq2onnx.runtime.inputs import Input


@dataclasses.dataclass
class Line:
    """What a line says. id: of its stream, as it was written, None where there is none; step: None if it is refused."""

    as_json: bool
    has_id: bool
    id: Any = None
    step: Any = None

    @property
    def name(self) -> str:
        """The stream: 7 in JSON and 7 in CSV are the same one."""
        return str(self.id)

    def read(self, raw: bytes, entry: Input) -> None:
        """Take id and step from it; raises DataError or ShapeError where there is no step that can be run."""
        from seq2onnx.runtime.steps import not_finite

        try:
            values = self._parts(raw.decode().strip())
            if not self.as_json and entry.is_tokens:
                number = not entry.takes_words and values.lstrip("-").isdigit()
                values = int(values) if number else values
            elif not self.as_json:
                values = [float(part) for part in values.split(",")]
            if not entry.is_tokens:
                values = np.asarray(values, np.float64)
        except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
            what = "a word" if entry.is_tokens else "a list of numbers"
            raise DataError(f"is not {what}, such as {self._example(entry.is_tokens)}: {error}") from None
        step = entry.convert(np.asarray(values), "step")
        if step.shape != entry.shape:
            if entry.is_tokens:
                raise ShapeError(f"expected one word, got a list of {step.size}")
            raise ShapeError(f"expected {np.prod(entry.shape, dtype=int)} numbers, got {step.size}")
        if not is_finite(step):
            raise DataError(not_finite("step"))
        self.step = step

    def _parts(self, text: str) -> Any:
        """The values; the id is taken off."""
        if not self.has_id:
            return json.loads(text) if self.as_json else text
        if self.as_json:
            found = json.loads(text)
            self.id = found.get("id")
            if not isinstance(self.id, str | int) or "x" not in found:
                raise ValueError("a line needs id, a text or a whole number, and x")
            return found["x"]
        self.id, *values = next(csv.reader([text]))
        return ",".join(values)

    def _example(self, is_word: bool) -> str:
        row, data = ("good", '"good"') if is_word else ("0.1,0.2", "[0.1, 0.2]")
        return f'pump 7,{row} or {{"id": "pump 7", "x": {data}}}' if self.has_id else f"{row} or {data}"

    def answer(self, labels: list[Any], scores: Any) -> str:
        """The line that answers it; labels: the label, or none; scores: None where nothing came out."""
        if self.as_json:
            first = {"id": self.id} if self.has_id else {}
            if labels:
                first["label"] = labels[0].item() if isinstance(labels[0], np.generic) else labels[0]
            y = None if scores is None else [None if np.isnan(s) else float(f"{s:.7g}") for s in scores]
            return json.dumps(first | {"y": y})
        cells = [self.id] if self.has_id else []
        cells += ["" if label is None else label for label in labels]
        cells += [] if scores is None else [f"{score:.7g}" for score in scores]
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(cells)
        return row.getvalue()


def arrivals(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines that have come, as many as there are; waits where there is none."""
    rest = b""
    while data := file.read1(2**16):  # type: ignore[attr-defined]
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]
