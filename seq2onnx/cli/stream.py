"""seq2onnx stream: read one step per line, write one result per line."""

from __future__ import annotations

import codecs
import collections
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from seq2onnx.cli.options import AllowChanged, ModelFile, Quiet, show
from seq2onnx.cli.sound import Pcm, stream_sound
from seq2onnx.cli.step_lines import Columns, Line, read_header, read_lines
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.evaluation.predictions import begins, column_names

if TYPE_CHECKING:
    from seq2onnx.runtime import Predictor, Stream


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
    columns: Columns | None = None
    number, refused, is_first = 0, 0, True
    for received in read_lines(sys.stdin.buffer):
        lines: dict[str, Line] = {}
        for raw in received:
            number += 1
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if not raw.strip():
                continue
            if is_first:
                is_first = False
                header = read_header(raw, model.inputs[0], id_column)
                if header is not None:
                    columns = Columns.of(header, model.inputs[0], f"line {number}")
                    continue
            marks = (b"{",) if id_column else (b"[", b"{", b'"') if model.inputs[0].is_tokens else (b"[", b"{")
            line = Line(raw.lstrip().startswith(marks), id_column)
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
        self._last: dict[str, Line] = {}  # the last valid line of each name
        size = model.model.outputs[0].shape[-1]
        self._refusal = np.full(size, np.nan, np.float32)
        # Of a file that answers events: the steps of each stream so far, and which alarms are on.
        self._steps, self._on = collections.Counter[str](), collections.defaultdict[str, Any](lambda: np.zeros(size))
        self._names = column_names(model)

    def run(self, lines: list[Line]) -> None:
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

    def _write(self, line: Line, scores: Any) -> None:
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
