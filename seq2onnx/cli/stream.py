"""seq2onnx stream: a line in, a line out."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

import numpy as np
import typer

from seq2onnx.cli.options import ModelFile, Quiet
from seq2onnx.errors import DataError, ShapeError, SpecError


def stream(file: ModelFile, quiet: Quiet = False) -> None:
    """Read one step per line from standard input, and answer each at once with a line.

    A step is CSV (0.1,0.2) or JSON ([0.1, 0.2]), and is answered in kind: label,score,… or {"label": …, "y": […]}.
    A step that is refused is answered with nan (JSON: null) and a message on standard error; the state stays what it
    was, and the exit code is 2. Empty lines are passed over.

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
    width, states, refused = model.shapes["y"][-1], model.stream(), 0

    def answer(scores: Any, as_json: bool) -> None:
        label = scores_to_labels(scores[None], model.classes)[0] if model.classes else None
        print((_json if as_json else _csv)(scores, label, bool(model.classes)), flush=True)

    as_json = False
    for number, line in enumerate(sys.stdin.buffer, 1):
        if not line.strip():
            continue
        as_json = line.lstrip().startswith((b"[", b"{", b'"'))
        try:
            step = _parse(line, as_json, model.inputs[0].is_tokens)
            if np.shape(step) != model.inputs[0].shape:
                raise ShapeError(f"expected {np.prod(model.inputs[0].shape, dtype=int)} numbers, got {np.size(step)}")
            scores = states.step(step)
        except (DataError, ShapeError) as error:
            refused += 1
            if not quiet:
                typer.echo(f"line {number}: {error}", err=True)
            scores = np.full(width, np.nan, np.float32)
        if scores.ndim == 1:
            answer(scores, as_json)
        else:  # what came out of a stride or lookahead: nothing, or some steps
            for row in scores:
                answer(row, as_json)
            if not len(scores):
                print('{"y": null}' if as_json else "", flush=True)
    if model.lookahead:
        for row in np.atleast_2d(states.finish()):
            answer(row, as_json)
    if refused:
        raise typer.Exit(2)


def _parse(line: bytes, as_json: bool, is_token: bool) -> Any:
    try:
        text = line.decode().strip()
        if as_json:
            values = json.loads(text)
        elif is_token:
            values = int(text) if text.lstrip("-").isdigit() else text
        else:
            values = [float(part) for part in text.split(",")]
        if is_token:
            return np.asarray(values)
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite, and refused as that
            return np.asarray(values, np.float64).astype(np.float32)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"is not a list of numbers, such as 0.1,0.2 or [0.1, 0.2]: {error}") from None


def _json(scores: Any, label: Any, has_label: bool) -> str:
    first = {"label": label.item() if isinstance(label, np.generic) else label} if has_label else {}
    return json.dumps(first | {"y": [None if np.isnan(s) else float(f"{s:.7g}") for s in scores]})


def _csv(scores: Any, label: Any, has_label: bool) -> str:
    row = io.StringIO()
    first = ["" if label is None else label] if has_label else []
    csv.writer(row, lineterminator="").writerow([*first, *(f"{score:.7g}" for score in scores)])
    return row.getvalue()
