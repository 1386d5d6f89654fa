"""The section of a report about the training: figures beside those of a baseline, advice, curve and options."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from math import nan
from pathlib import Path
from typing import Any

from seq2onnx.errors import ModelFileError
from seq2onnx.evaluation.scores import ClassEvaluation
from seq2onnx.files import read_own
from seq2onnx.reporting.facts import Facts
from seq2onnx.reporting.page import paragraph, picture, spaced, table
from seq2onnx.specs import parse_spec


def training(facts: Facts) -> list[str]:
    """The options, metrics and charts of a run folder."""
    if not facts.is_run:
        return []
    from seq2onnx.training import TrainingOptions

    run = facts.source
    settings = parse_spec(read_own(run / "options.yaml"), str(run / "options.yaml"))
    options, defaults = settings["options"], json.loads(json.dumps(dataclasses.asdict(TrainingOptions())))
    changed = [[name, value, defaults[name]] for name, value in options.items() if value != defaults[name]]
    others = ", ".join(f"{name} {value}" for name, value in options.items() if value == defaults[name])
    history, metrics, parts = _history(run), _metrics(run / "metrics.json"), []
    for kind in (name.removeprefix("baseline_") for name in metrics if name.startswith("baseline_")):
        parts.append(
            paragraph(
                f"Of the validation data, a linear model has the {spaced(kind)} {metrics[f'baseline_{kind}']:.4g}, and "
                f"the network {metrics.get(f'validation_{kind}', nan):.4g}."
            )
        )
    parts += [paragraph(f"{text[:1].upper()}{text[1:]}.", "bad") for text in _advice(run / "advice.json")]
    if metrics:
        rows = [[spaced(name), f"{value:.5g}"] for name, value in metrics.items() if name != "epoch"]
        caption = f"The weights are those of epoch {metrics.get('epoch', nan):g} of {len(history)}." if history else ""
        parts.append(table(["metric", "value"], rows, [1], caption))
    curve, confusion = run / "curve.png", run / "confusion.png"
    if curve.is_file() and history:
        first, last = history[0], history[-1]
        changes = "; ".join(
            f"{spaced(name)} from {first[name]:.3g} to {last[name]:.3g}"
            for name in ("loss", "validation_loss", "accuracy", "validation_accuracy")
            if name in first and name in last
        )
        alt = f"Training curve over {len(history)} epochs: {changes}."
        parts.append(picture(read_own(curve), alt, "Training curve"))
        parts.append(paragraph(_kept(options), "soft"))
    if confusion.is_file() and not isinstance(facts.comparison, ClassEvaluation):  # which has the chart of its data
        alt = "Confusion chart of the validation data: how often each true class was predicted as each class."
        parts.append(picture(read_own(confusion), alt, "Confusion chart of the validation data"))
    parts.append(table(["option", "value", "default"], [["loss", settings.get("loss", ""), ""], *changed]))
    parts.append(paragraph(f"All other options have their defaults: {others}.", "soft"))
    return parts


def _kept(options: dict[str, Any]) -> str:
    """What the options say about when training ends, and which weights it keeps."""
    monitor, patience = spaced(str(options.get("monitor", "loss"))), options.get("patience")
    ends = f"after {patience} epochs without a better {monitor} (patience)" if patience else "after all epochs"
    if options.get("keep") == "best":
        return f"Training ends {ends}, and keeps the weights of the epoch with the best {monitor} (keep=best)."
    return (
        f"Training ends {ends}, and keeps the weights of the last one (keep=last). If the validation loss rises again, "
        "keep=best keeps those of its best epoch, and patience=10 ends training after 10 epochs without a better one."
    )


def _advice(path: Path) -> list[str]:
    """The warnings about data and training."""
    if not path.is_file():
        return []
    found = parse_spec(read_own(path), str(path), "JSON")
    if not isinstance(found, list) or not all(isinstance(r, dict) and isinstance(r.get("text"), str) for r in found):
        raise ModelFileError(f"{path}: is not what a training run writes: expected a list of texts")
    return [row["text"] for row in found]


def _history(run: Path) -> list[dict[str, float]]:
    """The rows of history.csv; a row has only the metrics that its epoch measured."""
    path = run / "history.csv"
    if not path.is_file():
        return []
    try:
        rows = csv.DictReader(io.StringIO(read_own(path).decode(), newline=""))
        return [{name: float(text) for name, text in row.items() if text} for row in rows]
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise ModelFileError(f"{path}: is not what a training run writes: {error}") from None


def _metrics(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    found = parse_spec(read_own(path), str(path), "JSON", nan=True)
    if not isinstance(found, dict) or not all(type(value) in (int, float) for value in found.values()):
        raise ModelFileError(f"{path}: is not what a training run writes: expected numbers by name")
    return found
