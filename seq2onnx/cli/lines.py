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
                values = int(values) if values.lstrip("-").isdigit() else values
            elif not self.as_json:
                values = [float(part) for part in values.split(",")]
            if not entry.is_tokens:
                values = np.asarray(values, np.float64)
        except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as error:
            raise DataError(f"is not a list of numbers, such as {self._example()}: {error}") from None
        step = entry.convert(np.asarray(values), "step")
        if step.shape != entry.shape:
            raise ShapeError(f"expected {np.prod(entry.shape, dtype=int)} numbers, got {step.size}")
        if not np.isfinite(step).all():
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

    def _example(self) -> str:
        if self.has_id:
            return 'pump 7,0.1,0.2 or {"id": "pump 7", "x": [0.1, 0.2]}'
        return "0.1,0.2 or [0.1, 0.2]"

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
