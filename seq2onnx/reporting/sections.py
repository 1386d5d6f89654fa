"""The sections of a report. To add one, write a function and add it to SECTIONS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from seq2onnx.layers import FeatureInput, SequenceInput
from seq2onnx.reporting.alarms import alarms
from seq2onnx.reporting.benchmark import environment, format_seconds
from seq2onnx.reporting.description import describe_contract
from seq2onnx.reporting.facts import MAX_PARITY_SEQUENCES, Facts
from seq2onnx.reporting.page import paragraph, spaced, table
from seq2onnx.reporting.results import results
from seq2onnx.reporting.training import training
from seq2onnx.sequences import MASKED

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
        rows.append(("padding", ", ".join(f"{spaced(name)} {value}" for name, value in fields)))
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


def channels(facts: Facts) -> list[str]:
    """How much worse the results become without a channel."""
    found = facts.importance
    if found is None or isinstance(found, str):
        return [paragraph(found, "soft")] if found else []
    rows = [[row.channel, *(f"{v:.4f}" for v in (row.fall, row.low, row.high))] for row in found.table[:MAX_CHANNELS]]
    change = "rises" if found.metric == "pinball loss" else "falls"
    limit = (
        f" The {MAX_CHANNELS} most important of {len(found.table)} channels." if len(rows) < len(found.table) else ""
    )
    return [
        paragraph(
            f"How much the {found.metric} {change} when a channel is replaced by that of another sequence, and the "
            "interval in which this lies with 95 %. A channel of which others tell the same can be replaced without "
            f"loss.{limit}"
        ),
        table(["channel", change, "low", "high"], rows, [1, 2, 3]),
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
    "Channels": channels,
    "Alarms": alarms,
    "Training": training,
    "Network": network,
    "Exported file": contract,
    "Latency": latency,
    "Parity": parity,
}
