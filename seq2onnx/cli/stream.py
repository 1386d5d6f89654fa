"""seq2onnx stream: read one step per line, write one result per line."""

from __future__ import annotations

import codecs
import collections
import csv
import dataclasses
import json
import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import numpy as np
import typer

from seq2onnx import limits
from seq2onnx.cli.options import AllowChanged, ModelFile, Quiet, show, write_data
from seq2onnx.cli.sound import Pcm, stream_sound
from seq2onnx.data.formats.csv_text import is_header
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.predictions import begins, column_names
from seq2onnx.sequences import positions

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor, Stream
    from seq2onnx.runtime.inputs import Input


def stream(
    file: ModelFile,
    id_column: Annotated[
        bool, typer.Option("--id-column", help='Run many streams: the first column, or "id" in JSON, names the stream.')
    ] = False,
    wav: Annotated[
        Path | None, typer.Option("--wav", metavar="FILE", help="Read the samples of a .wav file, not standard input.")
    ] = None,
    pcm: Annotated[
        Pcm | None, typer.Option("--pcm", help="Standard input is raw sound: 16-bit samples, little-endian.")
    ] = None,
    allow_changed: AllowChanged = False,
    quiet: Quiet = False,
) -> None:
    """Read one step per line from standard input, and write its result at once.

    A step is CSV (0.1,0.2) or JSON ([0.1, 0.2]). The result has the same format: label,score,… or
    {"label": …, "y": […]}. If a step is invalid, its result is nan (JSON: null), a message goes to standard error, the
    state stays unchanged, and the exit code is 2. Empty lines are ignored. Where values may be missing, these are empty
    cells or nan (JSON: null).

    The first line may be a header: a line that contains the names of all channels of the model, or no number. The
    columns are then read by name, in any order, and others are ignored. Without names, the columns go by position.

    With --id-column a line is pump 7,0.1,0.2 or {"id": "pump 7", "x": [0.1, 0.2]}, and its result begins with the id.
    A new id starts a new stream. Lines that arrive together run together; the results keep their order.

    If the network ends with an Alarm, the result of a step in which alarms begin is step,label,… (JSON: {"step": …,
    "events": [label, …]}). In CSV, the lines of other steps are empty. Steps count from 0 in each stream. If the file
    has a sample rate, the seconds since the start of the stream follow the step.

    With a stride or lookahead, some steps have no result; their line is empty (JSON: "y" is null). With lookahead,
    the results of the last steps follow at the end of the input. A step file gives a result after the last step of each
    run.

    With --wav, or --pcm s16le for a microphone (arecord -r 16000 -f S16_LE -t raw | seq2onnx stream FILE --pcm s16le),
    each line is a result: its time in seconds from the start, then its label and scores, or the labels of the alarms
    that begin. Without a known sample rate, the time is the number of samples. 16-bit samples are divided by 32,768.
    The rate of a .wav file must be that of the network; nothing is resampled.
    """
    from seq2onnx.runtime import load

    model = load(file, allow_changed=allow_changed)
    if len(model.inputs) > 1 or len(model.outputs) > 1 or len(model.inputs[0].shape) > 1:
        raise SpecError(
            f"{file}: the command takes networks with one input and one output, whose steps are vectors or words. For "
            "other networks use model.stream in Python."
        )
    if model.closed_loop:
        raise SpecError(
            f"{file}: forecasts {model.closed_loop} steps for each line (closed loop); export it without one"
        )
    if wav is not None or pcm is not None:
        if id_column or (wav is not None and pcm is not None):
            raise SpecError("--wav and --pcm: are one stream of sound; use one of them, and without --id-column")
        stream_sound(model, wav, quiet)
        return
    streams = _Streams(model, quiet)
    columns: _Columns | None = None
    number, refused, is_first = 0, 0, True
    for received in _read_lines(sys.stdin.buffer):
        lines: dict[str, _Line] = {}
        for raw in received:
            number += 1
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if not raw.strip():
                continue
            if is_first:
                is_first = False
                header = _read_header(raw, model.inputs[0], id_column)
                if header is not None:
                    columns = _Columns.of(header, model.inputs[0], f"line {number}")
                    continue
            marks = (b"{",) if id_column else (b"[", b"{", b'"') if model.inputs[0].is_tokens else (b"[", b"{")
            line = _Line(raw.lstrip().startswith(marks), id_column)
            try:
                line.read(raw, model.inputs[0], columns)
            except (DataError, ShapeError) as error:
                refused += 1
                if not quiet:
                    show(f"line {number}: {error}", err=True)
            if line.name in lines:  # a stream takes one step in each run
                streams.run(list(lines.values()))
                lines = {}
            lines[line.name] = line
        streams.run(list(lines.values()))
    streams.finish()
    if refused:
        raise typer.Exit(2)


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Where the features are in a line of CSV with a header.

    width: the number of columns, without the id; places: of the features.
    """

    width: int
    places: list[int]

    @classmethod
    def of(cls, header: list[str], entry: Input, where: str) -> _Columns | None:
        """Find the channels in a header; None if the model has no names."""
        if entry.channels is None:
            return None
        return cls(len(header), positions(header, entry.channels, where))

    def select(self, cells: list[str]) -> list[str]:
        """Return the cells of the features."""
        if len(cells) != self.width:
            raise ValueError(f"the header has {self.width} columns, the line {len(cells)}")
        return [cells[place] for place in self.places]


def _read_header(raw: bytes, entry: Input, has_id: bool) -> list[str] | None:
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
class _Line:
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

    def read(self, raw: bytes, entry: Input, columns: _Columns | None = None) -> None:
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
        """The cells of a line of CSV; the id is stored."""
        cells = next(csv.reader([text]))
        if self.has_id:
            self.id, *cells = cells
        return cells

    def _example(self, is_word: bool) -> str:
        row, data = ("good", '"good"') if is_word else ("0.1,0.2", "[0.1, 0.2]")
        return f'pump 7,{row} or {{"id": "pump 7", "x": {data}}}' if self.has_id else f"{row} or {data}"

    def print_events(self, time: dict[str, Any], labels: list[Any]) -> None:
        """Print the time and the labels of the alarms that begin then; in CSV nothing but the id if there is none."""
        if self.as_json:
            first = {"id": self.id} if self.has_id else {}
            write_data(json.dumps(first | time | {"events": labels}) + "\n")
        else:
            self._print_cells([*time.values(), *labels] if labels else [])

    def _print_cells(self, cells: list[Any]) -> None:
        cells = [*([self.id] if self.has_id else []), *cells]  # None is an empty cell
        csv.writer(types.SimpleNamespace(write=write_data), lineterminator="\n").writerow(cells)

    def print_result(self, labels: list[Any], scores: Any) -> None:
        """Print the result; labels: the label, or empty without classes; scores: empty if there is no result."""
        if self.as_json:
            first = {"id": self.id} if self.has_id else {}
            if labels:
                first["label"] = labels[0]
            y = [None if np.isnan(score) else float(f"{score:.7g}") for score in scores]
            write_data(json.dumps(first | {"y": y or None}) + "\n")
        else:
            self._print_cells([*labels, *(f"{score:.7g}" for score in scores)])


class _OneByOne:
    """The streams of a step file, with `open` and `step` of a pool; each waits until it has the steps of a run."""

    def __init__(self, model: Predictor) -> None:
        self._model, self._steps = model, model.contract.chunk_steps
        self.streams: list[tuple[Stream, list[Any]]] = []

    def open(self) -> int:
        """Start a stream, and return its number."""
        self.streams.append((self._model.stream(), []))
        return len(self.streams) - 1

    def step(self, ids: list[int], x: Any) -> Iterator[Any]:
        """Yield the results of a step of each stream: [0, k] while it waits, NaN if its state would become infinite."""
        shape = self._model.model.outputs[0].shape
        for id, row in zip(ids, x, strict=True):
            stream, waiting = self.streams[id]
            waiting.append(row)
            if len(waiting) < self._steps:
                yield np.zeros((0, *shape), np.float32)
                continue
            chunk = row if self._steps == 1 else np.stack(waiting)
            waiting.clear()
            try:
                yield stream.step(chunk)
            except DataError:
                yield np.full(shape, np.nan, np.float32)


class _Streams:
    """A stream for each name; it writes the results to standard output."""

    def __init__(self, model: Predictor, quiet: bool) -> None:
        self._model, self._quiet = model, quiet
        self._pool = _OneByOne(model) if model.contract.form == "step" else model.pool()
        self._ids = collections.defaultdict[str, int](self._pool.open)  # the id in the pool of each name
        self._last: dict[str, _Line] = {}  # the last valid line of each name
        size = model.model.outputs[0].shape[-1]
        self._refusal = np.full(size, np.nan, np.float32)
        # Of a file that answers events: the steps of each stream so far, and which alarms are on.
        self._steps, self._on = collections.Counter[str](), collections.defaultdict[str, Any](lambda: np.zeros(size))
        self._names = column_names(model)

    def run(self, lines: list[_Line]) -> None:
        """Run the valid lines of different streams together, and write a result for each line."""
        valid = [line for line in lines if line.step is not None]
        ids = [self._ids[line.name] for line in valid]
        self._last |= {line.name: line for line in valid}
        results = iter(self._pool.step(ids, np.stack([line.step for line in valid])) if valid else ())
        for line in lines:
            self._write(line, self._refusal if line.step is None else next(results))
        sys.stdout.flush()

    def finish(self) -> None:
        """Write the results that lookahead delays, or say how many steps a step file did not run."""
        if isinstance(self._pool, _OneByOne):
            if (count := sum(len(waiting) for _, waiting in self._pool.streams)) and not self._quiet:
                of_run = self._model.contract.chunk_steps
                show(f"{count} steps at the end have no result: this step file runs {of_run} at a time", err=True)
            return
        if self._model.lookahead and self._last:
            results = self._pool.finish([self._ids[name] for name in self._last])
            for line, scores in zip(self._last.values(), results, strict=True):
                if scores.size:
                    self._write(line, scores)

    def _write(self, line: _Line, scores: Any) -> None:
        from seq2onnx.runtime import scores_to_labels
        from seq2onnx.runtime.outputs import seconds_of_steps

        classes = self._model.classes
        for row in np.atleast_2d(scores):
            if self._model.contract.answer == "events" and scores.size and not np.isnan(row).any():
                begun = np.flatnonzero(begins(row[None], self._on[line.name])).tolist()
                step = self._steps[line.name]
                time: dict[str, float] = {"step": step}
                seconds = seconds_of_steps(self._model.contract, self._model.model.outputs[0], np.array(step))
                if seconds is not None:
                    time["seconds"] = round(float(seconds), 6)
                line.print_events(time, [self._names[k] for k in begun])
                self._steps[line.name] += 1
                self._on[line.name] = row.copy()
                continue
            line.print_result(scores_to_labels(row[None], classes).tolist() if classes else [], row)
        if not scores.size:  # a stride or lookahead: no result at this step
            line.print_result([], [])


def _read_lines(file: BinaryIO) -> Iterator[list[bytes]]:
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
