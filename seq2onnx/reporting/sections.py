"""The sections of a report. To add one, write a function and add it to SECTIONS."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

from seq2onnx.errors import ModelFileError
from seq2onnx.files import read_own
from seq2onnx.layers import FeatureInput, SequenceInput
from seq2onnx.reporting.alarms import alarms
from seq2onnx.reporting.benchmark import environment, format_seconds
from seq2onnx.reporting.description import describe_contract
from seq2onnx.reporting.facts import MAX_PARITY_SEQUENCES, Facts
from seq2onnx.reporting.page import paragraph, picture, table
from seq2onnx.reporting.results import results
from seq2onnx.sequences import MASKED
from seq2onnx.specs import parse_spec

MAX_CHANNELS = 24
MAX_LIST = 6  # longer lists are shown by their number of values


def network(facts: Facts) -> list[str]:
    """The options, output, parameters and state of each layer."""
    rows: list[list[str]] = []
    layers = facts.network.to_dict()["layers"]
    for (name, output, count, states), layer in zip(facts.network.table(), layers, strict=True):
        ((kind, fields),) = layer.items()
        options = _options(fields, rows[-1][0] if rows else None)
        rows.append([name, f"{kind}: {options}" if options else kind, output, f"{count:,}" if count else "", states])
    rows.append(["total", "", "", f"{facts.parameters:,}", ""])
    return [table(["layer", "kind", "output", "parameters", "state"], rows, [3])]


def _options(fields: dict[str, Any], before: str | None) -> str:
    """The fields of a layer without what other tables show, and without an input that is just the layer before."""
    hidden = {"name", "statistics"} | ({"inputs"} if fields.get("inputs") == [before] else set())
    hidden |= {"vocabulary"} if isinstance(fields.get("vocabulary"), list) else set()
    return ", ".join(f"{key} {_short(value)}" for key, value in fields.items() if key not in hidden)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"({len(value):,} values)" if len(value) > MAX_LIST else f"({', '.join(map(_short, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def contract(facts: Facts) -> list[str]:
    """Inputs, outputs, states and normalization of the file."""
    rows = describe_contract(facts.model)
    rows += [("first word", repr(next(iter(entry.words)))) for entry in facts.model.inputs if entry.words]
    if facts.model.policy != MASKED:
        fields = dataclasses.asdict(facts.model.policy).items()
        rows.append(("padding", ", ".join(f"{_spaced(name)} {value}" for name, value in fields)))
    parts = [table(["property", "value"], rows)]
    for layer in facts.network.layers:
        if not isinstance(layer, SequenceInput | FeatureInput):
            continue
        title = f"{layer.label}: normalization {layer.normalization}"
        if not layer.statistics:
            parts.append(paragraph(f"{title}."))
            continue
        channels = list(zip(*layer.statistics.values(), strict=True))
        names = facts.model.contract.channel_names.get(layer.label) or range(len(channels))
        values = [[f"{value:.6g}" for value in row] for row in channels[:MAX_CHANNELS]]
        shown = [[name, *row] for name, row in zip(names, values, strict=False)]
        limit = f"; the first {MAX_CHANNELS} of {len(channels)} channels" if len(channels) > MAX_CHANNELS else ""
        head = ["channel", *layer.statistics]
        parts.append(table(head, shown, range(len(head)), f"{title}, applied inside the file{limit}"))
    return parts


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def training(facts: Facts) -> list[str]:
    """The options, metrics and charts of a run folder."""
    if not facts.is_run:
        return []
    from seq2onnx.training import TrainingOptions

    run = facts.source
    settings = parse_spec(read_own(run / "options.yaml"), str(run / "options.yaml"))
    options, defaults = settings["options"], dataclasses.asdict(TrainingOptions())
    changed = [[name, value, defaults[name]] for name, value in options.items() if value != defaults[name]]
    others = ", ".join(f"{name} {value}" for name, value in options.items() if value == defaults[name])
    parts = [
        table(["option", "value", "default"], [["loss", settings.get("loss", ""), ""], *changed]),
        paragraph(f"All other options have their defaults: {others}.", "soft"),
    ]
    history = _history(run)
    metrics = _metrics(run / "metrics.json")
    if metrics:
        rows = [[_spaced(name), f"{value:.5g}"] for name, value in metrics.items() if name != "epoch"]
        caption = f"The weights are those of epoch {metrics.get('epoch', nan):g} of {len(history)}." if history else ""
        parts.append(table(["metric", "value"], rows, [1], caption))
    curve, confusion = run / "curve.png", run / "confusion.png"
    if curve.is_file() and history:
        first, last = history[0], history[-1]
        changes = "; ".join(
            f"{_spaced(name)} from {first[name]:.3g} to {last[name]:.3g}"
            for name in ("loss", "validation_loss", "accuracy", "validation_accuracy")
            if name in first and name in last
        )
        alt = f"Training curve over {len(history)} epochs: {changes}."
        parts.append(picture(read_own(curve), alt, "Training curve"))
    if confusion.is_file():
        alt = "Confusion chart of the validation data: how often each true class was predicted as each class."
        parts.append(picture(read_own(confusion), alt, "Confusion chart of the validation data"))
    return parts


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


def parity(facts: Facts) -> list[str]:
    """The table of `verify`, and the sequences that it used."""
    checks = facts.parity.rows
    rows = [
        [row.check, row.tensor, f"{row.max_abs:.1e}", f"{row.max_rel:.1e}", "ok" if row.ok else "FAILED"]
        for row in checks
    ]
    failed = sum(not row.ok for row in checks)
    verdict = f"{failed} of {len(rows)} comparisons FAILED" if failed else f"All {len(rows)} comparisons passed"
    used = "random sequences"
    if facts.path and facts.data and facts.sample:
        used += f" and the first {len(facts.sample)} of the {len(facts.data)} sequences of {facts.path.name}"
    elif facts.path:
        used += f" only: each of the first {MAX_PARITY_SEQUENCES} sequences of {facts.path.name} has NaN or infinity"
    has_torch = any(row.check.startswith("torch") for row in checks)
    missing = "" if has_torch else " torch is not installed, so the file was compared only with itself."
    return [
        paragraph(
            f"{verdict}; tolerance: {checks[0].tolerance:g} × max(1, largest value).", "bad" if failed else "good"
        ),
        paragraph(f"Checked on {used}.{missing}"),
        *(paragraph(f"Note: {note}.") for note in facts.parity.notes),
        table(["check", "tensor", "max abs", "max rel", "verdict"], rows, [2, 3]),
    ]


def latency(facts: Facts) -> list[str]:
    """The time of a step and of a sequence, and the machine."""
    rows = [
        [run.of, *map(format_seconds, (run.p50, run.p90, run.p99, run.max)), f"{run.steps_per_second:,.0f}"]
        for run in facts.latency
    ]
    parts = [
        paragraph(
            f"One sequence of {facts.steps} steps on one thread. p50 is the median, p99 the 99th percentile. This is a "
            "short measurement, and other programs may have been running; seq2onnx bench measures longer."
        ),
        table(["run", "p50", "p90", "p99", "max", "steps/s"], rows, range(1, 6)),
        table(["environment", "value"], [[name, value] for name, value in environment().items()]),
    ]
    if facts.model.closed_loop:
        parts.insert(1, paragraph(f"Each time includes the {facts.model.closed_loop} steps of the closed loop."))
    if (of_run := facts.model.contract.chunk_steps) > 1:
        parts.insert(1, paragraph(f"Stream.step runs {of_run} steps at a time, because the file has form step."))
    if facts.model.signature == "sequence":
        parts.insert(1, paragraph('The file has no states (signature "sequence"), so it cannot run step by step.'))
    return parts


# In the order of the page. A section without content is left out.
SECTIONS: dict[str, Callable[[Facts], list[str]]] = {
    "Results": results,
    "Alarms": alarms,
    "Network": network,
    "Exported file": contract,
    "Training": training,
    "Parity": parity,
    "Latency": latency,
}
