"""seq2onnx stream: a line in, a line out, for one stream or for many."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import numpy as np
import typer

from seq2onnx.cli.lines import Line, arrivals
from seq2onnx.cli.options import ModelFile, Quiet
from seq2onnx.errors import DataError, ShapeError, SpecError


def stream(
    file: ModelFile,
    id_column: Annotated[
        bool, typer.Option("--id-column", help='Many streams: the first column, or "id" in JSON, names the stream.')
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Read one step per line from standard input, and answer each at once with a line.

    A step is CSV (0.1,0.2) or JSON ([0.1, 0.2]), and is answered in kind: label,score,… or {"label": …, "y": […]}.
    A step that is refused is answered with nan (JSON: null) and a message on standard error; the state stays what it
    was, and the exit code is 2. Empty lines are passed over.

    With --id-column a line is pump 7,0.1,0.2 or {"id": "pump 7", "x": [0.1, 0.2]}, and its answer begins with the id
    in the same way. A new id begins a new stream. Lines that have come together run together; the answers keep their
    order.

    A network with a stride or lookahead answers with an empty line (JSON: "y" null) where nothing came out; what
    still waits at the end of a file with lookahead follows after the last line.
    """
    from seq2onnx.runtime import load, scores_to_labels

    model = load(file)
    if len(model.inputs) > 1 or len(model.outputs) > 1 or len(model.inputs[0].shape) > 1:
        raise SpecError(
            f"{file}: a line holds one vector or word and is answered with one; use model.stream for others"
        )
    if model.closed_loop:
        raise SpecError(f"{file}: answers a line with {model.closed_loop} steps, by closed_loop; export it without")
    pool = model.pool()
    opened: dict[str, tuple[int, Line]] = {}  # of each stream: its id in the pool, and the latest line
    width = model.model.outputs[0].shape[-1]
    refusal = np.full(width, np.nan, np.float32)

    def answer(line: Line, scores: Any) -> None:
        for row in np.atleast_2d(scores):
            print(line.answer([scores_to_labels(row[None], model.classes)[0]] if model.classes else [], row))
        if not scores.size:  # a stride or lookahead: nothing came out
            print(line.answer([], None))

    def run(lines: list[Line]) -> None:
        good = [line for line in lines if line.step is not None]
        for line in good:
            opened[line.name] = (opened[line.name][0] if line.name in opened else pool.open(), line)
        ids, steps = [opened[line.name][0] for line in good], [line.step for line in good]
        found = iter(pool.step(ids, np.stack(steps)) if good else ())
        for line in lines:
            answer(line, refusal if line.step is None else next(found))
        sys.stdout.flush()

    number, refused = 0, 0
    for arrived in arrivals(sys.stdin.buffer):
        lines: dict[str, Line] = {}
        for raw in arrived:
            number += 1
            if not raw.strip():
                continue
            line = Line(raw.lstrip().startswith(b"{" if id_column else (b"[", b"{", b'"')), id_column)
            try:
                line.read(raw, model.inputs[0])
            except (DataError, ShapeError) as error:
                refused += 1
                if not quiet:
                    typer.echo(f"line {number}: {error}", err=True)
            if line.name in lines:  # a stream takes one step in a run
                run(list(lines.values()))
                lines = {}
            lines[line.name] = line
        run(list(lines.values()))
    if model.lookahead and opened:
        waiting = pool.finish([id for id, _ in opened.values()])
        for (_, line), scores in zip(opened.values(), waiting, strict=True):
            if scores.size:
                answer(line, scores)
    if refused:
        raise typer.Exit(2)
