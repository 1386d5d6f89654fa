"""seq2onnx stream: a line in, a line out."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import typer

from seq2onnx.cli.options import ModelFile, Quiet
from seq2onnx.errors import DataError, ShapeError


def stream(file: ModelFile, quiet: Quiet = False) -> None:
    """Read one step per line from standard input, and answer each at once with a line.

    A step is CSV (0.1,0.2) or JSON ([0.1, 0.2]), and is answered in kind: label and scores. A step that
    is refused is answered with nan (JSON: null) and a message on standard error; the state stays what it
    was, and the exit code is 2. Empty lines are passed over.
    """
    from seq2onnx.runtime import load, scores_to_labels

    model = load(file)
    states, refused = model.stream(), 0
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        as_json = line.lstrip().startswith(("[", "{"))
        try:
            step = _parse(line, as_json)
            if step.shape != (model.features,):
                raise ShapeError(f"expected {model.features} numbers, got {list(step.shape)}")
            scores = states.step(step)
        except (DataError, ShapeError) as error:
            refused += 1
            if not quiet:
                typer.echo(f"line {number}: {error}", err=True)
            scores = np.full(model.answer_size, np.nan, np.float32)
        label = scores_to_labels(scores[None], model.classes)[0] if model.classes else None
        print((_json if as_json else _csv)(scores, label, bool(model.classes)), flush=True)
    if refused:
        raise typer.Exit(2)


def _parse(line: str, as_json: bool) -> Any:
    try:
        values = json.loads(line) if as_json else [float(text) for text in line.split(",")]
        return np.asarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise DataError(f"is not a list of numbers: {error}") from None


def _json(scores: Any, label: Any, has_label: bool) -> str:
    first = {"label": label.item() if isinstance(label, np.generic) else label} if has_label else {}
    return json.dumps(first | {"y": [None if np.isnan(s) else float(f"{s:.7g}") for s in scores]})


def _csv(scores: Any, label: Any, has_label: bool) -> str:
    first = ["" if label is None else str(label)] if has_label else []
    return ",".join([*first, *(f"{score:.7g}" for score in scores)])
