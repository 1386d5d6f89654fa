"""The section of a report that compares predictions with targets."""

from __future__ import annotations

import functools
import math

from seq2onnx.data.leaks import find_leaks
from seq2onnx.evaluation.quantiles import QuantileEvaluation
from seq2onnx.evaluation.scores import ClassEvaluation, Evaluation, NumberEvaluation, Scores, regression_scores
from seq2onnx.reporting.facts import Facts
from seq2onnx.reporting.page import paragraph, picture, table

MAX_CLASSES_IN_CHART = 40
MAX_PICTURES = 4
MAX_POINTS = 20000
MAX_STEPS = 200  # of bands; more could not be told apart


def key_scores(found: Evaluation | str | None) -> list[tuple[str, str]]:
    """The accuracy, the coverage of the widest band, or R² and RMSE of a single output, as pairs of name and value."""
    if isinstance(found, ClassEvaluation):
        return [("accuracy", f"{found.accuracy:.4f}")]
    if isinstance(found, QuantileEvaluation):
        return [(f"coverage of {b.low:g} to {b.high:g}", _percent(b.covered)) for b in found.coverage.bands[:1]]
    if isinstance(found, NumberEvaluation) and found.truth.shape[1] == 1:
        ((r2, rmse, _),) = found.scores()
        return [("R²", _format_number(r2, ".4f")), ("RMSE", _format_number(rmse, ".4g"))]
    return []


def results(facts: Facts) -> list[str]:
    """Scores and charts, or the reason why there are none; nothing without data."""
    if not (facts.path and facts.data and facts.comparison):
        return []
    low, high = facts.data.lengths.min(), facts.data.lengths.max()
    steps = f"{low:,} steps" if low == high else f"{low:,} to {high:,} steps"
    found, parts = facts.comparison, [paragraph(f"{facts.path.name}: {len(facts.data):,} sequences of {steps}.")]
    warned = [text for _, text in find_leaks(facts.data)] + ([facts.unlike] if facts.unlike else [])
    parts += [paragraph(f"{text[:1].upper()}{text[1:]}.", "bad") for text in warned]
    if isinstance(found, str):
        return [*parts, paragraph(found)]
    if found.nan_predictions:
        text = f"{found.nan_predictions:,} predictions are NaN and left out: their input contains NaN or infinity."
        parts.append(paragraph(text, "bad"))
    if isinstance(found, QuantileEvaluation):
        return parts + _of_quantiles(found)
    return parts + (_of_classes(found) if isinstance(found, ClassEvaluation) else _of_numbers(found))


def _of_classes(found: ClassEvaluation) -> list[str]:
    from seq2onnx import plots
    from seq2onnx.plots.confusion import confusion_png
    from seq2onnx.plots.scores import picture_size

    count, by_class = len(found.truth), found.by_class()
    largest = max(row.count for row in by_class)
    rows = [[row.name, f"{row.count:,}", *map(_percent, (row.recall, row.precision, row.f1))] for row in by_class]
    parts = [
        paragraph(
            f"Accuracy: {_percent(found.accuracy)} of {count:,} labels; baseline (most frequent class): "
            f"{_percent(largest / count)}. Mean F1 of the classes: {_percent(found.macro_f1)}."
        ),
        table(["class", "count", "recall", "precision", "F1"], rows, [1, 2, 3, 4]),
    ]
    if len(found.classes) <= MAX_CLASSES_IN_CHART:
        chart = confusion_png(found.truth.tolist(), found.predicted.tolist(), found.classes)
        alt = f"Confusion chart of {len(found.classes)} classes: {_percent(found.accuracy)} lie on the diagonal."
        parts.append(picture(chart, alt, "Confusion chart: true classes and predicted classes"))
    else:
        reason = f"The confusion chart is omitted: there are more than {MAX_CLASSES_IN_CHART} classes."
        parts.append(paragraph(reason, "soft"))
    if found.first_sequence is not None and len(found.first_sequence[0]):
        known, scores = found.first_sequence
        labels = [found.classes[number] if number >= 0 else None for number in known]
        draw = functools.partial(plots.scores_over_time, scores, found.classes, truth=labels)
        alt = (
            f"Scores of the {len(found.classes)} classes over the {len(labels)} steps of the first sequence, with the "
            "true labels."
        )
        chart = plots.as_png(draw, picture_size(len(found.classes)))
        parts.append(picture(chart, alt, "Scores at each step of the first sequence"))
    return parts


def _of_quantiles(found: QuantileEvaluation) -> list[str]:
    from seq2onnx import plots

    coverage, baseline = found.coverage, found.baseline
    rows = [[f"{q:g}", _percent(share)] for q, share in zip(coverage.quantiles, coverage.below, strict=True)]
    caption = f"Shares of {coverage.count:,} true values; of right quantiles, these are the quantiles themselves"
    parts = [table(["quantile", "true values at or below it"], rows, [1], caption)]
    bands = zip(coverage.bands, baseline.bands, strict=True)
    widths = [
        [f"{b.low:g} to {b.high:g}", _percent(b.expected), _percent(b.covered), f"{b.width:.5g}", f"{same.width:.5g}"]
        for b, same in bands
    ]
    head = ["band", "expected coverage", "coverage", "mean width", "width of the baseline"]
    parts += [table(head, widths, [1, 2, 3, 4])] if widths else []
    parts.append(
        paragraph(
            f"Pinball loss: {coverage.loss:.5g}; baseline (the same quantiles for all, those of the true values): "
            f"{baseline.loss:.5g}. In {100 * coverage.crossings:.2f} % of the predictions a quantile is above the next."
        )
    )
    if found.first_sequence is not None:
        truth, predicted, what = *(series[:MAX_STEPS] for series in found.first_sequence), "step"
        caption = "Bands in the first sequence"
    else:
        truth, predicted, what = found.truth[:MAX_STEPS], found.predicted[:MAX_STEPS], "sequence"
        caption = "Bands of the first sequences"
    if not len(truth):
        return parts
    draw = functools.partial(plots.bands_over_time, truth, predicted, coverage.quantiles, xlabel=what)
    alt = f"Predicted bands and true values of {len(truth)} {what}s."
    return [*parts, picture(plots.as_png(draw), alt, caption)]


def _of_numbers(found: NumberEvaluation) -> list[str]:
    scores, forecast = found.scores(), found.forecast
    names = found.outputs
    head = ["output", "R²", "RMSE", "mean absolute error"]
    rows = [[name, *(_format_number(value, ".5g") for value in row)] for name, row in zip(names, scores, strict=True)]
    parts = []
    if forecast:
        text = f"The last {forecast.steps} steps of each sequence, forecast from the steps before."
        parts.append(paragraph(f"{text} The baseline repeats the last value before the forecast."))
        head.append("RMSE of the baseline")
        baseline = regression_scores(found.truth, forecast.naive)
        rows = [[*row, f"{rmse:.5g}"] for row, (_, rmse, _) in zip(rows, baseline, strict=True)]
    caption = f"Scores over {len(found.truth):,} values, in the unit of the targets"
    parts.append(table(head, rows, range(1, len(head)), caption))
    for k, name in enumerate(names[:MAX_PICTURES]):
        parts += _pictures_of_number(found, k, name, scores[k])
    if len(names) > MAX_PICTURES:
        parts.append(paragraph(f"Charts of the first {MAX_PICTURES} of {len(names)} outputs.", "soft"))
    return parts


def _pictures_of_number(found: NumberEvaluation, k: int, name: str, scores: Scores) -> list[str]:
    """Predicted against true numbers, and the first sequence over time."""
    from seq2onnx import plots

    every = -(-len(found.truth) // MAX_POINTS)  # more points take long and show no more
    truth, predicted = found.truth[::every, k], found.predicted[::every, k]
    draw = functools.partial(plots.predicted_against_true, truth, predicted)
    r2, rmse, _ = scores
    alt = f"Predicted against true {name}, {len(truth):,} points: R² {_format_number(r2, '.3f')}, RMSE {rmse:.4g}."
    caption = f"Predicted against true {name}" + (f", every {every}th value" if every > 1 else "")
    parts = [picture(plots.as_png(draw, (5, 5)), alt, caption)]
    if found.first_sequence is None or not len(found.first_sequence[0]):
        return parts
    truth, predicted = (series[:, k] for series in found.first_sequence)
    if found.forecast:
        history = found.forecast.history
        before = history[-4 * len(truth) :, k]
        start = len(history) - len(before) + 1
        draw = functools.partial(plots.forecast_chart, before, truth, {"closed loop": predicted}, start=start)
        alt = f"The first sequence, {name}: {len(truth)} steps forecast in a closed loop, with the true values."
    else:
        draw = functools.partial(plots.series_over_time, truth, predicted)
        alt = f"The first sequence, {name}: predicted and true values over {len(truth)} steps."
    return [*parts, picture(plots.as_png(draw), alt, f"{name} in the first sequence")]


def _format_number(value: float, form: str) -> str:
    """A formatted number, or a dash if it is NaN."""
    return "–" if math.isnan(value) else format(value, form)


def _percent(ratio: float) -> str:
    return "–" if math.isnan(ratio) else f"{100 * ratio:.1f} %"
