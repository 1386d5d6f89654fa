"""The sections of seq2onnx report: what a model is, how it was trained, what it reaches, and how fast it is."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2onnx.cli.comparison import ClassComparison, Comparison, NumberComparison
from seq2onnx.cli.inspect import promises
from seq2onnx.cli.measurements import Measurement, in_words, surroundings
from seq2onnx.cli.page import paragraph, picture, section, table
from seq2onnx.network import Network
from seq2onnx.sequences import MASKED

if TYPE_CHECKING:
    from seq2onnx.parity import Report
    from seq2onnx.runtime import Predictor

MOST_CHANNELS = 24
MOST_CLASSES_IN_A_PICTURE = 40
MOST_PICTURES = 4
MOST_POINTS = 20000
LONG = 6  # of a list: longer ones are counted


def network(net: Network) -> str:
    """Each layer: its options, what comes out, parameters, and what it remembers."""
    layers = net.to_dict()["layers"]
    rows: list[list[str]] = []
    for (name, output, count, states), layer in zip(net.table(), layers, strict=True):
        ((kind, fields),) = layer.items()
        options = _options(fields, rows[-1][0] if rows else None)
        rows.append([name, f"{kind}: {options}" if options else kind, output, f"{count:,}" if count else "", states])
    rows.append(["total", "", "", f"{parameters(net):,}", ""])
    return section("Network", table(["layer", "kind", "output", "parameters", "state"], rows, [3]))


def parameters(net: Network) -> int:
    """Of all layers."""
    return sum(count for _, _, count, _ in net.table())


def _options(fields: dict[str, Any], before: str | None) -> str:
    """The options of a layer, less its name, what it reads where that is the layer before, and statistics."""
    hidden = {"name", "statistics"} | ({"inputs"} if fields.get("inputs") == [before] else set())
    return ", ".join(f"{key} {_short(value)}" for key, value in fields.items() if key not in hidden)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"({len(value):,} values)" if len(value) > LONG else f"({', '.join(map(_short, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def contract(model: Predictor) -> str:
    """What the file promises, and the normalization in it."""
    rows = promises(model)
    if model.policy != MASKED:
        fields = dataclasses.asdict(model.policy).items()
        rows.append(("padding", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields)))
    for layer, words in (model.metadata.get("vocabulary") or {}).items():
        rows.append(("vocabulary", f"{layer}: {len(words):,} words, from {words[0]!r}" if words else f"{layer}: none"))
    parts = [table(["what", "in the file"], rows)]
    for layer in model.metadata["network"]["layers"]:
        ((kind, fields),) = layer.items()
        if kind in ("sequence_input", "feature_input"):
            parts.append(_normalization(fields))
    return section("What the file promises", *parts)


def _normalization(fields: dict[str, Any]) -> str:
    statistics: dict[str, list[float]] = fields.get("statistics") or {}
    what = f"{fields['name']}: normalization {fields.get('normalization', 'none')}"
    if not statistics:
        return paragraph(f"{what}; values are taken as they come.")
    channels = list(zip(*statistics.values(), strict=True))
    rows = [[number, *(f"{value:.6g}" for value in row)] for number, row in enumerate(channels[:MOST_CHANNELS])]
    more = len(channels) - MOST_CHANNELS
    some = f"; the first {MOST_CHANNELS} of {len(channels)} channels" if more > 0 else ""
    return table(["channel", *statistics], rows, range(1 + len(statistics)), f"{what}, inside the model{some}")


def training(run: Path) -> str:
    """Options, figures and pictures of a run folder that `load_run` has read."""
    import yaml

    from seq2onnx.training import TrainingOptions

    settings = yaml.safe_load((run / "options.yaml").read_bytes())
    given, usual = settings["options"], dataclasses.asdict(TrainingOptions())
    shown = {name: (value, usual[name]) for name, value in given.items() if _plain(value) != _plain(usual[name])}
    rows = [["loss", settings.get("loss", ""), ""], *([name, *both] for name, both in shown.items())]
    others = ", ".join(f"{name} {value}" for name, value in given.items() if name not in shown)
    parts = [
        table(["option", "here", "usual"], rows),
        paragraph(f"All other options as usual: {others}.", "soft"),
    ]
    history = _history(run)
    kept = json.loads((run / "metrics.json").read_text()) if (run / "metrics.json").is_file() else {}
    if kept:
        figures = [[name.replace("_", " "), f"{value:.5g}"] for name, value in kept.items() if name != "epoch"]
        of = f"The weights are those of epoch {kept['epoch']:g} of {len(history)}." if history else ""
        parts.append(table(["figure", "value"], figures, [1], of))
    curve, confusion = run / "curve.png", run / "confusion.png"
    if curve.is_file() and history:
        first, last = history[0], history[-1]
        says = "; ".join(
            f"{name.replace('_', ' ')} from {first[name]:.3g} to {last[name]:.3g}"
            for name in ("loss", "validation_loss", "accuracy", "validation_accuracy")
            if name in first and name in last
        )
        says = f"Training curve over {len(history)} epochs: {says}."
        parts.append(picture(curve.read_bytes(), says, "Training curve"))
    if confusion.is_file():
        says = "Confusion chart of the validation data: how often each true class was taken for each."
        parts.append(picture(confusion.read_bytes(), says, "Confusion of the validation data"))
    return section("Training", *parts)


def _plain(value: Any) -> Any:
    """As YAML gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _history(run: Path) -> list[dict[str, float]]:
    """The rows of history.csv, without what was not measured in an epoch."""
    path = run / "history.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def results(found: Comparison | str, about: str) -> str:
    """Figures and pictures of a comparison; or why there are none."""
    parts = [paragraph(about)]
    if isinstance(found, str):
        parts.append(paragraph(found))
    else:
        if found.left_out:
            parts.append(
                paragraph(f"{found.left_out:,} answers are NaN, as is part of what was asked; left out.", "bad")
            )
        parts += _of_classes(found) if isinstance(found, ClassComparison) else _of_numbers(found)
    return section("On the data", *parts)


def _of_classes(found: ClassComparison) -> list[str]:
    from seq2onnx import plots
    from seq2onnx.plots.confusion import confusion_size

    count, by_class = len(found.truth), found.by_class()
    most = max(there for _, there, _, _ in by_class)
    rows = [[label, f"{there:,}", _percent(recall), _percent(precise)] for label, there, recall, precise in by_class]
    parts = [
        paragraph(
            f"Accuracy {_percent(found.accuracy)} of {count:,}; who always says the most frequent class has "
            f"{_percent(most / count)}."
        ),
        table(["class", "true", "recall", "precision"], rows, [1, 2, 3]),
    ]
    if len(found.classes) <= MOST_CLASSES_IN_A_PICTURE:
        truth, predicted = ([found.classes[k] for k in numbers] for numbers in (found.truth, found.predicted))
        draw = functools.partial(plots.confusion_chart, truth, predicted, found.classes)
        chart = plots.as_png(draw, confusion_size(found.classes))
        says = f"Confusion chart of {len(found.classes)} classes: {_percent(found.accuracy)} lie on the diagonal."
        parts.append(picture(chart, says, "True classes, and what they are taken for"))
    else:
        parts.append(paragraph(f"A chart of more than {MOST_CLASSES_IN_A_PICTURE} classes could not be read.", "soft"))
    if found.one_series is not None and len(found.one_series[0]):
        known, scores = found.one_series
        labels = [found.classes[number] if number >= 0 else None for number in known]
        draw = functools.partial(plots.scores_over_time, scores, found.classes, truth=labels)
        says = (
            f"The scores of the leading classes over the {len(labels)} steps of the first sequence, above true labels."
        )
        parts.append(picture(plots.as_png(draw), says, "The first sequence, step by step"))
    return parts


def _of_numbers(found: NumberComparison) -> list[str]:
    from seq2onnx import plots

    figures, several = found.figures(), found.truth.shape[1] > 1
    rows = [[f"y{k}" if several else "y", *(number(value, ".5g") for value in row)] for k, row in enumerate(figures)]
    parts = []
    if found.horizon and found.naive is not None:
        parts.append(paragraph(f"The last {found.horizon} steps of each sequence, forecast from those before."))
        naive = dataclasses.replace(found, predicted=found.naive).figures()
        rows = [[*row, f"{rmse:.5g}"] for row, (_, rmse, _) in zip(rows, naive, strict=True)]
    head = ["answer", "R²", "RMSE", "mean absolute error", *["RMSE of the last value"] * bool(found.horizon)]
    parts.append(table(head, rows, range(1, len(head)), f"Of {len(found.truth):,} numbers, in the unit of the targets"))
    # A picture of more points takes long and shows no more.
    every = -(-len(found.truth) // MOST_POINTS)
    for k, (r2, rmse, _) in list(enumerate(figures))[:MOST_PICTURES]:
        name = f"Answer y{k}" if several else "Answers"
        truth, predicted = found.truth[::every, k], found.predicted[::every, k]
        draw = functools.partial(plots.predicted_against_true, truth, predicted)
        reached = f"R² {number(r2, '.3f')}, RMSE {rmse:.4g}"
        says = f"{name} against true numbers, {len(truth):,} points about the diagonal: {reached}."
        caption = f"{name} against true numbers" + (f", every {every}th" if every > 1 else "")
        parts.append(picture(plots.as_png(draw, (5, 5)), says, caption))
        if found.one_series is None or not len(found.one_series[0]):
            continue
        truth, predicted = (series[:, k] for series in found.one_series)
        if found.history is not None:
            ahead = 4 * len(truth)
            before = found.history[-ahead:, k]
            draw = functools.partial(
                plots.forecast_chart, before, truth, {"closed loop": predicted}, start=len(found.history) - len(before)
            )
            says = f"{name} of the first sequence: {len(truth)} steps forecast in a closed loop, beside what came."
        else:
            draw = functools.partial(plots.series_over_time, truth, predicted)
            says = f"{name} to the {len(truth)} steps of the first sequence, beside the true numbers."
        parts.append(picture(plots.as_png(draw), says, f"{name}, first sequence"))
    if len(figures) > MOST_PICTURES:
        parts.append(paragraph(f"Pictures of the first {MOST_PICTURES} of {len(figures)} numbers.", "soft"))
    return parts


def number(value: float, form: str) -> str:
    """A figure; a dash where it is not defined."""
    return "–" if math.isnan(value) else format(value, form)


def _percent(share: float) -> str:
    return number(100 * share, ".1f") + " %" * (not math.isnan(share))


def parity(report: Report, beside: str) -> str:
    """The table of `verify`."""
    rows = [
        [row.check, row.tensor, f"{row.max_abs:.1e}", f"{row.max_rel:.1e}", "ok" if row.ok else "FAILED"]
        for row in report.rows
    ]
    failed = sum(not row.ok for row in report.rows)
    verdict = f"{failed} of {len(rows)} comparisons FAILED" if failed else f"All {len(rows)} comparisons hold"
    limit = f", at {report.rows[0].tolerance:g} of max(1, largest number)."
    return section(
        "Parity",
        paragraph(verdict + limit, "bad" if failed else "good"),
        paragraph(beside),
        table(["check", "tensor", "max abs", "max rel", "verdict"], rows, [2, 3]),
    )


def latency(found: Sequence[Measurement], steps: int, closed_loop: int | None) -> str:
    """How long a step and a sequence take, on which machine."""
    rows = [
        [row.of, *(in_words(value) for value in (row.p50, row.p90, row.p99, row.max)), f"{row.steps_per_second:,.0f}"]
        for row in found
    ]
    about = surroundings()
    machine = [[name, about[name]] for name in ("processor", "cores", "onnxruntime", "seq2onnx", "python")]
    parts = [
        paragraph(
            f"One sequence of {steps} steps, on one thread; half of the runs take p50 at most, 99 of 100 p99. A short "
            "measurement on a machine that may have had other work: seq2onnx bench measures longer."
        ),
        table(["run", "p50", "p90", "p99", "max", "steps/s"], rows, range(1, 6)),
        table(["measured on", "what"], machine),
    ]
    if closed_loop:
        parts.insert(1, paragraph(f"Each run goes {closed_loop} steps on by itself, which its time includes."))
    if len(found) == 1:
        parts.insert(1, paragraph("The file has no states, by its signature: it cannot run a step at a time."))
    return section("Latency", *parts)
